"""Scripts of networks that learn something else than label maps: they train, resume and score."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from harness_kit import Runner, load, metrics  # noqa: E402
from spec_kit import fault, sound  # noqa: E402

from segc.build import build  # noqa: E402
from segc.emit.harness import harness_files  # noqa: E402
from segc.emit.tasks import TASKS  # noqa: E402
from segc.facts import facts_of  # noqa: E402
from segc.source import Source  # noqa: E402

PATCHES = """\
segc: 1
model: Net
inputs: {patch: [N, 3, 9, 7]}
layers:
  body: {op: conv2d, out_channels: 16, kernel_size: 3}
  relu: relu
  flatten: flatten
  fc: {op: linear, out_features: 3}
outputs: {logits: fc}
losses: {seg: {cross_entropy: logits, target: centre}}
recipe:
  optimizer: {adam: {lr: 0.003}}
  max_steps: 60
  batch_size: 4
  patches: {number: 8, balanced: true}
  augment: {flip: true}
"""
CLASSES = """\
segc: 1
model: Net
inputs: {image: [N, 3, H, W]}
layers:
  first: {op: conv2d, out_channels: 16, kernel_size: 5, stride: 2, padding: 2}
  bn: batch_norm2d
  relu: relu
  drop: {op: dropout2d, p: 0.1}
  second: {op: conv2d, out_channels: 32, kernel_size: 3, stride: 2, padding: 1}
  second_bn: batch_norm2d
  second_relu: relu
  pool: {op: adaptive_avg_pool2d, output_size: 1}
  flatten: flatten
  fc: {op: linear, out_features: 7}
outputs: {logits: fc}
losses: {label: {cross_entropy: logits, target: label}}
recipe:
  optimizer: {adam: {lr: 0.01}}
  max_steps: 60
  batch_size: 8
  crop: [32, 32]
  augment: {resized_crop: {area: [0.3, 1]}, flip: true}
"""
STACKS = """\
segc: 1
model: Net
inputs: {stack: [N, 4, 3, H, W]}
layers:
  images: {op: flatten, start_dim: 1, end_dim: 2}
  first: {op: conv2d, out_channels: 16, kernel_size: 3, padding: 1, stride: 2}
  relu: relu
  up: {op: conv_transpose2d, out_channels: 1, kernel_size: 4, stride: 2, padding: 1}
outputs: {disparity: up}
losses: {disparity: {squared_error: disparity, target: truth, minimum: 0.02, reduction: mean}}
recipe:
  optimizer: {adam: {lr: 0.003}}
  max_steps: 60
  batch_size: 4
  crop: [32, 32]
  augment: {flip: true}
