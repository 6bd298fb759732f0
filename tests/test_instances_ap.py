"""Emitted scores and masks of objects against pycocotools and torchvision, on drawn annotations."""

from __future__ import annotations

import contextlib
import io
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")
mask_api = pytest.importorskip("pycocotools.mask")

from harness_kit import load, shared_data  # noqa: E402
from instances_kit import emit_finder, found_by  # noqa: E402

HEIGHT, WIDTH = 120, 150
KINDS = {"box": "bbox", "mask": "segm", "keypoint": "keypoints"}
NUMBERS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("ap")
    return load(emit_finder(folder, found_by(classes=4, points=17)))


# --- drawn annotations and detections -------------------------------------------------------


def polygon(rng: random.Random) -> list[float]:
    """Corners around a point, some of them outside the image, some the same twice."""
    x, y = rng.uniform(-5, WIDTH), rng.uniform(-5, HEIGHT)
    size = rng.choice((1, 8, 20, 50))
    corners = [(x + rng.uniform(0, size), y + rng.uniform(0, size)) for _ in range(7)]
    corners += [corners[-1]] * rng.randint(0, 1)
    rounded = rng.random() < 0.5
    return [float(round(v) if rounded else round(v, 2)) for corner in corners for v in corner]


def annotation(number: int, image: int, rng: random.Random) -> dict[str, Any]:
    shape: Any = [polygon(rng) for _ in range(rng.randint(1, 2))]
    crowd = rng.random() < 0.15
    rows = mask_api.merge(mask_api.frPyObjects(shape, HEIGHT, WIDTH))
    if crowd:  # as COCO stores them, plain run lengths down the columns
        bits = mask_api.decode(rows).T.flatten()
        changes = np.flatnonzero(np.diff(np.concatenate([[0], bits])))
        shape = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *changes, bits.size]).tolist()}
    elif rng.random() < 0.3:
        shape = {"size": [HEIGHT, WIDTH], "counts": rows["counts"].decode()}
    box = [float(v) for v in mask_api.toBbox(rows)]
    points: list[float] = []
    for _ in range(17):
        x, y, seen = (
            box[0] + rng.random() * box[2],
            box[1] + rng.random() * box[3],
            rng.randint(0, 2),
        )
        points += [x, y, seen] if seen else [0, 0, 0]
    if crowd or rng.random() < 0.2:
        points = [0.0] * 51
    return {
        "id": number,
        "image_id": image,
        "category_id": rng.choice((3, 7, 12)),
        "bbox": box,
        "area": float(mask_api.area(rows)) * rng.uniform(0.8, 1.2),
        "iscrowd": int(crowd),
        "segmentation": shape,
        "keypoints": points,
        "num_keypoints": sum(v > 0 for v in points[2::3]),
    }


def drawn(folder: Path, seed: int, images: int = 12) -> Path:
    rng = random.Random(seed)
    about = [
        {"id": 50 - i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH}
        for i in range(images)
    ]
    rows: list[dict[str, Any]] = []
    for image in about:
        for _ in range(rng.choice((0, 1, 5, 9))):
            rows.append(annotation(1 + len(rows), int(str(image["id"])), rng))
    categories = [{"id": i, "name": f"class {i}"} for i in (3, 7, 12)]
    content = {"images": about, "annotations": rows, "categories": categories}
    (folder / "person_keypoints_val.json").write_text(json.dumps(content))
    return folder


