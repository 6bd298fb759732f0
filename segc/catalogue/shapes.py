"""Shapes and types (SEG2xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry


def _spec(*layers: str, output: str = "out", image: str = "[N, 3, H, W]") -> str:
    """A complete spec around `layers`, so that an example can be tried as it stands."""
    head = ("segc: 1", "model: Net", f"inputs: {{image: {image}}}", "layers:")
    body = (f"  {layer}" for layer in layers)
    return "\n".join((*head, *body, f"outputs: {{out: {output}}}")) + "\n"


def _rows(labels: str) -> str:
    """The maps of regions, of each that of its class."""
    return (
        "segc: 1\nmodel: Net\ninputs:\n  image: [N, 3, H, W]\n"
        "  regions: {shape: [G, 5], type: boxes}\n"
        f"  classes: {{shape: {labels}, type: labels}}\nlayers:\n"
        "  maps: {op: roi_align, from: [regions, image], output_size: 7, strides: [1]}\n"
        "  out: {op: by_class, from: [maps, classes]}\noutputs: {out: out}\n"
    )


_POOLED = (
    "conv: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}",
    "pool: {op: max_pool2d, kernel_size: 2, return_indices: true}",
)
_TWO_POOLS = (
    *_POOLED,
    "pool2: {op: max_pool2d, kernel_size: 2, return_indices: true}",
)

ENTRIES: dict[str, Entry] = {
    "SEG201": Entry(
        "The wrong kind of tensor",
        "The layer needs a tensor with another number of axes, or one of real numbers where this "
        "one holds integers. Maps are [N, C, H, W] with the batch first, features are [N, C]; "
        "`flatten`, `unflatten`, `unsqueeze` and `permute` go from one to the other.",
        bad=_spec(
            "pool: {op: adaptive_avg_pool2d, output_size: 1}",
            "flat: flatten",
            "out: {op: conv2d, out_channels: 10, kernel_size: 1}",
        ),
        good=_spec(
            "pool: {op: adaptive_avg_pool2d, output_size: 1}",
            "flat: flatten",
            "out: {op: linear, out_features: 10}",
        ),
    ),
    "SEG202": Entry(
        "Channels, groups or cells do not divide or agree",
        "Grouped layers need channels that divide into their groups, pixel shuffles channels or "
        "pixels that divide into cells, learned weights a number of channels that does not "
        "depend on the size of the input.",
        bad=_spec(
            "conv: {op: conv2d, out_channels: 30, kernel_size: 1}",
            "out: {op: group_norm, num_groups: 8}",
        ),
        good=_spec(
            "conv: {op: conv2d, out_channels: 32, kernel_size: 1}",
            "out: {op: group_norm, num_groups: 8}",
        ),
    ),
    "SEG203": Entry(
        "The sizes of joined tensors disagree",
        "`concat` joins tensors that agree on every axis but one, `add`, `multiply` and "
        "`maximum` such that agree on all (an axis of size 1 is repeated). Usual causes: a skip "
        "from the wrong scale, a stride without its upsampling, a convolution without padding. "
        "`interpolate` with `like`, `crop` or `center_crop` fit one size to the other; a 1×1 "
        "`conv2d` fits the channels. Sizes that agree for some inputs only are no error: the "
        "accepted sizes are derived and printed.",
        bad=_spec(
            "fine: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}",
            "coarse: {op: max_pool2d, kernel_size: 2}",
            "out: {op: concat, from: [fine, coarse]}",
        ),
        good=_spec(
            "fine: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}",
            "coarse: {op: max_pool2d, kernel_size: 2}",
            "up: {op: interpolate, from: coarse, like: fine, mode: bilinear}",
            "out: {op: concat, from: [fine, up]}",
        ),
    ),
    "SEG204": Entry(
        "A centred crop with an odd difference",
        "`center_crop` cuts the same margin on both sides. If the sizes differ by an odd number, "
        "one side would lose a pixel more, and the two maps would no longer be aligned. Choose "
        "paddings and windows that differ evenly, or `crop` with an explicit offset.",
        bad=_spec(
            "conv: {op: conv2d, out_channels: 8, kernel_size: 2}",
            "out: {op: center_crop, from: [image, conv]}",
        ),
        good=_spec(
            "conv: {op: conv2d, out_channels: 8, kernel_size: 3}",
            "out: {op: center_crop, from: [image, conv]}",
        ),
    ),
    "SEG205": Entry(
        "The map is too small",
        "The window does not fit the map, or nothing would be left of it. Where the size of the "
        "input is a symbol this is no error: the network then accepts only inputs that are large "
        "enough. Use a smaller window, more padding, fewer strides, or a larger input.",
        bad=_spec(
            "pool: {op: adaptive_avg_pool2d, output_size: 2}",
            "out: {op: conv2d, out_channels: 8, kernel_size: 3}",
        ),
        good=_spec(
            "pool: {op: adaptive_avg_pool2d, output_size: 2}",
            "out: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}",
        ),
    ),
    "SEG206": Entry(
        "Indices used as a tensor",
        "The port `indices` of a max pooling holds positions, not values: only `max_unpool2d` "
        "reads it, as its second operand. The pooled map is the pooling layer itself.",
        bad=_spec(
            *_POOLED, "out: {op: conv2d, from: pool.indices, out_channels: 8, kernel_size: 1}"
        ),
        good=_spec(
            "conv: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}",
            "pool: {op: max_pool2d, kernel_size: 2}",
            "out: {op: conv2d, from: pool, out_channels: 8, kernel_size: 1}",
        ),
    ),
    "SEG207": Entry(
        "The indices of another pooling",
        "The map to unpool does not have the shape of the indices, so they were made by a "
        "pooling of another scale or of another number of channels. An encoder and its decoder "
        "pair their poolings in reverse order: the last pooling is undone first.",
        bad=_spec(
            *_TWO_POOLS,
            "up2: {op: max_unpool2d, from: [pool2, pool.indices], size: pool2.input}",
            "out: {op: max_unpool2d, from: [up2, pool2.indices], size: pool.input}",
        ),
        good=_spec(
            *_TWO_POOLS,
            "up2: {op: max_unpool2d, from: [pool2, pool2.indices], size: pool2.input}",
            "out: {op: max_unpool2d, from: [up2, pool.indices], size: pool.input}",
        ),
    ),
    "SEG208": Entry(
        "A tensor where indices are needed",
        "The second operand of `max_unpool2d` says where each value goes: the port `indices` of "
        "a `max_pool2d` with `return_indices: true`.",
        bad=_spec(*_POOLED, "out: {op: max_unpool2d, from: [pool, conv], size: pool.input}"),
        good=_spec(
            *_POOLED, "out: {op: max_unpool2d, from: [pool, pool.indices], size: pool.input}"
        ),
    ),
    "SEG209": Entry(
        "No input size satisfies all joins",
        "Each join alone holds for some input sizes, all of them together for none: one wants "
        "an even height and another an odd one, for example. The layer named is "
        "where nothing was left; the note says what the layers above demand.",
        bad=_spec(
            "down: {op: max_pool2d, kernel_size: 2}",
            "up: {op: interpolate, scale_factor: 2}",
            "even: {op: add, from: [image, up]}",
            "ceil: {op: max_pool2d, from: image, kernel_size: 2, ceil_mode: true}",
            "grown: {op: interpolate, scale_factor: 2}",
            "cut: {op: pad, padding: [0, -1, 0, -1]}",
            "out: {op: add, from: [even, cut]}",
        ),
        good=_spec(
            "down: {op: max_pool2d, kernel_size: 2}",
            "up: {op: interpolate, scale_factor: 2}",
            "even: {op: add, from: [image, up]}",
            "ceil: {op: max_pool2d, from: image, kernel_size: 2, ceil_mode: true}",
            "grown: {op: interpolate, scale_factor: 2}",
            "out: {op: add, from: [even, grown]}",
        ),
    ),
    "SEG210": Entry(
        "Attribute values that do not go together",
        "Each value is possible, their combination is not: more than one size for an "
        "`interpolate`, a stride with `padding: same`, an `output_padding` as large as the "
        "stride, more padding than half a pooling window, an axis the tensor does not have. "
        "Torch would refuse the layer when it is built or called.",
        bad=_spec("out: {op: interpolate, scale_factor: 2, size: [64, 64]}"),
        good=_spec("out: {op: interpolate, scale_factor: 2}"),
    ),
    "SEG211": Entry(
        "A crop that reaches outside",
        "The window to cut out is larger than the map, or starts so late that its end is "
        "outside. The map to crop is the first operand, the one whose size it gets is the "
        "second (`center_crop`) or `like` (`crop`).",
        bad=_spec(
            "conv: {op: conv2d, out_channels: 8, kernel_size: 3}",
            "out: {op: center_crop, from: [conv, image]}",
        ),
        good=_spec(
            "conv: {op: conv2d, out_channels: 8, kernel_size: 3}",
            "out: {op: center_crop, from: [image, conv]}",
        ),
    ),
    "SEG212": Entry(
        "A new shape with another number of values",
        "`reshape`, `unflatten` and `squeeze` keep every value: the product of the new sizes "
        "must be that of the old ones. One size may be -1, which stands for what the others "
        "leave, if it comes out whole.",
        bad=_spec(
            "conv: {op: conv2d, out_channels: 30, kernel_size: 1}",
            "out: {op: unflatten, sizes: [4, -1]}",
        ),
        good=_spec(
            "conv: {op: conv2d, out_channels: 32, kernel_size: 1}",
            "out: {op: unflatten, sizes: [4, -1]}",
        ),
    ),
    "SEG213": Entry(
        "The given input size is not accepted",
        "The network is sound, but not for the size asked for: some join does not hold there, or "
        "a window does not fit. The message names the nearest sizes below and above that are "
        "accepted; `segc check` prints the rule they follow.",
    ),
    "SEG214": Entry(
        "Rows of different sets",
        "Boxes, scores, labels and features of regions belong to named sets of rows (anchors, "
        "proposals, sampled regions, ground truth). Two values are paired row by row only if they "
        "are of the same set, in the phase in which the layer computes; otherwise rows would be "
        "compared that have nothing to do with each other, or their numbers would differ. `gather` "
        "both with the same choice.",
        bad=_rows("[L]"),
        good=_rows("[G]"),
    ),
}
