"""losses.py of a network: the losses its spec names, and `total_loss` over its outputs.

The table of losses is in segc.read.loss_table; the module here that has a loss's name writes its
function. `loss_slots` puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from segc.emit.losses.helpers import HELPERS, STOP
from segc.emit.losses.pieces import Function, Loss, counted
from segc.emit.pieces import WIDTH, Code, block, call, number
from segc.read.loss_table import LOSSES

Losses = Mapping[str, Loss]
_SHAPES = "Maps of logits are [N, K, H, W], label maps [N, H, W]."
SCALARS = "The network itself computes its terms."


def loss_slots(
    losses: Losses, coarse: frozenset[str], single: bool, harness: bool
) -> dict[str, Any]:
    """Slots of losses.py.j2.

    coarse: outputs on a coarser grid than the labels. single: the network has one output, which
    its forward returns bare. harness: the other files of the harness lie beside it.
    """
    names = _names(losses, coarse)
    functions = {n: _function(names[n], v, coarse) for n, v in losses.items()}
    helpers = {h for f in functions.values() for h in f.helpers}
    helpers |= {"border_map"} if border_weight(losses) else set()
    helpers |= {"inverse_log"} if weighting(losses) == "inverse_log" else set()
    parts = [text for name, text in HELPERS.items() if name in helpers]
    if not harness:
        parts = [text.replace(STOP, "ImportError(text)") for text in parts]
    parts += dict.fromkeys(f.source for f in functions.values() if f.source)
    parts.append(_total(losses, functions, names, single))
    body = "\n\n\n".join(parts)
    return {
        "loss_shapes": Code(_SHAPES if any(f.source for f in functions.values()) else SCALARS),
        "loss_body": Code(body),
        "loss_imports": _imports(body, harness),
        "loss_constants": Code("\n".join(_constants(losses, body, harness))),
    }


def _function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    if loss["kind"] not in LOSSES:
        raise ValueError(f"not a loss: {loss['kind']!r}")
    module = import_module(f"segc.emit.losses.{loss['kind']}")
    made = module.function(name, loss, coarse)
    assert isinstance(made, Function)
    return made


def _names(losses: Losses, coarse: frozenset[str]) -> dict[str, str]:
    """What each loss's function is called; losses whose functions are alike share one."""
    alike: dict[str, list[str]] = {}
    for name, loss in losses.items():
        alike.setdefault(_function("", loss, coarse).source, []).append(name)
    found: dict[str, str] = {}
    for members in alike.values():
        kind = str(losses[members[0]]["kind"])
        shared = len(members) > 1 and kind not in found.values()
        own = "total_loss_term" if members[0] == "total" else f"{members[0]}_loss"
        found |= dict.fromkeys(members, kind if shared else own)
    return found


def _total(
    losses: Losses, functions: Mapping[str, Function], names: Mapping[str, str], single: bool
) -> str:
    """`total_loss`, which takes what any of the losses does."""
    terms: list[tuple[str, list[str] | None]] = []
    for name, f in functions.items():
        outputs = ["output" if single else f'output["{o}"]' for o in f.outputs]
        weight = losses[name]["weight"]
        factor = "" if weight == 1 else f"{number(weight)} * "
        if f.source:
            terms.append((f"{factor}{names[name]}", [*outputs, *f.arguments]))
        else:
            terms.append((f"{factor}{outputs[0]}", None))
    taken = list(dict.fromkeys(a for f in functions.values() for a in f.arguments))
    kind = "Tensor" if single else "dict[str, Tensor]"
    head = call(
        "def total_loss", [f"output: {kind}", *(f"{a}: Tensor" for a in _ordered(taken))], 0
    )
    doc = '    """The sum of the losses, each times its factor: what training minimises."""'
    return "\n".join([f"{head} -> Tensor:", doc, *_sum(terms)])


def _sum(terms: Sequence[tuple[str, list[str] | None]]) -> list[str]:
    """The sum of calls, or of plain values, in one line, or in one line each."""
    calls = [head if given is None else f"{head}({', '.join(given)})" for head, given in terms]
    line = f"    return {' + '.join(calls)}"
    if len(line) <= WIDTH:
        return [line]
    lines: list[str] = []
    for head, given in terms:
        start = f"total = total + {head}" if lines else f"total = {head}"
        lines.append(f"    {start}" if given is None else call(start, given))
    return [*lines, "    return total"]


def _ordered(arguments: Sequence[str]) -> list[str]:
    last = ("weights", "borders")
    return [a for a in arguments if a not in last] + [a for a in last if a in arguments]


def arguments_of(losses: Losses) -> list[str]:
    """What total_loss takes after the outputs and the label map."""
    found = ["weights"] if weighting(losses) else []
    return found + (["borders"] if border_weight(losses) else [])


def weighting(losses: Losses) -> Any:
    """The class weights that are an argument of total_loss: a list, a word, or None."""
    given = (v["class_weights"] for v in losses.values() if "class_weights" in v and counted(v))
    return next(given, None)


def border_weight(losses: Losses) -> Mapping[str, Any] | None:
    """`w0` and `sigma` of the weights near borders, if a loss uses them."""
    found = (v["border_weight"] for v in losses.values() if v.get("border_weight"))
    return next(found, None)


def _constants(losses: Losses, body: str, harness: bool) -> list[str]:
    lines = []
    if re.search(r"\bIGNORE\b", body) and not harness:
        ignored = next(v["ignore_index"] for v in losses.values() if "ignore_index" in v)
        lines.append(f"IGNORE = {ignored}  # label of the pixels that are left out")
    weights = weighting(losses)
    if isinstance(weights, list) and not harness:  # else train.py has them
        about = "of the classes, for `weights` of total_loss"
        lines.append(block("CLASS_WEIGHTS", [number(float(w)) for w in weights], about))
    border = border_weight(losses)
    if border:
        lines.append(f"BORDER_WEIGHT = {number(border['w0'])}  # between two objects that touch")
        lines.append(f"BORDER_SIGMA = {number(border['sigma'])}  # pixels")
    return lines


def _imports(body: str, harness: bool) -> Code:
    groups = [
        ["import math"] if "math." in body else [],
        ["import torch"] if re.search(r"\btorch\.(?!nn)", body) else [],
        ["from inputs import IGNORE"] if harness and re.search(r"\bIGNORE\b", body) else [],
    ]
    groups[1] += ["from torch import Tensor"]
    groups[1] += ["from torch.nn import functional as F"] if "F." in body else []
    groups[2] += ["from runtime import Stop"] if "Stop(" in body else []
    return Code("\n\n".join("\n".join(group) for group in groups if group))