def detections(split: Any, index: int, rng: random.Random, found: SimpleNamespace) -> Any:
    """Near the objects and elsewhere, with equal scores among them; more than count in an image."""
    truth = split.objects(index)
    rows = []
    places = [*range(len(truth.labels))] * rng.choice((0, 1, 2, 30))
    for number in places:
        box, points = truth.boxes[number], truth.keypoints[number].clone()
        spread = 0.2 * float((box[2:] - box[:2]).min())
        mask = torch.roll(truth.masks[number], (rng.randint(-4, 4), rng.randint(-4, 4)), (0, 1))
        points[:, :2] += torch.tensor([[rng.gauss(0, spread / 4) for _ in "xy"] for _ in range(17)])
        label = int(truth.labels[number]) if rng.random() < 0.8 else rng.randint(1, 3)
        corners = box[:2] + rng.gauss(0, spread), box[2:] + rng.gauss(0, spread)
        rows.append((torch.cat(corners), label, mask, points))
    for _ in range(rng.randint(0, 4)):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        mask[int(y) :, int(x) :] = rng.randint(0, 1)
        box = torch.tensor([x, y, x + rng.uniform(0, 40), y + rng.uniform(0, 40)])
        rows.append((box, rng.randint(1, 3), mask, torch.rand(17, 3) * 100))
    scores = sorted((round(rng.random(), 1) for _ in rows), reverse=True)
    rng.shuffle(rows)
    return found.detection.Detections(
        torch.stack([row[0] for row in rows]) if rows else torch.zeros(0, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
        torch.stack([row[2] for row in rows]).bool() if rows else torch.zeros(0, HEIGHT, WIDTH) > 0,
        torch.stack([row[3] for row in rows]) if rows else torch.zeros(0, 17, 3),
    )


def as_results(given: Any, image: int, categories: dict[int, int]) -> dict[str, list[Any]]:
    """The detections as pycocotools reads them."""
    results: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for number in range(len(given.labels)):
        about = {
            "image_id": image,
            "category_id": categories[int(given.labels[number])],
            "score": float(given.scores[number]),
        }
        x1, y1, x2, y2 = given.boxes[number].double().tolist()
        rows = mask_api.encode(np.asfortranarray(given.masks[number].numpy().astype(np.uint8)))
        points = given.keypoints[number].double().flatten().tolist()
        results["box"].append({**about, "bbox": [x1, y1, x2 - x1, y2 - y1]})
        results["mask"].append({**about, "segmentation": rows})
        results["keypoint"].append({**about, "keypoints": points})
    return results


def reference(truth: Any, results: list[Any], kind: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        found = cocoeval.COCOeval(truth, truth.loadRes(results), KINDS[kind])
        found.evaluate()
        found.accumulate()
    return found


def mean(values: Any) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


# --- average precision ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(
    emitted: SimpleNamespace, tmp_path: Path, seed: int
) -> None:
    """All numbers of boxes, masks and keypoints, with crowds, ties and images without either."""
    split = emitted.data.coco(drawn(tmp_path, seed), "val")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(split.path))
    rng, categories = random.Random(seed), {label: c for c, label in split.labels.items()}
    tally: Any = {kind: [] for kind in KINDS}
    results: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for index in range(len(split)):
        given = detections(split, index, rng, emitted)
        found = emitted.scoring.compared(index, given, split.objects(index))
        emitted.scoring.add(tally, found)
        for kind, rows in as_results(given, split.images[index]["id"], categories).items():
            results[kind] += rows
    ours = emitted.scoring.scores(tally, split.names)
    for kind in KINDS:
        theirs = reference(truth, results[kind], kind)
        precision, recall = theirs.eval["precision"][..., -1], theirs.eval["recall"][..., -1]
        areas = {
            "": 0,
            "_medium": -2,
            "_large": -1,
            **({} if kind == "keypoint" else {"_small": 1}),
        }
        for name, area in areas.items():
            assert ours[f"{kind}_ap{name}"] == approx(mean(precision[..., area])), (kind, name)
        assert ours[f"{kind}_ap50"] == approx(mean(precision[0, ..., 0]))
        assert ours[f"{kind}_ap75"] == approx(mean(precision[5, ..., 0]))
        assert ours[f"{kind}_recall"] == approx(mean(recall[..., 0]))
        by_class = [mean(precision[:, :, number, 0]) for number in range(3)]
        assert list(ours[f"{kind}_class_ap"].values()) == approx(by_class)
        assert 0 < ours[f"{kind}_ap"] < 0.98
    assert emitted.scoring.table(ours)


def approx(value: Any) -> Any:
    return pytest.approx(value, abs=1e-6)  # float32 boxes there and back


def test_nothing_to_find_and_nothing_found(emitted: SimpleNamespace) -> None:
    scoring, data = emitted.scoring, emitted.data
    none = emitted.detection.Detections(
        torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 5, 5) > 0,
        torch.zeros(0, 17, 3),
    )  # fmt: skip
    empty = data.nothing(5, 5)
    tally: Any = {kind: [] for kind in KINDS}
    scoring.add(tally, scoring.compared(0, none, empty))
    found = scoring.scores(tally, ["a", "b", "c"])
    assert found["box_ap"] is None and found["mask_class_ap"] == {"a": None, "b": None, "c": None}
    assert scoring.table(found)
    some = data.objects_of(torch.ones(1, 5, 5), torch.tensor([2]), torch.tensor([False]))
    scoring.add(tally, scoring.compared(1, none, some))
    found = scoring.scores(tally, ["a", "b", "c"])
    assert found["box_ap"] == found["mask_voc_ap50"] == found["box_recall"] == 0
    assert found["box_class_ap"] == {"a": None, "b": 0, "c": None}


