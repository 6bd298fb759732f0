"""Small specs, each with one thing the emitter has to get right."""

from __future__ import annotations

HEAD = "segc: 1\nmodel: Net\n"
CASES: dict[str, str] = {}


def case(name: str, text: str) -> None:
    CASES[name] = HEAD + text.lstrip("\n")


case(
    "taps_in_repeat",
    """
params: {classes: 3, width: 8}
inputs:
  image: [N, 3, H, W]
blocks:
  bottleneck:
    params: {width: int, stride: 1, project: false}
    inputs: [x]
    layers:
      conv1: {op: conv2d, out_channels: width, kernel_size: 1, bias: false}
      bn1: batch_norm2d
      relu1: relu
      conv2:
        op: conv2d
        out_channels: width
        kernel_size: 3
        stride: stride
        padding: 1
        bias: false
      bn2: batch_norm2d
      relu2: relu
      conv3: {op: conv2d, out_channels: 4 * width, kernel_size: 1, bias: false}
      bn3: batch_norm2d
      downsample:
        when: project
        from: x
        layers:
          0: {op: conv2d, out_channels: 4 * width, kernel_size: 1, stride: stride, bias: false}
          1: batch_norm2d
      add: {op: add, from: [bn3, downsample]}
      relu: relu
layers:
  backbone:
    layers:
      conv1: {op: conv2d, out_channels: width, kernel_size: 7, stride: 2, padding: 3, bias: false}
      bn1: batch_norm2d
      relu: relu
      maxpool: {op: max_pool2d, kernel_size: 3, stride: 2, padding: 1}
      layer1: {repeat: 4, block: bottleneck, width: width, project: i == 0}
      layer2:
        repeat: 2
        block: bottleneck
        width: 2 * width
        stride: 2 if i == 0 else 1
        project: i == 0
  low: {op: conv2d, from: backbone.layer1.2.bn3, out_channels: 5, kernel_size: 1}
  mid: {op: conv2d, from: backbone.layer1, out_channels: 5, kernel_size: 1}
  sum: {op: add, from: [low, mid]}
  up: {op: interpolate, from: backbone, like: sum, mode: bilinear, align_corners: false}
  join: {op: concat, from: [sum, up]}
  head: {op: conv2d, out_channels: classes, kernel_size: 3, padding: same}
  logits: {op: interpolate, like: image, mode: bilinear, align_corners: false}
outputs: {logits: logits}
""",
)

case(
    "vgg_features",
    """
params: {classes: 3}
inputs:
  image: [N, 3, H, W]
layers:
  features:
    layers:
      0: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
      1: relu
      2: {op: max_pool2d, kernel_size: 2}
      3: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
      4: relu
      5: {op: max_pool2d, kernel_size: 2}
      6: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
      7: relu
  score: {op: conv2d, from: features, out_channels: classes, kernel_size: 1}
  score2: {op: conv2d, from: features.5, out_channels: classes, kernel_size: 1}
  score1: {op: conv2d, from: features.2, out_channels: classes, kernel_size: 1}
  fuse: {op: add, from: [score, score2]}
  up: {op: interpolate, like: score1, mode: bilinear, align_corners: false}
  total: {op: add, from: [up, score1]}
outputs: {logits: total}
""",
)

case(
    "multi_input_repeat",
    """
params: {classes: 3, width: 8}
inputs:
  image: [N, 3, H, W]
  depth: [N, 1, H, W]
blocks:
  fuse:
    params: {out: int}
    inputs: [x, guide]
    layers:
      conv: {op: conv2d, from: x, out_channels: out, kernel_size: 3, padding: 1}
      gate: {op: conv2d, from: guide, out_channels: out, kernel_size: 1}
      sigmoid: sigmoid
      mul: {op: multiply, from: [conv, sigmoid]}
layers:
  stem: {op: conv2d, from: image, out_channels: width, kernel_size: 3, padding: 1}
  guide: {op: conv2d, from: depth, out_channels: width, kernel_size: 3, padding: 1}
  stages: {repeat: 4, block: fuse, from: [stem, guide], out: width}
  relu: relu
  logits: {op: conv2d, out_channels: classes, kernel_size: 1}
outputs: {logits: logits, features: stages.1}
""",
)

