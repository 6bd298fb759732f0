"""Declarations -> flat graph: blocks instantiated, repeats unrolled, names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn

from segc.diag import Note, Report
from segc.ir import Node, Ref, Scope
from segc.loc import Loc
from segc.op import REGISTRY, Op, Problem
from segc.read.arguments import block_values, layer_freeze, layer_init
from segc.read.resolve import BROKEN, Frame, Resolver
from segc.read.reuse import reapply
from segc.read.signature import Signatures
from segc.read.spec import BlockDecl, LayerDecl
from segc.read.values import ValueFault, YNode, attribute, is_name, number, shown, text
from segc.read.yaml import Scalar, Sequence_

MAX_LAYERS = 20_000
MAX_NESTING = 24
STEPS = 3  # entries expanded for each layer allowed: groups count, absent and faulty layers too


class TooLarge(Exception):
    """The graph would pass the limit on layers; nothing more is expanded."""


@dataclass(frozen=True, slots=True)
class Wired:
    """A layer's operands, resolved."""

    refs: tuple[Ref, ...]
    locs: tuple[Loc, ...]
    given: bool  # `from` was written


class Expander:
    """Expands the layers of one spec into `nodes` and `scopes`, in order."""

    def __init__(
        self, blocks: Mapping[str, BlockDecl], report: Report, max_layers: int = MAX_LAYERS
    ) -> None:
        self.blocks, self.report, self.max_layers = blocks, report, max_layers
        self.nodes: dict[str, Node] = {}
        self.scopes: dict[str, Scope] = {}
        self.signatures = Signatures(blocks, report)
        self.resolver = Resolver(self.nodes, self.scopes, report)
        self.stack: list[str] = []
        # How each group came about, by path; the values in expressions are None for a repeat.
        self.made: dict[str, tuple[LayerDecl, Frame, Mapping[str, Any] | None]] = {}
        self.steps = 0
        self.used: set[str] = set()  # blocks that were instantiated

    # --- lists of layers --------------------------------------------------------------------
    def expand_list(self, frame: Frame) -> Ref:
        """Expand every layer of the list; the value of the last one."""
        for decl in frame.declared:
            if isinstance(frame.names.get(decl.name), Ref) and not frame.path:
                message = f"layer `{decl.name}` hides the input of that name"
                self.report.error("SEG310", message, decl.loc, hint="rename the layer")
            frame.last = self.layer(decl, frame)
            path = frame.join(decl.name)
            known = path in self.nodes or path in self.scopes
            frame.names[decl.name] = path if known else BROKEN
        return frame.last or BROKEN

    def layer(self, decl: LayerDecl, frame: Frame) -> Ref:
        """Expand one entry of a list; the value its name stands for."""
        if decl.kind == "broken" or not self.signatures.exists(decl):
            return BROKEN
        wired = self._operands(decl, frame)
        only = self._only(decl, frame)
        if not self._when(decl, frame):
            return self._absent(decl, frame, wired, only)
        path = frame.join(decl.name)
        if "repeat" in decl.keys:
            return self._repeat(decl, path, frame, wired, only)
        return self._one(decl, path, frame, frame.env, wired, only)

    def expand_again(self, made: str, path: str, wired: Wired, only: str | None) -> Ref:
        """Expand the group at `made` once more, as `path`, reading other values."""
        decl, frame, env = self.made[made]
        if env is None:
            return self._repeat(decl, path, frame, wired, only)
        return self._one(decl, path, frame, env, wired, only)

    def _one(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Ref:
        self.steps += 1
        if self.steps > STEPS * self.max_layers:
            self._too_large(decl.loc)
        if BROKEN in wired.refs and decl.kind != "op":
            return BROKEN
        if decl.kind == "op":
            return self._op(decl, path, frame, env, wired, only)
        if decl.kind == "use":
            return reapply(self, decl, path, frame, wired, only)
        if len(self.stack) >= MAX_NESTING:
            self.report.error("SEG313", f"groups nested deeper than {MAX_NESTING}", decl.loc)
            raise TooLarge
        if "init" in decl.keys:
            hint = "give it to a layer, or set it for all under the spec's `init`"
            message = f"`{decl.name}` is a group: `init` belongs to an operator"
            self.report.error("SEG107", message, decl.keys["init"].loc, hint=hint)
        self.made[path] = decl, frame, env
        before = len(self.nodes)
        if decl.kind == "layers":
            value = self._group(decl, path, frame, env, wired, only)
        else:
            value = self._block(decl, path, env, wired, only)
        freeze = decl.keys.get("freeze")
        if freeze is not None and self._number(freeze, "bool", env, "freeze", False):
            self._freeze_all(before)
        return value

    def _freeze_all(self, start: int) -> None:
        """Freeze the layers that have weights among those expanded since `start`."""
        for node in list(islice(self.nodes.values(), start, None)):
            if node.op.weights:
                self.nodes[node.name] = replace(node, freeze=True)

    # --- common keys ------------------------------------------------------------------------
    def _operands(self, decl: LayerDecl, frame: Frame) -> Wired:
        node = decl.keys.get("from")
        if node is None:
            if decl.kind == "op" and not REGISTRY[decl.target].operands:
                return Wired((), (), False)
            last = frame.last
            return Wired((last,) if last else (), (decl.loc,) if last else (), False)
        items = node.items if isinstance(node, Sequence_) else (node,)
        refs, locs = [], []
        for item in items:
            if is_name(item):
                refs.append(self.resolver.value(item.text, item.loc, frame, decl.name))
            else:
                hint = "for example `from: [bridge, enc4]`"
                message = f"`from` needs names of layers, got {shown(item)}"
                self.report.error("SEG103", message, item.loc, hint=hint)
                refs.append(BROKEN)
            locs.append(item.loc)
        return Wired(tuple(refs), tuple(locs), True)

    def _only(self, decl: LayerDecl, frame: Frame) -> str | None:
        node = decl.keys.get("only")
        if node is None or frame.only == "checkpoint":
            return frame.only
        if isinstance(node, Scalar) and node.text in ("train", "checkpoint"):
            return node.text
        message = f"`only` is `train`, `checkpoint` or left out, got {shown(node)}"
        self.report.error("SEG105", message, node.loc)
        return frame.only

    def _when(self, decl: LayerDecl, frame: Frame) -> bool:
        node = decl.keys.get("when")
        return True if node is None else bool(self._number(node, "bool", frame.env, "when", True))

    def _number(
        self, node: YNode, kind: str, env: Mapping[str, Any], what: str, default: Any
    ) -> Any:
        try:
            return number(node, kind, env)
        except ValueFault as fault:
            fault.tell(self.report, f"`{what}`")
            return default

    # --- shapes of expansion ----------------------------------------------------------------
    def _absent(self, decl: LayerDecl, frame: Frame, wired: Wired, only: str | None) -> Ref:
        self.signatures.unexpanded(decl)
        if not wired.refs:
            return BROKEN
        path, first = frame.join(decl.name), wired.refs[0]
        if decl.kind == "op":
            identity = REGISTRY["identity"]()
            node = Node(path, identity, (first,), decl.loc, only=only, absent=True)
            self.add(node)
            return Ref(path)
        kind = "block" if decl.kind == "block" else "group"
        block = decl.target if kind == "block" else None
        inputs = (("x", first),)
        self.scopes[path] = Scope(
            path, kind, decl.loc, block, inputs=inputs, output=first, only=only, absent=True
        )
        return first

    def _repeat(
        self, decl: LayerDecl, path: str, frame: Frame, wired: Wired, only: str | None
    ) -> Ref:
        count = self._number(decl.keys["repeat"], "int", frame.env, "repeat", 1)
        if count < 1 or count > self.max_layers:
            message = f"`repeat` must be between 1 and {self.max_layers:,}, got {count:,}"
            self.report.error("SEG105", message, decl.keys["repeat"].loc)
            return BROKEN
        self.made[path] = decl, frame, None
        last, refs = BROKEN, wired.refs
        faults = len(self.report.diagnostics)
        for i in range(count):
            env = {**frame.env, "i": i}
            last = self._one(decl, f"{path}.{i}", frame, env, replace(wired, refs=refs), only)
            if len(self.report.diagnostics) > faults:
                return BROKEN  # the other copies have the same fault
            refs = (last, *wired.refs[1:]) if wired.refs else ()
        self.scopes[path] = Scope(
            path,
            "repeat",
            decl.loc,
            inputs=tuple((f"x{n}" if n else "x", r) for n, r in enumerate(wired.refs)),
            output=last,
            children=tuple(str(i) for i in range(count)),
            only=only,
        )
        return last

    def _group(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Ref:
        if len(wired.refs) > 1:
            hint = "layers inside a group may name layers outside it directly"
            message = f"the group `{decl.name}` starts from one value"
            self.report.error("SEG307", message, wired.locs[1], hint=hint)
        last = wired.refs[0] if wired.refs else None
        inner = Frame(path, env, decl.layers, last=last, parent=frame, only=only)
        inputs = (("x", last),) if last else ()
        return self._scope(inner, "group", decl, None, {}, inputs, wired.locs[:1])

    def _scope(
        self,
        inner: Frame,
        kind: str,
        decl: LayerDecl,
        block: str | None,
        params: Mapping[str, Any],
        inputs: tuple[tuple[str, Ref], ...],
        input_locs: tuple[Loc, ...],
    ) -> Ref:
        self.stack.append(block or "")
        output = self.expand_list(inner)
        self.stack.pop()
        children = tuple(d.name for d in inner.declared)
        self.scopes[inner.path] = Scope(
            inner.path,
            kind,
            decl.loc,
            block,
            params,
            inputs,
            output,
            children,
            inner.only,
            input_locs=input_locs,
        )
        return output

    def _block(
        self,
        decl: LayerDecl,
        path: str,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Ref:
        block = self.blocks[decl.target]
        if decl.target in self.stack:
            way = [name for name in self.stack[self.stack.index(decl.target) :] if name]
            message = f"block `{decl.target}` contains itself: {' -> '.join([*way, decl.target])}"
            self.report.error("SEG302", message, decl.target_loc)
            raise TooLarge
        if len(wired.refs) != len(block.inputs):
            wants = ", ".join(block.inputs)
            self._count(decl, wired, f"block `{block.name}` reads [{wants}]", block.loc)
            return BROKEN
        params = None
        if self.signatures.complete(decl):
            params = block_values(decl, block, env, self.report)
        if params is None:
            return BROKEN
        inputs = tuple(zip(block.inputs, wired.refs, strict=True))
        self.used.add(block.name)
        inner = Frame(path, params, block.layers, dict(inputs), wired.refs[0], None, only)
        return self._scope(inner, "block", decl, block.name, params, inputs, wired.locs)

    def _count(self, decl: LayerDecl, wired: Wired, wants: str, defined: Loc | None = None) -> None:
        got = len(wired.refs)
        loc = wired.locs[-1] if wired.given and wired.locs else decl.loc
        notes = (Note(defined, "defined here"),) if defined else ()
        message = f"{wants}, but `{decl.name}` gives it {got} value{'' if got == 1 else 's'}"
        hint = None if wired.given else "name them with `from: [...]`"
        self.report.error("SEG307", message, loc, hint=hint, notes=notes)

    # --- operators --------------------------------------------------------------------------
    def _op(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Ref:
        cls = REGISTRY[decl.target]
        values, extra = self._attributes(decl, cls, frame, env)
        if values is None:
            return BROKEN
        if not self._arity(decl, cls, wired):
            return BROKEN
        op = cls(**values)
        try:
            op.validate()
        except Problem as problem:
            given = decl.attrs.get(problem.attr or "")
            loc = given[1].loc if given else decl.loc
            self.report.error(problem.code, problem.message, loc, hint=problem.hint)
            return BROKEN
        self.add(
            Node(
                path,
                op,
                wired.refs + tuple(r for r, _ in extra),
                decl.loc,
                {name: node.loc for name, (_, node) in decl.attrs.items()},
                wired.locs + tuple(loc for _, loc in extra),
                only,
                init=layer_init(decl, cls, env, self.report),
                freeze=layer_freeze(decl, cls, env, self.report)
                or (only == "checkpoint" and bool(cls.weights)),
            )
        )
        return Ref(path)

    def _attributes(
        self, decl: LayerDecl, cls: type[Op], frame: Frame, env: Mapping[str, Any]
    ) -> tuple[dict[str, Any] | None, list[tuple[Ref, Loc]]]:
        ok = self.signatures.complete(decl)
        values: dict[str, Any] = {}
        extra: list[tuple[Ref, Loc]] = []
        for name, a in cls.attrs.items():
            if name not in decl.attrs:
                continue
            node = decl.attrs[name][1]
            try:
                if a.kind == "Operand":
                    values[name] = text(node, env)
                    ref = self.resolver.value(values[name], node.loc, frame, decl.name)
                    extra.append((ref, node.loc))
                else:
                    values[name] = attribute(a, node, env)
            except ValueFault as fault:
                fault.tell(self.report, f"`{name}`")
                ok = False
        return (values if ok else None), extra

    def _arity(self, decl: LayerDecl, cls: type[Op], wired: Wired) -> bool:
        got = len(wired.refs)
        if cls.operands and cls.operands[-1].startswith("*"):
            least = max(len(cls.operands), 2)
            if got >= least:
                return True
            self._count(decl, wired, f"{decl.target} reads two or more values")
            return False
        if got == len(cls.operands):
            return True
        wants = ", ".join(cls.operands) or "nothing"
        self._count(decl, wired, f"{decl.target} reads [{wants}]")
        return False

    def add(self, node: Node) -> None:
        if len(self.nodes) >= self.max_layers:
            self._too_large(node.loc)
        self.nodes[node.name] = node

    def check_unused_blocks(self) -> None:
        """A block nothing instantiates may not hide mistakes."""
        for name, block in self.blocks.items():
            for decl in block.layers if name not in self.used else ():
                self.signatures.unexpanded(decl)

    def _too_large(self, loc: Loc) -> NoReturn:
        message = f"the network would have more than {self.max_layers:,} layers"
        self.report.error("SEG313", message, loc, hint="lower `repeat`")
        raise TooLarge