"""
SPECS = {"patches": PATCHES, "classes": CLASSES, "stacks": STACKS}
SCORES = {"patches": "val_mean_accuracy", "classes": "val_accuracy", "stacks": "val_mse"}
SIZES: dict[str, tuple[object, ...]] = {
    "patches": (),
    "classes": ("--crop", 32, 32, "--batch-size", 16),
    "stacks": ("--crop", 32, 32),
}
QUICK = ("--workers", 0, "--log-every", 5, "--eval-every", 30, "--save-every", 25)


def write(folder: Path, text: str, **params: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in build(Source.from_text(text, "net.yaml"), params).files.items():
        (folder / name).write_text(source, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    running = Runner(work)
    yield running
    running.close()


@pytest.fixture(scope="module")
def nets(work: Path) -> dict[str, Path]:
    return {task: write(work / task, text) for task, text in SPECS.items()}


@pytest.fixture(scope="module")
def modules(nets: dict[str, Path]) -> dict[str, SimpleNamespace]:
    return {task: load(folder) for task, folder in nets.items()}


@pytest.fixture(scope="module")
def runs(work: Path, nets: dict[str, Path], runner: Runner) -> dict[str, Path]:
    """A trial of each network."""
    found = {}
    for task, folder in nets.items():
        found[task] = work / f"{task}_run"
        arguments = ("--out", found[task], "--max-steps", 60, *QUICK, *SIZES[task])
        status, text = runner.run(folder, "train.py", *arguments)
        assert status == 0, text
    return found


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


# --- what is emitted ------------------------------------------------------------------------


@pytest.mark.parametrize("task", SPECS)
def test_the_losses_decide_what_is_learned(task: str) -> None:
    facts = facts_of(sound(SPECS[task]))
    assert facts is not None and facts.task == task
    assert tuple(harness_files(sound(SPECS[task]))) == TASKS[task].files


MORE = {
    "turned": PATCHES.replace("{flip: true}", "{quarter_turns: true, color_jitter: 0.2}"),
    "blurred": PATCHES.replace("{flip: true}", "{blur: {sigma: [0.5, 1], probability: 0.5}}"),
    "natural": PATCHES.replace("balanced: true", "balanced: false"),
    "counted": PATCHES.replace("target: centre", "target: centre, class_weights: inverse_log"),
    "bare_patches": PATCHES[: PATCHES.index("recipe:")],
    "middle": CLASSES.replace("resized_crop: {area: [0.3, 1]}, ", "quarter_turns: true, "),
    "jittered": CLASSES.replace("flip: true", "color_jitter: 0.2, blur: {sigma: [0.5, 1]}"),
    "weighted": CLASSES.replace(
        "target: label", "target: label, class_weights: [1, 2, 1, 1, 1, 1, 3]"
    ),
    "summed": CLASSES.replace("target: label", "target: label, reduction: sum"),
    "named": CLASSES + "  classes: [cat, dog, cow, owl, elk, fox, bee]\n",
    "parts": CLASSES + "  accumulate: 4\n  clip_norm: 5\n  recompute_bn: 2\n",
    "bare_classes": CLASSES[: CLASSES.index("recipe:")],
    "turned_stacks": STACKS.replace("flip: true", "quarter_turns: true"),
    "all_known": STACKS.replace("minimum: 0.02, ", ""),
    "bgr_stacks": STACKS + "  input: {channels: bgr}\n  normalize: {mean: [0.4, 0.4, 0.4]}\n",
    "grey_stacks": STACKS.replace("4, 3, H", "4, 1, H") + "  recompute_bn: 2\n",
    "bare_stacks": STACKS[: STACKS.index("recipe:")],
    "staged": STACKS + "  stages: [{name: one, max_steps: 3}, {name: two, freeze_bn: true}]\n",
}


def test_a_person_would_have_laid_them_out_so(tmp_path: Path) -> None:
    """A fixed point of `ruff format`, clean under lint rules, and no text but ASCII."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    for name, text in {**SPECS, **MORE}.items():
        (tmp_path / name).mkdir()
        for file, source in harness_files(sound(text)).items():
            assert source.isascii() and source.endswith("\n")
            (tmp_path / name / file).write_text(source, encoding="utf-8")
    ruff, width = [sys.executable, "-m", "ruff"], ["--isolated", "--line-length", "100"]
    rules = ["--select", "E,F,UP,B,SIM,C4,RUF100", "--output-format", "concise"]
    for command in (["format", "--diff", *width], ["check", *rules, *width]):
        line = [*ruff, *command, "--no-cache", "."]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[:3000]


@pytest.mark.parametrize("name", ["counted", "parts", "weighted", "all_known", "staged", "turned"])
def test_other_recipes_train(name: str, work: Path, runner: Runner) -> None:
    folder, out = write(work / name, MORE[name]), work / f"{name}_run"
    arguments = ("--out", out, "--max-steps", 4, "--batch-size", 4, "--workers", 0)
    status, text = runner.run(folder, "train.py", *arguments)
    assert status == 0, text


# --- training -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SPECS)
def test_a_trial_learns(task: str, runs: dict[str, Path]) -> None:
    lines = metrics(runs[task])
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12 and losses[-1] < 0.8 * losses[0]
    found = [line[SCORES[task]] for line in lines if SCORES[task] in line]
    assert len(found) == 2
    best = min(found) if task == "stacks" else max(found)
    assert state(runs[task] / "best.pt")["place"]["best"] == best


@pytest.mark.parametrize("task", SPECS)
def test_resuming_is_exact(
    task: str, work: Path, nets: dict[str, Path], runs: dict[str, Path], runner: Runner
) -> None:
    """From the state before the last one, with a worker: the same weights to the last bit."""
    out = work / f"{task}_resumed"
    arguments = ("--out", out, "--max-steps", 60, *QUICK[2:], "--workers", 1, *SIZES[task])
    resume = ("--resume", runs[task] / "previous.pt")
    assert state(resume[1])["place"]["step"] == 50
    status, text = runner.run(nets[task], "train.py", *arguments, *resume)
    assert status == 0, text
    mine, theirs = (state(folder / "last.pt")["weights"] for folder in (out, runs[task]))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert metrics(out)[-1] == metrics(runs[task])[-1]


