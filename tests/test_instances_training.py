"""Scripts of networks that find objects: recognised, laid out, trained, resumed, scored, drawn."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from harness_kit import Runner, checked, load, metrics, wait_for  # noqa: E402
from instances_kit import OBJECT_RECIPE, emit_finder, found_by  # noqa: E402
from spec_kit import fault, sound, spec, specs  # noqa: E402

from segc.check import Checked  # noqa: E402
from segc.diag import Report  # noqa: E402
from segc.emit.harness import harness_files  # noqa: E402
from segc.emit.tasks import TASKS  # noqa: E402
from segc.facts import facts_of  # noqa: E402
from segc.training import check_training  # noqa: E402

QUICK = ("--workers", 0, "--log-every", 10, "--eval-every", 60, "--save-every", 50)
EVERY_CHANGE = {
    "quarter_turns": True,
    "flip": True,
    "shorts": [64, 96],
    "expand": {"most": 2.0, "probability": 0.5},
    "iou_crop": True,
    "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "blur": {"sigma": [0.5, 1], "probability": 0.5},
}
FIXED = {**OBJECT_RECIPE, "resize": None}
SIDES = {"short": None, "long": None, "size": None}
MORE: dict[str, dict[str, Any]] = {
    "boxes": {"masks": False},
    "points": {"points": 17, "classes": 2, "masks": False},
    "other_points": {"points": 5, "rois": True},
    "proposals": {"masks": False, "rois": True, "classes": 2},
    "one_size": {"image": ("N", 3, 96, 96), "masks": False, "recipe": FIXED},
    "inclusive": {"masks": False, "rois": True, "inclusive": True},
    "no_recipe": {"recipe": {}},
    "parts": {"recipe": {**OBJECT_RECIPE, "accumulate": 2, "clip_norm": 10}},
    "changed": {"points": 17, "rois": True, "recipe": {**OBJECT_RECIPE, "augment": EVERY_CHANGE}},
    "cropped": {"recipe": {**OBJECT_RECIPE, "crop": [64, 80], "classes": ["a", "b", "c"]}},
}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instances")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    running = Runner(work)
    yield running
    running.close()


@pytest.fixture(scope="module")
def finder(work: Path) -> Path:
    return emit_finder(work / "finder", found_by(classes=3))


@pytest.fixture(scope="module")
def trained(work: Path, finder: Path, runner: Runner) -> Path:
    out = work / "run"
    arguments = ("--out", out, "--max-steps", 120, *QUICK, "--batch-size", 8)
    status, text = runner.run(finder, "train.py", *arguments)
    assert status == 0, text
    return out


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


# --- what is emitted ------------------------------------------------------------------------


def test_losses_and_names_decide_what_is_learned() -> None:
    given = found_by()
    facts = facts_of(given)
    assert facts is not None and facts.task == "instances" and facts.named == 3
    assert [taken.name for taken in facts.takes if not taken.training] == ["image", "sizes"]
    assert tuple(harness_files(given)) == TASKS["instances"].files


def test_networks_of_one_size_get_images_of_it() -> None:
    given = found_by(image=("N", 3, 96, 80), recipe=FIXED)
    assert "RESIZE = (96, 80)" in harness_files(given)["inputs.py"]
    assert "RESIZE = (800, 1333)" in harness_files(found_by(recipe={}))["inputs.py"]


@pytest.mark.parametrize("text", ["{short: 9}", "{size: [9, 9], long: 9}", "{short: 9, long: 8}"])
def test_sizes_of_a_recipe(text: str) -> None:
    layers = "conv: {op: conv2d, out_channels: 3, kernel_size: 1}\n"
    fault(spec(layers) + f"recipe: {{resize: {text}}}\n", "SEG603")


def test_detectors_of_the_repository_have_scripts() -> None:
    wanted = {"fast_rcnn_vgg16", "faster_rcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn"}
    wanted |= {"faster_rcnn_vgg16", "keypoint_rcnn_resnet50_fpn", "ssd300_vgg16", "yolov1"}
    for path in specs():
        if path.stem in wanted:
            facts = facts_of(sound(str(path)))
            assert facts is not None and facts.task == "instances", path


def test_the_total_is_what_the_network_says() -> None:
    text = harness_files(found_by(masks=False))["losses.py"]
    assert 'return output["loss_cls"] + 0.5 * output["loss_box"]' in text
    losses = {"own": {"kind": "computed", "output": "loss", "weight": 2.0}}
    alone = harness_files(checked(outputs={"logits": 3, "loss": 1}, losses=losses))
    assert list(alone) == ["losses.py"] and 'return 2.0 * output["loss"]' in alone["losses.py"]


def problems(given: Checked) -> list[str]:
    report = Report()
    check_training(given, report)
    return [diagnostic.message for diagnostic in report.diagnostics]


def test_recipes_are_checked() -> None:
    assert problems(found_by()) == []
    named = {**OBJECT_RECIPE, "classes": ["one", "two"], "patches": {"number": 3}}
    named["augment"] = {"elastic": {"grid": 3, "sigma": 10}}
    assert problems(found_by(recipe=named)) == [
        "`patches` means nothing for a network that finds objects",
        "`elastic` means nothing for a network that finds objects",
        "`classes` names 2 classes, the network has 3 and the background",
    ]
    labels = {**OBJECT_RECIPE, "augment": {"iou_crop": True}}
    assert [m for m in problems(checked(recipe=labels)) if "iou_crop" in m or "`resize`" in m] == [
        "`resize` means nothing for a network that labels pixels",
        "`iou_crop` means nothing for a network that labels pixels",
    ]
    for resize in ({**SIDES, "short": 96, "long": 96}, {**SIDES, "size": [96, 90]}):
        wrong = found_by(image=("N", 3, 96, 96), recipe={**OBJECT_RECIPE, "resize": resize})
        assert problems(wrong) == ["the network takes images of 96 x 96 alone"]
    losses = {"own": {"kind": "computed", "output": "logits", "weight": 1.0}}
    assert problems(checked(losses=losses)) == [
        "loss `own`: `logits` has 4 axes, a loss that the network computes is one number"
    ]


def test_a_person_would_have_laid_them_out_so(tmp_path: Path) -> None:
    """A fixed point of `ruff format`, clean under lint rules, and no text but ASCII."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    for name, arguments in {"plain": {}, **MORE}.items():
        (tmp_path / name).mkdir()
        for file, source in harness_files(found_by(**arguments)).items():
            assert source.isascii() and source.endswith("\n")
            (tmp_path / name / file).write_text(source, encoding="utf-8")
    ruff, width = [sys.executable, "-m", "ruff"], ["--isolated", "--line-length", "100"]
    rules = ["--select", "E,F,UP,B,SIM,C4,RUF100", "--output-format", "concise"]
    for command in (["format", "--diff", *width], ["check", *rules, *width]):
        line = [*ruff, *command, "--no-cache", "."]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[:3000]