case(
    "shared",
    """
inputs:
  left: [N, 3, H, W]
  right: [N, 3, H, W]
blocks:
  enc:
    params: {out: int}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
      relu: relu
layers:
  tower:
    from: left
    layers:
      conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
      relu: relu
      body:
        layers:
          0: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
          1: relu
  other: {use: tower, from: right}
  head: {op: conv2d, from: tower, out_channels: 8, kernel_size: 1}
  head2: {use: head, from: other}
  refine:
    layers:
      a: {use: head}
      b: relu
      c: {op: conv2d, out_channels: 8, kernel_size: 1}
  mid: {use: tower.body, from: refine}
  join: {op: concat, from: [head, mid]}
  logits: {op: conv2d, out_channels: 2, kernel_size: 1}
outputs: {logits: logits}
""",
)

case(
    "aux",
    """
params: {classes: 5, width: 8}
inputs:
  image: [N, 3, H, W]
blocks:
  head:
    params: {out: int}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 16, kernel_size: 3, padding: 1, bias: false}
      bn: batch_norm2d
      relu: relu
      drop: {op: dropout, p: 0.1}
      score: {op: conv2d, out_channels: out, kernel_size: 1}
layers:
  conv1: {op: conv2d, out_channels: width, kernel_size: 3, stride: 2, padding: 1}
  relu1: relu
  conv2: {op: conv2d, out_channels: 2 * width, kernel_size: 3, stride: 2, padding: 1}
  relu2: relu
  head: {block: head, out: classes}
  logits: {op: interpolate, like: image, mode: bilinear, align_corners: false}
  aux_head: {block: head, from: relu1, out: classes, only: train}
  aux: {op: interpolate, like: image, mode: bilinear, align_corners: false, only: train}
outputs: {logits: logits, aux: aux}
""",
)

case(
    "gates",
    """
params: {classes: 5, width: 8, attention: false, norm: true}
inputs:
  image: [N, 3, H, W]
blocks:
  gate:
    params: {mid: int}
    inputs: [x, g]
    layers:
      a: {op: conv2d, from: x, out_channels: mid, kernel_size: 1}
      b: {op: conv2d, from: g, out_channels: mid, kernel_size: 1}
      sum: {op: add, from: [a, b]}
      relu: relu
      psi: {op: conv2d, out_channels: 1, kernel_size: 1}
      sig: sigmoid
      mul: {op: multiply, from: [x, sig]}
  conv:
    params: {out: int, norm: bool}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
      bn: {op: batch_norm2d, when: norm}
      act: relu
layers:
  enc1: {block: conv, out: width, norm: norm}
  pool: {op: max_pool2d, kernel_size: 2}
  enc2: {block: conv, out: 2 * width, norm: norm}
  mid: {block: conv, out: 2 * width, norm: false}
  up: {op: conv_transpose2d, out_channels: width, kernel_size: 2, stride: 2}
  gate: {block: gate, from: [enc1, up], mid: width // 2, when: attention}
  join: {op: concat, from: [gate, up]}
  dec: {block: conv, out: width, norm: norm}
  logits: {op: conv2d, out_channels: classes, kernel_size: 1}
outputs: {logits: logits}
""",
)

case(
    "numbered_add",
    """
inputs:
  image: [N, 3, H, W]
layers:
  body:
    layers:
      0: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
      1: relu
      2: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
      3: {op: add, from: ["1", "2"]}
      4: {op: conv2d, out_channels: 2, kernel_size: 1}
outputs: {res: body}
""",
)

case(
    "frozen",
    """
params: {classes: 4}
inputs:
  image: [N, 3, H, W]
init:
  conv2d: {weight: {normal: {std: 0.01}}, bias: zeros}
  batch_norm2d: {weight: ones, bias: zeros}
layers:
  stem:
    layers:
      conv: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1, freeze: true}
      bn: {op: batch_norm2d, freeze: true}
      relu: relu
  mid:
    layers:
      a: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1, freeze: true}
      b:
        op: conv2d
        out_channels: 8
        kernel_size: 3
        padding: 1
        init: {weight: xavier_uniform, bias: {constant: {value: 0.5}}}
      c:
        op: conv2d
        out_channels: 8
        kernel_size: 3
        padding: 1
        bias: false
        init: {weight: {trunc_normal: {std: 0.02}}}
      d:
        op: conv2d
        out_channels: 8
        kernel_size: 3
        padding: 1
        init: {weight: {kaiming_uniform: {mode: fan_out}}}
      e:
        op: conv2d
        out_channels: 8
        kernel_size: 3
        padding: 1
        init: {weight: orthogonal, bias: {uniform: {a: -1.0, b: 1.0}}}
      f: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1, init: {weight: dirac}}
  score: {op: conv2d, out_channels: classes, kernel_size: 1, init: {weight: zeros}}
  up:
    op: conv_transpose2d
    out_channels: classes
    kernel_size: 4
    stride: 2
    padding: 1
    bias: false
    groups: classes
    init: {weight: bilinear}
    freeze: true
outputs: {logits: up}
""",
)

