"""`__init__`: one line per member, loops for repeats, a condition where an instance lacks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from segc.code import At, ByPhase, Call, Infix, Listing, Method, Self, SizeOf, X
from segc.emit.fit import Fitted
from segc.emit.layout import Bracket, Doc, Parts, Tagged, call, flat, statement
from segc.emit.params import ClassPlan, Parameter
from segc.emit.structure import Part
from segc.emit.text import WIDTH, free_name, literal
from segc.emit.trees import DROP, NONE, filled


@dataclass(frozen=True, slots=True)
class Raw:
    """A piece of source in the place of a slot's value."""

    text: str


# --- code trees -> expressions ----------------------------------------------------------------
def expression(tree: Any, operand: Callable[[X | SizeOf], Doc], me: str) -> Doc:
    """A tree as source; `operand` prints the operands, `me` is the layer's own module."""
    if isinstance(tree, Raw):
        return _listed(tree.text)
    if isinstance(tree, (X, SizeOf)):
        return operand(tree)
    if isinstance(tree, Self):
        return me
    if isinstance(tree, Call):
        args: list[Doc] = [expression(a, operand, me) for a in tree.args]
        args += [Tagged(f"{k}=", expression(v, operand, me)) for k, v in tree.kwargs.items()]
        return call(me if isinstance(tree.func, Self) else tree.func, args)
    if isinstance(tree, Method):
        obj = flat(_tight(expression(tree.obj, operand, me)))
        return call(f"{obj}.{tree.name}", [expression(a, operand, me) for a in tree.args])
    if isinstance(tree, At):
        obj = flat(_tight(expression(tree.obj, operand, me)))
        return f"{obj}[{flat(expression(tree.index, operand, me))}]"
    if isinstance(tree, ByPhase):
        train, test = (flat(expression(v, operand, me)) for v in (tree.train, tree.test))
        return f"{train} if self.training else {test}"
    if isinstance(tree, Infix):
        items = (expression(i, operand, me) for i in tree.items)
        return Parts(tuple(_tight(i) for i in items), tree.operator)
    if isinstance(tree, Listing):
        return Bracket("", tuple(expression(i, operand, me) for i in tree.items), "[]")
    if isinstance(tree, tuple):
        return Bracket("", tuple(expression(i, operand, me) for i in tree), "()")
    return literal(tree)


def _listed(text: str) -> Doc:
    """A tuple of numbers too long for a line, which may be broken between them."""
    inner = text[1:-1]
    if len(text) < WIDTH - 20 or text[:1] != "(" or set("()'\"") & set(inner):
        return text
    return Bracket("", tuple(inner.split(", ")), "()")


def _tight(doc: Doc) -> Doc:
    """The operand of an operator, in parentheses if it is an operation itself."""
    loose = isinstance(doc, Parts) or (isinstance(doc, str) and re.search(r"^-| [-+*/]", doc))
    return f"({flat(doc)})" if loose else doc