# --- training -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MORE)
def test_others_train(name: str, work: Path, runner: Runner) -> None:
    folder, out = emit_finder(work / name, found_by(**MORE[name])), work / f"{name}_run"
    arguments = ("--out", out, "--max-steps", 2, "--batch-size", 2, "--workers", 0)
    status, text = runner.run(folder, "train.py", *arguments)
    assert status == 0, text
    given = MORE[name]
    best = "keypoint" if given.get("points") else "mask" if given.get("masks", True) else "box"
    assert f"validation {best} AP" in text
    folder_image = work / "photo.png"
    Image.new("RGB", (70, 50), (90, 20, 30)).save(folder_image)
    given = ("--weights", out / "last.pt", folder_image, "--threshold", 0, "--out", work / "shown")
    status, text = runner.run(folder, "predict.py", *given)
    assert status == 0 and "photo_objects.png" in text, text
    assert Image.open(work / "shown" / "photo_objects.png").size == (70, 50)


def test_a_trial_learns(trained: Path) -> None:
    lines = metrics(trained)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12 and losses[-1] < 0.6 * losses[0]
    found = [line for line in lines if "val_mask_ap" in line]
    assert len(found) == 2 and found[-1]["val_box_ap50"] > 0.1
    assert state(trained / "best.pt")["place"]["best"] == max(x["val_mask_ap"] for x in found)
    assert set(found[0]["val_box_class_ap"]) == {"class 1", "class 2"}


def test_resuming_is_exact(work: Path, finder: Path, trained: Path, runner: Runner) -> None:
    """From the state before the last one, with a worker: the same weights to the last bit."""
    out = work / "resumed"
    previous = trained / "previous.pt"
    assert state(previous)["place"]["step"] == 100
    arguments = ("--out", out, "--max-steps", 120, *QUICK[2:], "--workers", 1, "--batch-size", 8)
    status, text = runner.run(finder, "train.py", *arguments, "--resume", previous)
    assert status == 0, text
    mine, theirs = (state(folder / "last.pt")["weights"] for folder in (out, trained))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert metrics(out)[-1] == metrics(trained)[-1]


