"""For the tests of networks that find objects: a small one in plain torch, and its scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness_kit import HERE, RECIPE

from segc.check import Checked
from segc.dim import Domain, symbol
from segc.emit.harness import harness_files
from segc.ir import Graph, Input, Ref
from segc.types import Boxes, Tensor, Type

LOSSES = {
    "cls": {"kind": "computed", "output": "loss_cls", "weight": 1.0},
    "box": {"kind": "computed", "output": "loss_box", "weight": 0.5},
}
MASK = {"mask": {"kind": "computed", "output": "loss_mask", "weight": 1.0}}
POINT = {"point": {"kind": "computed", "output": "loss_point", "weight": 1.0}}
OBJECT_RECIPE: dict[str, Any] = {
    **RECIPE,
    "optimizer": {"adam": {"lr": 0.003, "betas": [0.9, 0.999], "weight_decay": 0.0}},
    "schedule": {"constant": {}},
    "crop": None,
    "resize": {"short": 96, "long": 160, "size": None},
    "augment": {"flip": True},
    "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}

FINDER = '''\
"""Each cell of a coarse grid says what lies at its centre, how far its sides are, its mask."""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Finder"]
STRIDE = 8
SIDE = 7


class Finder(nn.Module):
    def __init__(self, channels=3, classes={classes}, masks={masks}, points={points}, rois={rois}):
        super().__init__()
        self.classes, self.masks, self.points, self.rois = classes, masks, points, rois
        self.first = nn.Conv2d(channels, 16, 5, stride=2, padding=2)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.third = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(48, 48, 3, padding=2, dilation=2)
        self.drop = nn.Dropout2d(0.05)
        self.label = nn.Conv2d(48, classes, 1)
        self.sides = nn.Conv2d(48, 4, 1)
        self.mask = nn.Conv2d(48, SIDE * SIDE, 1) if masks else None
        self.point = nn.Conv2d(48, 2 * points, 1) if points else None

    def forward(self, image, sizes, gt_boxes=None, gt_labels=None, gt_masks=None,
                gt_keypoints=None, rois=None):
        assert (rois is not None) == self.rois
        x = F.relu(self.first(image))
        x = F.relu(self.second(x))
        x = F.relu(self.third(x))
        x = self.drop(F.relu(self.wide(x)))
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])[:, :, None, None]
        n, _, h, w = x.shape
        number, y, x = torch.meshgrid(
            *(torch.arange(s, device=image.device) for s in (n, h, w)), indexing="ij"
        )
        number, y, x = (v.reshape(-1) for v in (number, y, x))
        centre = torch.stack([x, y], 1) * STRIDE + STRIDE / 2
        inside = (centre < sizes[number].flip(1)).all(1)
        labels, sides = self.label(rows)[:, :, 0, 0].float(), self.sides(rows)[:, :, 0, 0].float()
        sides = 16 * sides.clamp(max=4).exp()
        boxes = torch.cat([centre - sides[:, :2], centre + sides[:, 2:]], 1)
        if self.training:
            given = gt_boxes, gt_labels, gt_masks, gt_keypoints
            return self.losses(rows, number, centre, inside, labels, boxes, *given)
        chance, label = labels.softmax(1)[:, 1:].max(1)
        keep = ((chance > 0.05) & inside).nonzero()[:, 0]
        keep = keep[chance[keep].argsort(descending=True, stable=True)][: 100 * n]
        keep = keep[self.alone(boxes[keep], 1000 * number[keep] + label[keep])]
        found = {{
            "boxes": torch.cat([number[keep, None], boxes[keep]], 1),
            "labels": label[keep] + 1,
            "scores": chance[keep],
        }}
        if self.masks:
            found["masks"] = self.mask(rows[keep]).view(-1, 1, SIDE, SIDE).sigmoid()
        if self.points:
            found["keypoints"] = self.points_of(rows[keep], boxes[keep])
        return found

    def points_of(self, rows, boxes):
        places = self.point(rows).view(-1, self.points, 2).float().sigmoid()
        places = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
        return torch.cat([places, torch.ones_like(places[:, :, :1])], 2)

    def alone(self, boxes, group):
        kept = []
        for i in range(len(boxes)):
            low = torch.maximum(boxes[i, :2], boxes[kept][:, :2])
            high = torch.minimum(boxes[i, 2:], boxes[kept][:, 2:])
            common = (high - low).clamp(min=0).prod(1)
            area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            overlap = common / (area[i] + area[kept] - common)
            if not ((overlap > 0.5) & (group[kept] == group[i])).any():
                kept.append(i)
        return kept

    def losses(self, rows, number, centre, inside, labels, boxes, gt_boxes, gt_labels, gt_masks,
               gt_keypoints):
        own = gt_boxes[:, 0] == number[:, None]
        within = ((centre[:, None] > gt_boxes[:, 1:3]) & (centre[:, None] < gt_boxes[:, 3:])).all(2)
        area = (gt_boxes[:, 3:] - gt_boxes[:, 1:3]).prod(1).expand(len(number), -1)
        area = F.pad(area.where(own & within, area.new_tensor(1e9)), (0, 1), value=1e8)
        chosen = area.argmin(1)
        some = chosen < len(gt_boxes)
        target = F.pad(gt_labels, (0, 1))[chosen]
        count = some.sum().clamp(min=1)
        found = {{
            "loss_cls": F.cross_entropy(labels[inside], target[inside]),
            "loss_box": F.smooth_l1_loss(
                boxes[some] / 16, gt_boxes[chosen[some], 1:] / 16, reduction="sum"
            ) / count,
        }}
        if self.masks:
            assert gt_masks.dtype == torch.float32
            wanted = []
            for g in chosen[some].tolist():
                x1, y1, x2, y2 = gt_boxes[g, 1:].int().tolist()
                part = gt_masks[g, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
                wanted.append(F.interpolate(part[None, None], (SIDE, SIDE))[0, 0].flatten())
            shown = self.mask(rows[some]).flatten(1).float()
            wanted = torch.stack(wanted) if wanted else shown.detach()
            found["loss_mask"] = F.binary_cross_entropy_with_logits(
                shown, wanted, reduction="sum"
            ) / count / SIDE**2
        if self.points:
            error = (self.points_of(rows[some], boxes[some]) - gt_keypoints[chosen[some]])[..., :2]
            found["loss_point"] = error.abs().sum() / count / self.points / 16
        return found
'''

DEPLOY = """\
from copy import deepcopy


