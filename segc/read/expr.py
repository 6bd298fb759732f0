"""Expressions in specs: `4 * width`, `2 if i == 0 else 1`, `max(a, b)`, `rates[i]`.

A small precedence parser and a tree walk, never Python's own `eval` or `compile`: numbers,
booleans, words in single quotes (to compare with), parameters, + - * // % **, comparisons,
and/or/not, a conditional, min, max, list indexing. Everything means what it means in Python, except
that and/or give true or false. Text, depth, exponents and results are bounded, so no spec can make
the compiler spin.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

MAX_TEXT = 400
MAX_DEPTH = 32
MAX_INT = 2**53
MAX_EXPONENT = 64

Tree = tuple[Any, ...]
Value = int | float | bool | str | tuple[Any, ...]


class ExprError(Exception):
    """A fault in an expression; `offset` counts characters from the start of its text."""

    def __init__(self, message: str, offset: int = 0, name: str | None = None) -> None:
        super().__init__(message)
        self.message, self.offset, self.name = message, offset, name


_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|'(?P<word>[^']*)'|(?P<op>\*\*|//|==|!=|<=|>=|[-+*%<>()\[\],]))",
    re.ASCII,
)
_BINARY: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
    "==": (4, operator.eq),
    "!=": (4, operator.ne),
    "<": (4, operator.lt),
    "<=": (4, operator.le),
    ">": (4, operator.gt),
    ">=": (4, operator.ge),
    "+": (5, operator.add),
    "-": (5, operator.sub),
    "*": (6, operator.mul),
    "//": (6, operator.floordiv),
    "%": (6, operator.mod),
    "**": (8, operator.pow),
}
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_WORDS = frozenset(("and", "or", "not", "if", "else"))
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max}


def _tokens(text: str) -> list[tuple[str, str, int]]:
    if len(text) > MAX_TEXT:
        raise ExprError(f"expression longer than {MAX_TEXT} characters")
    out: list[tuple[str, str, int]] = []
    pos = 0
    while pos < len(text):
        match = _TOKEN.match(text, pos)
        if match is None:
            rest = text[pos:].lstrip()
            if not rest:
                break
            raise ExprError(f"`{rest[0]}` has no meaning in an expression", len(text) - len(rest))
        kind = match.lastgroup or ""
        out.append((kind, match.group(kind), match.start(kind)))
        pos = match.end()
    out.append(("end", "", len(text)))
    return out


class _Parser:
    """Precedence climbing over the token list; every node carries its offset last."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def parse(self) -> Tree:
        tree = self.conditional()
        kind, text, offset = self.tokens[self.at]
        if kind != "end":
            raise ExprError(f"`{text}` is not expected here", offset)
        return tree

    def next(self) -> tuple[str, str, int]:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        kind, found, _ = self.tokens[self.at]
        if found == text and kind in ("op", "name"):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        _, found, offset = self.tokens[self.at]
        if not self.accept(text):
            raise ExprError(f"`{text}` is missing before `{found or 'the end'}`", offset)

    def conditional(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExprError("expression nested too deeply", self.tokens[self.at][2])
        value = self.disjunction()
        if self.accept("if"):
            test = self.disjunction()
            self.expect("else")
            value = ("if", test, value, self.conditional(), value[-1])
        self.depth -= 1
        return value

    def disjunction(self) -> Tree:
        tree = self.conjunction()
        while self.accept("or"):
            tree = ("or", tree, self.conjunction(), tree[-1])
        return tree

    def conjunction(self) -> Tree:
        tree = self.negation()
        while self.accept("and"):
            tree = ("and", tree, self.negation(), tree[-1])
        return tree

    def negation(self) -> Tree:
        offset = self.tokens[self.at][2]
        count = 0
        while self.accept("not"):
            count += 1
        tree = self.binary(4)
        return ("not", tree, offset) if count % 2 else (("bool", tree, offset) if count else tree)

    def binary(self, floor: int) -> Tree:
        left = self.unary()
        while True:
            kind, text, offset = self.tokens[self.at]
            level = _BINARY[text][0] if kind == "op" and text in _BINARY else 0
            if level < floor:
                return left
            if text in _COMPARISONS:
                left = self.comparison(left, offset)
                continue
            self.at += 1
            right = self.binary(level if text == "**" else level + 1)
            left = ("bin", text, left, right, offset)

    def comparison(self, first: Tree, offset: int) -> Tree:
        """`a < b <= c` holds when both comparisons do, as in Python."""
        rest: list[Tree] = []
        while self.tokens[self.at][1] in _COMPARISONS:
            _, text, at = self.next()
            rest.append((text, self.binary(5), at))
        return ("compare", first, tuple(rest), offset)

    def unary(self) -> Tree:
        _, _, offset = self.tokens[self.at]
        sign = 1
        while True:
            if self.accept("-"):
                sign = -sign
            elif not self.accept("+"):
                break
        tree = self.postfix()
        if sign > 0:
            return tree
        if self.tokens[self.at][1] == "**":  # -2 ** 2 is -(2 ** 2)
            self.at += 1
            tree = ("bin", "**", tree, self.binary(8), offset)
        return ("neg", tree, offset)

    def postfix(self) -> Tree:
        tree = self.atom()
        while self.accept("["):
            index = self.conditional()
            self.expect("]")
            tree = ("index", tree, index, tree[-1])
        return tree

    def atom(self) -> Tree:
        kind, text, offset = self.next()
        if kind == "num":
            return ("value", _number(text, offset), offset)
        if kind == "word":
            return ("value", text, offset)
        if kind == "name" and text not in _WORDS:
            return self.named(text, offset)
        if text == "(":
            tree = self.conditional()
            self.expect(")")
            return tree
        if text == "[":
            return ("list", self.arguments("]"), offset)
        raise ExprError(f"a value is missing before `{text or 'the end'}`", offset)

    def named(self, text: str, offset: int) -> Tree:
        if text in ("true", "false", "True", "False"):
            return ("value", text.lower() == "true", offset)
        if not self.accept("("):
            return ("name", text, offset)
        if text not in _FUNCTIONS:
            raise ExprError(f"`{text}` is not a function; there are min and max", offset)
        return ("call", text, self.arguments(")"), offset)

    def arguments(self, end: str) -> tuple[Tree, ...]:
        items: list[Tree] = []
        while not self.accept(end):
            if items:
                self.expect(",")
            items.append(self.conditional())
        return tuple(items)


def _number(text: str, offset: int) -> int | float:
    if len(text) > 20:
        raise ExprError("number out of range", offset)
    value = float(text) if any(c in text for c in ".eE") else int(text)
    if abs(value) >= MAX_INT:
        raise ExprError("number out of range", offset)
    return value


@lru_cache(maxsize=4096)
def parse(text: str) -> Tree:
    """The tree of an expression, or ExprError."""
    return _Parser(text).parse()


def evaluate(text: str, scope: Mapping[str, Value]) -> Value:
    """The value of an expression with the parameters in `scope`, or ExprError."""
    value: Value = _walk(parse(text), scope)
    return value


def _walk(tree: Tree, scope: Mapping[str, Value]) -> Any:
    kind, offset = tree[0], tree[-1]
    if kind == "value":
        return tree[1]
    if kind == "name":
        if tree[1] not in scope:
            raise ExprError(f"`{tree[1]}` is not a parameter here", offset, name=tree[1])
        return scope[tree[1]]
    if kind == "bin":
        return _binary(tree, scope)
    if kind == "compare":
        return _compare(tree, scope)
    if kind == "if":
        return _walk(tree[2] if _walk(tree[1], scope) else tree[3], scope)
    if kind == "and":
        return bool(_walk(tree[1], scope) and _walk(tree[2], scope))
    if kind == "or":
        return bool(_walk(tree[1], scope) or _walk(tree[2], scope))
    if kind in ("not", "bool"):
        return bool(_walk(tree[1], scope)) is (kind == "bool")
    if kind == "neg":
        return -_numeric(_walk(tree[1], scope), offset)
    if kind == "index":
        return _item(_walk(tree[1], scope), _walk(tree[2], scope), offset)
    if kind == "list":
        return tuple(_walk(item, scope) for item in tree[1])
    values = [_numeric(_walk(a, scope), offset) for a in tree[2]]
    if not values:
        raise ExprError(f"`{tree[1]}` needs values", offset)
    return _FUNCTIONS[tree[1]](values)


def _compare(tree: Tree, scope: Mapping[str, Value]) -> bool:
    a = _walk(tree[1], scope)
    for symbol, right, offset in tree[2]:
        b = _walk(right, scope)
        if symbol not in ("==", "!="):
            a, b = _numeric(a, offset), _numeric(b, offset)
        if not _BINARY[symbol][1](a, b):
            return False
        a = b
    return True


def _binary(tree: Tree, scope: Mapping[str, Value]) -> Any:
    _, symbol, left, right, offset = tree
    a = _numeric(_walk(left, scope), offset)
    b = _numeric(_walk(right, scope), offset)
    if symbol in ("//", "%") and b == 0:
        raise ExprError("division by zero", offset)
    if symbol == "**" and (abs(b) > MAX_EXPONENT or abs(a) > 2**20):
        raise ExprError(f"exponent larger than {MAX_EXPONENT} or base larger than 2**20", offset)
    if symbol == "**" and a == 0 and b < 0:
        raise ExprError("division by zero", offset)
    try:
        value = _BINARY[symbol][1](a, b)
    except OverflowError:
        raise ExprError("the result is out of range", offset) from None
    if isinstance(value, complex) or abs(value) >= MAX_INT:
        raise ExprError("the result is out of range", offset)
    return value


def _numeric(value: Any, offset: int) -> Any:
    if isinstance(value, (int, float)):
        return value
    raise ExprError(f"{_described(value)} is not a number", offset)


def _item(values: Any, index: Any, offset: int) -> Any:
    if not isinstance(values, tuple):
        raise ExprError(f"{_described(values)} is not a list", offset)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(values):
        raise ExprError(f"index {index} is outside a list of {len(values)}", offset)
    return values[index]


def _described(value: Any) -> str:
    return f"the text `{value}`" if isinstance(value, str) else f"`{value}`"