def test_stopped_and_resumed(work: Path, finder: Path, runner: Runner) -> None:
    out = work / "stopped"
    arguments = ("--out", out, "--max-steps", 4000, *QUICK[:2], "--batch-size", 4, "--log-every", 1)
    process = runner.start(finder, "train.py", *arguments)
    wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) > 3)
    os.kill(process, signal.SIGINT)
    status, text = runner.finish()
    assert status == 130 and "go on with --resume auto" in text, text
    again = (*arguments[:3], 10_000, *arguments[4:], "--resume", "auto")
    status, text = runner.run(finder, "train.py", *again)
    assert status == 1 and "max_steps: 4000 -> 10000" in text


def test_eval_says_what_training_did(
    work: Path, finder: Path, trained: Path, runner: Runner
) -> None:
    report = work / "scores.json"
    given = ("--weights", trained / "last.pt", "--workers", 1, "--json", report)
    status, text = runner.run(finder, "eval.py", *given)
    assert status == 0, text
    found = json.loads(report.read_text())
    last = [line for line in metrics(trained) if "val_mask_ap" in line][-1]
    for key, value in last.items():
        if key != "step":
            assert found[key.removeprefix("val_")] == value
    assert found["images"] == 32 and found["resize"] is None
    status, text = runner.run(finder, "eval.py", *given, "--deploy", "--resize", 64, 64)
    assert status == 0, text
    other = json.loads(report.read_text())
    assert other["deploy"] and other["resize"] == [64, 64] and other["box_ap"] != found["box_ap"]


def test_parts_of_a_split_make_the_whole(finder: Path, trained: Path) -> None:
    """What several processes find, put together, scores as one does."""
    found = load(finder)
    model = found.model.Finder()
    model.load_state_dict(state(trained / "last.pt")["weights"])
    split, cpu = found.data.Scenes("val", (96, 96)), torch.device("cpu")
    whole = found.scoring.evaluate(model, split, None, cpu)
    halves: Any = {kind: [] for kind in found.scoring.KINDS}
    for rank in (1, 0):
        indices = range(rank, len(split), 2)
        for index in indices:
            image, objects = found.data.read_pair(split, index)
            batch = found.sampling.prepared(image, None)
            model.eval()
            with torch.inference_mode():
                given = found.detection.detect(model, batch, (96, 96), None, cpu)
            found.scoring.add(halves, found.scoring.compared(index, given, objects))
    assert found.scoring.scores(halves, split.names) == found.scoring.scores(whole, split.names)


def test_detections_return_to_the_image(finder: Path, trained: Path) -> None:
    """Boxes of an image that was enlarged lie where the objects are in the image itself."""
    found = load(finder)

    class Answers(torch.nn.Module):  # type: ignore[misc]
        """One box over the left half of what it sees, and its mask."""

        def forward(self, image: Any, sizes: Any) -> dict[str, Any]:
            height, width = sizes[0].tolist()
            box = torch.tensor([[0, 0, 0, width / 2, height], [0, 4, 4, 8, 8]])
            return {
                "boxes": box,
                "labels": torch.tensor([1, 2]),
                "scores": torch.tensor([0.25, 0.75]),
                "masks": self.masks(image),
            }

        def masks(self, image: Any) -> Any:
            return torch.ones(2, 1, 7, 7)

    class Whole(Answers):
        """The same with masks as large as the batch."""

        def masks(self, image: Any) -> Any:
            masks = torch.zeros(2, 1, *image.shape[2:])
            masks[0, :, :96, :60] = 1
            return masks

    image = torch.zeros(3, 48, 60, dtype=torch.uint8)
    for model in (Answers(), Whole()):
        batch = found.sampling.prepared(image, (96, 200))
        assert batch["image"].shape == (1, 3, 96, 128) and batch["sizes"].tolist() == [[96, 120]]
        given = found.detection.detect(model, batch, (48, 60), (96, 200), torch.device("cpu"))
        assert given.scores.tolist() == [0.75, 0.25] and given.labels.tolist() == [2, 1]
        assert given.boxes.tolist() == [[2, 2, 4, 4], [0, 0, 30, 48]]
        assert given.masks.shape == (2, 48, 60)
        assert given.masks[1, 2:46, 2:28].all() and not given.masks[1, :, 32:].any()
