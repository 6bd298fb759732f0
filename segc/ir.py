"""The graph: frozen, topological, flat; scopes remember which block each layer came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from segc.op import Op
from segc.source import Loc, Source


@dataclass(frozen=True, slots=True)
class Ref:
    """A value: a port of a node, or an input of the network (its name, port "out")."""

    node: str
    port: str = "out"

    def __str__(self) -> str:
        return self.node if self.port == "out" else f"{self.node}.{self.port}"


@dataclass(frozen=True, slots=True)
class Node:
    """One layer. `name` is its dotted path: attribute, state-dict key, diff anchor, label.

    `inputs` are the entries of `from`, then those of Operand attributes in the operator's order.
    `absent` marks a layer whose `when` was false: it passes its first input through.
    `shared` names the layer whose weights this one applies again (`use`).
    `init` maps a weight's name to its initialiser, `freeze` stops its gradients.
    """

    name: str
    op: Op
    inputs: tuple[Ref, ...]
    loc: Loc
    attr_locs: Mapping[str, Loc] = field(default_factory=dict)
    input_locs: tuple[Loc, ...] = ()
    only: str | None = None
    absent: bool = False
    shared: str | None = None
    init: Mapping[str, Any] = field(default_factory=dict)
    freeze: bool = False

    @property
    def scope(self) -> str:
        """Path of the scope it lives in, "" at the top."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Scope:
    """A named group of layers: an instance of a block, an inline group, or a repeat.

    kind: "block" (one instance of `block`), "group" (inline `layers:`), "repeat" (children are
    0, 1, …; each a block, a group or a node). `params` are the block's parameter values in this
    instance. `inputs` pairs each input name with the value it is bound to. `output` is the value
    the name of the scope stands for. `children` are the direct members (local names) in order.
    An absent scope (`when: false`) has no children and passes its first input through: its
    `output` is that input. `shared` names the scope whose weights it applies again (`use`).
    """

    path: str
    kind: str
    loc: Loc
    block: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[tuple[str, Ref], ...] = ()
    output: Ref = Ref("")
    children: tuple[str, ...] = ()
    only: str | None = None
    absent: bool = False
    shared: str | None = None
    input_locs: tuple[Loc, ...] = ()  # where each of `inputs` is given


ROWED = (
    "boxes",
    "labels",
    "masks",
    "keypoints",
    "words",
)  # types of inputs whose first size is a row set


@dataclass(frozen=True, slots=True)
class Input:
    """A network input: `shape` entries are integers or symbol names (`N`, `H`).

    Ground truth has rows instead of a batch: its first size is a row set (`G`).
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    loc: Loc
    type: str = "tensor"  # or boxes, labels, masks, keypoints, sizes
    only: str | None = None  # the phase it is given in: "train"
    legacy: bool = False  # boxes of inclusive pixels

    @property
    def rows(self) -> str | None:
        """The row set of an input that has one."""
        first = self.shape[0] if self.shape else None
        return first if self.type in ROWED and isinstance(first, str) else None


@dataclass(frozen=True, slots=True)
class Rename:
    """One line of a layout: tensors below `there` in a checkpoint are those below `here`.

    Both are dotted paths; "" is everything. `shape` is that of the weight there, where it is
    another view of the weight here (a linear layer's of a convolution's).
    """

    there: str
    here: str
    shape: tuple[int, ...] | None
    loc: Loc


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of a known checkpoint, as `weights:` states them."""

    name: str
    renames: tuple[Rename, ...]
    loc: Loc
    source: str = ""
    notes: str = ""

    def name_here(self, there: str) -> str | None:
        """The name in this network of a checkpoint's tensor; the longest line counts."""
        best: Rename | None = None
        for line in self.renames:
            below = not line.there or there == line.there or there.startswith(line.there + ".")
            if below and (best is None or len(line.there) > len(best.there)):
                best = line
        if best is None:
            return None
        rest = there[len(best.there) :].removeprefix(".")
        return ".".join(part for part in (best.here, rest) if part)


@dataclass(frozen=True, slots=True)
class StageNet:
    """The network a stage of the training has instead of this one: a spec, with parameters."""

    source: Source
    params: Mapping[str, Any]
    graph: Graph


@dataclass(frozen=True)
class Graph:
    """A network after expansion. Nodes are in topological order, which is the order of the spec.

    `inits` are the spec's default initialisers by operator name. `losses` and `recipe` are plain
    data, validated by the reader. `params` are the spec's parameters with the values used,
    `defaults` those the spec states.
    """

    name: str
    inputs: Mapping[str, Input]
    nodes: tuple[Node, ...]
    scopes: Mapping[str, Scope]
    outputs: Mapping[str, Ref]
    children: tuple[str, ...] = ()  # direct members of the top scope, in order
    params: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    output_only: Mapping[str, str] = field(default_factory=dict)  # outputs of one phase: "train"
    title: str = ""
    source: str = ""
    notes: str = ""
    block_docs: Mapping[str, str] = field(default_factory=dict)  # one sentence by block
    param_docs: Mapping[str, str] = field(default_factory=dict)  # one sentence by parameter
    inits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # of known checkpoints, by name
    labels: Mapping[Ref, str] = field(default_factory=dict)  # what levels of pyramids are called
    stages: Mapping[str, StageNet] = field(default_factory=dict)  # networks of stages, by stage
    file: str = ""
    texts: tuple[str, ...] = field(default=(), repr=False)  # of the files it was read from
    loc: Loc | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 over the texts it was read from."""
        import hashlib  # 3 ms, which `check` need not spend

        return hashlib.sha256("".join(self.texts).encode()).hexdigest()

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {n.name: n for n in self.nodes}

    @cached_property
    def users(self) -> dict[Ref, tuple[Node, ...]]:
        """The nodes that read each value, in order."""
        table: dict[Ref, list[Node]] = {}
        for node in self.nodes:
            for ref in dict.fromkeys(node.inputs):
                table.setdefault(ref, []).append(node)
        return {ref: tuple(nodes) for ref, nodes in table.items()}

    def with_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        """The same graph with other nodes (a pass is a function from graph to graph)."""
        return replace(self, nodes=nodes)
