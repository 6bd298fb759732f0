"""Wiring and names (SEG3xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry
from segc.catalogue.net import net

CONV = "op: conv2d, out_channels: 8, kernel_size: 3, padding: 1"

ENTRIES: dict[str, Entry] = {
    "SEG301": Entry(
        "A name that is not defined",
        "`from` and arguments such as `size` name a layer of the same list or of a list around "
        "it, an output of it (`pool1.indices`), what it reads (`pool1.input`), or a layer inside "
        "a block or group (`backbone.layer1`). A block sees its own inputs and layers only. A "
        "layer whose `when` is false passes its input through and has no parts.",
        bad=net(f"conv: {{{CONV}}}\nrelu: relu\nlogits: {{op: softmax, from: relu1}}"),
        good=net(f"conv: {{{CONV}}}\nrelu: relu\nlogits: {{op: softmax, from: relu}}"),
    ),
    "SEG302": Entry(
        "A cycle of layers or blocks",
        "A layer reads itself, directly or through others; or a block contains itself. Data flows "
        "from the inputs to the outputs, so one of the edges is wrong. To apply a layer several "
        "times with the same weights, use `repeat` or `use`.",
        bad=net(f"a: {{op: add, from: [image, b]}}\nb: {{{CONV}}}\nlogits: softmax"),
        good=net(f"b: {{{CONV}}}\na: {{op: add, from: [b, b]}}\nlogits: softmax"),
    ),
    "SEG303": Entry(
        "A layer that comes later",
        "A layer reads one that is defined further down, without a cycle. Specs read in the order "
        "of computation: move one of the two.",
        bad=net(
            f"act: {{op: relu, from: conv}}\nconv: {{{CONV}, from: image}}\nlogits: "
            "{op: add, from: [act, conv]}"
        ),
        good=net(f"conv: {{{CONV}}}\nact: relu\nlogits: {{op: add, from: [act, conv]}}"),
    ),
    "SEG304": Entry(
        "Something nobody reads",
        "A layer, a group or an input whose value goes nowhere. Usually a `from` is missing or "
        "names another layer; an auxiliary branch must be named under `outputs`.",
        bad=net(
            f"conv: {{{CONV}}}\nside: {{op: relu, from: conv}}\nlogits: {{op: softmax, from: conv}}"
        ),
        good=net(f"conv: {{{CONV}}}\nside: relu\nlogits: softmax"),
    ),
    "SEG305": Entry(
        "A name that is no identifier",
        "Names become attributes of the emitted module and keys of its state dict: ASCII letters, "
        "digits and underscores, a letter first, at most 63 characters. A layer may also be a "
        "plain number, as the copies of a `repeat` are.",
        bad=net(f"conv-1: {{{CONV}}}\nlogits: softmax"),
        good=net(f"conv_1: {{{CONV}}}\nlogits: softmax"),
    ),
    "SEG306": Entry(
        "A reserved name",
        "A word of Python, an attribute of torch.nn.Module (`forward`, `train`, `type`, …) or a "
        "name the emitted module uses itself (`self`, `torch`, `nn`, …). A layer of that name "
        "would break or hide it. A model may not have the name of a library; `i` is the number "
        "of a copy in a `repeat`; `floor`, `ceil`, `min` and `max` are functions in printed sizes.",
        bad=net(f"forward: {{{CONV}}}\nlogits: softmax"),
        good=net(f"forward_conv: {{{CONV}}}\nlogits: softmax"),
    ),
    "SEG307": Entry(
        "The wrong number of values",
        "An operator, block or group reads a fixed number of values (`concat`, `add`, `multiply` "
        "and `maximum`: two or more), in the order of `from`. Without `from` it reads one, the "
        "layer before.",
        bad=net(f"conv: {{{CONV}}}\nlogits: concat"),
        good=net(f"conv: {{{CONV}}}\nlogits: {{op: concat, from: [conv, image]}}"),
    ),
    "SEG309": Entry(
        "No outputs",
        "A network returns at least one value: name it under `outputs`.",
        bad=net(f"logits: {{{CONV}}}").replace("{logits: logits}", "{}"),
        good=net(f"logits: {{{CONV}}}"),
    ),
    "SEG310": Entry(
        "A name that hides another",
        "A layer has the name of an input of the same list, two inputs of a block have one name, "
        "or two blocks from the spec and its block files do. One of them could not be reached.",
        bad=net(f"image: {{{CONV}}}\nlogits: softmax"),
        good=net(f"conv: {{{CONV}}}\nlogits: softmax"),
    ),
    "SEG311": Entry(
        "A value that exists in one phase only",
        "A layer reads one marked `only: train` (or `test`), but is there in the other phase too. "
        "Mark the reader as well, or let it read something else (without `from` a layer reads "
        "the one before); `phase` joins a value of training and one of test.",
        bad=net(f"conv: {{{CONV}}}\nnoise: {{op: dropout, only: train}}\nlogits: softmax"),
        good=net(f"conv: {{{CONV}}}\nnoise: dropout\nlogits: softmax"),
    ),
    "SEG312": Entry(
        "Files that include each other",
        "`use` and `extends` lead back to a file that is being read, or go more than 8 files deep. "
        "Move what both need into a third file.",
    ),
    "SEG313": Entry(
        "Too large",
        "More than 20,000 layers, 2^40 parameters, 2^40 values in one tensor (even for the "
        "smallest input that is accepted), 64 inputs, 8 axes or 24 groups inside each other; or a "
        "chain of rescalings so long that sizes have no exact formula. Usually an expression or a "
        "`repeat` went wrong.",
        bad=net("logits: {op: conv2d, out_channels: 10 ** 9, kernel_size: 101}"),
        good=net("logits: {op: conv2d, out_channels: 10 ** 3, kernel_size: 101}"),
    ),
    "SEG315": Entry(
        "A parameter nothing reads",
        "A parameter of the spec or of a block that no expression names: setting it would change "
        "nothing. Use it or remove it. In a variant, `params: {name: }` removes one of the base.",
        bad=net(f"logits: {{{CONV}}}", before="params: {classes: 8}\n"),
        good=net(f"logits: {{{CONV.replace('8', 'classes')}}}", before="params: {classes: 8}\n"),
    ),
    "SEG316": Entry(
        "A pyramid where one value is meant, or the other way round",
        "`levels:` names several values at once. A layer that takes one value says what it does "
        "with them: `each: level` makes a layer for every level, `share: level` applies one to all "
        "of them. `name.level` is the value of one level.",
        bad=net(
            f"a: {{{CONV}}}\nb: max_pool2d\np: {{levels: {{fine: a, coarse: b}}}}\n"
            f"head: {{{CONV}, from: p}}\nlogits: {{op: relu, from: head}}".replace(
                "b: max_pool2d", "b: {op: max_pool2d, kernel_size: 2}"
            )
        ),
        good=net(
            f"a: {{{CONV}}}\nb: {{op: max_pool2d, kernel_size: 2}}\n"
            "p: {levels: {fine: a, coarse: b}}\n"
            f"head: {{{CONV}, from: p, share: level}}\n"
            "up: {op: interpolate, from: head.coarse, like: head.fine}\n"
            "logits: {op: add, from: [head.fine, up]}"
        ),
    ),
}
