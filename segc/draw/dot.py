"""Graph -> DOT: every layer a node, blocks as clusters, tensor shapes on the edges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from segc.draw.facts import Facts, data_inputs
from segc.draw.metrics import literal
from segc.draw.theme import THEMES, Theme, paint_name
from segc.draw.tree import Tree
from segc.draw.view import subtitle, title
from segc.ir import Node, Ref

LIMIT = 500  # characters of one label
_FORMS = {"down": "invtrapezium", "up": "trapezium", "merge": "ellipse", "input": "box"}
_KINDS = {
    "flow": ("edge", "solid"),
    "index": ("index", "dashed"),
    "train": ("train", "dotted"),
}


def write_dot(facts: Facts, level: str = "block", theme: str = "light") -> str:
    """The graph as DOT; level `layer` draws equal members of a repeat each."""
    return "\n".join(_Writer(facts, level, THEMES[theme]).lines()) + "\n"


def quote(*lines: str) -> str:
    """The one quoting function of the DOT writer: text, a line each, shown as it is written.

    Backslashes and quotes are escaped, `&` too (dot decodes entities), control characters and
    letters of unknown width shown by their number, long text cut.
    """
    shown = (literal(line, LIMIT) for line in lines)
    escapes = {"\\": "\\\\", '"': '\\"', "&": "&amp;"}
    return '"' + "\\n".join("".join(escapes.get(c, c) for c in s) for s in shown) + '"'


class _Writer:
    def __init__(self, facts: Facts, level: str, theme: Theme) -> None:
        self.facts, self.theme = facts, theme
        self.graph = facts.checked.graph
        self.tree = Tree(facts)
        if level != "layer":
            self.tree.leaves("layer")  # finds equal members of repeats
        self.shown = {
            n.name: n
            for n in self.graph.nodes
            if n.name in self.tree.inside and n.name not in self.tree.hidden
        }
        self.clusters = 0

    def lines(self) -> Iterator[str]:
        theme = self.theme
        label = quote(title(self.facts), subtitle(self.facts))
        yield f"digraph {quote(self.graph.name)} {{"
        yield f'  graph [bgcolor="{theme.page}", fontcolor="{theme.ink}", fontname="Helvetica",'
        yield f"         labelloc=t, label={label}, nodesep=0.3, ranksep=0.4,"
        yield f'         color="{theme.frame}", style="rounded"]'
        yield f'  node [fontname="Helvetica", fontsize=11, fontcolor="{theme.ink}", shape=box,'
        yield '        style="rounded,filled", margin="0.12,0.06"]'
        yield f'  edge [fontname="Helvetica", fontsize=9, fontcolor="{theme.shape}",'
        yield f'        color="{theme.edge}", arrowsize=0.7]'
        for name in self.graph.inputs:
            yield self._node(name, "input", (name, self.facts.shape_text(Ref(name))), False, "  ")
        yield from self._members("", "  ")
        for name, ref in self.graph.outputs.items():
            shape = self.facts.shape_text(self.facts.source(ref))
            yield self._node(f"output {name}", "predict", (name, shape), False, "  ")
        yield from self._edges()
        yield "}"

    # --- nodes -----------------------------------------------------------------------------
    def _members(self, path: str, indent: str) -> Iterator[str]:
        for member in self.tree.members(path):
            if self.tree.inside[member][0].name in self.tree.hidden:
                continue
            if member in self.graph.scopes:
                yield from self._cluster(member, indent)
            elif member in self.shown:
                yield self._layer(self.shown[member], indent)

    def _cluster(self, path: str, indent: str) -> Iterator[str]:
        self.clusters += 1
        local = path.rpartition(".")[2]
        copies = self.tree.copies.get(path, 1)
        label = f"{local} × {copies}" if copies > 1 else local
        block = self.graph.scopes[path].block
        lines = (f"{label}: {block}",) if block and block != local else (label,)
        plain = re.sub(r"\W", "_", path, flags=re.ASCII)
        yield f"{indent}subgraph cluster_{self.clusters}_{plain} {{"
        yield f"{indent}  label={quote(*lines)}"
        yield from self._members(path, indent + "  ")
        yield f"{indent}}}"

    def _layer(self, node: Node, indent: str) -> str:
        style = node.op.style
        train = node.only == "train"
        lines = [node.name.rpartition(".")[2], style.label]
        if node.shared:
            lines.append(f"weights of {node.shared}")
        if train:
            lines.append("training only")
        return self._node(node.name, style.family, lines, train, indent)

    def _node(self, name: str, family: str, lines: Iterable[str], dashed: bool, indent: str) -> str:
        paint = self.theme.paints[paint_name(family)]
        form = f", shape={_FORMS[family]}" if family in _FORMS else ""
        dash = ', style="rounded,filled,dashed"' if dashed else ""
        colors = f'fillcolor="{paint.fill}", color="{paint.stroke}"'
        return f"{indent}{quote(name)} [label={quote(*lines)}, {colors}{form}{dash}]"

    # --- edges -----------------------------------------------------------------------------
    def _edges(self) -> Iterator[str]:
        for node in self.shown.values():
            for ref in map(self.tree.resolve, data_inputs(node)):
                kind = "index" if self.facts.is_index(ref) else "flow"
                if node.only == "train":
                    kind = "train"
                yield self._edge(ref, node.name, kind)
        for name, given in self.graph.outputs.items():
            yield self._edge(self.tree.resolve(given), f"output {name}", "flow")

    def _edge(self, ref: Ref, target: str, kind: str) -> str:
        color, style = _KINDS[kind]
        shape = self.facts.shape_text(ref)
        label = f"indices {shape}" if kind == "index" else shape
        manner = "" if kind == "flow" else f', color="{self.theme.color(color)}", style={style}'
        return f"  {quote(ref.node)} -> {quote(target)} [label={quote(label)}{manner}]"
