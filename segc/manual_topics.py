"""The topics of the manual: how the language and the command line work, each on half a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segc.read.recipe import Field


@dataclass(frozen=True, slots=True)
class Topic:
    """A page: its title, and how its text is made."""

    title: str
    text: Callable[[], str]


def _spec() -> str:
    from segc.read.spec import TOP_LEVEL

    width = max(map(len, TOP_LEVEL))
    keys = "\n".join(f"  {key:<{width}}  {doc}" for key, doc in TOP_LEVEL.items())
    return f"The sections of a spec, in canonical order:\n\n{keys}"


def _layers() -> str:
    from segc.read.spec import LAYER_KEYS

    width = max(map(len, LAYER_KEYS))
    keys = "\n".join(f"  {key:<{width}}  {doc}" for key, doc in LAYER_KEYS.items())
    return f"""\
A layer is `name: {{op: ..., from: ..., attributes}}`; an operator without attributes may be written
as a bare word. Exactly one of op, block, layers and use says what it is. Its keys:

{keys}

Names are identity: `backbone.layer1.0.conv1` is the attribute in the emitted module, the key in a
checkpoint, the anchor in a diff, the label in a diagram."""


def _init() -> str:
    from segc.read.inits import INITIALISERS

    width = max(map(len, INITIALISERS))
    lines = []
    for name, (args, doc) in INITIALISERS.items():
        given = ", ".join(a.name for a in args)
        lines.append(f"  {name:<{width}}  {doc}" + (f" ({given})" if given else ""))
    return """\
`init: {weight: kaiming_normal, bias: zeros}` in a layer, or by operator at the top level:
`init: {conv2d: {weight: {normal: {std: 0.01}}}}`. A layer's own wins; without any, torch's
defaults stand.

""" + "\n".join(lines)


def _losses() -> str:
    from segc.read.loss_table import LOSSES

    lines = ["`losses:` by name; each says which loss it is by the key that names its output.", ""]
    width = max(map(len, LOSSES))
    lines += [f"  {name:<{width}}  {kind.title}" for name, kind in LOSSES.items()]
    return "\n".join([*lines, "", *_TASKS.splitlines()])


_TASKS = """\
`segc explain cross_entropy` shows the keys of one.

What a network learns follows from them, and train.py, eval.py, predict.py with it:

  the class of each pixel        [N, C, H, W] to [N, K, h, w], compared with a label map
  the class of a window's centre [N, C, 95, 95] to [N, K], `target: centre`
  the class of an image          [N, C, H, W] to [N, K], `target: label`
  the disparity of a focal stack [N, S, C, H, W] to [N, 1, H, W], `squared_error`

Of another network there is losses.py alone."""


def loss_page(name: str) -> str:
    """A loss: what it computes, its keys, an example."""
    from segc.read.loss_table import LOSSES

    kind = LOSSES[name]
    text = wrap(kind.doc, 86, initial_indent="  ", subsequent_indent="  ")
    lines = [f"{name}: {kind.title}", "", *text, "", *_fields(kind.fields)]
    return "\n".join([*lines, "", "example", f"  losses: {{{kind.example}}}"]) + "\n"


def _recipe() -> str:
    from segc.read.recipe import RECIPE

    return "`recipe:` says how the network is trained; train.py takes its defaults from it.\n\n" + (
        "\n".join(_fields(RECIPE))
    )


def _fields(fields: Mapping[str, Field], depth: int = 1) -> list[str]:
    lines = []
    for name, f in fields.items():
        choices = f" ({' | '.join(map(str, f.choices))})" if f.choices else ""
        pad = "  " * depth
        text = f"{name}: {f.doc}{choices}{_standing(f)}"
        lines += wrap(text, 88, initial_indent=pad, subsequent_indent=pad + "    ")
        if f.kind != "named":  # it holds what stands around it
            lines += _fields(f.fields, depth + 1)
    return lines


def _standing(f: Field) -> str:
    """What stands where the key is left out."""
    if f.default is None or f.kind in ("when", "section") or not isinstance(f.default, _SHOWN):
        return ""
    return f", default {str(f.default).lower() if isinstance(f.default, bool) else f.default}"


_SHOWN = (bool, int, float, str)
_EXPRESSIONS = """\
Where an attribute is a number or a boolean, text is an expression over the parameters in reach:

  out_channels: 4 * width
  stride: 2 if i == 0 else 1        (i is the number of a copy in a repeat)
  when: stride != 1 or project
  rate: rates[i]

There are + - * // % **, comparisons, and / or / not, a conditional, min, max and list indexing.
Where an attribute is a word, a parameter is written $name. Text is never run as Python."""

_SIZES = """\
`image: [N, 3, H, W]` leaves N, H and W open. Every shape is derived from them exactly, so a join of
two maps is proved or refused, and the sizes a network accepts come out of the proof:

  H % 16 == 0                 a padded U-Net: four poolings by two
  H = 16k + 12, k >= 11       the same with valid convolutions
  (H - 1) % 8 == 0            a head that keeps corners aligned

`segc check -v` names the layers that ask for them; `--input image=1x3x512x512` fills them in."""

_BLOCKS = """\
A block is a group of layers to use more than once:

  blocks:
    conv_bn_relu:
      params: {out: int, stride: 1}       a type: must be given; a value: the default
      inputs: [x]
      layers:
        conv: {op: conv2d, out_channels: out, kernel_size: 3, stride: stride, padding: 1}
        bn: batch_norm2d
        relu: relu
  layers:
    stem: {block: conv_bn_relu, out: 64}
    stage: {repeat: 3, block: conv_bn_relu, out: 64, stride: 2 if i == 0 else 1}

It sees its inputs, its parameters and its own layers; its value is that of its last layer.
Every use has weights of its own; `{use: stem, from: other}` applies a layer again, with the same
weights."""

_EXIT = """\
  0    done
  1    the spec, data or checkpoint is at fault, or differs, is out of date, over budget
  2    wrong usage
  3    the machine refused: missing package or device, disk, permission, lock
  70   a bug in segc
  75   stopped, resumable
  130  interrupted

Results go to standard output, diagnostics and progress to standard error."""

_WEIGHTS = """\
`weights:` states under which names known checkpoints hold the layers of the network:

  weights:
    torchvision_vgg16:
      source: torchvision.models.vgg16
      notes: what to know before loading it
      rename:
        features.0: conv1_1                              a layer
        classifier.0: {to: fc6, shape: [4096, 25088]}    its weight there, another view of ours
    torchvision_resnet:
      rename: {"*": "backbone.*"}                        everything, into a group

A line holds for all names below it; the longest that fits counts. A weight may be another view: as
many values in as many rows, with the axes after the first flattened. Names that are the network's
own need no line. Files of layouts are shared through `use:`.

`segc weights map SPEC CKPT` shows what fits, `segc weights port` converts, `train.py --init-from`
loads."""

TOPICS: dict[str, Topic] = {
    "spec": Topic("the sections of a spec", _spec),
    "layers": Topic("how a layer is written", _layers),
    "blocks": Topic("blocks, repeats, shared weights", lambda: _BLOCKS),
    "expressions": Topic("numbers that follow from parameters", lambda: _EXPRESSIONS),
    "sizes": Topic("symbolic sizes and the inputs a network accepts", lambda: _SIZES),
    "init": Topic("initialisers of weights", _init),
    "losses": Topic("training losses", _losses),
    "recipe": Topic("how a network is trained", _recipe),
    "weights": Topic("names of known checkpoints", lambda: _WEIGHTS),
    "exit": Topic("exit statuses", lambda: _EXIT),
}
