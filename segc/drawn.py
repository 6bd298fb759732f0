"""Inputs of networks with rows, drawn for `verify`; and how many rows there then were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segc.check import Checked
from segc.dim import symbol, symbols
from segc.ir import Ref
from segc.types import Unknown

CLASSES = 2  # where the spec has no parameter of that name


def on_data(checked: Checked) -> bool:
    """The network computes on rows: it needs values, shapes alone do not run it."""
    return bool(checked.rows.sets) or any(node.op.rowed for node in checked.graph.nodes)


def drawn(kind: str, size: Sequence[int], checked: Checked, env: Mapping[str, int]) -> Any:
    """Ground truth of a type (boxes, labels, …) with a meaning: boxes lie inside the images."""
    import torch

    generator = torch.Generator().manual_seed(sum(size))
    images, height, width = _image(checked, env)
    count = size[0]
    if kind == "sizes":
        return torch.tensor([[float(height), float(width)]] * count)
    if kind == "labels":
        classes = int(checked.graph.params.get("classes", CLASSES))
        return torch.randint(1, max(classes, 2), (count,), generator=generator)
    if kind == "words":
        most = int(checked.graph.params.get("vocabulary", CLASSES))
        length = torch.randint(0, size[1] + 1, (count, 1), generator=generator)
        words = torch.randint(1, most + 1, tuple(size), generator=generator)
        return torch.where(torch.arange(size[1]) < length, words, 0)
    if kind == "masks":
        return (torch.rand(*size, generator=generator) > 0.5).float()
    extent = torch.tensor([width, height], dtype=torch.float32)
    if kind == "keypoints":
        points = torch.rand(*size[:-1], 2, generator=generator) * extent
        return torch.cat([points, torch.full((*size[:-1], 1), 2.0)], -1)
    corners = torch.rand(count, 2, 2, generator=generator).sort(1).values
    corners[:, 1] = (corners[:, 1] + 0.2).clamp(max=1)
    image = torch.arange(count) * images // max(count, 1)
    return torch.cat([image[:, None].float(), (corners * extent).flatten(1)], 1)


def _image(checked: Checked, env: Mapping[str, int]) -> tuple[int, int, int]:
    """Batch, height and width of the images."""
    for declared in checked.graph.inputs.values():
        if declared.type == "tensor" and len(declared.shape) == 4:
            n, _, h, w = (d if isinstance(d, int) else env[d] for d in declared.shape)
            return n, h, w
    return 1, 64, 64


def settled(checked: Checked, taps: Mapping[str, Any]) -> Checked:
    """The network with as many rows in each set as its values (by layer) turned out to have."""
    counts: dict[str, int] = {}
    for name, value in taps.items():
        found = checked.types.get(Ref(name))
        if found is None or isinstance(found, Unknown) or not hasattr(value, "shape"):
            continue
        for d, size in zip(found.shape, value.shape, strict=False):
            own = [] if isinstance(d, int) else sorted(symbols(d))
            if len(own) == 1 and own[0] in checked.rows.sets and d == symbol(own[0]):
                counts.setdefault(own[0], int(size))
    return replace(checked, rows=checked.rows.settled(counts)) if counts else checked
