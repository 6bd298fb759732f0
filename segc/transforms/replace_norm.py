"""replace_norm: batch normalisation becomes another normalisation, layer by layer.

`group` and `instance` compute mean and variance from one image, so the batch may be small; weight
and bias keep their names and shapes, the running statistics go. `frozen` keeps all four tensors of
a batch norm and never changes them:

    y[c] = weight[c] * (x[c] - running_mean[c]) / sqrt(running_var[c] + eps) + bias[c],

which is the batch norm in evaluation: exact for the same tensors, in training and evaluation alike.
`sync` takes the statistics of training over the images of all processes (one GPU each); in
evaluation and in a single process, on the CPU too, it is the batch norm. Names and tensors stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segc.ir import Graph, Node
from segc.op import Op, Problem, attr
from segc.transforms.base import Transform, changed, members, transform, without_idle_inits
from segc.transforms.types import Derived, derive

BATCH = "batch_norm2d"
NEW = {
    "group": "group_norm",
    "instance": "instance_norm2d",
    "frozen": "frozen_batch_norm2d",
    "sync": "sync_batch_norm2d",
}
KEPT = {  # attributes that mean the same in the new norm
    "frozen": ("eps",),
    "sync": ("eps", "momentum", "affine", "track_running_stats"),
}


@transform("replace_norm")
class ReplaceNorm(Transform):
    """Replace the batch norms of maps by group, instance, frozen or synchronised batch norms.

    `group` (Wu and He 2018) and `instance` do not look at the batch, `frozen` is a batch norm whose
    statistics, weight and bias never change, as detectors and fine-tuned trunks have it. A frozen
    norm has buffers only: it loads a batch norm's checkpoint, and `init` does not concern it.
    `sync` sees the images of all processes in training, where one GPU holds few; checkpoints fit.
    train.py synchronises plain batch norms on several GPUs as well; this writes it into model.py.
    `batch` changes nothing, so that a parameter of the spec can choose.
    """

    norm: str = attr("what takes the place of batch norm", choices=("batch", *NEW))
    layers: str | None = attr("the group whose norms are replaced; default: all", None)
    num_groups: int = attr("groups of channels, for `group`", 32, min=1)

    def apply(self, graph: Graph) -> Graph:
        if self.norm == "batch":
            return graph
        chosen = {n.name for n in members(graph, self.layers) if self._concerns(n)}
        if not chosen:
            where = f"`{self.layers}`" if self.layers else "the network"
            raise Problem("SEG210", f"there is no batch norm in {where}", attr="layers")
        _check_shared(graph, chosen)
        derived = derive(graph)
        initial = self._initial(graph)
        nodes = tuple(
            self._replaced(n, derived, initial) if n.name in chosen else n for n in graph.nodes
        )
        inits = dict(graph.inits)
        if BATCH in inits and self.norm != "frozen" and not initial:
            inits[NEW[self.norm]] = inits[BATCH]
        return without_idle_inits(replace(graph, nodes=nodes, inits=inits), BATCH)

    def _initial(self, graph: Graph) -> Mapping[str, Any]:
        """The spec's initialisers of batch norms, if other norms of the new kind have their own."""
        new = NEW[self.norm]
        there = new in graph.inits or any(node.op.name == new for node in graph.nodes)
        return graph.inits.get(BATCH, {}) if there else {}

    def _concerns(self, node: Node) -> bool:
        if node.op.name == "batch_norm1d":
            message = f"`{node.name}` normalises vectors, only norms of maps can be replaced"
            hint = "name the group without it under `layers`"
            raise Problem("SEG210", message, attr="layers", hint=hint)
        return node.op.name == BATCH

    def _replaced(self, node: Node, derived: Derived, initial: Mapping[str, Any]) -> Node:
        op = self._operator(node)
        if self.norm == "group":
            self._check_groups(node, derived)
        init = {} if self.norm == "frozen" else {**initial, **node.init}
        freeze = node.freeze and self.norm != "frozen"  # it has no gradients to stop
        return replace(node, op=op, init=init, freeze=freeze)

    def _operator(self, node: Node) -> Op:
        names = KEPT.get(self.norm, ("eps", "affine"))
        values: dict[str, Any] = {k: node.op.values[k] for k in names if k in node.op.values}
        if self.norm == "group":
            values["num_groups"] = self.num_groups
        elif self.norm == "instance":
            values["affine"] = getattr(node.op, "affine", True)  # instance norm's default is none
        elif self.norm == "frozen" and not getattr(node.op, "track_running_stats", True):
            message = f"`{node.name}` keeps no statistics that could be frozen"
            raise Problem("SEG210", message, attr="norm")
        return changed(node, NEW[self.norm], **values)

    def _check_groups(self, node: Node, derived: Derived) -> None:
        shape = derived.shape(node.inputs[0]) or ()
        channels = shape[1] if len(shape) > 1 else 0
        if isinstance(channels, int) and channels % self.num_groups:
            message = f"the {channels} channels of `{node.name}` do not divide into "
            message += f"{self.num_groups} groups"
            raise Problem("SEG202", message, attr="num_groups")


def _check_shared(graph: Graph, chosen: set[str]) -> None:
    """Norms that share weights change together or not at all."""
    for node in graph.nodes:
        if node.shared and (node.name in chosen) != (node.shared in chosen):
            message = f"`{node.name}` shares the weights of `{node.shared}`; replace both norms"
            raise Problem("SEG210", message, attr="layers")