def evaluated(runner: Runner, folder: Path, report: Path, *arguments: object) -> dict[str, Any]:
    line = ("--workers", 0, "--json", report, *arguments)
    status, text = runner.run(folder, "eval.py", *line)
    assert status == 0, text
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.mark.parametrize("task", SPECS)
def test_eval_says_what_training_did(
    task: str, work: Path, nets: dict[str, Path], runs: dict[str, Path], runner: Runner
) -> None:
    weights = ("--weights", runs[task] / "last.pt")
    found = evaluated(runner, nets[task], work / "scores.json", *weights)
    last = [line for line in metrics(runs[task]) if SCORES[task] in line][-1]
    assert found[SCORES[task].removeprefix("val_")] == last[SCORES[task]]
    other = evaluated(runner, nets[task], work / "scores.json", *weights, "--deploy", "--flip")
    assert other["deploy"] and other["flip"]
    assert other.keys() == found.keys()


# --- scores against direct computation ------------------------------------------------------


def trained(found: SimpleNamespace, out: Path) -> Any:
    model = found.model.Net()
    model.load_state_dict(state(out / "last.pt")["weights"])
    return model.eval()


def test_accuracies_by_counting(modules: dict[str, SimpleNamespace]) -> None:
    scoring = modules["classes"].scoring
    draw = torch.Generator().manual_seed(1)
    probabilities = torch.rand(200, 7, generator=draw)
    labels = torch.randint(0, 6, (200,), generator=draw)  # class 6 does not occur
    names = [f"n{i}" for i in range(7)]
    parts = zip(probabilities.split(64), labels.split(64), strict=True)
    found = scoring.scores(sum(scoring.counts(*part) for part in parts), names)
    right, among, by_class = 0, 0, {name: [0, 0] for name in names}
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        order = sorted(range(7), key=lambda i: -row[i])
        right += order[0] == label
        among += label in order[:5]
        by_class[names[label]][0] += order[0] == label
        by_class[names[label]][1] += 1
    assert found["accuracy"] == pytest.approx(right / 200)
    assert found["top5_accuracy"] == pytest.approx(among / 200)
    shares = {n: a / b if b else None for n, (a, b) in by_class.items()}
    assert found["class_accuracy"] == pytest.approx(shares)
    known = [share for share in shares.values() if share is not None]
    assert found["mean_accuracy"] == pytest.approx(sum(known) / 6)
    assert "n6" in scoring.table(found)


def test_the_whole_split_of_images_by_hand(
    modules: dict[str, SimpleNamespace], runs: dict[str, Path], work: Path, nets: dict[str, Path],
    runner: Runner,
) -> None:  # fmt: skip
    found = modules["classes"]
    model, split = trained(found, runs["classes"]), found.data.Shapes("val", (32, 32))
    right = 0
    for index in range(32):
        large = torch.nn.functional.interpolate(
            split.image(index)[None].float(), (37, 37), mode="bilinear", antialias=True
        )
        view = large[:, :, 3:35, 3:35].round() / 255
        with torch.no_grad():
            right += int(model(view)[0].argmax()) == split.label(index)
    weights = ("--weights", runs["classes"] / "last.pt")
    scores = evaluated(runner, nets["classes"], work / "c.json", *weights)
    assert scores["accuracy"] == pytest.approx(right / 32, abs=0.04)  # rounding of grey levels
    assert scores["images"] == 32


