"""`recipe:` of a spec: how a network is trained, checked and turned into plain data.

What each key takes stands in recipe_table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segc.diag import Report, did_you_mean
from segc.loc import Loc
from segc.read.names import check_identifier, check_local
from segc.read.recipe_schema import recipe_schema
from segc.read.recipe_table import RECIPE, REQUIRED, Field
from segc.read.values import ValueFault, number
from segc.read.yaml import Mapping_, Scalar, Sequence_, YNode

__all__ = ["RECIPE", "Data", "Field", "Reader", "read_recipe", "recipe_schema"]


class Data(dict[str, Any]):
    """Plain data that remembers where each value stands, by dotted path ("optimizer.sgd.lr")."""

    def __init__(self, values: Mapping[str, Any], locs: Mapping[str, Loc]) -> None:
        super().__init__(values)
        self.locs = dict(locs)


def read_recipe(node: YNode, report: Report, env: Mapping[str, Any] | None = None) -> Data:
    """Plain data of `recipe:`; sections that are given are complete, others are absent.

    env: the parameters, for `when`; cases whose `when` is true have replaced what they state.
    """
    reader = Reader(report, env)
    found = _stated(reader.section(node, RECIPE, "`recipe`", ""))
    cases = found.pop("cases", {})
    _check_recipe(found, "", reader)
    for name, values in cases.items():
        case = _stated(values)
        true = case.pop("when", False)
        _check_recipe(case, f"cases.{name}.", reader)
        if true:
            _apply(case, f"cases.{name}.", found, reader.locs)
    return Data(found, reader.locs)


def _stated(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}


def _apply(case: Mapping[str, Any], path: str, found: dict[str, Any], locs: dict[str, Loc]) -> None:
    """Put what a case states, and its places, into the recipe."""
    for key in ("max_steps", "epochs"):
        if case.keys() & {"max_steps", "epochs"}:  # one length replaces the other
            found.pop(key, None)
    found.update(case)
    moved = {p.removeprefix(path): loc for p, loc in locs.items() if p.startswith(path)}
    locs.update(moved)


def _check_recipe(found: Mapping[str, Any], path: str, reader: Reader) -> None:
    """Keys that contradict each other, in a recipe or one of its cases."""
    _one_length(found, path, reader)
    _check_milestones(found, path, reader)
    _check_resize(found.get("resize"), path, reader)
    for index, stage in enumerate(found.get("stages") or ()):
        _one_length(stage, f"{path}stages.{index}.", reader)
        _check_milestones(stage, f"{path}stages.{index}.", reader)
    _check_augment(found.get("augment") or {}, path, reader)


def _one_length(section: Mapping[str, Any], path: str, reader: Reader) -> None:
    """A recipe or stage is so many steps or so many epochs long."""
    if section.get("max_steps") and section.get("epochs"):
        place = reader.locs.get(f"{path}epochs")
        text = "both `max_steps` and `epochs` are given"
        reader.report.error("SEG603", text, place, hint="keep one")


def _check_resize(values: Mapping[str, Any] | None, path: str, reader: Reader) -> None:
    """Either one size, or both bounds of the sides."""
    if values is None:
        return
    sides = [values["short"], values["long"]]
    if values["size"] and any(sides):
        text, hint = "both `size` and the sides are given", "keep one"
    elif not values["size"] and not all(sides):
        text, hint = "`short` and `long` go together", "for example {short: 800, long: 1333}"
    elif all(sides) and sides[0] > sides[1]:
        text, hint = "`short` is larger than `long`", "swap the numbers"
    else:
        return
    reader.report.error("SEG603", text, reader.locs.get(f"{path}resize"), hint=hint)


_RANGES = ("scale", "blur.sigma", "resized_crop.area", "resized_crop.ratio")


def _check_augment(values: Mapping[str, Any], path: str, reader: Reader) -> None:
    for name in _RANGES:
        section, _, key = name.rpartition(".")
        given = ((values.get(section) or {}) if section else values).get(key)
        if given and given[0] > given[1]:
            place = reader.locs.get(f"{path}augment.{name}")
            text = f"`{key}` is [smallest, largest]"
            reader.report.error("SEG105", text, place, hint="swap the numbers")
    if values.get("scale") and values.get("scales"):
        place = reader.locs.get(f"{path}augment.scales")
        reader.report.error("SEG603", "both `scale` and `scales` are given", place, hint="keep one")


def _check_milestones(section: Mapping[str, Any], path: str, reader: Reader) -> None:
    schedule = section.get("schedule") or {}
    given = (schedule.get("milestones") or {}).get("at") or []
    if given != sorted(set(given)):
        place = reader.locs.get(f"{path}schedule.milestones.at")
        text = "`at` is in ascending order"
        reader.report.error("SEG105", text, place, hint="sort the numbers")


class Reader:
    """Reads nodes by the table and notes where each value stands.

    env: the parameters of the spec, for keys that are expressions over them.
    """

    def __init__(self, report: Report, env: Mapping[str, Any] | None = None) -> None:
        self.report = report
        self.env = env or {}
        self.locs: dict[str, Loc] = {}

    def mapping(self, node: YNode, what: str) -> tuple[tuple[Scalar, YNode], ...]:
        if isinstance(node, Mapping_):
            return node.entries
        self.report.error("SEG103", f"{what} must be a mapping, got {_shown(node)}", node.loc)
        return ()

    def section(
        self, node: YNode, fields: Mapping[str, Field], what: str, path: str
    ) -> dict[str, Any]:
        """Values of a mapping, defaults filled in; a missing value is reported and None."""
        given: dict[str, Any] = {}
        for key, value in self.mapping(node, what):
            if key.text in fields:
                self.locs[path + key.text] = value.loc
                given[key.text] = self.value(value, fields[key.text], key.text, path + key.text)
            else:
                hint = did_you_mean(key.text, fields) or f"known: {', '.join(fields) or 'none'}"
                self.report.error(
                    "SEG107", f"unknown key `{key.text}` in {what}", key.loc, hint=hint
                )
        for name, f in fields.items():
            if f.default is REQUIRED and name not in given and isinstance(node, Mapping_):
                self.report.error("SEG104", f"`{name}` is missing in {what}", node.loc, hint=f.doc)
        return {
            name: given.get(name, None if f.default is REQUIRED else f.default)
            for name, f in fields.items()
        }

    def value(self, node: YNode, f: Field, name: str, path: str) -> Any:
        """The value of one key, or None after a report."""
        if f.kind == "section":
            if f.short and isinstance(node, Scalar):
                node = _spelled_out(node, f)
            return self.section(node, f.fields, f"`{name}`", path + ".")
        if f.kind == "one_of":
            return self.one_of(node, f, name, path)
        if f.kind == "sections":
            return [
                self.section(item, f.fields, f"`{name}`", f"{path}.{number}.")
                for number, item in enumerate(self.items(node, name))
            ]
        if f.kind == "named":
            return {
                key.text: self.section(item, f.fields, f"`{key.text}`", f"{path}.{key.text}.")
                for key, item in self.mapping(node, f"`{name}`")
            }
        if f.kind == "weights" and isinstance(node, Scalar):
            word = self.word(node, f, name)
            return None if word == "none" else word
        if f.kind == "values":
            return {key.text: self.plain(item) for key, item in self.mapping(node, f"`{name}`")}
        if f.kind == "when":
            return self.condition(node, name)
        if f.kind == "names":
            return [self.scalar(item, Field("text", ""), name) for item in self.items(node, name)]
        if f.kind == "sides":
            return self.sides(node, f, name)
        if f.kind in ("ints", "numbers", "weights"):
            return self.numbers(node, f, name)
        return self.scalar(node, f, name)

    def one_of(self, node: YNode, f: Field, name: str, path: str) -> dict[str, Any] | None:
        """`{sgd: {…}}`; a bare `sgd` where nothing has to be said."""
        if isinstance(node, Scalar) and node.value in f.fields:
            node = Mapping_(((node, Mapping_((), node.loc)),), node.loc)
        entries = self.mapping(node, f"`{name}`")
        known = [(key, value) for key, value in entries if key.text in f.fields]
        for key, _ in entries:
            if key.text not in f.fields:
                hint = did_you_mean(key.text, f.fields) or f"one of {', '.join(f.fields)}"
                self.report.error(
                    "SEG105", f"`{key.text}` is not a known {name}", key.loc, hint=hint
                )
        if len(known) != 1:
            if len(known) == len(entries) and isinstance(node, Mapping_):
                hint = f"give exactly one of {', '.join(f.fields)}"
                self.report.error("SEG105", f"`{name}` is one thing", node.loc, hint=hint)
            return None
        key, value = known[0]
        inner = f"{path}.{key.text}"
        self.locs[inner] = value.loc
        return {
            key.text: self.section(value, f.fields[key.text].fields, f"`{key.text}`", inner + ".")
        }

    def plain(self, node: YNode) -> Any:
        """A number, text, true or false, or a list of them."""
        if isinstance(node, Scalar):
            return node.value
        if isinstance(node, Sequence_):
            return tuple(self.plain(item) for item in node.items)
        self.report.error("SEG103", f"needs a plain value, got {_shown(node)}", node.loc)
        return None

    def condition(self, node: YNode, name: str) -> bool:
        try:
            return bool(number(node, "bool", self.env))
        except ValueFault as fault:
            fault.tell(self.report, f"`{name}`")
            return True

    def items(self, node: YNode, name: str) -> tuple[YNode, ...]:
        if isinstance(node, Sequence_):
            return node.items
        self.report.error("SEG103", f"`{name}` is a list, got {_shown(node)}", node.loc)
        return ()

    def numbers(self, node: YNode, f: Field, name: str) -> list[Any] | None:
        items = self.items(node, name)
        if isinstance(node, Sequence_) and f.count and len(items) != f.count:
            text = f"`{name}` takes {f.count} numbers, got {len(items)}"
            self.report.error("SEG103", text, node.loc, hint=f.doc)
            return None
        one = Field("int" if f.kind == "ints" else "number", f.doc, None, f.min, f.above, f.max)
        found = [self.scalar(item, one, name) for item in items]
        return None if not found or None in found else found

    def sides(self, node: YNode, f: Field, name: str) -> list[int] | None:
        """[shorter side] or [height, width]."""
        if isinstance(node, Sequence_):
            return self.numbers(node, replace(f, kind="ints", count=2), name)
        side = self.scalar(node, replace(f, kind="int"), name)
        return None if side is None else [side]

    def scalar(self, node: YNode, f: Field, name: str) -> Any:
        if f.kind == "word":
            return self.word(node, f, name)
        types, article = _TYPES[f.kind]
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, types) or (isinstance(value, bool) and f.kind != "bool"):
            text = f"`{name}` needs {article}, got {_shown(node)}"
            self.report.error("SEG103", text, node.loc, hint=f.doc)
            return None
        if f.kind == "identifier":
            assert isinstance(node, Scalar)
            good = check_identifier(node, self.report, name) and check_local(node, self.report)
            return value if good else None
        return value if self.in_range(value, f, name, node.loc) else None

    def in_range(self, value: Any, f: Field, name: str, loc: Loc) -> bool:
        wrong = None
        if f.min is not None and value < f.min:
            wrong = f"at least {f.min:g}"
        if f.above is not None and value <= f.above:
            wrong = f"more than {f.above:g}"
        if f.max is not None and value > f.max:
            wrong = f"at most {f.max:g}"
        if wrong:
            self.report.error("SEG105", f"`{name}` must be {wrong}, got {value:g}", loc)
        return wrong is None

    def word(self, node: YNode, f: Field, name: str) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if value in f.choices and not isinstance(value, bool):
            return value
        hint = did_you_mean(str(value), [str(c) for c in f.choices])
        hint = hint or f"one of {', '.join(str(c) for c in f.choices)}"
        self.report.error("SEG105", f"{_shown(node)} is not a `{name}`", node.loc, hint=hint)
        return None


def _spelled_out(node: Scalar, f: Field) -> Mapping_:
    """A bare number of a section as the mapping it stands for, every key at its place."""
    keys = (Scalar(name, node.loc, name, False) for name in f.short)
    return Mapping_(tuple((key, node) for key in keys), node.loc)


_TYPES: dict[str, tuple[Any, str]] = {
    "int": (int, "an integer"),
    "number": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "text": (str, "text"),
    "output": (str, "the name of an output"),
    "identifier": (str, "a name"),
}


def _shown(node: YNode) -> str:
    if isinstance(node, Scalar):
        return f"`{node.text[:40]}`"
    return "a mapping" if isinstance(node, Mapping_) else "a list"
