"""What eval.py measures besides the IoU, against brute force over sets of pixels."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import CROSS_ENTROPY, RECIPE, checked, emit, load  # noqa: E402

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    recipe = {**RECIPE, "inference": {"samples": 4}}
    return load(emit(tmp_path_factory.mktemp("measures") / "net", checked(recipe=recipe)))


def maps(seed: int, height: int, width: int, low: int = 0, high: int = 3) -> tuple[Any, Any]:
    """Blobs as labels [H, W], and true ones that resemble them, with ignored pixels."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randint(low, high, (1, 1, 5, 6), generator=draw).float()
    labels = torch.nn.functional.interpolate(coarse, (height, width))[0, 0].long()
    mask = labels.roll(seed % 3, 0).roll(1, 1)
    mask[torch.rand(height, width, generator=draw) < 0.03] = 1
    mask[torch.rand(height, width, generator=draw) < 0.05] = 255
    return labels, mask.to(torch.uint8)


def edge_by_hand(member: list[list[bool]]) -> set[tuple[int, int]]:
    """seg2bmap: a pixel unlike the next one to the right, below or across; nothing lies beyond."""
    height, width = len(member), len(member[0])
    found = set()
    for y in range(height):
        for x in range(width):
            for ny, nx in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                if ny < height and nx < width and member[ny][nx] != member[y][x]:
                    found.add((y, x))
    return found


def f_by_hand(said: Any, true: Any, reach: int) -> float:
    """Each boundary pixel looks for one of the other boundary within the disc."""

    def share(ours: Any, theirs: Any) -> float:
        near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in theirs) for y, x in ours]
        return sum(near) / len(near)

    if not said or not true:
        return float(not said and not true)
    precision, recall = share(said, true), share(true, said)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean_by_hand(pairs: list[tuple[Any, Any]], threshold: float, label: int) -> float:
    found = []
    for labels, mask in pairs:
        reach = math.ceil(threshold * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))
        keep = mask != 255
        edges = [edge_by_hand(((m == label) & keep).tolist()) for m in (labels, mask)]
        found.append(f_by_hand(*edges, reach))
    return sum(found) / len(found)


def test_boundary_f_against_brute_force(kit: SimpleNamespace, monkeypatch: Any) -> None:
    """At reaches of 1 to 7 pixels, over images of several sizes, one without two classes."""
    thresholds = (0.005, 0.02, 0.05, 0.1)
    monkeypatch.setattr(kit.measures, "THRESHOLDS", thresholds)
    pairs = [maps(0, 24, 31), maps(1, 40, 57), maps(2, 9, 5), maps(3, 20, 20, 0, 1)]
    measure = kit.measures.Boundary()
    for labels, mask in pairs:
        measure.add(labels, mask, torch.zeros(mask.shape))
    result = measure.result(NAMES)["boundary_f"]
    for threshold in thresholds:
        values = [mean_by_hand(pairs, threshold, label) for label in range(3)]
        found = result[str(threshold)]
        assert list(found["classes"].values()) == pytest.approx(values, rel=1e-12)
        assert found["mean"] == pytest.approx(sum(values) / 3, rel=1e-12)
    means = [result[str(t)]["mean"] for t in thresholds]
    assert means == sorted(means) and 0 < means[0] < means[-1] < 1


def test_the_four_thresholds_on_cityscapes(kit: SimpleNamespace) -> None:
    """Two, five, nine and twelve pixels of 1024 x 2048: a line so far away just counts."""
    radii = [math.ceil(t * math.hypot(1024, 2048)) for t in kit.measures.THRESHOLDS]
    assert radii == [2, 5, 9, 12]
    for distance in range(14):
        said, true = torch.zeros(40, 40, dtype=torch.bool), torch.zeros(40, 40, dtype=torch.bool)
        said[:, 10] = True
        true[:, 10 + distance] = True
        found = kit.measures.boundary_f(said, true, radii).tolist()
        assert found == [float(distance <= radius) for radius in radii]


def test_squared_distances_up_to_the_reach(kit: SimpleNamespace) -> None:
    for seed, (height, width), reach in ((0, (13, 17), 5), (1, (4, 30), 9), (2, (1, 1), 3)):
        draw = torch.Generator().manual_seed(seed)
        edge = torch.rand(height, width, generator=draw) < 0.04
        edge[0, 0] = True
        found = kit.measures.squared_distance(edge, reach)
        points = edge.nonzero()
        for y in range(height):
            for x in range(width):
                exact = int(((points - torch.tensor([y, x])) ** 2).sum(1).min())
                assert int(found[y, x]) == exact or min(exact, int(found[y, x])) > reach**2


def test_ignored_classes_and_empty_images(tmp_path: Path) -> None:
    """A class whose number is the ignore index has no score, whatever the labels say."""
    losses = {"seg": {**CROSS_ENTROPY, "ignore_index": 0}}
    kit = load(emit(tmp_path / "net", checked(losses=losses)))
    measure = kit.measures.Boundary()
    labels, mask = maps(4, 20, 24)
    measure.add(labels, mask.where(mask != 255, 0))
    found = measure.result(NAMES)["boundary_f"]["0.005"]
    assert found["classes"]["a"] is None
    assert found["mean"] == pytest.approx((found["classes"]["b"] + found["classes"]["c"]) / 2)


# --- crop factors ---------------------------------------------------------------------------


