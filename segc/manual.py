"""The manual: one page per operator, transform, loss, optimisation, diagnostic code and topic.

Everything comes from where it is used: operators and transforms from their classes, codes from the
catalogue, keys from the reader's tables.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from textwrap import indent, wrap
from typing import Any

import segc.ops  # noqa: F401  (fills the operator registry)
from segc.catalogue import CATALOGUE, Entry
from segc.manual_topics import TOPICS, loss_page
from segc.op import REGISTRY, Attr, Op
from segc.read.loss_table import LOSSES
from segc.rewrite import Rule
from segc.rules import RULES
from segc.transforms import TRANSFORMS

WIDTH = 88
_KINDS = {
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "Pair": "integer or [height, width]",
    "Padding": "integer, [height, width] or same",
    "Quad": "integer or [left, right, top, bottom]",
    "Ints": "list of integers",
    "Floats": "list of numbers",
    "Scale": "number or [height, width]",
    "PhaseInt": "integer or {train: integer, test: integer}",
    "Operand": "name of a layer",
}


def names() -> list[str]:
    """Everything `segc explain` has a page for."""
    rules = (rule.name for rule in RULES)
    found = (*REGISTRY, *TRANSFORMS, *LOSSES, *rules, *TOPICS, *CATALOGUE)
    return list(dict.fromkeys(found))


def page(thing: str) -> str | None:
    """The page of an operator, transform, loss, optimisation, code or topic; None if none."""
    if thing in REGISTRY:
        return operator_page(REGISTRY[thing])
    pages = [transform_page(thing)] if thing in TRANSFORMS else []
    pages += [rule_page(rule) for rule in RULES if rule.name == thing]
    if pages:  # both where a spec may ask for what is done to the deploy module anyway
        return "\n\n".join(pages)
    if thing in LOSSES:
        return loss_page(thing)
    if thing in TOPICS:
        return f"{thing}: {TOPICS[thing].title}\n\n{TOPICS[thing].text()}\n"
    code = thing.upper()
    return code_page(code, CATALOGUE[code]) if code in CATALOGUE else None


def contents() -> str:
    """The list of all pages."""
    lines = ["`segc explain THING` shows the page of any of these.", ""]
    lines += ["operators"]
    for family, members in _families().items():
        text = " ".join(cls.name for cls in members)
        first, *rest = wrap(text, WIDTH - 14)
        lines += [f"  {family:<10}  {first}", *(f"{'':<14}{line}" for line in rest)]
    lines += ["", "transforms", *_listed({n: _summary(cls) for n, cls in TRANSFORMS.items()})]
    lines += ["", "optimisations", *_listed({r.name: r.about for r in RULES})]
    lines += ["", "losses", *_listed({n: kind.title for n, kind in LOSSES.items()})]
    lines += ["", "topics", *_listed({n: t.title for n, t in TOPICS.items()})]
    lines += ["", "diagnostics", *_listed({c: e.title for c, e in CATALOGUE.items()})]
    return "\n".join(lines) + "\n"


def _families() -> dict[str, list[type[Op]]]:
    table: dict[str, list[type[Op]]] = {}
    for cls in REGISTRY.values():
        table.setdefault(cls.family, []).append(cls)
    return table


def _listed(titles: Mapping[str, str]) -> list[str]:
    width = max((len(name) for name in titles), default=0)
    return [f"  {name:<{width}}  {title}" for name, title in titles.items()]


def _doc(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _summary(cls: type) -> str:
    return _doc(cls).split("\n")[0]


# --- pages ----------------------------------------------------------------------------------------
def operator_page(cls: type[Op]) -> str:
    """An operator: what it computes, what it reads, its attributes, an example."""
    reads = ", ".join(cls.operands).replace("*", "...") or "nothing"
    lines = [cls.name, "", indent(_doc(cls), "  "), "", f"  reads {reads}"]
    if cls.weights:
        lines += [f"  {line}" for line in wrap(f"weights {', '.join(cls.weights)}", WIDTH)]
    if cls.attrs:
        lines += ["", *_attribute_lines(cls.attrs.values())]
    example = example_line(cls)
    return "\n".join([*lines, "", "example", f"  {example}"]) + "\n"


def transform_page(name: str) -> str:
    """A transform: what it does, its arguments."""
    cls = TRANSFORMS[name]
    given = ", ".join(f"{a.name}: {_example_value(a)}" for a in cls.attrs.values() if a.required)
    lines = [f"{name} (transform)", "", indent(_doc(cls), "  "), ""]
    lines += _attribute_lines(cls.attrs.values())
    return "\n".join([*lines, "", "example", f"  transforms: [{{{name}: {{{given}}}}}]"]) + "\n"


def rule_page(rule: Rule) -> str:
    """An optimisation: what becomes what, why it is exact, when it is used."""
    used = "always" if rule.level == "safe" else "where the cost model says that it pays"
    lines = [f"{rule.name} (optimisation)", "", rule.page, ""]
    lines.append(f"level {rule.level}: used {used}")
    never = f"segc build SPEC --rule {rule.name}=off"
    return "\n".join([*lines, "", "to leave it out", f"  {never}"]) + "\n"


def code_page(code: str, entry: Entry) -> str:
    """A diagnostic: what it means, a spec that triggers it, the same put right."""
    lines = [f"{code}: {entry.title}", "", *(f"  {line}" for line in wrap(entry.text, WIDTH))]
    for word, text in (("not so", entry.bad), ("but so", entry.good)):
        if text:
            lines += ["", word, indent(text.rstrip("\n"), "  ")]
    return "\n".join(lines) + "\n"


def _attribute_lines(attrs: Iterable[Attr]) -> list[str]:
    attrs = list(attrs)
    width = max(len(a.name) for a in attrs)
    lines = []
    for a in attrs:
        facts = "; ".join([_kind(a), *_range(a), _default(a)])
        first, *more = wrap(a.doc, max(100 - width - 4, 40))
        lines.append(f"  {a.name:<{width}}  {first}")
        lines += [f"  {'':<{width}}  {line}" for line in more]
        lines.append(f"  {'':<{width}}    {facts}")
    return lines


def _kind(a: Attr) -> str:
    return " | ".join(a.choices) if a.choices else _KINDS.get(a.kind, "word")


def _range(a: Attr) -> Iterator[str]:
    if a.min is not None:
        yield f"at least {a.min:g}"
    if a.max is not None:
        yield f"at most {a.max:g}"


def _default(a: Attr) -> str:
    if a.required:
        return "required"
    return "optional" if a.default is None else f"default {_value(a.default)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        same = len(value) in (2, 4) and len(set(value)) == 1
        return _value(value[0]) if same else "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def example_line(cls: type[Op]) -> str:
    """A line of a spec that uses the operator, as its first example does."""
    example = cls.examples[0] if cls.examples else None
    values = dict(example.attrs) if example else {}
    values |= {n: _example_value(a) for n, a in cls.attrs.items() if a.required and n not in values}
    given = [f"{name}: {_value(value)}" for name, value in values.items()]
    named = sum(cls.attrs[n].kind == "Operand" for n in values)
    count = len(example.shapes) - named if example else len(cls.operands)
    if count > 1 or len(cls.operands) > 1:
        operands = cls.operands if count <= len(cls.operands) else ("a", "b", "c")[:count]
        given.insert(0, f"from: [{', '.join(o.lstrip('*') for o in operands)}]")
    return f"out: {{{', '.join([f'op: {cls.name}', *given])}}}" if given else f"out: {cls.name}"


def _example_value(a: Attr) -> str:
    if a.kind == "str":
        return a.choices[0] if a.choices else "backbone"
    if a.kind == "Operand":
        return "x"
    least = int(max(a.min or 1, 1))
    return f"[{least}]" if a.kind in ("Ints", "Floats") else str(least)


# --- Markdown -------------------------------------------------------------------------------------
def ops_page() -> str:
    """docs/ops.md: every operator and transform."""
    lines = ["# Operators", "", "Written by `docs/make.py` from the operators themselves.", ""]
    for family, members in _families().items():
        lines.append(f"- {family}: " + ", ".join(f"[{c.name}](#{c.name})" for c in members))
    for cls in REGISTRY.values():
        lines += ["", f"## {cls.name}", "", *_markdown(cls)]
        lines += ["", "```yaml", example_line(cls), "```"]
    lines += ["", "# Transforms"]
    for name, transform in TRANSFORMS.items():
        lines += ["", f"## {name}", "", *_markdown(transform)]
    lines += ["", "# Optimisations", "", "Of the deploy module, in this order."]
    for rule in RULES:
        first, _, rest = rule.page.partition("\n")
        lines += [
            "",
            f"## {rule.name}",
            "",
            _escaped(first),
            "",
            "```text",
            rest.strip("\n"),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _markdown(cls: Any) -> list[str]:
    first, _, rest = _doc(cls).partition("\n")
    lines = [_escaped(first)]
    if rest.strip():
        lines += ["", "```text", rest.strip("\n"), "```"]
    if not cls.attrs:
        return lines
    lines += ["", "| attribute | | takes | default |", "|---|---|---|---|"]
    for a in cls.attrs.values():
        takes = _escaped("; ".join([_kind(a), *_range(a)]))
        default = "required" if a.required else "" if a.default is None else _value(a.default)
        lines.append(f"| `{a.name}` | {_escaped(a.doc)} | {takes} | {default} |")
    return lines


def _escaped(text: str) -> str:
    """Text for a Markdown table; what stands in backticks is left alone."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        p.replace("|", "\\|") if p.startswith("`") else re.sub(r"([*_|<>\\])", r"\\\1", p)
        for p in parts
    )


def diagnostics_page() -> str:
    """docs/diagnostics.md: every diagnostic code."""
    head = "Written by `docs/make.py` from the catalogue; `segc explain CODE` shows one."
    lines = ["# Diagnostics", "", head, ""]
    lines += [f"- [{code}](#{code.lower()}) {_escaped(e.title)}" for code, e in CATALOGUE.items()]
    for code, entry in CATALOGUE.items():
        lines += ["", f"## {code}", "", f"**{_escaped(entry.title)}.** {_escaped(entry.text)}"]
        for word, text in (("Not so:", entry.bad), ("But so:", entry.good)):
            if text:
                lines += ["", word, "", "```yaml", text.rstrip("\n"), "```"]
    return "\n".join(lines) + "\n"
