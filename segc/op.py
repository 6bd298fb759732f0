"""The contract of an operator: one class says everything segc knows about one op.

From the class come the schema of its attributes, "did you mean", the shape rule, the cost tables,
the emitted line, the diagram node and the manual page. Nothing else in segc names an operator.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Protocol

from segc.code import Call, Expr, Helper, Self, X
from segc.dim import DimLike
from segc.types import Type

KINDS = (
    "int",  # integer
    "float",  # number
    "bool",
    "str",  # one of `choices`
    "Pair",  # integer, or [height, width]                  -> (h, w)
    "Padding",  # Pair, or the word `same` (odd windows, stride 1) -> (h, w) | "same"
    "Quad",  # integer, or [left, right, top, bottom]         -> (l, r, t, b)
    "Ints",  # list of integers                               -> tuple
    "Floats",  # list of numbers                              -> tuple
    "Scale",  # number, or [height, width]                    -> (h, w) of int | float
    "PhaseInt",  # integer, or {train: …, test: …}            -> (train, test)
    "Operand",  # the name of another layer, an additional operand (`size: pool1.input`)
)
_REPEATED = {"Pair": 2, "Padding": 2, "Quad": 4, "Scale": 2, "PhaseInt": 2}

# What an attribute holds once its value has been read, by kind.
Pair = tuple[int, int]
Padding = tuple[int, int] | str
Quad = tuple[int, int, int, int]
Ints = tuple[int, ...]
Floats = tuple[float, ...]
Scale = tuple[float, float]
PhaseInt = tuple[int, int]
Operand = str


def normal(kind: str, value: Any) -> Any:
    """An attribute's value in the form operators read: one number stands for every axis."""
    if kind in _REPEATED and isinstance(value, (int, float)):
        return (value,) * _REPEATED[kind]
    return tuple(value) if isinstance(value, list) else value


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


