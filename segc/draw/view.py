"""Graph -> view: blocks cut into boxes, pills and circles, equal neighbours merged, links named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, reduce
from operator import or_

from segc.draw.facts import Facts, data_inputs
from segc.draw.fans import find_fans
from segc.draw.merge import merged
from segc.draw.metrics import literal
from segc.draw.model import Item, Link, View
from segc.draw.tree import Leaf, Tree
from segc.draw.words import SYMBOLS, grouped, joined_name, resize_text, unit_text
from segc.ir import Ref

NAME_CHARS, TEXT_CHARS = 80, 200  # more of a name or a line is never of use


def make_view(
    facts: Facts, level: str = "block", expand: Iterable[str] = (), fold: Iterable[str] = ()
) -> View:
    """The view at level `block` or `layer`; `expand` and `fold` are patterns of block paths."""
    tree = Tree(facts)
    leaves = merged(tree, tree.leaves(level, expand, fold), level)
    builder = _Builder(facts, tree, leaves, inline=level != "layer")
    builder.build()
    items, links, fans = find_fans(builder.items, builder.links)
    return View(title(facts), subtitle(facts), tuple(items), tuple(links), tuple(fans),
                tree.copies)  # fmt: skip


def title(facts: Facts) -> str:
    graph = facts.checked.graph
    return literal(graph.title or graph.name, TEXT_CHARS)


def subtitle(facts: Facts) -> str:
    """Input size and parameters, in the words of `segc summary`."""
    graph = facts.checked.graph
    shapes = {name: facts.shape_text(Ref(name)) for name in graph.inputs}
    if len(shapes) == 1:
        inputs = f"input {next(iter(shapes.values()))}"
    else:
        inputs = "inputs " + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return f"{inputs} · {facts.total:,} parameters"


class _Builder:
    """Turns leaves into items and their values into links."""

    def __init__(
        self, facts: Facts, tree: Tree, leaves: Sequence[Leaf], inline: bool = True
    ) -> None:
        self.facts, self.tree = facts, tree
        self.graph = facts.checked.graph
        self.owner = {node.name: leaf for leaf in leaves for node in leaf.nodes}
        self.inline = set(self._on_lines(leaves)) if inline else set()
        self.leaves = [leaf for leaf in leaves if leaf.path not in self.inline]
        self.items: list[Item] = []
        self.links: list[Link] = []
        self.outputs = {tree.resolve(r): name for name, r in self.graph.outputs.items()}
        self.channels = {facts.shapes[r][1] for r in self.outputs if len(facts.shapes[r]) > 1}

    @cached_property
    def _boxes_in(self) -> dict[str, int]:
        """Boxes in each opened block, those of its own blocks included."""
        table: dict[str, int] = {}
        for leaf in self.leaves:
            path = leaf.parent
            while path:
                table[path] = table.get(path, 0) + (self._form(leaf)[0] == "box")
                path = path.rpartition(".")[0]
        return table

    def build(self) -> None:
        for name in self.graph.inputs:
            ref = Ref(name)
            self.items.append(
                Item(name, "box", "input", literal(name, NAME_CHARS), "",
                     self.facts.shape_text(ref), Fraction(1), self.facts.size(ref), tip=name)
            )  # fmt: skip
        for leaf in self.leaves:
            self.items.append(self._item(leaf))
        for leaf in self.leaves:
            self._links_into(leaf)
        self._end_in_boxes()
        self._mark_predictions()
        self._mark_skips()

    def _on_lines(self, leaves: Sequence[Leaf]) -> Iterator[str]:
        """Crops and the like that only lead into a join: drawn as the name of the line."""
        readers: dict[str, list[Leaf]] = {}
        for leaf in leaves:
            for ref in (self.tree.resolve(r) for n in leaf.nodes for r in data_inputs(n)):
                readers.setdefault(ref.node, []).append(leaf)
        ends = {self.tree.resolve(r).node for r in self.graph.outputs.values()}
        for leaf in leaves:
            first, last = leaf.nodes[0], leaf.last.name
            sole = readers.get(last, [])
            joins = len(sole) == 1 and sole[0].nodes[0].op.style.family == "merge"
            plain = leaf.block is None and len(leaf.nodes) == 1 and len(data_inputs(first)) == 1
            if plain and joins and first.op.style.family == "shape" and last not in ends:
                yield leaf.path

    # --- items -----------------------------------------------------------------------------
    def _item(self, leaf: Leaf) -> Item:
        node = leaf.last
        ref = Ref(node.name)
        kind, family = self._form(leaf)
        name = self._name(leaf)
        first = leaf.nodes[0]
        before, after = self._stride_before(leaf), self.facts.strides[node.name]
        arrow = ""
        if kind == "pill":
            name = resize_text(first, before, after)
            arrow = "down" if after > before else "up"
        return Item(
            leaf.path, kind, family, literal(name, NAME_CHARS),
            literal(self._detail(leaf), TEXT_CHARS), self.facts.shape_text(ref), after,
            self.facts.size(ref), self._count(leaf), SYMBOLS.get(first.op.style.label, ""), arrow,
            all(n.only == "train" for n in leaf.nodes), leaf.parent, self._tip(leaf),
            tuple(n.name for n in leaf.nodes),
        )  # fmt: skip

    def _name(self, leaf: Leaf) -> str:
        """The local name; the only box of an opened block stands for the block."""
        block = leaf.parent.rpartition(".")[2]
        if leaf.parent and self._boxes_in[leaf.parent] == 1 and self._form(leaf)[0] == "box":
            return block
        name = joined_name(leaf.names)
        return f"{block}.{name}" if name.isdigit() and block else name

    def _form(self, leaf: Leaf) -> tuple[str, str]:
        """Kind and family of a leaf."""
        first = leaf.nodes[0]
        family = first.op.style.family
        if leaf.block is None and len(leaf.units) <= 1:
            if family == "merge" and first.op.style.label in SYMBOLS:
                return "circle", "merge"
            changes = self._stride_before(leaf) != self.facts.strides[leaf.last.name]
            if family in ("down", "up") and changes:
                return "pill", family
        families = [n.op.style.family for n in leaf.nodes]
        for strong in ("context", "region", "dilated", "conv", "up", "down", "predict"):
            joins = strong == "context" and "merge" in families
            if strong in families and not joins:
                return "box", strong
        return "box", families[0]

    def _count(self, leaf: Leaf) -> int:
        if leaf.block is not None and leaf.block.kind == "repeat":
            return len(self.tree.members(leaf.path))
        return leaf.count

    def _stride_before(self, leaf: Leaf) -> Fraction:
        for ref in map(self.tree.resolve, data_inputs(leaf.nodes[0])):
            if not self.facts.is_index(ref):
                return self.facts.strides.get(ref.node, Fraction(1))
        return self.facts.strides[leaf.last.name]

    def _detail(self, leaf: Leaf) -> str:
        shared = {n.shared for n in leaf.nodes if n.shared}
        if shared:
            return f"shared weights, {min(shared).rpartition('.')[0] or min(shared)}"
        if all(n.only == "train" for n in leaf.nodes):
            return "training only"
        if leaf.units:
            return grouped([unit_text(unit) for unit in leaf.units])
        return ", ".join([self._block_name(leaf), *self._manner(leaf)])

    def _block_name(self, leaf: Leaf) -> str:
        block = leaf.block
        if block is not None and block.kind == "repeat":
            block = self.graph.scopes.get(self.tree.members(leaf.path)[0])
        if block is not None and block.block:
            return block.block
        return f"{len(leaf.nodes)} layers"

    def _manner(self, leaf: Leaf) -> list[str]:
        """`/2` and `rate 2` of a block."""
        before, after = self._stride_before(leaf), self.facts.strides[leaf.last.name]
        notes = []
        if after > before:
            notes.append(f"/{after / before}")
        elif after < before:
            notes.append(f"×{before / after}")
        rates = {
            part.removeprefix("rate ")
            for n in leaf.nodes
            if n.op.style.family == "dilated"
            for part in n.op.style.label.split(", ")
            if part.startswith("rate ")
        }
        if rates:
            words = ", ".join(sorted(rates, key=lambda r: (len(r), r)))
            notes.append(f"rate{'s' if len(rates) > 1 else ''} {words}")
        return notes

    def _tip(self, leaf: Leaf) -> str:
        """What a viewer shows on hover: path, layers, parameters."""
        params = sum(self.facts.params.get(n.name, 0) for n in leaf.nodes)
        ops = ", ".join(n.op.style.label for n in leaf.nodes[:6])
        more = f", and {len(leaf.nodes) - 6} more" if len(leaf.nodes) > 6 else ""
        return literal(f"{leaf.path}: {ops}{more} · {params:,} parameters", 500)

    # --- links -----------------------------------------------------------------------------
    def _links_into(self, leaf: Leaf) -> None:
        done: set[tuple[str, str]] = set()
        for node in leaf.nodes:
            for given in data_inputs(node):
                ref = self.tree.resolve(given)
                source = self.owner.get(ref.node)
                if source is leaf:
                    continue
                label, shape = "", self.facts.shape_text(ref)
                if source is not None and source.path in self.inline:
                    label = f"{source.last.op.style.label.replace('center ', '')} {shape}"
                    ref = self.tree.resolve(data_inputs(source.last)[0])
                    source = self.owner.get(ref.node)
                src = source.path if source is not None else ref.node
                kind = "index" if self.facts.is_index(ref) else "flow"
                if (src, kind) in done:
                    continue
                done.add((src, kind))
                if kind == "index":
                    label = f"indices {shape}"
                if kind == "flow" and node.only == "train":
                    kind = "train"
                self.links.append(Link(src, leaf.path, kind, label, shape))

    def _end_in_boxes(self) -> None:
        """Outputs that a pill or a circle makes, or that are read on, get a box of their own."""
        by_id = {item.id: item for item in self.items}
        read = {link.src for link in self.links}
        for ref, name in self.outputs.items():
            leaf = self.owner.get(ref.node)
            if leaf is None or (by_id[leaf.path].kind == "box" and leaf.path not in read):
                continue
            label = literal(name, NAME_CHARS)
            item = by_id[leaf.path]
            end = f"output {name}"
            self.items.append(
                Item(end, "box", "predict", label, "", self.facts.shape_text(ref), item.stride,
                     self.facts.size(ref), only=item.only, tip=label)
            )  # fmt: skip
            self.links.append(Link(leaf.path, end, "flow", "", item.shape))

    def _mark_predictions(self) -> None:
        """Convolutions to the outputs' channels with nothing but resizing and sums behind them."""
        after: dict[str, list[str]] = {item.id: [] for item in self.items}
        for link in self.links:
            after[link.src].append(link.dst)
        plain: set[str] = set()
        by_path = {leaf.path: leaf for leaf in self.leaves}
        for i in reversed(range(len(self.items))):
            item = self.items[i]
            if any(dst not in plain for dst in after[item.id]):
                continue
            ends = not after[item.id] or all(dst in plain for dst in after[item.id])
            leaf = by_path.get(item.id)
            if item.kind != "box" or item.id.startswith("output "):
                plain.add(item.id)
            elif ends and leaf is not None and len(leaf.units) == 1 and self._scores(leaf):
                self.items[i] = _replaced(item, family="predict")

    def _scores(self, leaf: Leaf) -> bool:
        shape = self.facts.shapes[Ref(leaf.last.name)]
        return len(shape) > 1 and shape[1] in self.channels

    def _mark_skips(self) -> None:
        """Of several ways out of an item the longest is the trunk; shorter ones are skips."""
        depth = {item.id: 0 for item in self.items}
        reach: dict[str, int] = {}  # a bit for every item it leads to, and its own
        by_id = {item.id: item for item in self.items}
        after: dict[str, list[Link]] = {item.id: [] for item in self.items}
        for link in self.links:
            if link.kind != "index":
                after[link.src].append(link)
        for i, item in reversed(list(enumerate(self.items))):
            depth[item.id] = max((depth[k.dst] + 1 for k in after[item.id]), default=0)
            reach[item.id] = reduce(or_, (reach[k.dst] for k in after[item.id]), 1 << i)
        for i, link in enumerate(self.links):
            trunk = max(after[link.src], key=lambda k: depth[k.dst], default=link)
            shorter = depth[link.dst] < depth[trunk.dst]
            if link.kind == "flow" and shorter and reach[link.dst] & reach[trunk.dst]:
                own = self._skip_label(by_id[link.src], by_id[link.dst], link)
                label = link.label or own
                self.links[i] = Link(link.src, link.dst, "skip", label, link.shape)

    def _skip_label(self, src: Item, dst: Item, link: Link) -> str:
        if dst.kind != "circle":
            return src.members[0].rpartition(".")[2] if src.kind == "pill" else ""
        return f"copy {link.shape}" if dst.symbol == "C" else link.shape


def _replaced(item: Item, **changes: object) -> Item:
    from dataclasses import replace

    return replace(item, **changes)  # type: ignore[arg-type]
