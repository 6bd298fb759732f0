"""The language: keys, types, expressions (SEG1xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry
from segc.catalogue.net import net

BLOCK = """
blocks:
  conv_relu:
    params: {out: int}
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
      relu: relu
"""

ENTRIES: dict[str, Entry] = {
    "SEG101": Entry(
        "Nothing of that name",
        "The name of an operator, a transform or an initialiser is not one segc knows. Operators "
        "have PyTorch's names in lower case with underscores: `conv2d`, `batch_norm2d`, "
        "`max_pool2d`. `segc explain` lists them. A block is used with `block:`, not with `op:`.",
        bad=net("conv: {op: conv2, out_channels: 8, kernel_size: 3}\nlogits: softmax"),
        good=net("conv: {op: conv2d, out_channels: 8, kernel_size: 3}\nlogits: softmax"),
    ),
    "SEG102": Entry(
        "An argument that does not exist",
        "The operator, block, transform or initialiser has no argument of that name, so the value "
        "would do nothing. Arguments have PyTorch's names; what follows from the input "
        "(`in_channels`, `num_features`) is never written. `segc explain conv2d` lists them.",
        bad=net("logits: {op: conv2d, in_channels: 3, out_channels: 8, kernel_size: 3}"),
        good=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}"),
    ),
    "SEG103": Entry(
        "A value of the wrong type",
        'Types are exact: `true` is not 1, 3.0 is not 3, and "3" in quotes is text. Where a '
        "number or a boolean is needed, a word is an expression over parameters; where a word is "
        "needed, a parameter is written `$name`. Lists must have the length that is asked for.",
        bad=net('logits: {op: conv2d, out_channels: "8", kernel_size: 3}'),
        good=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}"),
    ),
    "SEG104": Entry(
        "Something is missing",
        "A spec needs `segc`, `model`, `inputs`, `layers` and `outputs`; an operator or block "
        "needs every argument that has no default.",
        bad=net("logits: {op: conv2d, out_channels: 8}"),
        good=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}"),
    ),
    "SEG105": Entry(
        "A value that is not allowed",
        "The type is right, but the value is out of range or none of the words to choose from.",
        bad=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 0}"),
        good=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 1}"),
    ),
    "SEG106": Entry(
        "An unknown section",
        "A key at the top level of a spec or block file that the language does not have. Its "
        "contents would be ignored, so it is refused. Free text goes under `notes`.",
        bad=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}", after="optimizer: sgd\n"),
        good=net(
            "logits: {op: conv2d, out_channels: 8, kernel_size: 3}", after="notes: With SGD.\n"
        ),
    ),
    "SEG107": Entry(
        "An unknown key",
        "A key inside a section (a parameter, a block, a group of layers, an input, a loss, the "
        "recipe) that the language does not have there; or a language version other than 1; or "
        "`init` and `freeze` where there are no weights.",
        bad=net(
            "logits: {op: conv2d, out_channels: width, kernel_size: 3}",
            before="params: {width: {type: int, default: 8, minimum: 1}}\n",
        ),
        good=net(
            "logits: {op: conv2d, out_channels: width, kernel_size: 3}",
            before="params: {width: {type: int, default: 8, min: 1}}\n",
        ),
    ),
    "SEG108": Entry(
        "An expression that cannot be read or computed",
        "Expressions have numbers, true and false, parameters, + - * // % **, comparisons, and, "
        "or, not, `a if test else b`, min, max, lists and indexing. There is no / (sizes are "
        "integers: use //), no text, no other function. Division by zero, an index outside a "
        "list, a text of more than 400 characters and a result of 2^53 or more are faults too.",
        bad=net(
            "logits: {op: conv2d, out_channels: width / 2, kernel_size: 3}",
            before="params: {width: 64}\n",
        ),
        good=net(
            "logits: {op: conv2d, out_channels: width // 2, kernel_size: 3}",
            before="params: {width: 64}\n",
        ),
    ),
    "SEG109": Entry(
        "An expression names something that is no parameter",
        "Expressions see the parameters of the spec, or inside a block those of the block and "
        "nothing else: give the block a parameter and hand the value on. `i` is the number of the "
        "copy inside a `repeat`. Layers and input sizes cannot be named.",
        bad=net(
            "body: {block: conv_relu}\nlogits: softmax",
            before="params: {width: 8}\n"
            + BLOCK.replace("{out: int}", "{}").replace(": out,", ": width,"),
        ),
        good=net(
            "body: {block: conv_relu, out: width}\nlogits: softmax",
            before="params: {width: 8}\n" + BLOCK,
        ),
    ),
    "SEG110": Entry(
        "An unknown block",
        "`block:` names a block of the spec's `blocks` or of a file under `use`. Neither has one "
        "of that name.",
        bad=net("body: {block: conv_rleu, out: 8}\nlogits: softmax", before=BLOCK),
        good=net("body: {block: conv_relu, out: 8}\nlogits: softmax", before=BLOCK),
    ),
    "SEG113": Entry(
        "A layer that is nothing, or two things",
        "Every entry of `layers` has exactly one of `op` (an operator), `block` (an instance of a "
        "block), `layers` (a group written in place) and `use` (an earlier layer applied again "
        "with the same weights).",
        bad=net("logits: {out_channels: 8, kernel_size: 3}"),
        good=net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}"),
    ),
    "SEG114": Entry(
        "A parameter without a value, or a value without a parameter",
        "A parameter declared by its type alone (`width: int`) must be given with --set. A name "
        "given with --set must be one of the spec's parameters.",
        bad=net(
            "logits: {op: conv2d, out_channels: width, kernel_size: 3}",
            before="params: {width: int}\n",
        ),
        good=net(
            "logits: {op: conv2d, out_channels: width, kernel_size: 3}",
            before="params: {width: {type: int, default: 8}}\n",
        ),
    ),
}
