"""Small networks that find objects, for tests that run many of them: a few channels, a few rows."""

from __future__ import annotations

# A pyramid of three levels, proposals from all, regions from the two finer ones, boxes and masks.
TWO_STAGES = """\
segc: 1
model: Finder
params: {classes: 4}
inputs:
  image: [N, 3, H, W]
  sizes: {shape: [N, 2], type: sizes}
  gt_boxes: {shape: [G, 5], type: boxes, only: train}
  gt_labels: {shape: [G], type: labels, only: train}
  gt_masks: {shape: [G, H, W], type: masks, only: train}
blocks:
  lateral:
    params: {out: int, kernel: 1}
    inputs: [x]
    layers:
      0: {op: conv2d, out_channels: out, kernel_size: kernel, padding: kernel // 2}
  rpn_head:
    params: {anchors: int}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
      relu: relu
      logits: {op: conv2d, out_channels: anchors, kernel_size: 1}
      deltas: {op: conv2d, from: relu, out_channels: 4 * anchors, kernel_size: 1}
layers:
  c2: {op: conv2d, out_channels: 8, kernel_size: 4, stride: 4}
  c3: {op: conv2d, out_channels: 12, kernel_size: 3, stride: 2, padding: 1}
  fpn:
    layers:
      c: {levels: {p2: c2, p3: c3}}
      inner: {block: lateral, from: c, each: level, out: 8}
      up: {op: interpolate, from: inner.p3, like: inner.p2, mode: nearest}
      sum: {op: add, from: [inner.p2, up]}
      pool: {op: max_pool2d, from: inner.p3, kernel_size: 1, stride: 2}
      p: {levels: {p2: sum, p3: inner.p3, p4: pool}}
  rpn:
    layers:
      head: {block: rpn_head, from: fpn, share: level, anchors: 2}
      anchors: {op: anchors, from: [image, fpn], sizes: [16, 32, 64], ratios: [0.5, 1.0]}
      logits: {op: anchor_rows, from: head.logits}
      deltas: {op: anchor_rows, from: head, per_row: 4}
      fixed: {op: detach, from: deltas}
      scores: {op: detach, from: logits}
      boxes: {op: decode_boxes, from: [anchors, fixed], max_log: 4.0}
      top: {op: top_k, from: [boxes, scores], k: {train: 12, test: 10}, per: anchors.level}
      top_boxes: {op: gather, from: [top, boxes]}
      top_scores: {op: gather, from: [top, scores]}
      top_level: {op: gather, from: [top, anchors.level]}
      inside: {op: clip_boxes, from: [top_boxes, sizes]}
      large: {op: large_enough, from: inside, min_side: 0.5}
      large_boxes: {op: gather, from: [large, inside]}
      large_scores: {op: gather, from: [large, top_scores]}
      large_level: {op: gather, from: [large, top_level]}
      best: {op: nms, from: [large_boxes, large_scores], iou: 0.7, per: large_level, keep: {train: 20, test: 8}}
      proposals: {op: gather, from: [best, large_boxes]}
  rpn_losses:
    only: train
    layers:
      matches: {op: match, from: [rpn.anchors, gt_boxes], high: 0.7, low: 0.3, low_quality: true}
      sample: {op: sample, from: [rpn.anchors, matches], count: 16, positive: 0.5}
      matched: {op: gather, from: [sample, matches]}
      sampled_logits: {op: gather, from: [sample, rpn.logits]}
      sampled_deltas: {op: gather, from: [sample, rpn.deltas]}
      sampled_anchors: {op: gather, from: [sample, rpn.anchors]}
      is_object: {op: positives, from: matched}
      objectness: {op: bce_loss, from: [sampled_logits, is_object]}
      found: {op: gather, from: [sample.positive, matched]}
      found_deltas: {op: gather, from: [sample.positive, sampled_deltas]}
      found_anchors: {op: gather, from: [sample.positive, sampled_anchors]}
      found_boxes: {op: matched_boxes, from: [found, gt_boxes]}
      goals: {op: encode_boxes, from: [found_anchors, found_boxes]}
      box: {op: smooth_l1_loss, from: [found_deltas, goals], beta: 0.5, reduction: sum, per: is_object}
  features: {levels: {p2: fpn.p2, p3: fpn.p3}}
  sampled:
    only: train
    layers:
      candidates: {op: append_rows, from: [rpn, gt_boxes]}
      matches: {op: match, from: [candidates, gt_boxes], high: 0.5}
      sample: {op: sample, from: [candidates, matches], count: 10, positive: 0.5}
      boxes: {op: gather, from: [sample, candidates]}
      matched: {op: gather, from: [sample, matches]}
      labels: {op: matched_labels, from: [matched, gt_labels]}
      found: {op: gather, from: [sample.positive, matched]}
      found_labels: {op: gather, from: [sample.positive, labels]}
      found_boxes: {op: gather, from: [sample.positive, boxes]}
  regions: {op: phase, from: [sampled.boxes, rpn]}
  pooled: {op: roi_align, from: [regions, features], output_size: 3, strides: [4, 8], canonical_size: 40, canonical_level: 1}
  flatten: flatten
  fc: {op: linear, out_features: 16}
  relu: relu
  cls_score: {op: linear, out_features: classes}
  deltas: {op: linear, from: relu, out_features: 4 * classes}
  box_losses:
    only: train
    layers:
      classifier: {op: ce_loss, from: [cls_score, sampled.labels]}
      per_class: {op: unflatten, from: deltas, sizes: [classes, 4]}
      found_deltas: {op: gather, from: [sampled.sample.positive, per_class]}
      own_deltas: {op: by_class, from: [found_deltas, sampled.found_labels]}
      goal_boxes: {op: matched_boxes, from: [sampled.found, gt_boxes]}
      goals: {op: encode_boxes, from: [sampled.found_boxes, goal_boxes], delta_weights: [10, 10, 5, 5]}
      box: {op: smooth_l1_loss, from: [own_deltas, goals], reduction: sum, per: sampled.labels}
  detections:
    only: test
    layers:
      probabilities: {op: softmax, from: cls_score}
      all: {op: class_boxes, from: [regions, deltas, probabilities], delta_weights: [10, 10, 5, 5], max_log: 4.0}
      inside: {op: clip_boxes, from: [all, sizes]}
      likely: {op: above, from: all.scores, threshold: 0.05}
      likely_boxes: {op: gather, from: [likely, inside]}
      likely_scores: {op: gather, from: [likely, all.scores]}
      likely_labels: {op: gather, from: [likely, all.labels]}
      best: {op: nms, from: [likely_boxes, likely_scores], iou: 0.5, per: likely_labels, keep: 6}
      labels: {op: gather, from: [best, likely_labels]}
      scores: {op: gather, from: [best, likely_scores]}
      boxes: {op: gather, from: [best, likely_boxes]}
  mask_regions: {op: phase, from: [sampled.found_boxes, detections.boxes]}
  mask_pooled: {op: roi_align, from: [mask_regions, features], output_size: 4, strides: [4, 8], canonical_size: 40, canonical_level: 1}
  mask_up: {op: conv_transpose2d, out_channels: 8, kernel_size: 2, stride: 2}
  mask_relu: relu
  mask_logits: {op: conv2d, out_channels: classes, kernel_size: 1}
  mask_losses:
    only: train
    layers:
      targets: {op: mask_targets, from: [mask_regions, sampled.found, gt_masks], size: 8}
      own: {op: by_class, from: [mask_logits, sampled.found_labels]}
      mask: {op: bce_loss, from: [own, targets]}
  masks:
    from: mask_logits
    only: test
    layers:
      probabilities: sigmoid
      own: {op: by_class, from: [probabilities, detections.labels]}
      single: {op: unsqueeze, dim: 1}
      pasted: {op: paste_masks, from: [single, detections.boxes, image]}
outputs:
  loss_objectness: rpn_losses.objectness
  loss_rpn_box: rpn_losses.box
  loss_classifier: box_losses.classifier
  loss_box: box_losses.box
  loss_mask: mask_losses.mask
  boxes: detections.boxes
  labels: detections.labels
  scores: detections.scores
  masks: masks
losses:
  objectness: {computed: loss_objectness}
  rpn_box: {computed: loss_rpn_box}
  classifier: {computed: loss_classifier}
  box: {computed: loss_box}
  mask: {computed: loss_mask}
"""