@dataclass(frozen=True, slots=True)
class Attr:
    """One attribute of an operator, as a spec writes it.

    `min` and `max` are inclusive and hold for every number of a list. `default` REQUIRED means the
    attribute must be given; None means "absent" is a state of its own.
    """

    name: str
    kind: str
    doc: str
    default: Any = REQUIRED
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def attr(
    doc: str,
    default: Any = REQUIRED,
    *,
    min: float | None = None,
    max: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare an attribute in an operator's class body: `stride: Pair = attr("…", 1, min=1)`.

    Where the default is None the annotation says so: `size: Pair | None = attr("…", None)`.
    """
    return Attr("", "", doc, default, min, max, choices)


class Problem(Exception):
    """A fault an operator finds in its attributes or operands; `check` gives it a place.

    `attr` points at that attribute's value, `operand` (an index) at that entry of `from` and names
    the line the tensor comes from; with neither, the whole layer is meant.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        attr: str | None = None,
        operand: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.attr = code, message, attr
        self.operand, self.hint = operand, hint


class Need(Protocol):
    """What an operator may demand of symbolic sizes while it infers a shape.

    A demand that always holds is silent, one that never holds raises `Problem(code, message)`, one
    that holds for some input sizes narrows the set of inputs the network accepts.
    """

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None: ...
    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None: ...
    def multiple(self, a: DimLike, of: int, problem: Problem) -> None: ...

    def rows(self, bound: DimLike | None, of: DimLike | None = None, port: str = "") -> DimLike:
        """A row set of the layer's own, with at most `bound` rows, taken from those of `of`.

        A layer that makes several names each after a port.
        """
        ...

    def joined(self, train: DimLike, test: DimLike) -> DimLike:
        """The rows of a value that is another one in each phase."""
        ...


@dataclass(frozen=True, slots=True)
class Param:
    """A learned (or frozen) tensor of a layer, by its name in the state dict."""

    name: str
    shape: tuple[DimLike, ...]

    def key(self, layer: str) -> str:
        """Its name in the state dict; a layer that is a tensor itself has one without a name."""
        return f"{layer}.{self.name}" if self.name else layer


@dataclass(frozen=True, slots=True)
class Field:
    """Receptive field along one axis: output pixel `o` sees input `[start + step*o, … + size)`.

    Pixels of the network's input; `size` None means the whole map.
    """

    size: Fraction | None
    step: Fraction
    start: Fraction

    def window(self, kernel: int, stride: int, padding: int) -> Field:
        """The field after a sliding window of `kernel` pixels (dilation included)."""
        if self.size is None:
            return Field(None, self.step * stride, self.start - padding * self.step)
        return Field(
            self.size + (kernel - 1) * self.step,
            self.step * stride,
            self.start - padding * self.step,
        )


@dataclass(frozen=True, slots=True)
class Style:
    """How a layer is drawn: its family chooses colour and form, `label` is the text's second line.

    family: conv dilated down up context region predict merge norm act shape input
    """

    family: str
    label: str


@dataclass(frozen=True, slots=True)
class Example:
    """A use of the operator that one generic test builds in torch and compares.

    `shapes` are the operands' shapes, those of Operand attributes last; `indices_of`
    says that operand 1 are the indices of a 2x2 max pooling of a map twice as large.
    """

    attrs: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    indices_of: bool = False


class Op:
    """Base of all operators. Attribute values are instance attributes, already checked.

    `operands` names the entries of `from`; a last name with a star (`*xs`) takes two or more.
    Attributes of kind Operand that are given are appended to the operands in declared order and
    reach `infer`, `module` and `expr` as further positional types (never None: those absent are
    left out, see `extra`).
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""  # the ops/ module it lives in, set by the decorator
    attrs: ClassVar[dict[str, Attr]] = {}
    operands: ClassVar[tuple[str, ...]] = ("x",)
    index_operands: ClassVar[tuple[str, ...]] = ()  # those that are pooling indices, not tensors
    kinds: ClassVar[Mapping[str, str]] = {}  # by operand: boxes, pick, match or any; else a tensor
    least: ClassVar[int] = 2  # values that a starred operand takes, all operands counted
    rowed: ClassVar[bool] = False  # works on row sets; examples of plain tensors do not show it
    bare: ClassVar[bool] = False  # what it holds is no module: it needs a name, not a number
    random: ClassVar[bool] = False  # the number of its rows, or which, depends on the data
    stateful: ClassVar[bool] = False  # has a module of its own in __init__
    synchronized: ClassVar[bool] = False  # in training, over all processes: on GPUs only
    in_place: ClassVar[bool] = False  # writes its result over its operand
    pace: ClassVar[float] = 1.0  # of its multiply-accumulates, against those of a convolution
    weights: ClassVar[tuple[str, ...]] = ()  # names `init:` may set
    examples: ClassVar[tuple[Example, ...]] = ()
    helpers: ClassVar[tuple[Helper, ...]] = ()

    def __init__(self, **values: Any) -> None:
        self.values = values
        for name, a in self.attrs.items():
            default = None if a.required else a.default
            setattr(self, name, normal(a.kind, values.get(name, default)))

    def replace(self, **changes: Any) -> Op:
        """The same operator with other attribute values."""
        return type(self)(**{**self.values, **changes})

    @property
    def view(self) -> bool:
        """Its result is a part of its operand's memory: nothing is computed or copied."""
        return False

    @property
    def stored(self) -> bool:
        """Its module has tensors in the state dict, learned ones or buffers."""
        return self.stateful

    @property
    def extra(self) -> tuple[str, ...]:
        """Names of the Operand attributes that are given, in declared order."""
        return tuple(n for n, a in self.attrs.items() if a.kind == "Operand" and n in self.values)

    @classmethod
    def takes_levels(cls) -> bool:
        """It reads all levels of a pyramid at once."""
        return bool(cls.operands) and cls.operands[-1].startswith("*") and cls.least == 1

    @property
    def ports(self) -> tuple[str, ...]:
        """Names of the values it produces; the first is the default one."""
        return ("out",)

    # --- what each operator says of itself -------------------------------------------------
    def validate(self) -> None:
        """Raise Problem(…, attr=…) where attribute values do not go together."""

    def infer(self, need: Need, *types: Any) -> Type | tuple[Type, ...]:
        """The type of each port. Operands are Tensor unless the operator accepts Index itself."""
        raise NotImplementedError

    def parameters(self, *types: Any) -> tuple[Param, ...]:
        """Learned tensors, in state-dict order (buffers excluded)."""
        return ()

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        """Multiply-accumulates at concrete shapes: convolutions and matrix products only, which is
        what torch.utils.flop_counter counts (as two operations each)."""
        return 0

    def scratch(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        """Values it moves to and from memory besides operands and result, where it has no kernel of
        its own (on a CPU)."""
        return 0

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        """Receptive field along one axis (0 height, 1 width); default: the union of the operands'.

        `lengths`, where known, are the pixels each operand, then the output, has along that axis.
        Operators whose geometry depends on them (`interpolate` to a size, adaptive pooling,
        `center_crop`) answer more loosely without.
        """
        return union(fields)

    def module(self, *types: Any) -> Call | None:
        """The torch.nn constructor, also of a stateless op where one exists (nn.Sequential)."""
        return None

    def expr(self, *types: Any) -> Expr:
        """The expression that computes it; a stateful op calls its own module on its operands."""
        return Call(Self(), tuple(X(i) for i in range(len(types))))

    def identity(self, *types: Any, same: Callable[[DimLike, DimLike], bool] = operator.eq) -> bool:
        """True when the operator returns its first operand unchanged (a crop of equal sizes).

        `same` decides whether two sizes are equal; pass one that knows the accepted input sizes.
        """
        return False

    def at_test(self) -> Op | None:
        """The operator as it is outside training; None if it only hands on its last operand."""
        by_phase = {
            n: getattr(self, n)[1]
            for n, a in self.attrs.items()
            if a.kind == "PhaseInt" and getattr(self, n) and len(set(getattr(self, n))) > 1
        }
        return self.replace(**by_phase) if by_phase else self

    def operand_phase(self, index: int) -> str | None:
        """The one phase in which it reads an operand, None for both."""
        return None

    @property
    def style(self) -> Style:
        return Style("shape", self.name)


def union(fields: tuple[Field, ...]) -> Field:
    """The smallest field that covers all of `fields` at output pixel 0 and beyond."""
    fields = tuple(f for f in fields if f.size != 0) or fields  # a constant sees no input
    first = fields[0]
    if len(fields) == 1:
        return first
    step = min(f.step for f in fields)  # a pooled map that is spread out has a larger one
    if any(f.size is None for f in fields):
        return Field(None, step, min(f.start for f in fields))
    start = min(f.start for f in fields)
    end = max(f.start + f.size for f in fields if f.size is not None)
    return Field(end - start, step, start)


REGISTRY: dict[str, type[Op]] = {}
UNNAMED: dict[str, type[Op]] = {}  # those that no spec can name


def op(name: str) -> Callable[[type[Op]], type[Op]]:
    """Register a class as the operator `name` and collect its attributes from its annotations."""

    def register(cls: type[Op]) -> type[Op]:
        cls.name, cls.attrs = name, collect_attrs(cls, name)
        cls.family = cls.__module__.rsplit(".", 1)[-1]
        REGISTRY[name] = cls
        return cls

    return register


def deploy_op(name: str) -> Callable[[type[Op]], type[Op]]:
    """As `op`, for operators that optimisations and transforms put in: no spec can name them."""

    def describe(cls: type[Op]) -> type[Op]:
        cls.name, cls.attrs = name, collect_attrs(cls, name)
        cls.family = cls.__module__.rsplit(".", 1)[-1]
        UNNAMED[name] = cls
        return cls

    return describe


def collect_attrs(cls: type, name: str) -> dict[str, Attr]:
    """The attributes a class declares by annotation, those of its bases first."""
    attrs: dict[str, Attr] = {}
    for base in reversed(cls.__mro__):
        for field_name, kind in vars(base).get("__annotations__", {}).items():
            declared = vars(base).get(field_name)
            if not isinstance(declared, Attr):
                continue
            kind = kind.removesuffix(" | None")
            if kind not in KINDS:
                raise TypeError(f"{name}.{field_name}: unknown kind {kind}")
            attrs[field_name] = replace(declared, name=field_name, kind=kind)
    return attrs