def test_disparity_measures_by_their_formulas(modules: dict[str, SimpleNamespace]) -> None:
    scoring = modules["stacks"].scoring
    rng = random.Random(3)
    truth = [[rng.choice([0.0, 0.01, rng.uniform(0.02, 0.3)]) for _ in range(9)] for _ in range(8)]
    found = [[rng.uniform(-0.01, 0.3) for _ in range(9)] for _ in range(8)]
    pairs = [
        (max(f, -1), t)
        for fs, ts in zip(found, truth, strict=True)
        for f, t in zip(fs, ts, strict=True)
        if t >= 0.02
    ]
    n = len(pairs)

    def mean(values: Iterator[float]) -> float:
        return sum(values) / n

    clipped = [(max(f, 1e-6), t) for f, t in pairs]
    mse = mean((f - t) ** 2 for f, t in pairs)
    expected = [
        mse,
        math.sqrt(mse),
        math.sqrt(mean((math.log(f) - math.log(t)) ** 2 for f, t in clipped)),
        mean(abs(f - t) / t for f, t in pairs),
        mean((f - t) ** 2 / t for f, t in pairs),
        *(mean(max(f / t, t / f) < 1.25**k for f, t in clipped) for k in (1, 2, 3)),
        mean(abs(f - t) > 0.07 for f, t in pairs),
    ]
    values = scoring.measures(torch.tensor(found).double(), torch.tensor(truth).double())
    assert values.tolist() == pytest.approx(expected)
    totals = torch.cat([3 * values, torch.tensor([3.0]).double()])
    assert list(scoring.scores(totals).values()) == pytest.approx(expected)
    assert set(scoring.scores(torch.zeros(10)).values()) == {None}


def test_stacks_are_averaged_one_by_one(
    modules: dict[str, SimpleNamespace], runs: dict[str, Path]
) -> None:
    """At a size the network does not take: mirrored to the right and below, and cut back."""
    found = modules["stacks"]
    model, split = trained(found, runs["stacks"]), found.data.Planes("val", (21, 34))
    assert not found.inputs.accepts(21, 34) and found.inputs.accepts(22, 34)
    errors = []
    for index in range(len(split)):
        stack = split.stack(index).float() / 255
        padded = torch.cat([stack, stack[:, :, -2:-1]], dim=2)
        with torch.no_grad():
            given = model(padded[None])[0, 0, :21, :34]
        truth = split.disparity(index)
        assert float(truth.min()) >= 0.02
        errors.append(float(((given - truth).double() ** 2).mean()))
    totals = found.scoring.evaluate(model, split, torch.device("cpu"))
    assert found.scoring.scores(totals)["mse"] == pytest.approx(sum(errors) / len(errors))


# --- patches --------------------------------------------------------------------------------


def test_windows_lie_around_their_pixel(modules: dict[str, SimpleNamespace]) -> None:
    """Against torch's own mirror padding, in the corners too."""
    sampling = modules["patches"].sampling
    image = torch.arange(2 * 12 * 11).view(2, 12, 11).float()
    around = sampling.surrounded(image, (9, 7))
    padded = torch.nn.functional.pad(image[None], (3, 3, 4, 4), mode="reflect")[0]
    assert torch.equal(around, padded)
    for y, x in ((0, 0), (11, 10), (5, 3)):
        assert torch.equal(around[:, y + 4, x + 3], image[:, y, x])
    even = sampling.surrounded(image, (4, 4))  # the middle of 4 is 2, as `centre` of losses.py
    assert torch.equal(even[:, 2:14, 2:13], image) and even.shape == (2, 15, 14)


def test_the_classes_of_an_image_are_equally_likely(modules: dict[str, SimpleNamespace]) -> None:
    sampling = modules["patches"].sampling
    mask = torch.zeros(40, 40, dtype=torch.uint8)
    mask[3, 5], mask[20:, :] = 1, 255  # one pixel of class 1; half is ignored
    places = sampling.pixels(mask, 4000, True, random.Random(1))
    labels = [int(mask[y, x]) for y, x in places]
    assert set(labels) == {0, 1} and 0.45 < sum(labels) / 4000 < 0.55
    natural = sampling.pixels(mask, 4000, False, random.Random(1))
    labels = [int(mask[y, x]) for y, x in natural]
    assert set(labels) <= {0, 1} and sum(labels) < 40
    assert sampling.pixels(torch.full((5, 5), 255), 9, True, random.Random(1)) == []


def test_a_batch_is_windows_with_the_label_of_their_middle(
    modules: dict[str, SimpleNamespace],
) -> None:
    found = modules["patches"]
    split = found.data.Scenes("train", (30, 40))
    samples = found.sampling.Samples(split, (9, 7), None, 5, 8)
    windows, labels, picked = samples[[(0, 2), (0, 7)]]
    assert windows.shape == (16, 3, 9, 7) and labels.shape == (16, 1, 1) and picked == [2, 7]
    assert torch.equal(found.losses.centre(labels), labels[:, 0, 0])
    for number, index in enumerate((2, 7)):
        image, mask = split.image(index), split.mask(index)
        known = {(tuple(c.tolist()), int(m)) for c, m in zip(image.flatten(1).T, mask.flatten())}  # noqa: B905
        for window, label in zip(windows.split(8)[number], labels.split(8)[number], strict=True):
            colour = tuple((255 * window[:, 4, 3]).round().int().tolist())
            assert (colour, int(label)) in known