# Priors on three maps, each with convolutions of its own.
SINGLE_SHOT = """\
segc: 1
model: Finder
params: {classes: 4}
inputs:
  image: [N, 3, H, W]
  sizes: {shape: [N, 2], type: sizes}
  gt_boxes: {shape: [G, 5], type: boxes, only: train}
  gt_labels: {shape: [G], type: labels, only: train}
layers:
  trunk:
    from: image
    layers:
      c1: {op: conv2d, out_channels: 8, kernel_size: 8, stride: 8}
      r1: relu
      c2: {op: conv2d, out_channels: 12, kernel_size: 3, stride: 2, padding: 1}
      r2: relu
      c3: {op: conv2d, out_channels: 6, kernel_size: 3, stride: 2, padding: 1}
      maps: {levels: {fine: r1, middle: r2, coarse: c3}}
  head:
    layers:
      scores: {op: conv2d, from: trunk, each: level, out_channels: "classes * [4, 6, 4][i]", kernel_size: 3, padding: 1}
      logits: {op: anchor_rows, per_row: classes}
      boxes: {op: conv2d, from: trunk, each: level, out_channels: "4 * [4, 6, 4][i]", kernel_size: 3, padding: 1}
      deltas: {op: anchor_rows, per_row: 4}
  priors: {op: priors, from: [image, trunk], scales: [0.2, 0.4, 0.7, 0.9], ratios: [2, 3], used: [1, 2, 1]}
  losses:
    only: train
    layers:
      match: {op: match, from: [priors, gt_boxes], high: 0.5, best_always: true}
      labels: {op: matched_labels, from: [match, gt_labels]}
      each: {op: ce_loss, from: [head.logits, labels], reduction: none}
      chosen: {op: hard_negatives, from: [priors, match, each], ratio: 3}
      chosen_logits: {op: gather, from: [chosen, head.logits]}
      chosen_labels: {op: gather, from: [chosen, labels]}
      chosen_match: {op: gather, from: [chosen, match]}
      chosen_priors: {op: gather, from: [chosen, priors]}
      chosen_deltas: {op: gather, from: [chosen, head.deltas]}
      found: {op: gather, from: [chosen.positive, chosen_match]}
      found_priors: {op: gather, from: [chosen.positive, chosen_priors]}
      found_deltas: {op: gather, from: [chosen.positive, chosen_deltas]}
      found_boxes: {op: matched_boxes, from: [found, gt_boxes]}
      goals: {op: encode_boxes, from: [found_priors, found_boxes], delta_weights: [10, 10, 5, 5]}
      classification: {op: ce_loss, from: [chosen_logits, chosen_labels], reduction: sum, per: found_deltas}
      box: {op: smooth_l1_loss, from: [found_deltas, goals], reduction: sum, per: found_deltas}
  detections:
    only: test
    layers:
      probabilities: {op: softmax, from: head.logits}
      moved: {op: decode_boxes, from: [priors, head.deltas], delta_weights: [10, 10, 5, 5], max_log: 4.0}
      inside: {op: clip_boxes, from: [moved, sizes]}
      likely: {op: candidates, from: probabilities, threshold: 0.2}
      likely_boxes: {op: gather, from: [likely, inside]}
      top: {op: top_k, from: [likely_boxes, likely.scores], k: 40, per: likely.labels}
      top_boxes: {op: gather, from: [top, likely_boxes]}
      top_scores: {op: gather, from: [top, likely.scores]}
      top_labels: {op: gather, from: [top, likely.labels]}
      best: {op: nms, from: [top_boxes, top_scores], iou: 0.45, per: top_labels, keep: 20}
      labels: {op: gather, from: [best, top_labels]}
      scores: {op: gather, from: [best, top_scores]}
      boxes: {op: gather, from: [best, top_boxes]}
outputs:
  loss_classification: losses.classification
  loss_box: losses.box
  boxes: detections.boxes
  labels: detections.labels
  scores: detections.scores
losses:
  classification: {computed: loss_classification}
  box: {computed: loss_box}
"""

