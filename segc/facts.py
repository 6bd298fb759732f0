"""What the derived shapes say about training: what a sample is, which output, which sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segc.check import Checked
from segc.dim import DimLike, Domain, evaluate, symbols
from segc.ir import Ref
from segc.read.loss_table import LOSSES


@dataclass(frozen=True, slots=True)
class Taken:
    """An input of a network that finds objects."""

    name: str
    training: bool  # and in training only


@dataclass(frozen=True, slots=True)
class Facts:
    """What the derived shapes say about feeding and scoring a network.

    `task` is what it learns: `labels`, a class for each pixel of an image; `patches`, the class of
    the pixel in the middle of a window; `classes`, the class of an image; `stacks`, a number for
    each pixel of a focal stack of `slices` images; `instances`, the objects of an image: it reads
    `takes` (with the image first) and gives `gives`, and `outputs` counts its classes, background
    included. `main` is the output that is predicted from;
    `margin` the pixels by which it is smaller than the image on every side, None if it is a coarser
    grid; `coarse` the outputs on a coarser grid. `domain` holds the sizes that can be trained on.
    """

    channels: int
    height: DimLike
    width: DimLike
    main: str
    outputs: int  # channels of the main output
    margin: int | None
    coarse: frozenset[str]
    domain: Domain
    task: str = "labels"
    slices: int = 0
    takes: tuple[Taken, ...] = ()
    gives: frozenset[str] = frozenset()
    points: int = 0  # keypoints of an object
    inclusive: tuple[bool, bool] = (False, False)  # boxes taken, boxes given: see `_inclusive`

    @property
    def named(self) -> int:
        """How many classes have names."""
        return self.outputs - 1 if self.task == "instances" else max(2, self.outputs)


def facts_of(checked: Checked) -> Facts | None:
    """The facts, or None if this is a network for which no scripts are made."""
    graph = checked.graph
    tasks = {_task(loss) for loss in graph.losses.values()} or {"labels"}
    if tasks == {"instances"}:
        return _instances(checked)
    if len(graph.inputs) != 1 or len(tasks) != 1 or "instances" in tasks:
        return None
    image = checked.shape(Ref(next(iter(graph.inputs))))
    sized = [side for side in image[1:-2] if isinstance(side, int)]
    if len(image) not in (4, 5) or len(sized) != len(image) - 3:
        return None
    return _MAKERS[tasks.pop()](checked, image)


def _task(loss: Mapping[str, Any]) -> str:
    """What a network with this loss learns."""
    if LOSSES[loss["kind"]].dense:
        return "stacks"
    if loss["kind"] == "computed":
        return "instances"
    return {"centre": "patches", "label": "classes"}.get(str(loss.get("target")), "labels")


def _labels(checked: Checked, image: tuple[DimLike, ...]) -> Facts | None:
    """From one image to a map of classes."""
    graph = checked.graph
    maps = {name: checked.shape(ref) for name, ref in graph.outputs.items()}
    maps = {name: s for name, s in maps.items() if len(s) == 4 and isinstance(s[1], int)}
    main = _main_output(graph.losses, graph.output_only, maps) if maps else None
    if len(image) != 4 or main is None:
        return None
    margin = _margin(checked.domain, maps[main], image)
    differ = (n for n, s in maps.items() if _margin(checked.domain, s, image) != margin)
    coarse = frozenset(differ if margin is not None else maps)
    return _facts(checked, image, main, maps[main][1], margin, coarse)


def _vectors(checked: Checked, image: tuple[DimLike, ...], task: str) -> Facts | None:
    """From one image to a score for each class."""
    losses = checked.graph.losses.values()
    shapes = [checked.shape(checked.graph.outputs[loss["output"]]) for loss in losses]
    if len(image) != 4 or not all(len(s) == 2 and isinstance(s[1], int) for s in shapes):
        return None
    first = next(iter(losses))["output"]
    return _facts(checked, image, first, shapes[0][1], 0, frozenset(), task)


def _patches(checked: Checked, image: tuple[DimLike, ...]) -> Facts | None:
    """Windows of one size."""
    fixed = all(isinstance(side, int) for side in image[2:])
    return _vectors(checked, image, "patches") if fixed else None


def _classes(checked: Checked, image: tuple[DimLike, ...]) -> Facts | None:
    return _vectors(checked, image, "classes")


def _stacks(checked: Checked, stack: tuple[DimLike, ...]) -> Facts | None:
    """From [N, S, C, H, W] to one map of numbers as large as the images."""
    losses = list(checked.graph.losses.values())
    if len(stack) != 5 or len({loss["target"] for loss in losses}) != 1:
        return None
    main, domain = str(losses[0]["output"]), checked.domain
    found = checked.shape(checked.graph.outputs[main])
    if len(found) != 4 or found[1] != 1:
        return None
    for small, large in zip(found[2:], stack[3:], strict=True):
        domain = domain.equal(small, large)
    if domain.empty:
        return None
    slices, channels, height, width = stack[1:]
    assert isinstance(slices, int) and isinstance(channels, int)
    return Facts(
        channels, height, width, main, 1, 0, frozenset(), domain, task="stacks", slices=slices
    )


# What the loader makes for a network, by the name of the input.
PROVIDED = ("sizes", "rois", "gt_boxes", "gt_labels", "gt_masks", "gt_keypoints")
FOUND = ("boxes", "labels", "scores", "masks", "keypoints")  # what is scored of its outputs


def _instances(checked: Checked) -> Facts | None:
    """From a padded batch of images to rows of objects, by names that are fixed."""
    graph = checked.graph
    image, *others = graph.inputs
    shape = checked.shape(Ref(image))
    gives = {name for name in graph.outputs if graph.output_only.get(name) != "train"}
    if len(shape) != 4 or not isinstance(shape[1], int) or not set(others) <= set(PROVIDED):
        return None
    if not {"boxes", "labels", "scores"} <= gives or "gt_boxes" not in others:
        return None
    only = {name: getattr(given, "only", None) for name, given in graph.inputs.items()}
    takes = tuple(Taken(name, only[name] == "train" or name[:3] == "gt_") for name in only)
    points = checked.shape(Ref("gt_keypoints"))[1:2] if "gt_keypoints" in others else (0,)
    classes = graph.params.get("classes", 2)
    if not isinstance(classes, int) or classes < 2 or not points or not isinstance(points[0], int):
        return None
    return Facts(
        shape[1],
        shape[2],
        shape[3],
        "boxes",
        classes,
        0,
        frozenset(),
        checked.domain,
        task="instances",
        takes=takes,
        gives=frozenset(gives & set(FOUND)),
        points=points[0],
        inclusive=_inclusive(checked),
    )


def _inclusive(checked: Checked) -> tuple[bool, bool]:
    """Whether the boxes it takes, and those it gives, are of inclusive pixels (`Boxes.legacy`)."""
    refs = Ref("gt_boxes"), checked.graph.outputs["boxes"]
    taken, given = (bool(getattr(checked.types.get(ref), "legacy", False)) for ref in refs)
    return taken, given


_MAKERS = {"labels": _labels, "patches": _patches, "classes": _classes, "stacks": _stacks}


def _facts(
    checked: Checked,
    image: tuple[DimLike, ...],
    main: str,
    outputs: DimLike,
    margin: int | None,
    coarse: frozenset[str],
    task: str = "labels",
) -> Facts:
    channels, height, width = image[1:]
    assert isinstance(channels, int) and isinstance(outputs, int)
    return Facts(channels, height, width, main, outputs, margin, coarse, checked.domain, task)


def _main_output(
    losses: Mapping[str, Any], phases: Mapping[str, str], maps: Mapping[str, Any]
) -> str | None:
    """The first output outside training that has a loss; failing that, the first output.

    A loss that samples the labels down to its output looks at a map on the way to the prediction.
    """
    lasting = [name for name in maps if phases.get(name) != "train"]
    trained = [
        v["output"]
        for v in losses.values()
        if v["output"] in lasting and v.get("resize", "logits") == "logits"
    ]
    return next(iter(trained or lasting), None)


def _margin(domain: Domain, output: tuple[DimLike, ...], image: tuple[DimLike, ...]) -> int | None:
    """Half of what the image is larger than the output, if that is the same at every size."""
    found = set()
    for small, large in zip(output[2:], image[2:], strict=True):
        lost = _value(domain, large) - _value(domain, small)
        if lost < 0 or lost % 2 or domain.relation(small + lost, large) != "always":
            return None
        found.add(lost // 2)
    return found.pop() if len(found) == 1 else None


def _value(domain: Domain, d: DimLike) -> int:
    """The value of a size at one accepted image size."""
    if isinstance(d, int):
        return d
    return int(evaluate(d, {name: accepted(domain, name, 512) for name in sorted(symbols(d))}))


def accepted(domain: Domain, name: str, value: int) -> int:
    below, above = domain.nearest(name, value)
    return above if above is not None else int(below or 1)


def accepted_crop(domain: Domain, facts: Facts, height: int, width: int) -> tuple[int, int]:
    """The smallest accepted image at least this large; the largest there is, failing that."""
    sides = []
    for side, wanted in ((facts.height, height), (facts.width, width)):
        names = [] if isinstance(side, int) else sorted(symbols(side))
        sides.append(accepted(domain, names[0], wanted) if names else _value(domain, side))
    return sides[0], sides[1]