@pytest.mark.parametrize(("stride", "flip"), [(1, False), (1, True), (3, False)])
def test_the_sliding_window_sees_every_pixel(
    modules: dict[str, SimpleNamespace], runs: dict[str, Path], stride: int, flip: bool
) -> None:
    found = modules["patches"]
    model, image = trained(found, runs["patches"]), torch.rand(1, 3, 14, 16)
    method = found.inference.Method(stride, flip)
    with torch.no_grad():
        given = found.inference.probabilities_of(model, image, (14, 16), method)
        padded = torch.nn.functional.pad(image, (3, 3, 4, 4), mode="reflect")
        assert given.shape == (1, 3, 14, 16)
        for y, x in ((1, 1), (4, 13), (13, 7), (10, 4)):
            window = padded[:, :, y : y + 9, x : x + 7]
            value = model(window).softmax(1)
            if flip:
                value = (value + model(window.flip(-1)).softmax(1)) / 2
            torch.testing.assert_close(given[:, :, y, x], value)


def test_the_points_are_the_same_every_time(modules: dict[str, SimpleNamespace]) -> None:
    found = modules["patches"]
    views = found.sampling.Views(found.data.Scenes("val", (30, 40)), (9, 7), None, 25)
    first, second = views[3], views[3]
    assert torch.equal(first[0], second[0]) and first[0].shape == (25, 3, 9, 7)
    assert not torch.equal(first[0], views[4][0])


# --- windows of classifiers -----------------------------------------------------------------


def test_windows_of_random_area_and_shape(modules: dict[str, SimpleNamespace]) -> None:
    sampling = modules["classes"].sampling
    rng, area, ratio = random.Random(1), (0.2, 0.9), (0.75, 4 / 3)
    found = [sampling.random_size(200, 300, area, ratio, rng) for _ in range(500)]
    assert all(rows <= 200 and columns <= 300 for rows, columns in found)
    shares = [rows * columns / 60000 for rows, columns in found]
    assert min(shares) > 0.19 and max(shares) < 0.91 and max(shares) - min(shares) > 0.5
    shapes = [columns / rows for rows, columns in found]
    assert min(shapes) > 0.74 and max(shapes) < 1.35 and max(shapes) > 1.2 and min(shapes) < 0.83
    assert sampling.random_size(10, 300, (1, 1), ratio, rng) == (10, 13)  # none fits
    assert sampling.random_size(300, 10, (1, 1), ratio, rng) == (13, 10)


@pytest.mark.parametrize("crop", [7, [32], ["a", 3], [-1, 4], [1 << 20, 32], "32"])
def test_a_checkpoint_says_no_nonsense(
    crop: Any, work: Path, runs: dict[str, Path], nets: dict[str, Path], runner: Runner
) -> None:
    found = {"weights": state(runs["classes"] / "last.pt")["weights"], "settings": {"crop": crop}}
    torch.save(found, work / "odd.pt")
    status, text = runner.run(nets["classes"], "eval.py", "--weights", work / "odd.pt")
    assert status == 2 and "is not a height and a width: use --crop H W" in text, text
    unit = {"weights": state(runs["stacks"] / "last.pt")["weights"], "settings": {"unit": "x"}}
    torch.save(unit, work / "odd.pt")
    status, text = runner.run(nets["stacks"], "eval.py", "--weights", work / "odd.pt")
    assert status == 2 and "is not the disparity of a step: use --unit U" in text, text


def test_the_middle_is_224_of_256(modules: dict[str, SimpleNamespace]) -> None:
    sampling = modules["classes"].sampling
    image = torch.zeros(3, 256, 341, dtype=torch.uint8)
    assert sampling.enlarged(image, (224, 224)).shape == (3, 256, 341)
    image[:, 16:240, 58:282] = 255
    assert float(sampling.middle(image, (224, 224)).min()) == 1
    assert sampling.enlarged(image[:, :100], (224, 224)).shape == (3, 256, 873)


# --- data in files --------------------------------------------------------------------------