# One map, boxes of inclusive pixels as in Caffe's networks, the same deltas for all classes.
ONE_MAP = """\
segc: 1
model: Finder
params: {classes: 3}
inputs:
  image: [N, 3, H, W]
  sizes: {shape: [N, 2], type: sizes}
  gt_boxes: {shape: [G, 5], type: boxes, legacy: true, only: train}
  gt_labels: {shape: [G], type: labels, only: train}
layers:
  trunk: {op: conv2d, out_channels: 8, kernel_size: 16, stride: 16}
  relu: relu
  rpn_scores: {op: conv2d, out_channels: 12, kernel_size: 1}
  rpn_boxes: {op: conv2d, from: relu, out_channels: 24, kernel_size: 1}
  anchors: {op: anchors, from: [image, relu], sizes: [16, 32], per_level: 2, ratios: [0.5, 1.0, 2.0], strides: [16], form: caffe}
  logits: {op: anchor_rows, from: rpn_scores, per_row: 2, order: blocks}
  deltas: {op: anchor_rows, from: rpn_boxes, per_row: 4}
  choice:
    layers:
      fixed: {op: detach, from: deltas}
      probabilities: {op: softmax, from: logits}
      objectness: {op: select, index: 1}
      scores: {op: detach, from: objectness}
      decoded: {op: decode_boxes, from: [anchors, fixed], max_log: 3.0}
      inside: {op: clip_boxes, from: [decoded, sizes]}
      large: {op: large_enough, from: inside, min_side: 2.0}
      large_boxes: {op: gather, from: [large, inside]}
      large_scores: {op: gather, from: [large, scores]}
      top: {op: top_k, from: [large_boxes, large_scores], k: {train: 30, test: 20}}
      top_boxes: {op: gather, from: [top, large_boxes]}
      top_scores: {op: gather, from: [top, large_scores]}
      best: {op: nms, from: [top_boxes, top_scores], iou: 0.7, keep: {train: 16, test: 8}}
      out: {op: gather, from: [best, top_boxes]}
  rpn_losses:
    only: train
    layers:
      match: {op: match, from: [anchors, gt_boxes], high: 0.7, low: 0.3, low_quality: true, inside: sizes}
      sample: {op: sample, from: [anchors, match], count: 16, positive: 0.5}
      sampled_match: {op: gather, from: [sample, match]}
      sampled_logits: {op: gather, from: [sample, logits]}
      is_object: {op: positives, from: sampled_match, dtype: int}
      objectness: {op: ce_loss, from: [sampled_logits, is_object]}
  sampled:
    only: train
    layers:
      candidates: {op: append_rows, from: [choice, gt_boxes]}
      match: {op: match, from: [candidates, gt_boxes], high: 0.5, low: 0.5, floor: 0.1}
      sample: {op: sample, from: [candidates, match], count: 12, positive: 0.25}
      sampled_match: {op: gather, from: [sample, match]}
      labels: {op: matched_labels, from: [sampled_match, gt_labels]}
      goal_boxes: {op: matched_boxes, from: [sampled_match, gt_boxes]}
      boxes: {op: gather, from: [sample, candidates]}
  regions: {op: phase, from: [sampled, choice]}
  pool: {op: roi_pool, from: [regions, relu], output_size: 3, stride: 16}
  flatten: flatten
  head: {op: linear, out_features: 12}
  cls_score: {op: linear, from: head, out_features: classes}
  moves: {op: linear, from: head, out_features: 4}
  losses:
    only: train
    layers:
      classifier: {op: ce_loss, from: [cls_score, sampled.labels]}
      goals: {op: encode_boxes, from: [sampled, sampled.goal_boxes]}
      found_goals: {op: gather, from: [sampled.sample.positive, goals]}
      found_moves: {op: gather, from: [sampled.sample.positive, moves]}
      box: {op: smooth_l1_loss, from: [found_moves, found_goals], reduction: sum, per: sampled.labels}
  detections:
    only: test
    layers:
      probabilities: {op: softmax, from: cls_score}
      all: {op: class_boxes, from: [regions, moves, probabilities]}
      inside: {op: clip_boxes, from: [all, sizes]}
      best: {op: nms, from: [inside, all.scores], iou: 0.3, per: all.labels, keep: 9}
      labels: {op: gather, from: [best, all.labels]}
      scores: {op: gather, from: [best, all.scores]}
      boxes: {op: gather, from: [best, inside]}
outputs:
  loss_objectness: rpn_losses.objectness
  loss_classifier: losses.classifier
  loss_box: losses.box
  boxes: detections.boxes
  labels: detections.labels
  scores: detections.scores
losses:
  objectness: {computed: loss_objectness}
  classifier: {computed: loss_classifier}
  box: {computed: loss_box}
"""

DETECTORS = {"two_stages": TWO_STAGES, "single_shot": SINGLE_SHOT, "one_map": ONE_MAP}