class Printer:
    """Prints the expressions of one class."""

    def __init__(self, plan: ClassPlan, plans: Mapping[int, ClassPlan]) -> None:
        self.plan, self.plans, self.wiring = plan, plans, plan.wiring
        self.stored: dict[str, str] = {}  # parameter -> attribute that `forward` reads

    def slot(self, rel: str, what: str) -> Callable[[Any, Any, Any], Any]:
        """The text of every slot of one tree."""

        def text(way: Any, old: Any, default: Any) -> Any:
            key = (rel, what, way)
            if key in self.plan.dropped:
                return DROP if default is not NONE else old
            fitted = self.plan.texts.get(key)
            if fitted is None:
                return old
            return Raw(fitted.text if what != "expr" else self.remembered(fitted))

        return text

    def remembered(self, fitted: Fitted) -> str:
        """An expression in `forward`: the parameters it reads are attributes there."""
        text = fitted.text
        for name in fitted.reads:
            attribute = self.stored.get(name)
            if attribute is None:
                names = [p.name for p in self.plan.blueprint.parts]
                attribute = self.stored[name] = free_name(name, names) if name in names else name
            text = re.sub(rf"\b{name}\b", f"self.{attribute}", text)
        return text

    # --- modules --------------------------------------------------------------------------
    def module(self, part: Part) -> Doc:
        """The expression that creates the module of a part."""
        if part.kind == "absent":
            return "nn.Identity()"
        if part.kind == "box":
            return self._box(part)
        if part.kind == "class":
            return self._instance(part)
        tree = next(t for t in self.wiring.trees(part, "module") if t is not None)
        tree = filled(tree, (), self.slot(part.rel, "module"))
        return expression(tree, _no_operand, "")

    def _instance(self, part: Part) -> Doc:
        inner = self.plans[part.key.inside]
        args: list[Doc] = []
        by_keyword = False
        for p in inner.parameters:
            text = self.plan.texts[part.rel, "call", (p.name,)].text
            if p.default is not None and text == literal(p.default):
                by_keyword = True
                continue
            by_keyword = by_keyword or _by_keyword(p, len(args))
            args.append(Tagged(f"{p.name}=", text) if by_keyword else text)
        return call(inner.name, args)

    def _box(self, box: Part) -> Doc:
        style = self.wiring.style(box)
        if style == "nn.ModuleDict":
            own = [p for p in box.parts if self.registered(p)]
            items: tuple[Doc, ...] = tuple(
                Tagged(f"{literal(p.name)}: ", self._item(p)) for p in own
            )
            return call(style, [Bracket("", items, "{}", tall=len(items) > 2)])
        docs = [self._item(p) for p in box.parts]
        items = tuple(_runs(docs))
        if style == "nn.Sequential":
            return Bracket(style, items, tall=_tall(items))
        if len(items) == 1 and isinstance(items[0], Tagged):
            return call(style, [items[0].doc])
        return call(style, [Bracket("", items, "[]", tall=_tall(items))])

    def _item(self, part: Part) -> Doc:
        doc = self.module(part)
        flag = self.flag(part)
        return f"{flat(doc)} if {flag} else nn.Identity()" if flag else doc

    def flag(self, part: Part) -> str | None:
        """The condition under which an optional part exists; None where it always does."""
        fitted = self.plan.texts.get((part.rel, "flag", ()))
        return None if fitted is None or fitted.text == "True" else fitted.text

    def registered(self, part: Part) -> bool:
        """The part has a line in `__init__`."""
        if self.wiring.shared(part) or part.kind == "absent":
            return False
        if part.kind == "node":
            return self.wiring.is_module(part) and not (
                self.wiring.vanished(part) and not part.key.stateful
            )
        if part.kind == "box":
            return part.optional or any(self.registered(p) for p in part.parts)
        return True

    # --- lines ----------------------------------------------------------------------------
    def chain_lines(self) -> list[str]:
        """`super().__init__(…)` of a subclass of nn.Sequential."""
        items = tuple(self._item(p) for p in self.plan.blueprint.parts)
        return statement("", Bracket("super().__init__", items, tall=len(items) > 1), 8)

    def init_lines(self) -> Iterator[str]:
        """The body of `__init__` after `super().__init__()`."""
        body = [line for p in self.plan.blueprint.parts if self.registered(p)
                for line in self._register(p)]  # fmt: skip
        for name, attribute in sorted(self.stored.items()):
            yield f"        self.{attribute} = {name}"
        yield from body

    def _register(self, part: Part) -> Iterator[str]:
        doc, flag = self.module(part), self.flag(part)
        target = f"self.{part.name}"
        if part.name.isdigit():
            yield from statement("", call("self.add_module", [literal(part.name), doc]), 8)
        elif flag is None:
            yield from statement(f"{target} = ", doc, 8)
        elif self.fits_one_input(part):
            line = f"        {target} = {flat(doc)} if {flag} else nn.Identity()"
            if len(line) <= 88 and not (isinstance(doc, Bracket) and doc.tall):
                yield line
            else:
                yield f"        {target}: nn.Module = nn.Identity()"
                yield f"        if {flag}:"
                yield from statement(f"{target} = ", doc, 12)
        else:
            yield f"        if {flag}:"
            yield from statement(f"{target} = ", doc, 12)

    def fits_one_input(self, part: Part) -> bool:
        """nn.Identity can stand in for the part."""
        return part.kind != "class" or self.wiring.maps_one_to_one(part)


def _no_operand(x: X | SizeOf) -> Doc:
    raise AssertionError("a module's constructor reads no operand")


def _by_keyword(p: Parameter, place: int) -> bool:
    return p.default is not None or p.channels is False or place >= 3


def _tall(items: tuple[Doc, ...]) -> bool:
    return len(items) > 2 or any(isinstance(i, Tagged) for i in items) and len(items) > 1


def _runs(docs: list[Doc]) -> Iterator[Doc]:
    """Equal neighbours as one comprehension: `*[Block(64) for _ in range(3)]`."""
    for _, group in groupby(docs, key=flat):
        same = list(group)
        if len(same) == 1 or (len(same) == 2 and len(flat(same[0])) < 12):
            yield from same
        else:
            loop = Parts((same[0], f"for _ in range({len(same)})"))
            yield Tagged("*", Bracket("", (loop,), "[]"))