def class_folders(root: Path, names: str = "abcdefg", size: int = 40) -> Path:
    for split in ("train", "val"):
        for number, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for copy in range(2):
                level = 30 * number + copy
                Image.new("RGB", (size, size + copy), (level, 200 - level, 90)).save(
                    folder / f"{copy}.png"
                )
    return root


def stack_folders(root: Path, count: int = 6, as_tensor: bool = False) -> Path:
    rng = random.Random(2)
    (root / "disparity").mkdir(parents=True)
    for number in range(count):
        folder = root / "stacks" / f"s{number}"
        folder.mkdir(parents=True)
        for slice_ in (1, 2, 3, 10):  # 10 comes last
            Image.new("RGB", (36, 33), (20 * slice_, rng.randrange(256), 0)).save(
                folder / f"{slice_}.png"
            )
        truth = torch.full((33, 36), 3000 + 100 * number)
        truth[:5] = 0
        if as_tensor:
            torch.save(truth.float() / 1e5, root / "disparity" / f"s{number}.pt")
        else:
            content = truth.to(torch.int16).numpy().tobytes()
            Image.frombytes("I;16", (36, 33), content).save(root / "disparity" / f"s{number}.png")
    return root


def test_folders_of_classes_train_and_predict(
    work: Path, nets: dict[str, Path], runner: Runner
) -> None:
    root, out = class_folders(work / "pets"), work / "pets_run"
    given = ("--data", "folder", "--root", root)
    status, text = runner.run(nets["classes"], "data.py", *given)
    assert status == 0 and "14 images, 0 at fault" in text
    status, text = runner.run(
        nets["classes"], "train.py", *given, "--out", out, "--max-steps", 5, *QUICK
    )
    assert status == 0, text
    photo, shown = root / "val" / "c" / "1.png", work / "pets_shown"
    weights = ("--weights", out / "last.pt")
    status, text = runner.run(
        nets["classes"], "predict.py", *weights, photo, "--out", shown, "--top", 3
    )
    assert status == 0, text
    found = json.loads((shown / "1_classes.json").read_text())
    assert len(found) == 3 and set(found) <= set("abcdefg")
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert f"{photo}: " in text and next(iter(found)) in text


@pytest.mark.parametrize("as_tensor", [False, True])
def test_folders_of_stacks_train_and_predict(
    work: Path, nets: dict[str, Path], runner: Runner, as_tensor: bool
) -> None:
    root, out = stack_folders(work / f"stacks{as_tensor}", 6, as_tensor), work / f"s{as_tensor}"
    given = ("--data", "folder", "--root", root, "--unit", 1e-5)
    status, text = runner.run(nets["stacks"], "data.py", *given)
    assert status == 0, text
    assert "5 stacks, 0 at fault" in text and "0.03 to 0.035, known for 84.8 %" in text
    status, text = runner.run(
        nets["stacks"], "train.py", *given, "--out", out, "--max-steps", 3, *QUICK
    )
    assert status == 0, text
    weights, shown = ("--weights", out / "last.pt"), work / f"shown{as_tensor}"
    status, text = runner.run(
        nets["stacks"], "predict.py", *weights, root / "stacks" / "s4", "--out", shown
    )
    assert status == 0, text
    image = Image.open(shown / "s4_disparity.png")
    assert image.size == (36, 33) and image.mode == "I;16"
    found = load(nets["stacks"])
    model = trained(found, out)
    stack = found.inputs.read_stack(root / "stacks" / "s4")
    assert stack[:, 0, 0, 0].tolist() == [20, 40, 60, 200]
    with torch.no_grad():
        expected = found.scoring.disparity_of(model, stack[None].float() / 255)[0, 0]
    written = found.inputs.read_disparity(shown / "s4_disparity.png", 1e-5)
    assert float((written - expected.clamp(min=0)).abs().max()) < 1e-5
    scores = evaluated(runner, nets["stacks"], work / "s.json", *weights, *given[:4])
    assert scores["unit"] == 1e-5 and scores["stacks"] == 1  # that of the training