def test_windows_on_cityscapes(kit: SimpleNamespace) -> None:
    """Factor 0 is everything; the others share the centre of what is left of 100 pixels a side."""
    height, width = 1024, 2048
    rows, columns = kit.measures.window(0, height, width)
    assert len(range(height)[rows]) == height and len(range(width)[columns]) == width
    for factor in (1, 100, 200, 300, 400):
        rows, columns = (
            range(side)[part]
            for side, part in zip(
                (height, width), kit.measures.window(factor, height, width), strict=True
            )
        )
        assert len(rows) == height - 100 - 2 * factor
        assert len(columns) == width - 200 - 4 * factor
        assert (rows[0] + rows[-1] + 1) / 2 == (height - 100) / 2
        assert (columns[0] + columns[-1] + 1) / 2 == width / 2
    rows, columns = kit.measures.window(kit.measures.LARGEST_FACTOR, height, width)
    assert len(range(width)[columns]) == 4
    assert len(range(width)[kit.measures.window(462, height, width)[1]]) == 0


def test_crop_factors_against_the_cut_out_pixels(kit: SimpleNamespace) -> None:
    factors = [0, 150, 300]
    measure = kit.measures.CropFactors(factors)
    pairs = [maps(5, 128, 256), maps(6, 64, 128)]
    for labels, mask in pairs:
        measure.add(labels, mask, torch.zeros(mask.shape))
    found = measure.result(NAMES)["crop_factors"]
    for factor in factors:
        inside: list[tuple[int, int]] = []
        for labels, mask in pairs:
            y, x = mask.shape[0] / 1024, mask.shape[1] / 2048
            cut = (factor * y, (100 + factor) * y, (100 + 2 * factor) * x)
            top, bottom, side = (round(value) if factor else 0 for value in cut)
            for v in range(top, mask.shape[0] - bottom):
                for u in range(side, mask.shape[1] - side):
                    if mask[v, u] != 255:
                        inside.append((int(labels[v, u]), int(mask[v, u])))
        ious = []
        for label in range(3):
            both = sum(s == label and t == label for s, t in inside)
            either = sum(s == label or t == label for s, t in inside)
            ious.append(both / either)
        assert found[str(factor)] == pytest.approx(sum(ious) / 3, rel=1e-12)


# --- uncertainty, frequency-weighted IoU, order of classes ----------------------------------


def test_uncertainty_of_right_and_wrong_pixels(kit: SimpleNamespace) -> None:
    measure = kit.measures.Uncertainty()
    values: dict[bool, list[float]] = {True: [], False: []}
    for seed in (7, 8):
        labels, mask = maps(seed, 12, 15)
        spread = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
        measure.add(labels, mask, spread)
        for s, t, u in zip(labels.flatten(), mask.flatten(), spread.flatten(), strict=True):
            if t != 255:
                values[bool(s == t)].append(float(u))
    found = measure.result(NAMES)["uncertainty"]
    assert found["right"] == pytest.approx(sum(values[True]) / len(values[True]), rel=1e-9)
    assert found["wrong"] == pytest.approx(sum(values[False]) / len(values[False]), rel=1e-9)
    empty = kit.measures.Uncertainty()
    result = empty.result(NAMES)
    assert result == {"uncertainty": {"right": None, "wrong": None}}
    assert len(empty.lines(result)) == 2


def test_frequency_weighted_iou(kit: SimpleNamespace) -> None:
    """Each class counts by its share of the labelled pixels; one that is only predicted, not."""
    labels, mask = maps(9, 30, 30)
    mask[mask == 2] = 1
    result = kit.scoring.scores(kit.scoring.confusion(labels, mask), NAMES)
    pixels = [
        (int(s), int(t)) for s, t in zip(labels.flatten(), mask.flatten(), strict=True) if t != 255
    ]
    expected = 0.0
    for label in range(3):
        both = sum(s == label and t == label for s, t in pixels)
        either = sum(s == label or t == label for s, t in pixels)
        expected += sum(t == label for _, t in pixels) / len(pixels) * both / either
    assert result["iou"]["c"] == 0.0
    assert result["fw_iou"] == pytest.approx(expected, rel=1e-12)
    nothing = kit.scoring.scores(torch.zeros(3, 3, dtype=torch.int64), NAMES)
    assert nothing["fw_iou"] is None


CITYSCAPES = (
    "road sidewalk building wall fence pole,traffic light,traffic sign,vegetation terrain sky "
    "person rider car truck bus train motorcycle bicycle"
)


def test_the_table_is_in_cityscapes_order(tmp_path: Path) -> None:
    """As the benchmark lists its classes, which is that of the training ids."""
    kit = load(emit(tmp_path / "net", checked(outputs={"logits": 19}), classes=19))
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / "data" / kind / "val" / "x").mkdir(parents=True)
    from PIL import Image

    picture = tmp_path / "data" / "leftImg8bit" / "val" / "x" / "x_000000_000000_leftImg8bit.png"
    Image.new("RGB", (8, 8)).save(picture)
    label = tmp_path / "data" / "gtFine" / "val" / "x" / "x_000000_000000_gtFine_labelIds.png"
    Image.new("L", (8, 8), 7).save(label)
    split = kit.data.open_split("cityscapes", str(tmp_path / "data"), "val", (8, 8))
    names = [
        name
        for part in CITYSCAPES.split(",")
        for name in (part.split() if "traffic" not in part else [part])
    ]
    assert split.names == names
    lines = kit.scoring.table(kit.scoring.scores(torch.eye(19), split.names)).splitlines()
    assert [line[: line.index("100.00")].strip() for line in lines[1:20]] == names