case(
    "varying_functions",
    """
params: {classes: 3, dropout: 0.2}
inputs:
  image: [N, 3, H, W]
blocks:
  branch:
    params: {out: int, factor: int, slope: 0.1}
    inputs: [x]
    layers:
      pool: {op: avg_pool2d, kernel_size: factor}
      conv: {op: conv2d, out_channels: out, kernel_size: 1}
      act: {op: leaky_relu, negative_slope: slope}
      up: {op: interpolate, scale_factor: factor, mode: nearest}
layers:
  b1: {block: branch, from: image, out: 4, factor: 2}
  b2: {block: branch, from: image, out: 4, factor: 4, slope: 0.2}
  b3: {block: branch, from: image, out: 4, factor: 8, slope: 0.3}
  join: {op: concat, from: [b1, b2, b3]}
  drop: {op: dropout2d, p: dropout}
  logits: {op: conv2d, out_channels: classes, kernel_size: 1}
outputs: {logits: logits}
""",
)

case(
    "names",
    """
params: {range: 3, self_: 2, len: 4, width: 4}
inputs:
  x: [N, 3, H, W]
  out: [N, 3, H, W]
layers:
  print: {op: conv2d, from: x, out_channels: len, kernel_size: 1}
  list: {op: conv2d, from: out, out_channels: len, kernel_size: 1}
  yy: {op: add, from: [print, list]}
  torch_: relu
  size: {op: conv2d, out_channels: width, kernel_size: 1}
  isinstance: {op: concat, from: [size, yy]}
  Net: {op: conv2d, out_channels: range, kernel_size: 1}
  z: {op: add, from: [Net, x]}
  reset_parameters: {op: conv2d, out_channels: self_, kernel_size: 1, init: {bias: zeros}}
outputs: {result: reset_parameters, other: yy}
""",
)

case(
    "nested_groups",
    """
params: {classes: 3, width: 8}
inputs:
  image: [N, 3, H, W]
layers:
  encoder:
    layers:
      stage1:
        layers:
          conv: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
          relu: relu
      stage2:
        layers:
          pool: {op: max_pool2d, kernel_size: 2}
          conv: {op: conv2d, out_channels: 2 * width, kernel_size: 3, padding: 1}
          relu: relu
  decoder:
    layers:
      up: {op: conv_transpose2d, out_channels: width, kernel_size: 2, stride: 2}
      join: {op: concat, from: [up, encoder.stage1.conv]}
      conv: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
      skip: {op: add, from: [conv, encoder.stage1]}
  logits: {op: conv2d, out_channels: classes, kernel_size: 1}
outputs: {logits: logits}
""",
)

case(
    "repeats",
    """
params: {width: 8}
inputs:
  image: [N, 3, H, W]
blocks:
  seq:
    params: {out: int, k: 3}
    inputs: [x]
    layers:
      0: {op: conv2d, out_channels: out, kernel_size: k, padding: k // 2}
      1: relu
layers:
  stem: {block: seq, out: width}
  plain: {repeat: 3, op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  acts: {repeat: 2, op: relu}
  stages:
    repeat: 3
    layers:
      conv: {op: conv2d, out_channels: width * 2 ** i, kernel_size: 3, padding: 1}
      bn: batch_norm2d
      relu: relu
  last:
    repeat: 2
    layers:
      0: {op: conv2d, out_channels: width, kernel_size: 1}
      1: relu
  one: {repeat: 1, block: seq, out: 5, k: 5}
  dil:
    repeat: 4
    op: conv2d
    out_channels: width
    kernel_size: 3
    padding: 2 ** i
    dilation: 2 ** i
outputs: {res: dil, s: stages.1}
""",
)