def test_patches_of_segmentation_data(work: Path, nets: dict[str, Path], runner: Runner) -> None:
    root, out, rng = work / "cells", work / "cells_run", random.Random(3)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(10):
        mask = Image.new("L", (40, 30), 0)
        for label in (1, 2):
            x, y = rng.randrange(30), rng.randrange(20)
            mask.paste(label, (x, y, x + 8, y + 8))
        mask.point(lambda value: 60 + 80 * value).convert("RGB").save(root / f"images/{number}.png")
        mask.save(root / f"masks/{number}.png")
    given = ("--data", "folder", "--root", root)
    status, text = runner.run(
        nets["patches"], "train.py", *given, "--out", out, "--max-steps", 40, *QUICK
    )
    assert status == 0, text
    weights = ("--weights", out / "last.pt")
    scores = evaluated(runner, nets["patches"], work / "p.json", *weights, *given, "--points", 90)
    assert scores["points"] == 90 and scores["accuracy"] > 0.9
    status, text = runner.run(nets["patches"], "eval.py", *weights, *given, "--workers", 0)
    assert status == 0 and "of 200 random pixels of each of 2 images" in text
    shown = work / "cells_shown"
    photo = root / "images" / "4.png"
    status, text = runner.run(
        nets["patches"], "predict.py", *weights, photo, "--out", shown, "--labels", "--stride", 1
    )
    assert status == 0, text
    labels = Image.open(shown / "4_labels.png")
    truth = Image.open(root / "masks" / "4.png")
    same = sum(a == b for a, b in zip(labels.tobytes(), truth.tobytes(), strict=True))
    assert labels.size == (40, 30) and same > 0.9 * 1200


# --- wrong data -----------------------------------------------------------------------------


def said(runner: Runner, folder: Path, *arguments: object) -> str:
    """What train.py says before it gives up."""
    status, text = runner.run(folder, "train.py", "--workers", 0, "--max-steps", 2, *arguments)
    assert status in (1, 2) and "Traceback" not in text, text
    return text


def test_wrong_folders_of_classes(tmp_path: Path, nets: dict[str, Path], runner: Runner) -> None:
    def given(root: Path) -> tuple[object, ...]:
        return ("--data", "folder", "--root", root, "--out", tmp_path / "out")

    net = nets["classes"]
    assert "needs --root DIR" in said(runner, net, "--data", "folder", "--out", tmp_path / "o")
    text = said(runner, net, *given(tmp_path / "nowhere"))
    assert "nowhere/train: no such folder; it needs train/CLASS/" in text
    few = class_folders(tmp_path / "few", "abc")
    assert "has 3 classes, the network 7: build it for 3" in said(runner, net, *given(few))
    strange = class_folders(tmp_path / "strange")
    (strange / "val" / "zebra").mkdir()
    assert "there is no class 'zebra' in train/" in said(runner, net, *given(strange))
    broken = class_folders(tmp_path / "broken")
    for file in (broken / "train").glob("*/*.png"):
        file.write_bytes(b"no image")
    assert "cannot read" in said(runner, net, *given(broken), "--batch-size", 2)
    bare = class_folders(tmp_path / "bare")
    for file in bare.glob("train/*/*.png"):
        file.unlink()
    assert "holds no images: they are train/CLASS/NAME.png" in said(runner, net, *given(bare))


def test_wrong_folders_of_stacks(tmp_path: Path, nets: dict[str, Path], runner: Runner) -> None:
    net = nets["stacks"]

    def given(root: Path) -> tuple[object, ...]:
        return ("--data", "folder", "--root", root, "--out", tmp_path / "out", "--crop", 32, 32)

    text = said(runner, net, *given(tmp_path / "nowhere"))
    assert "it needs stacks/NAME/*.png and disparity/NAME.png" in text
    lonely = stack_folders(tmp_path / "lonely")
    (lonely / "disparity" / "s2.png").unlink()
    assert "'s2' is not both in stacks/ and in disparity/" in said(runner, net, *given(lonely))
    short = stack_folders(tmp_path / "short")
    for folder in (short / "stacks").iterdir():
        (folder / "10.png").unlink()
    assert "3 images, the network takes 4: build it for 3" in said(runner, net, *given(short))
    shallow = stack_folders(tmp_path / "shallow")
    for file in (shallow / "disparity").iterdir():
        Image.new("L", (36, 33), 9).save(file)
    assert "need a PNG of 16 bits a pixel, this is L" in said(runner, net, *given(shallow))
    turned = stack_folders(tmp_path / "turned")
    for file in (turned / "disparity").iterdir():
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file)
    assert "the images are 33 x 36, the disparities 36 x 33" in said(runner, net, *given(turned))
    far = ("--data", "folder", "--root", stack_folders(tmp_path / "far"), "--unit", 1e-9)
    status, text = runner.run(net, "data.py", *far)
    assert status == 1 and "no value reaches 0.02: is --unit right?" in text
    status, text = runner.run(net, "train.py", "--unit", -1)
    assert status == 2 and "must be a positive number" in text