def from_model(model):
    return deepcopy(model).eval()
"""


def found_by(
    *,
    classes: int = 4,
    masks: bool = True,
    points: int = 0,
    rois: bool = False,
    inclusive: bool = False,
    recipe: Mapping[str, Any] | None = None,
    image: tuple[int | str, ...] = ("N", 3, "H", "W"),
) -> Checked:
    """A checked graph with the inputs, outputs and losses of a network that finds objects."""
    n, g, d, r = (symbol(name) for name in "NGDR")
    height, width = (symbol(s) if isinstance(s, str) else s for s in image[2:])
    shapes: dict[str, tuple[Any, ...]] = {
        "image": (n, image[1], height, width),
        "sizes": (n, 2),
        "gt_boxes": (g, 5),
        "gt_labels": (g,),
    }
    results: dict[str, tuple[Any, ...]] = {"boxes": (d, 5), "labels": (d,), "scores": (d,)}
    losses = dict(LOSSES)
    if masks:
        shapes["gt_masks"], results["masks"] = (g, height, width), (d, 1, 7, 7)
        losses |= MASK
    if points:
        shapes["gt_keypoints"], results["keypoints"] = (g, points, 3), (d, points, 3)
        losses |= POINT
    if rois:
        shapes["rois"] = (r, 5)
    inputs = {
        name: Input(name, tuple(map(str, shape)), "float", HERE) for name, shape in shapes.items()
    }
    only: dict[str, str] = dict.fromkeys((v["output"] for v in losses.values()), "train")
    only |= dict.fromkeys(results, "test")
    types: dict[Ref, Type] = {
        Ref(name): Tensor(shape) for name, shape in {**shapes, **results}.items()
    }
    for name in ("gt_boxes", "rois", "boxes"):
        if inclusive and Ref(name) in types:
            types[Ref(name)] = Boxes({**shapes, **results}[name], legacy=True)
    types |= {Ref(name): Tensor(()) for name, phase in only.items() if phase == "train"}
    domain = Domain()
    if not isinstance(height, int):
        domain = domain.multiple(height, 8).multiple(width, 8)
    graph = Graph(
        "Finder",
        inputs,
        (),
        {},
        {name: Ref(name) for name in only},
        params={"classes": classes},
        defaults={"classes": classes},
        losses=losses,
        recipe=OBJECT_RECIPE if recipe is None else recipe,
        output_only=only,
        title="Finder",
    )
    return Checked(graph, types, domain)


def emit_finder(folder: Path, given: Checked) -> Path:
    """Write the scripts and a network that goes with them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in harness_files(given).items():
        (folder / name).write_text(text, encoding="utf-8")
    graph = given.graph
    points = given.shape(Ref("gt_keypoints"))
    text = FINDER.format(
        classes=graph.params["classes"],
        masks="gt_masks" in graph.inputs,
        points=points[1] if points else 0,
        rois="rois" in graph.inputs,
    )
    (folder / "model.py").write_text(text, encoding="utf-8")
    (folder / "deploy.py").write_text(DEPLOY, encoding="utf-8")
    return folder
