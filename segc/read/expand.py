"""Declarations -> flat graph: blocks instantiated, repeats unrolled, names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn

from segc.diag import Note, Report
from segc.ir import Node, Ref, Scope
from segc.loc import Loc
from segc.op import REGISTRY, Op, Problem
from segc.read.arguments import block_values, layer_freeze, layer_init
from segc.read.copies import absent, repeated
from segc.read.pyramid import Wired, is_mapped, mapped, mode_of, named_levels, refuse
from segc.read.resolve import BROKEN, Frame, Levels, Resolver, Value
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
        self.labels: dict[Ref, str] = {}  # what levels of pyramids are called
        self.applied: dict[str, list[str]] = {}  # further applications of shared layers, by path

    # --- lists of layers --------------------------------------------------------------------
    def expand_list(self, frame: Frame) -> Value:
        """Expand every layer of the list; the value of the last one."""
        for decl in frame.declared:
            if isinstance(frame.names.get(decl.name), Value) and not frame.path:
                message = f"layer `{decl.name}` hides the input of that name"
                self.report.error("SEG310", message, decl.loc, hint="rename the layer")
            frame.last = self.layer(decl, frame)
            path = frame.join(decl.name)
            if isinstance(frame.last, Levels):
                self.resolver.pyramids[path] = frame.last
            known = path in self.nodes or path in self.scopes or path in self.resolver.pyramids
            known &= frame.last != BROKEN or not is_mapped(decl)  # levels may be missing
            frame.names[decl.name] = path if known else BROKEN
        return frame.last or BROKEN

    def children(self, frame: Frame) -> tuple[str, ...]:
        """Local names of the members of a list, applications to further levels included."""
        found: list[str] = []
        for decl in frame.declared:
            found += [decl.name, *self.applied.get(frame.join(decl.name), ())]
        return tuple(found)

    def layer(self, decl: LayerDecl, frame: Frame) -> Value:
        """Expand one entry of a list; the value its name stands for."""
        if decl.kind == "broken" or not self.signatures.exists(decl):
            return BROKEN
        path = frame.join(decl.name)
        if decl.kind == "levels":
            return named_levels(decl, path, frame, self)
        wired = self._operands(decl, frame)
        only = self._only(decl, frame)
        if not self._when(decl, frame):
            return absent(self, decl, path, wired, only)
        mode = mode_of(decl, self)
        if mode is not None:
            return mapped(mode, decl, path, frame, wired, only, self)
        return self.one(decl, path, frame, frame.env, wired, only)

    def one(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Value:
        """Expand an entry as `path`, as many copies as it says."""
        if "repeat" in decl.keys:
            return repeated(self, decl, path, frame, env, wired, only)
        return self.single(decl, path, frame, env, wired, only)

    def expand_again(self, made: str, path: str, wired: Wired, only: str | None) -> Value:
        """Expand the group at `made` once more, as `path`, reading other values."""
        decl, frame, env = self.made[made]
        if env is None:
            return repeated(self, decl, path, frame, frame.env, wired, only)
        return self.single(decl, path, frame, env, wired, only)

    def single(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Value:
        """Expand one copy of an entry."""
        self.steps += 1
        if self.steps > STEPS * self.max_layers:
            self._too_large(decl.loc)
        if BROKEN in wired.refs and decl.kind != "op":
            return BROKEN
        if decl.kind == "op":
            if wired.levels is not None and not REGISTRY[decl.target].takes_levels():
                return refuse(decl, wired, path, self)
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
        if freeze is not None and self.number(freeze, "bool", env, "freeze", False):
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
        refs: list[Value] = []
        locs = []
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
        if isinstance(node, Scalar) and node.text in ("train", "test", "checkpoint"):
            if {node.text, frame.only} == {"train", "test"}:
                message = f"`{decl.name}` would never exist: the group around it is "
                message += f"`only: {frame.only}`"
                self.report.error("SEG311", message, node.loc, hint="move it out of the group")
                return frame.only
            return node.text
        message = f"`only` is `train`, `test`, `checkpoint` or left out, got {shown(node)}"
        self.report.error("SEG105", message, node.loc)
        return frame.only

    def _when(self, decl: LayerDecl, frame: Frame) -> bool:
        node = decl.keys.get("when")
        return True if node is None else bool(self.number(node, "bool", frame.env, "when", True))

    def number(
        self, node: YNode, kind: str, env: Mapping[str, Any], what: str, default: Any
    ) -> Any:
        try:
            return number(node, kind, env)
        except ValueFault as fault:
            fault.tell(self.report, f"`{what}`")
            return default

    # --- shapes of expansion ----------------------------------------------------------------
    def _group(
        self,
        decl: LayerDecl,
        path: str,
        frame: Frame,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Value:
        if len(wired.values) > 1:
            hint = "layers inside a group may name layers outside it directly"
            message = f"the group `{decl.name}` starts from one value"
            self.report.error("SEG307", message, wired.locs[1], hint=hint)
        last = wired.values[0] if wired.values else None
        inner = Frame(path, env, decl.layers, last=last, parent=frame, only=only)
        first = replace(wired, values=wired.values[:1], locs=wired.locs[:1])
        return self._scope(inner, "group", decl, None, {}, first.named("x"), first.ref_locs)

    def _scope(
        self,
        inner: Frame,
        kind: str,
        decl: LayerDecl,
        block: str | None,
        params: Mapping[str, Any],
        inputs: tuple[tuple[str, Ref], ...],
        input_locs: tuple[Loc, ...],
    ) -> Value:
        self.stack.append(block or "")
        value = self.expand_list(inner)
        self.stack.pop()
        if isinstance(value, Levels):
            self.resolver.pyramids[inner.path] = value
            self.labels |= dict(zip(value.refs, value.names, strict=True))
        output = value if isinstance(value, Ref) else value.refs[0]
        children = self.children(inner)
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
        return value

    def _block(
        self,
        decl: LayerDecl,
        path: str,
        env: Mapping[str, Any],
        wired: Wired,
        only: str | None,
    ) -> Value:
        block = self.blocks[decl.target]
        if decl.target in self.stack:
            way = [name for name in self.stack[self.stack.index(decl.target) :] if name]
            message = f"block `{decl.target}` contains itself: {' -> '.join([*way, decl.target])}"
            self.report.error("SEG302", message, decl.target_loc)
            raise TooLarge
        if len(wired.values) != len(block.inputs):
            wants = ", ".join(block.inputs)
            self._count(decl, wired, f"block `{block.name}` reads [{wants}]", block.loc)
            return BROKEN
        params = None
        if self.signatures.complete(decl):
            params = block_values(decl, block, env, self.report)
        if params is None:
            return BROKEN
        self.used.add(block.name)
        names: dict[str, str | Value] = dict(zip(block.inputs, wired.values, strict=True))
        inner = Frame(path, params, block.layers, names, wired.values[0], None, only)
        inputs = wired.named(block.inputs)
        return self._scope(inner, "block", decl, block.name, params, inputs, wired.ref_locs)

    def _count(self, decl: LayerDecl, wired: Wired, wants: str, defined: Loc | None = None) -> None:
        got = len(wired.values)
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
                wired.ref_locs + tuple(loc for _, loc in extra),
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
                    ref = self.resolver.single(values[name], node.loc, frame, decl.name)
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
            if got >= max(len(cls.operands), cls.least):
                return True
            wants = ", ".join(cls.operands)
            wants = "two or more values" if len(cls.operands) == 1 else f"[{wants}]"
            self._count(decl, wired, f"{decl.target} reads {wants}")
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