case(
    "classifier",
    """
params: {classes: 10, hidden: 32}
inputs:
  image: [N, 3, 32, 32]
layers:
  conv: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 2, padding: 1}
  relu: relu
  pool: {op: max_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc1: {op: linear, out_features: hidden}
  relu2: relu
  fc2: {op: linear, out_features: classes}
outputs: {scores: fc2}
""",
)


case(
    "training_inside",
    """
params: {classes: 3}
inputs:
  image: [N, 3, H, W]
layers:
  stem: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
  heads:
    layers:
      mid: {op: conv2d, out_channels: 4, kernel_size: 1}
      extra: {op: conv2d, from: mid, out_channels: classes, kernel_size: 1, only: train}
      deep:
        from: extra
        only: train
        layers:
          a: {op: conv2d, out_channels: classes, kernel_size: 1}
          b: relu
      main: {op: conv2d, from: mid, out_channels: classes, kernel_size: 1}
  more: {op: conv2d, from: heads.extra, out_channels: 2, kernel_size: 1, only: train}
  side:
    from: stem
    layers:
      one: {op: conv2d, from: stem, out_channels: 2, kernel_size: 1, only: train}
outputs: {logits: heads, aux: more, deep: heads.deep, side: side}
""",
)


case(
    "conditional_containers",
    """
params: {width: 4, extra: true, more: false}
inputs:
  image: [N, 3, H, W]
blocks:
  fuse:
    params: {out: int}
    inputs: [x, guide]
    layers:
      a: {op: conv2d, from: x, out_channels: out, kernel_size: 1}
      b: {op: conv2d, from: guide, out_channels: out, kernel_size: 1}
      sum: {op: add, from: [a, b]}
  stage:
    params: {out: int, extra: bool}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
      body:
        when: extra
        layers:
          0: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
          1: relu
          2: {op: add, from: ["1", "0"]}
      act: relu
layers:
  one: {block: stage, out: width, extra: extra}
  two: {block: stage, out: 2 * width, extra: true}
  three: {block: stage, out: width, extra: false}
  fused: {repeat: 3, block: fuse, from: [three, image], out: width, when: more}
  last: {op: conv2d, out_channels: 2, kernel_size: 1}
outputs: {result: last}
""",
)

case(
    "parallel_branches",
    """
inputs:
  image: [N, 3, H, W]
layers:
  convs:
    layers:
      0: {op: conv2d, from: image, out_channels: 4, kernel_size: 1}
      1: {op: conv2d, from: image, out_channels: 4, kernel_size: 3, padding: 1}
      2:
        from: image
        layers:
          0: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
          1: relu
  add: {op: add, from: [convs.0, convs.1, convs.2]}
  last: {op: conv2d, out_channels: 2, kernel_size: 1}
  side: {op: conv2d, from: add, out_channels: 3, kernel_size: 1}
outputs: {out: last, x: side}
""",
)

case(
    "names_of_helpers",
    """
inputs:
  image: [N, 3, H, W]
blocks:
  cut:
    inputs: [crop_at, center_crop]
    layers:
      bed_of_nails: {op: bed_of_nails, from: crop_at}
      inner: {op: crop, from: bed_of_nails, like: center_crop, offset: 0}
      outer: {op: center_crop, from: [bed_of_nails, inner]}
      sum: {op: add, from: [inner, outer, bed_of_nails]}
layers:
  canny: {op: canny, from: image, low: 10, high: 100}
  group:
    layers:
      canny_ridge: {op: canny, from: image, low: 20, high: 30}
      again: {op: concat, from: [canny, canny_ridge]}
  corner: {op: conv2d, out_channels: 2, kernel_size: 1}
  corner_size: {op: interpolate, grow: 2, mode: bilinear, align_corners: true}
  crop_like: {op: crop, from: corner, like: canny, offset: 0}
  small: {op: max_pool2d, kernel_size: 2}
  cut: {block: cut, from: [small, crop_like]}
outputs: {canny: canny, corner: corner_size, cut: cut}
""",
)
case(
    "conditional_container_without_weights",
    """
inputs: {image: [N, 3, H, W]}
blocks:
  unit:
    params: {first: false}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 3, kernel_size: 1}
      maybe:
        when: first
        layers:
          0: {op: batch_norm2d, when: false}
          1: relu
      last: {op: conv2d, out_channels: 3, kernel_size: 1}
layers:
  units: {repeat: 3, block: unit, first: i == 0}
outputs: {y: units}
""",
)