def test_an_image_without_labels(tmp_path: Path, nets: dict[str, Path], runner: Runner) -> None:
    for kind, value in (("images", 90), ("masks", 255)):
        (tmp_path / kind).mkdir()
        for number in range(6):
            mode = "L" if kind == "masks" else "RGB"
            colour = value if mode == "L" else (value,) * 3
            Image.new(mode, (20, 20), colour).save(tmp_path / kind / f"{number}.png")
    given = ("--data", "folder", "--root", tmp_path, "--out", tmp_path / "out")
    text = said(runner, nets["patches"], *given)
    assert "no pixel has a label; leave the image out" in text


# --- specs that do not fit ------------------------------------------------------------------


LABEL = "target: label"
NO_NUMBER = (
    CLASSES.replace("adaptive_avg_pool2d, output_size: 1", "avg_pool2d, kernel_size: 8")
    .replace("  fc: {op: linear, out_features: 7}\n", "")
    .replace("logits: fc", "logits: flatten")
)
FAULTS = [
    (PATCHES.replace("flip: true", "rotate: 10"), "SEG623", "`rotate` means nothing for a patch"),
    (CLASSES + "  patches: 4\n", "SEG623", "`patches` means nothing for a classifier"),
    (STACKS.replace("flip: true", "blur: {sigma: [1, 2]}"), "SEG623", "reads focal stacks"),
    (STACKS + "  classes: [a, b]\n", "SEG623", "`classes` means nothing"),
    (CLASSES.replace(LABEL, f"{LABEL}, ignore_index: 3"), "SEG603", "an image has no"),
    (CLASSES.replace(LABEL, f"{LABEL}, class_weights: inverse_log"), "SEG603", "not counted"),
    (CLASSES.replace(LABEL, f"{LABEL}, reduction: images"), "SEG603", "one label an image"),
    (CLASSES.replace(LABEL, f"{LABEL}, resize: labels_slice"), "SEG603", "could be resized"),
    (CLASSES.replace("out_features: 7", "out_features: 1"), "SEG602", "one channel"),
    (CLASSES.replace(f", {LABEL}", ""), "SEG602", "of an image `label`"),
    (CLASSES.replace("area: [0.3, 1]", "area: [1, 0.3]"), "SEG105", "[smallest, largest]"),
    (PATCHES.replace("max_steps: 60", "crop: [9, 9]"), "SEG605", "9 x 9"),
    (NO_NUMBER, "SEG602", "no number of classes"),
]


@pytest.mark.parametrize(("text", "code", "words"), FAULTS)
def test_recipes_of_another_task_are_refused(text: str, code: str, words: str) -> None:
    fault(text, code, words)


CASES = """\
  cases:
    small:
      when: size == 'small'
      epochs: 3
      augment: {flip: true}
    odd: {when: size == 'odd', crop: [33, 33]}
"""


def test_a_recipe_with_cases() -> None:
    text = (
        STACKS.replace("inputs:", "params:\n  size: {type: str, default: large}\ninputs:") + CASES
    )
    recipe = sound(text).graph.recipe
    assert (recipe["max_steps"], recipe["crop"]) == (60, [32, 32]) and "cases" not in recipe
    other = sound(text, size="small").graph.recipe
    assert other["epochs"] == 3 and "max_steps" not in other and other["crop"] == [32, 32]
    assert sound(text, size="odd").graph.recipe["crop"] == [33, 33]
    odd = text.replace("default: large", "default: odd")
    found = fault(odd, "SEG605", "33 x 33", "[34, 34]")
    assert found.loc is not None and odd.splitlines()[found.loc.line - 1].lstrip()[:3] == "odd"
    both = CASES.replace("epochs: 3", "epochs: 3\n      max_steps: 4")
    fault(text.replace(CASES, both), "SEG603", "both `max_steps` and `epochs`")
    fault(text.replace("epochs: 3", "epoch: 3"), "SEG107", "unknown key `epoch`")
    fault(text.replace("      when: size == 'small'\n", ""), "SEG104", "`when` is missing")
    unread = STACKS.replace("inputs:", "params:\n  size: {type: str, default: large}\ninputs:")
    fault(unread, "SEG315", "nothing in the spec reads")
