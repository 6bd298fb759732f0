"""Parameters nothing reads: whoever sets one expects it to change something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from segc.diag import Report
from segc.read.params import ParamDecl
from segc.read.spec import LayerDecl, Spec
from segc.read.values import YNode
from segc.read.yaml import Mapping_, Scalar

READERS = ("inputs", "transforms", "init")  # sections with expressions, besides `layers`
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_unread(spec: Spec, report: Report) -> None:
    """Report parameters of the spec and of its blocks that no expression names."""
    sections = [spec.top[name][1] for name in READERS if name in spec.top]
    if "losses" in spec.top:
        sections += _conditions(spec.top["losses"][1])
    if "recipe" in spec.top:
        sections += _cases(spec.top["recipe"][1])
    words = _words([*sections, *_values(spec.layers)])
    _report(spec.params, words, "the spec", report)
    for block in spec.blocks.values():
        if block.params:
            words = _words(_values(block.layers))
            _report(block.params, words, f"block `{block.name}`", report)


def _report(
    params: Mapping[str, ParamDecl], words: Iterator[str], where: str, report: Report
) -> None:
    unread = dict(params)
    for word in words:
        unread.pop(word, None)
        if not unread:
            return
    for name, decl in unread.items():
        hint = f"name it in an expression, such as `out_channels: {name}`, or remove it"
        message = f"nothing in {where} reads the parameter `{name}`"
        report.error("SEG315", message, decl.loc, hint=hint)


def _values(layers: Iterable[LayerDecl]) -> Iterator[YNode]:
    """What may hold an expression in a list of layers."""
    for decl in layers:
        yield from (node for name, node in decl.keys.items() if name not in ("from", "only"))
        yield from (node for _, node in decl.attrs.values())
        yield from _values(decl.layers)


def _conditions(losses: YNode) -> Iterator[YNode]:
    """The `when` of each loss, or case of a recipe; the other keys are no expressions."""
    for _, loss in losses.entries if isinstance(losses, Mapping_) else ():
        if isinstance(loss, Mapping_):
            yield from (value for key, value in loss.entries if key.text == "when")


def _cases(recipe: YNode) -> Iterator[YNode]:
    for key, cases in recipe.entries if isinstance(recipe, Mapping_) else ():
        if key.text == "cases":
            yield from _conditions(cases)


def _words(nodes: Iterable[YNode]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Mapping_):
            yield from _words(value for _, value in node.entries)
        elif not isinstance(node, Scalar):
            yield from _words(node.items)
        elif isinstance(node.value, str):
            yield from _WORD.findall(node.text)
