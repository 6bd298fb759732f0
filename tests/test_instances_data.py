"""Data of networks that find objects: files and their faults, changes of images and objects."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from harness_kit import Runner, load, shared_data  # noqa: E402
from instances_kit import OBJECT_RECIPE, emit_finder, found_by  # noqa: E402

CHANGES = {
    **OBJECT_RECIPE,
    "augment": {
        "quarter_turns": True,
        "flip": True,
        "expand": {"most": 2.0, "probability": 0.5},
        "iou_crop": True,
        "shorts": [60, 90],
    },
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Masks, COCO's keypoints, proposals, and all changes of geometry."""
    folder = tmp_path_factory.mktemp("everything")
    return load(emit_finder(folder, found_by(points=17, rois=True, recipe=CHANGES)))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts of a network of one class with masks."""
    return emit_finder(tmp_path_factory.mktemp("cells"), found_by(classes=2))


def stops(module: Any) -> Any:
    return module.runtime.Stop


# --- changes --------------------------------------------------------------------------------


def scene(found: SimpleNamespace) -> tuple[Any, Any]:
    """Three rectangles and an object of one pixel; a keypoint at two corners of each."""
    masks = torch.zeros(4, 40, 60, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(
        masks, ((0, 0, 20, 10), (30, 5, 60, 40), (10, 20, 25, 35), (59, 0, 60, 1)), strict=True
    ):
        mask[y1:y2, x1:x2] = 1
    objects = found.data.objects_of(masks, torch.tensor([1, 2, 3, 1]), torch.zeros(4).bool())
    objects.keypoints[:, 1, :2], objects.keypoints[:, 2, :2] = (
        objects.boxes[:, :2],
        objects.boxes[:, 2:],
    )
    objects.keypoints[:, 1:3, 2] = 2
    objects.rois = objects.boxes.clone()
    image = torch.randint(0, 256, (3, 40, 60), generator=torch.Generator().manual_seed(0))
    return image.to(torch.uint8), objects


def consistent(found: SimpleNamespace, image: Any, objects: Any) -> None:
    assert image.shape[1:] == objects.masks.shape[1:]
    assert torch.allclose(found.masks.boxes_of(objects.masks), objects.boxes)
    assert torch.allclose(objects.rois[: len(objects.boxes)], objects.boxes)


def test_mirrored_and_turned(everything: SimpleNamespace) -> None:
    sampling = everything.sampling
    image, objects = scene(everything)
    mirrored, changed = sampling.mirrored(image, objects)
    consistent(everything, mirrored, changed)
    assert torch.equal(mirrored, image.flip(-1))
    # The left eye (1) is the right one (2) in the mirror.
    assert changed.keypoints[1, 2].tolist() == [30, 5, 2] and changed.keypoints[1, 1].tolist() == [
        0,
        40,
        2,
    ]
    assert changed.keypoints[1, 0].tolist() == [0, 0, 0]
    again = sampling.mirrored(mirrored, changed)[1]
    assert all(torch.equal(v, getattr(again, n)) for n, v in vars(objects).items())
    for quarters in range(5):
        turned, changed = sampling.turned(image, objects, quarters)
        consistent(everything, turned, changed)
        assert torch.equal(turned, image.rot90(quarters, (1, 2)))
    assert all(torch.equal(v, getattr(changed, n)) for n, v in vars(objects).items())
    x, y = sampling.turned(image, objects, 1)[1].keypoints[1, 1, :2].tolist()
    assert (x, y) == (5, 30)  # the corner at x 30, y 5 of an image 60 wide


def test_resized_as_the_recipe_says(everything: SimpleNamespace) -> None:
    target = everything.inputs.target_size
    assert target(480, 640, (800, 1333)) == (800, 1066)
    assert target(640, 480, (800, 1333)) == (1066, 800)
    assert target(300, 1000, (800, 1333)) == (399, 1333)
    assert target(1, 1000, (600, 1000)) == (1, 1000)
    assert target(33, 44, None) == (33, 44)
    image, objects = scene(everything)
    larger, changed = everything.sampling.resized(image.float(), objects, (80, 200))
    consistent(everything, larger, changed)
    assert larger.shape[1:] == (80, 120)
    assert changed.keypoints[1, 1].tolist() == [60, 10, 2]
    none = everything.data.nothing(40, 60)
    assert everything.sampling.resized(image.float(), none, (80, 200))[1].masks.shape == (
        0,
        80,
        120,
    )


def test_windows_keep_what_shows(everything: SimpleNamespace) -> None:
    image, objects = scene(everything)
    part, changed = everything.sampling.cut(image, objects, (16, 0, 60, 30))
    # A fifth of the first object shows, and 9 of 15 columns of the third.
    assert changed.labels.tolist() == [2, 3, 1]
    assert part.shape == (3, 30, 44)
    assert torch.equal(everything.masks.boxes_of(changed.masks), changed.boxes)
    assert changed.keypoints[0, 2].tolist() == [0, 0, 0]  # at y 40, outside
    assert changed.keypoints[0, 1].tolist() == [14, 5, 2]


def test_samples_are_functions_of_their_number(everything: SimpleNamespace) -> None:
    split = everything.data.Scenes("train", (96, 96))
    more = {"shorts": (60, 90), "expand": 2.0, "expand_share": 0.5}
    samples = everything.sampling.Samples(split, None, (60, 120), 3, **more)
    for index in range(24):
        first, again = samples.sample(1, index), samples.sample(1, index)
        objects = first.objects
        assert torch.equal(first.image, again.image)
        assert torch.equal(objects.boxes, again.objects.boxes)
        assert first.image.shape[1:] == objects.masks.shape[1:]
        assert ((objects.boxes[:, 2:] - objects.boxes[:, :2]) > 0).all()
        low, high = objects.boxes[:, :2].clamp(max=0), objects.boxes[:, 2:]
        assert (low == 0).all() and (high <= torch.tensor(first.image.shape[:0:-1]) + 1e-3).all()
        assert len(objects.rois) > 0


def test_batches_are_padded_and_numbered(everything: SimpleNamespace) -> None:
    data, sampling = everything.data, everything.sampling
    image, objects = scene(everything)
    pixels = everything.inputs.to_input(image)
    small = sampling.Sample(pixels[:, :30, :33], data.nothing(30, 33))
    batch = sampling.batch_of([small, sampling.Sample(pixels, objects)])
    assert batch["image"].shape == (2, 3, 64, 64)
    assert not batch["image"][0, :, 30:].any() and not batch["image"][0, :, :, 33:].any()
    assert batch["sizes"].tolist() == [[30, 33], [40, 60]]
    assert batch["gt_boxes"][:, 0].tolist() == [1] * 4 and batch["gt_boxes"].shape == (4, 5)
    assert batch["gt_masks"].shape == (4, 64, 64) and batch["gt_keypoints"].shape == (4, 17, 3)
    empty = sampling.batch_of([small])
    assert empty["gt_boxes"].shape == (0, 5) and empty["gt_masks"].shape == (0, 32, 64)
    assert sampling.batch_of([small], (96, 96))["image"].shape == (1, 3, 96, 96)


def test_boxes_that_end_with_their_last_pixel(tmp_path: Path) -> None:
    """As Caffe's networks take and give them (`legacy`); an object of one pixel has no extent."""
    found = load(emit_finder(tmp_path, found_by(masks=False, inclusive=True)))
    objects = found.data.objects_of(torch.ones(1, 1, 1), torch.tensor([1]), torch.tensor([False]))
    batch = found.sampling.batch_of([found.sampling.Sample(torch.ones(3, 8, 8), objects)])
    assert batch["gt_boxes"].tolist() == [[0, 0, 0, 0, 0]]

    def answer(image: Any, sizes: Any) -> dict[str, Any]:
        boxes = torch.tensor([[0.0, 0, 0, 9, 19]])
        return {"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}

    batch = found.sampling.prepared(torch.zeros(3, 10, 20, dtype=torch.uint8), (20, 40))
    given = found.detection.detect(answer, batch, (10, 20), (20, 40), torch.device("cpu"))
    assert given.boxes.tolist() == [[0, 0, 5, 10]]


def test_stand_in_proposals_cover_the_image(everything: SimpleNamespace) -> None:
    boxes = everything.sampling.grid(90, 120)
    assert (boxes[:, 2:] > boxes[:, :2]).all() and len(boxes) > 300
    rng = random.Random(0)
    for _ in range(50):
        x, y, w, h = (
            rng.uniform(0, 80),
            rng.uniform(0, 60),
            rng.uniform(20, 40),
            rng.uniform(20, 30),
        )
        truth = np.array([[x, y, x + w, y + h]])
        overlap = everything.precision.box_overlap(boxes.double().numpy(), truth, np.zeros(1) > 0)
        assert overlap.max() > 0.4


# --- files ----------------------------------------------------------------------------------


def a_coco(folder: Path) -> dict[str, Any]:
    """Two images of 8 x 10 pixels, the second without objects."""
    (folder / "images").mkdir(exist_ok=True)
    for name in "ab":
        Image.new("RGB", (10, 8), (9, 99, 200)).save(folder / "images" / f"{name}.png")
    crowd = {"size": [8, 10], "counts": [40, 16, 24]}
    square = [[1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]]
    pixel = [[5.0, 5.0, 6.0, 5.0, 6.0, 6.0, 5.0, 6.0]]
    common = {"image_id": 1, "category_id": 5}
    return {
        "images": [
            {"id": 2, "file_name": "b.png", "height": 8, "width": 10},
            {"id": 1, "file_name": "a.png", "height": 8, "width": 10},
        ],
        "categories": [{"id": 5, "name": "cell"}],
        "annotations": [
            {**common, "id": 1, "bbox": [1, 1, 3, 3], "area": 9, "segmentation": square},
            {
                **common,
                "id": 2,
                "bbox": [5, 0, 2, 8],
                "area": 16,
                "segmentation": crowd,
                "iscrowd": 1,
            },
            {**common, "id": 3, "bbox": [5, 5, 1, 1], "segmentation": pixel, "iscrowd": 0},
            {**common, "id": 4, "bbox": [2, 2, 0, 3], "area": 0, "segmentation": square},
        ],
    }


def write_coco(folder: Path, content: Any) -> Path:
    for split in ("train", "val"):
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def test_coco_files(cells: Path, tmp_path: Path) -> None:
    found = load(cells)
    split = found.data.open_split(
        "coco", str(write_coco(tmp_path, a_coco(tmp_path))), "train", (1, 1)
    )
    assert split.names == ["cell"] and [Path(split.name(i)).name for i in (0, 1)] == [
        "a.png",
        "b.png",
    ]
    image, objects = found.data.read_pair(split, 0)
    assert image[:, 0, 0].tolist() == [9, 99, 200]
    assert objects.boxes.tolist() == [[1, 1, 4, 4], [5, 0, 7, 8], [5, 5, 6, 6], [2, 2, 2, 5]]
    assert objects.crowd.tolist() == [False, True, False, False]
    assert objects.areas.tolist() == [9, 16, 1, 0]
    assert objects.masks.sum((1, 2)).tolist()[:3] == [9, 16, 1]
    assert found.data.read_pair(split, 1)[1].boxes.shape == (0, 4)
    sample = found.sampling.Samples(split, None, None, 0).sample(0, 0)
    assert len(sample.objects.labels) == 2  # neither the crowd nor the empty box


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in content.items() if k != key}


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    """With other values in its first annotation."""
    first, *others = content["annotations"]
    return {**content, "annotations": [{**first, **values}, *others]}