def test_pascal_voc_by_its_definition(emitted: SimpleNamespace) -> None:
    """Ranked by score; a second detection of an object is wrong; the area under the envelope."""
    precision, rng = emitted.precision, random.Random(0)
    for _ in range(30):
        objects, found = rng.randint(1, 6), rng.randint(0, 12)
        overlap = np.array([[rng.random() for _ in range(objects)] for _ in range(found)])
        overlap = overlap.reshape(found, objects)
        ignored = np.array([rng.random() < 0.2 for _ in range(objects)])
        taken, right = set(), []
        for row in overlap:
            best = max(range(objects), key=lambda i: row[i])
            if row[best] >= 0.5 and ignored[best]:
                continue
            right.append(row[best] >= 0.5 and best not in taken)
            taken |= {best} if row[best] >= 0.5 else set()
        marks = precision.voc_matches(overlap, ignored)
        assert (marks[marks >= 0] == 1).tolist() == right
        count = max(1, int((~ignored).sum()))
        points = [
            (sum(right[: i + 1]) / count, sum(right[: i + 1]) / (i + 1)) for i in range(len(right))
        ]
        area, before = 0.0, 0.0
        for recall, _ in points:
            best_precision = max(p for r, p in points if r >= recall)
            area, before = area + (recall - before) * best_precision, recall
        assert precision.voc_ap(np.array(right, dtype=bool), count) == pytest.approx(area)


# --- masks ----------------------------------------------------------------------------------


def test_polygons_are_filled_as_coco_fills_them(emitted: SimpleNamespace) -> None:
    rng, different = random.Random(3), 0
    for _ in range(300):
        given = [polygon(rng) for _ in range(rng.randint(1, 3))]
        theirs = mask_api.decode(mask_api.merge(mask_api.frPyObjects(given, HEIGHT, WIDTH)))
        ours = emitted.masks.decode(given, HEIGHT, WIDTH).numpy()
        different += int((ours != theirs).sum())
    assert different == 0


def test_run_lengths_are_read_as_coco_writes_them(emitted: SimpleNamespace) -> None:
    draw = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        mask = (draw.random((37, 53)) < share).astype(np.uint8)
        text = mask_api.encode(np.asfortranarray(mask))["counts"].decode()
        found = emitted.masks.decode({"size": [37, 53], "counts": text}, 37, 53)
        assert (found.numpy() == mask).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 6], "counts": [24]}, "its `size` is [4, 6]"),
        ({"size": [4, 5], "counts": [3, 4]}, "its runs cover 7 pixels, not 20"),
        ({"size": [4, 5], "counts": [30, -10]}, "no run lengths"),
        ({"size": [4, 5], "counts": "\x00"}, "hold the character"),
        ([[0, 0, 1, 1]], "three points"),
        ([[0, 0, 1, 1, 2, "3"]], "three points"),
        ([[0, 0, 1, 1, 2, math.inf]], "far outside"),
        ("text", "neither polygons"),
    ],
)
def test_bad_segmentations(emitted: SimpleNamespace, segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        emitted.masks.decode(segmentation, 4, 5)


def test_masks_are_pasted_as_torchvision_pastes_them(emitted: SimpleNamespace) -> None:
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(40, 1, 28, 28, generator=draw)
    corners = 140 * torch.rand(40, 2, 2, generator=draw) - 20
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    boxes[0, 2:] = boxes[0, :2]  # less than a pixel
    boxes[1] = torch.tensor([-30.0, -30, -20, -20])  # outside
    theirs = heads.paste_masks_in_image(masks[2:], boxes[2:], (HEIGHT, WIDTH))[:, 0] > 0.5
    ours = emitted.masks.pasted(masks, boxes, HEIGHT, WIDTH)
    assert torch.equal(ours[2:], theirs) and not ours[1].any()


@pytest.mark.parametrize(
    ("folder", "split", "classes"),
    [("coco_tiny", "val", 91), ("coco_tiny", "train", 81), ("nuclei_dsb2018", "val", 2)],
)
def test_real_annotations(folder: str, split: str, classes: int, tmp_path: Path) -> None:
    """Every mask is that of pycocotools; a perfect answer scores 1."""
    root = shared_data() / folder
    if not root.is_dir():
        pytest.skip(f"no real data: {folder}/ is missing")
    found = load(emit_finder(tmp_path, found_by(classes=classes)))
    own = found.data.coco(root, split)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(own.path))
    tally: Any = {kind: [] for kind in found.scoring.KINDS}
    for index in range(0, len(own), 4):
        image, objects = found.data.read_pair(own, index)
        assert image.shape[1:] == objects.masks.shape[1:]
        rows = own.annotations.get(own.images[index]["id"], [])
        for annotation_, mask in zip(rows, objects.masks, strict=True):
            assert (truth.annToMask(annotation_) == mask.numpy()).all()
        single = ~objects.crowd
        given = found.detection.Detections(
            objects.boxes[single], objects.labels[single], torch.ones(int(single.sum())),
            objects.masks[single].bool(),
        )  # fmt: skip
        found.scoring.add(tally, found.scoring.compared(index, given, objects))
    result = found.scoring.scores(tally, own.names)
    assert result["box_ap"] == result["mask_ap"] == pytest.approx(1)
