"""Losses, recipes and data (SEG6xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry


def _spec(*lines: str, classes: int = 3, outputs: str = "{logits: logits}") -> str:
    """A complete spec with these lines at its end, so that an example can be tried as it stands."""
    head = (
        "segc: 1",
        "model: Net",
        "inputs: {image: [N, 3, H, W]}",
        "layers:",
        "  pool: {op: max_pool2d, kernel_size: 2}",
        "  up: {op: interpolate, scale_factor: 2}",
        "  join: {op: concat, from: [image, up]}",
        f"  logits: {{op: conv2d, out_channels: {classes}, kernel_size: 1}}",
        f"outputs: {outputs}",
    )
    return "\n".join((*head, *lines)) + "\n"


_LOSS = "losses: {seg: {cross_entropy: logits}}"

ENTRIES: dict[str, Entry] = {
    "SEG601": Entry(
        "A loss does not say which loss it is",
        "Each entry of `losses` holds exactly one key that names the loss, such as "
        "`cross_entropy`; its value is the output it looks at. `segc explain losses` lists them.",
        bad=_spec("losses: {seg: {cross_entorpy: logits}}"),
        good=_spec(_LOSS),
    ),
    "SEG602": Entry(
        "A loss and its output do not go together",
        "The loss names something that is not an output, or an output it cannot compare with a map "
        "of labels: `cross_entropy` needs [N, K, H, W] with a channel for each of two or more "
        "classes (over a single channel the softmax is 1 everywhere and nothing is learned), "
        "`binary_cross_entropy` needs one channel, `target: centre` and `target: label` a vector "
        "[N, K]. Labels are "
        "sampled (`resize: labels_slice` and the like) only for an output on a coarser grid.",
        bad=_spec(_LOSS, classes=1),
        good=_spec("losses: {seg: {binary_cross_entropy: logits}}", classes=1),
    ),
    "SEG603": Entry(
        "Two settings exclude each other",
        "A training is either `max_steps` or `epochs` long, images are resized by a factor from a "
        "range (`scale`) or from a list (`scales`); and since there is one map of labels, all "
        "losses share one `ignore_index`, one set of `class_weights` and one `border_weight`. "
        "Some keys of a loss exclude each other too: the label of a single pixel (`target: "
        "centre`) has no borders and is not resized, border weights do not go with sampled "
        "labels, `edges` goes with `target: edges`.",
        bad=_spec(_LOSS, "recipe: {max_steps: 1000, epochs: 10}"),
        good=_spec(_LOSS, "recipe: {max_steps: 1000}"),
    ),
    "SEG604": Entry(
        "As many values as classes or channels are needed",
        "`classes` and a list of `class_weights` have one entry for each class of the network, "
        "`mean` and `std` one for each channel of the image; only three channels have saturation "
        "and hue that could be changed. When a parameter given with `--set` "
        "changes the number of classes, names and weights of the spec are left out instead.",
        bad=_spec("losses: {seg: {cross_entropy: logits, class_weights: [1, 2]}}"),
        good=_spec("losses: {seg: {cross_entropy: logits, class_weights: [1, 2, 2]}}"),
    ),
    "SEG605": Entry(
        "The network does not take crops of this size",
        "`crop` is what the network sees while it is trained, so it must be one of the sizes that "
        "its layers accept; `segc summary` prints them.",
        bad=_spec(_LOSS, "recipe: {crop: [321, 321]}"),
        good=_spec(_LOSS, "recipe: {crop: [320, 320]}"),
    ),
    "SEG606": Entry(
        "A group of parameters is empty",
        "`groups` gives parameters their own rates by patterns of their names, which are the "
        "dotted names of layers and their weights (`backbone.conv1.weight`). A pattern that "
        "matches none is a mistake: `backbone` alone does not match, `backbone.*` does.",
        bad=_spec(_LOSS, "recipe: {groups: [{match: head.*, lr: 10}]}"),
        good=_spec(_LOSS, "recipe: {groups: [{match: logits.*, lr: 10}]}"),
    ),
    "SEG620": Entry(
        "A stage of the training does not go with the others",
        "Stages hand weights on by name, end in the network of the spec, and are trained with its "
        "losses on its data: a stage has a name of its own, a network with the same input, with "
        "outputs of the shapes that the losses read, that accepts the same sizes; the last stage "
        "has the spec's own network.",
        bad=_spec(_LOSS, "recipe: {stages: [{name: first, lr: 0.1}, {name: first, lr: 0.01}]}"),
        good=_spec(_LOSS, "recipe: {stages: [{name: first, lr: 0.1}, {name: last, lr: 0.01}]}"),
    ),
    "SEG621": Entry(
        "The parts of a batch do not add up",
        "With `accumulate` a batch is taken in parts, and their gradients are added. Where all "
        "losses are sums over pixels the parts are added as they are, where all are averages each "
        "counts by its share. There is no one factor for a sum and an average together.",
        bad=_spec(
            "losses:",
            "  a: {cross_entropy: logits, reduction: sum}",
            "  b: {cross_entropy: logits, reduction: mean}",
            "recipe: {accumulate: 4}",
        ),
        good=_spec(
            "losses:",
            "  a: {cross_entropy: logits, reduction: sum}",
            "  b: {cross_entropy: logits, reduction: sum}",
            "recipe: {accumulate: 4}",
        ),
    ),
    "SEG622": Entry(
        "The network cannot be run as `inference` offers",
        "`samples` averages passes with dropout alive, so there must be dropout; `slide` averages "
        "windows that a network labels to their edges, `tile` with an `overlap` goes with the same "
        "kind, and a network of unpadded convolutions takes `tile` without one; an average of log "
        "probabilities needs a channel for each class.",
        bad=_spec(_LOSS, "recipe: {inference: {samples: 8}}"),
        good=_spec(_LOSS, "recipe: {inference: {tile: {size: [256, 256], overlap: 32}}}"),
    ),
    "SEG623": Entry(
        "The recipe speaks of another task",
        "What a network learns follows from its losses: the classes of pixels, of the middle of a "
        "window (`target: centre`), of an image (`target: label`), or the disparity of a focal "
        "stack. A recipe holds what is done for its task: `patches` is for patch classifiers, "
        "`resized_crop` for classifiers of images, and images that are warped need a label map.",
        bad=_spec(_LOSS, "recipe: {patches: {number: 8}}"),
        good=_spec(_LOSS, "recipe: {augment: {flip: true}}"),
    ),
}