FAULTS: dict[str, tuple[Any, str]] = {
    "no list": (lambda c: without(c, "categories"), "no list of categories"),
    "no mapping": (lambda c: [c], "holds no mapping"),
    "box": (lambda c: changed(c, bbox=[1, 2, 3]), "annotation 1 of a.png: `bbox` is no"),
    "side": (lambda c: changed(c, bbox=[1, 2, -3, 1]), "annotation 1 of a.png: `bbox` is no"),
    "category": (lambda c: changed(c, category_id=6), "category 6 is not in `categories`"),
    "image": (lambda c: changed(c, image_id=9), "annotation 1 is of image 9"),
    "no mask": (lambda c: changed(c, segmentation=[]), "annotation 1 of a.png: it has no"),
    "polygon": (lambda c: changed(c, segmentation=[[1, 2]]), "a polygon needs three points"),
    "runs": (
        lambda c: changed(c, segmentation={"size": [8, 10], "counts": [1]}),
        "annotation 1 of a.png: its runs cover 1 pixels, not 80",
    ),
    "classes": (
        lambda c: {**c, "categories": [{"id": i} for i in (1, 5, 6)]},
        "3 categories and the background, the network 2 classes: build it for 4",
    ),
    "size": (
        lambda c: {**c, "images": [{**image, "height": 9} for image in c["images"]]},
        "says 9 x 10, the image (8, 10)",
    ),
    "nameless": (
        lambda c: {**c, "images": [without(image, "file_name") for image in c["images"]]},
        "image 2 lacks `file_name`",
    ),
    "twice": (lambda c: {**c, "images": c["images"] * 2}, "no `id` of its own: 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_coco_files_name_the_file(fault: str, cells: Path, tmp_path: Path) -> None:
    found = load(cells)
    change, message = FAULTS[fault]
    write_coco(tmp_path, change(a_coco(tmp_path)))
    with pytest.raises(found.runtime.Stop) as stopped:
        split = found.data.open_split("coco", str(tmp_path), "train", (1, 1))
        for index in range(len(split)):
            found.data.read_pair(split, index)
    assert message in str(stopped.value)
    assert "instances_train.json" in str(stopped.value) or "a.png" in str(stopped.value)


def test_a_coco_file_that_is_none(cells: Path, tmp_path: Path) -> None:
    found = load(cells)
    with pytest.raises(found.runtime.Stop, match="no instances_train2017.json here"):
        found.data.coco(tmp_path, "train")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(found.runtime.Stop, match="train.json is no JSON"):
        found.data.coco(tmp_path, "train")


def test_folders_of_object_numbers(cells: Path, tmp_path: Path) -> None:
    """One class: each value an object. Several: 1000 times the class, the class itself a crowd."""
    for name in ("images", "masks"):
        (tmp_path / name / "train").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "images" / "train" / "a.png")
    values = np.zeros((4, 6), dtype=np.uint16)
    values[:2, :2], values[2:, 3:], values[0, 5] = 1, 2000, 2001
    path = tmp_path / "masks" / "train" / "a.png"
    Image.frombytes("I;16", (6, 4), values.tobytes()).save(path)
    found = load(cells)
    objects = found.data.folder(tmp_path, "train").objects(0)
    assert objects.boxes.tolist() == [[0, 0, 2, 2], [3, 2, 6, 4], [5, 0, 6, 1]]
    assert objects.labels.tolist() == [1, 1, 1] and not objects.crowd.any()
    several = load(emit_finder(tmp_path / "several", found_by(classes=4, masks=False)))
    objects = several.data.folder(tmp_path, "train").objects(0)
    assert objects.labels.tolist() == [1, 2, 2] and objects.crowd.tolist() == [True, False, False]
    values[1, 1] = 9000
    Image.frombytes("I;16", (6, 4), values.tobytes()).save(path)
    with pytest.raises(several.runtime.Stop, match=r"a.png: value 9000 \(first at x=1 y=1\)"):
        several.data.folder(tmp_path, "train").objects(0)


def test_proposals_of_a_file(everything: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.png": [[1, 2, 3, 4]], "b.png": [[1, 2, 3]], "c.png": []}))
    boxes = everything.data.read_json(path)
    assert everything.data.proposals_of(boxes, "a.png", path).tolist() == [[1, 2, 3, 4]]
    assert everything.data.proposals_of(boxes, "c.png", path).shape == (0, 4)
    for name, message in (("b.png", "is no box"), ("d.png", "no list of boxes for d.png")):
        with pytest.raises(everything.runtime.Stop, match=message):
            everything.data.proposals_of(boxes, name, path)


def test_synthetic_scenes(cells: Path) -> None:
    found = load(cells)
    split = found.data.open_split("synthetic", None, "train", (96, 80))
    counts = [len(found.data.read_pair(split, index)[1].labels) for index in range(32)]
    assert counts[15] == counts[31] == 0 and max(counts) >= 3


# --- scripts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = Runner(tmp_path_factory.mktemp("runs"))
    yield running
    running.close()


@pytest.mark.parametrize("folder", ["coco_tiny", "nuclei_dsb2018"])
def test_real_data_train_and_score(
    folder: str, cells: Path, runner: Runner, tmp_path: Path
) -> None:
    """A few steps, with crowds, empty images and many objects; resized to a quarter."""
    root = shared_data() / folder
    if not root.is_dir():
        pytest.skip(f"no real data: {folder}/ is missing")
    if folder == "coco_tiny":
        cells = emit_finder(tmp_path / "coco", found_by(classes=91))
    given = ("--data", "coco", "--root", root, "--workers", 0)
    arguments = ("--out", tmp_path / "run", "--max-steps", 3, "--resize", 64, 96, "--batch-size", 2)
    status, text = runner.run(cells, "train.py", *given, *arguments)
    assert status == 0 and "validation mask AP" in text, text


def test_nuclei_as_a_folder(cells: Path) -> None:
    """The same objects as in its COCO file."""
    root = shared_data() / "nuclei_dsb2018"
    if not root.is_dir():
        pytest.skip("no real data: nuclei_dsb2018/ is missing")
    found = load(cells)
    files, other = found.data.folder(root, "val"), found.data.coco(root, "val")
    names = {Path(other.name(i)).name: i for i in range(len(other))}
    for index in range(0, len(files), 9):
        mine = files.objects(index)
        theirs = other.objects(names[Path(files.name(index)).name])
        assert sorted(mine.boxes.tolist()) == sorted(theirs.boxes.tolist())
        assert mine.masks.sum() == theirs.masks.sum()


def test_reading_a_whole_split(cells: Path, runner: Runner, tmp_path: Path) -> None:
    given = ("--data", "coco", "--root", write_coco(tmp_path, a_coco(tmp_path)))
    status, text = runner.run(cells, "data.py", *given)
    assert status == 0 and "2 images, 0 at fault" in text
    assert "cell                   3       1       1" in text
    write_coco(tmp_path, changed(a_coco(tmp_path), bbox=[1, 2, 3]))
    status, text = runner.run(cells, "data.py", *given)
    assert status == 1 and "annotation 1 of a.png" in text


def test_training_stops_at_a_bad_file(cells: Path, runner: Runner, tmp_path: Path) -> None:
    content = changed(a_coco(tmp_path), segmentation=[[1, 2]])
    given = ("--data", "coco", "--root", write_coco(tmp_path, content), "--workers", 1)
    arguments = ("--out", tmp_path / "run", "--max-steps", 3, "--batch-size", 2)
    status, text = runner.run(cells, "train.py", *given, *arguments)
    assert status == 1 and "annotation 1 of a.png: a polygon needs three points" in text
    assert "Traceback" not in text
