"""The emitted inference.py against direct computations: tiles, windows, scales, flips, dropout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from harness_kit import CROSS_ENTROPY, RECIPE, Runner, checked, emit, load  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from segc.build import build  # noqa: E402
from segc.dim import Domain, symbol  # noqa: E402
from segc.source import Source  # noqa: E402

SPECS = Path(__file__).resolve().parents[1] / "specs"
CRF = {
    "bilateral": {"weight": 5, "xy": 20, "rgb": 10},
    "gaussian": {"weight": 3, "xy": 3},
    "iterations": 3,
}
ALL: dict[str, Any] = {
    "crf": CRF,
    "tile": {"size": [16, 16], "overlap": 8},
    "slide": {"crop": [24, 20], "stride": 2 / 3},
    "samples": 3,
    "scales": [0.5, 1.0],
    "average": "probabilities",
}


def offering(**inference: Any) -> dict[str, Any]:
    return {**RECIPE, "inference": inference}


def valid(folder: Path, **inference: Any) -> SimpleNamespace:
    """The harness of a network that loses 6 pixels on every side; sizes 4k + 2, at least 14."""
    height, width = symbol("H"), symbol("W")
    domain = Domain().multiple(height - 2, 4).multiple(width - 2, 4)
    domain = domain.at_least(height, 14).at_least(width, 14)
    recipe = {**offering(**inference), "crop": [30, 38]}
    given = checked(sizes={"logits": lambda side: side - 12}, domain=domain, recipe=recipe)
    return load(emit(folder, given, margin=6))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
def kit(work: Path) -> SimpleNamespace:
    return load(emit(work / "all", checked(recipe=offering(**ALL))))


def network(kit: SimpleNamespace, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kit.model.Tiny().eval()


# --- tiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [(1, 1), (7, 10), (16, 64), (200, 200)])
@pytest.mark.parametrize("size", [(3, 5), (17, 30), (40, 33)])
def test_tiles_of_unpadded_convolutions_are_the_whole(
    work: Path, tile: tuple[int, int], size: tuple[int, int]
) -> None:
    """Any tile size, against one pass and against the reflected image in a single call."""
    kit = valid(work / "valid")
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), *(nn.Conv2d(4, 4, 3, dilation=2) for _ in range(2))]
    net = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(4, 3, 3)).double()
    assert (40 - net(torch.zeros(1, 3, 40, 40).double()).shape[-1]) // 2 == kit.inputs.MARGIN
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = kit.inference.logits_of(net, image)
        tiles = kit.inference.tiled_logits(net, image, tile)
        assert tiles.shape == whole.shape == (1, 3, *size)
        assert (tiles - whole).abs().max() < 1e-12
        if min(size) > 6:
            direct = net(F.pad(image, (6, 6, 6, 6), mode="reflect"))
            assert (tiles - direct).abs().max() < 1e-12


def built(folder: Path, **params: Any) -> SimpleNamespace:
    source = Source.open(str(SPECS / "unet.yaml"))
    folder.mkdir()
    for name, text in build(source, params).files.items():
        if name.endswith(".py"):
            (folder / name).write_text(text, encoding="utf-8")
    return load(folder)


def test_overlap_tiles_of_the_papers_unet(work: Path) -> None:
    """Tiles of multiples of 16 equal one pass over the mirrored image; others pool elsewhere."""
    kit = built(work / "unet", padding=0, width=2)
    assert kit.inputs.MARGIN == 92 and kit.inference.TILE == (384, 384)
    torch.manual_seed(0)
    net, image = kit.model.UNet().double().eval(), torch.rand(1, 3, 100, 120).double()
    with torch.no_grad():
        whole = kit.inference.logits_of(net, image)
        assert whole.abs().max() > 0.1
        for tile in ((64, 48), (16, 112), (384, 384)):
            assert (kit.inference.tiled_logits(net, image, tile) - whole).abs().max() < 1e-12
        off = kit.inference.tiled_logits(net, image, (50, 50))
        assert (off[:, :, :50, :50] - whole[:, :, :50, :50]).abs().max() < 1e-12
        assert (off - whole).abs().max() > 1e-6


def test_overlap_tiles_of_a_padded_unet(work: Path) -> None:
    """Far from the border they equal one pass, when the overlap covers the receptive field."""
    kit = built(work / "padded", width=2)
    assert kit.inference.OVERLAP == 96 and not hasattr(kit.inputs, "MARGIN")
    torch.manual_seed(0)
    net, image = kit.model.UNet().double().eval(), torch.rand(1, 3, 240, 224).double()
    with torch.no_grad():
        whole = kit.inference.logits_of(net, image)
        tiles = kit.inference.tiled_logits(net, image, (96, 96))
    inner = (slice(None), slice(None), slice(96, -96), slice(96, -96))
    assert whole[inner].shape[-2:] == (48, 32)
    assert (tiles[inner] - whole[inner]).abs().max() < 1e-12
    assert (tiles - whole).abs().max() > 1e-6  # zeros there, the mirrored image here


# --- windows, scales, flips -----------------------------------------------------------------


def starts(length: int, window: int) -> list[int]:
    """semseg's rule: as many steps of ceil(2/3) as are needed, the last one pulled back."""
    step = math.ceil(window * 2 / 3)
    count = math.ceil((length - window) / step) + 1
    ends = [min(i * step + window, length) for i in range(count)]
    return [end - window for end in ends]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(61, 50), (24, 20), (25, 47), (9, 47), (10, 8)])
def test_sliding_windows_are_averaged_by_visits(
    kit: SimpleNamespace, size: tuple[int, int], flip: bool
) -> None:
    net, image = network(kit), torch.rand(1, 3, *size)
    top, left = (max(0, w - s) // 2 for w, s in zip((24, 20), size, strict=True))
    canvas = torch.zeros(1, 3, max(24, size[0]), max(20, size[1]))  # zero is the mean colour
    canvas[:, :, top : top + size[0], left : left + size[1]] = image
    sums = torch.zeros(3, *canvas.shape[-2:])
    visits = torch.zeros(canvas.shape[-2:])
    method = kit.inference.Method(flip=flip, slide=(24, 20))
    with torch.no_grad():
        for y in starts(canvas.shape[-2], 24):
            for x in starts(canvas.shape[-1], 20):
                window = canvas[:, :, y : y + 24, x : x + 20]
                part = net(window).softmax(1)[0]
                if flip:
                    part = (part + net(window.flip(3)).softmax(1)[0].flip(2)) / 2
                sums[:, y : y + 24, x : x + 20] += part
                visits[y : y + 24, x : x + 20] += 1
        found = kit.inference.probabilities_of(net, image, size, method)
    assert (visits > 0).all()
    direct = (sums / visits)[:, top : top + size[0], left : left + size[1]]
    assert torch.allclose(found[0], direct, atol=1e-6)


def test_windows_overlap_by_a_third_and_reach_the_end(kit: SimpleNamespace) -> None:
    for window in (20, 24, 473, 713):
        for length in range(window, 3 * window, 7):
            found = kit.inference.starts(length, window)
            assert found == starts(length, window)
            assert found[0] == 0 and found[-1] == length - window


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_scales_and_flips_are_averaged(work: Path, average: str) -> None:
    folder = work / average
    kit = load(emit(folder, checked(recipe=offering(scales=[0.5, 1.5], average=average))))
    assert kit.inference.SCALES == [0.5, 1.5]
    net, image, size = network(kit), torch.rand(1, 3, 30, 44), (33, 40)
    values = []
    with torch.no_grad():
        for scale in (0.5, 1.0, 1.5):
            grid = (round(30 * scale), round(44 * scale))
            view = F.interpolate(image, grid, mode="bilinear", antialias=scale < 1)
            rows, columns = (side + side % 2 for side in grid)  # the network takes even sizes
            for flip in (False, True):
                seen = view.flip(3) if flip else view
                padded = F.pad(seen, (0, columns - grid[1], 0, rows - grid[0]), mode="reflect")
                logits = net(padded)[:, :, : grid[0], : grid[1]]
                logits = logits.flip(3) if flip else logits
                logits = F.interpolate(logits, size, mode="bilinear")
                values.append(logits.softmax(1))
        method = kit.inference.Method((0.5, 1.0, 1.5), True)
        found = kit.inference.probabilities_of(net, image, size, method)
    stack = torch.stack(values)
    direct = stack.mean(0)
    if average == "log_probabilities":
        direct = stack.log().mean(0).exp()
        direct = direct / direct.sum(1, keepdim=True)
    assert torch.allclose(found, direct, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(1, *size), atol=1e-5)


def test_one_channel_is_two_classes(work: Path) -> None:
    losses = {"seg": {k: v for k, v in CROSS_ENTROPY.items() if k != "class_weights"}}
    losses["seg"]["kind"] = "binary_cross_entropy"
    given = checked(outputs={"logits": 1}, losses=losses, recipe=offering(**ALL))
    kit = load(emit(work / "binary", given, classes=1))
    net, image = network(kit), torch.rand(1, 3, 30, 44)
    with torch.no_grad():
        found = kit.inference.probabilities_of(net, image, (30, 44), kit.inference.Method())
        assert torch.allclose(found, net(image).sigmoid(), atol=1e-6)
    assert kit.inference.labels_of(torch.tensor([[[[0.2, 0.8]]]])).long().tolist() == [[[0, 1]]]


# --- dropout alive --------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
def test_samples_are_mean_and_variance_of_direct_sampling(kit: SimpleNamespace, flip: bool) -> None:
    net, image, size = network(kit), torch.rand(1, 3, 24, 32), (24, 32)
    method = kit.inference.Method(samples=6, seed=3, flip=flip)
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        mean, uncertainty = kit.inference.sampled(net, image, size, method, 2)
        again = kit.inference.sampled(net, image, size, method, 2)
        other = kit.inference.sampled(net, image, size, method, 1)
    assert torch.equal(mean, again[0]) and torch.equal(uncertainty, again[1])
    assert not torch.equal(mean, other[0])
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())

    net.drop.train()
    assert not net.bn.training
    torch.manual_seed(3 + (2 << 20))
    draws = []
    with torch.no_grad():
        for _ in range(6):
            part = net(image).softmax(1)
            draws.append((part + net(image.flip(3)).softmax(1).flip(3)) / 2 if flip else part)
    stack = torch.stack(draws).double()
    assert torch.allclose(mean.double(), stack.mean(0), atol=1e-6)
    variance = stack.var(0, unbiased=False).mean(1)[0]
    assert variance.max() > 2e-5
    assert torch.allclose(uncertainty.double(), variance, atol=1e-9, rtol=1e-3)


def test_without_samples_nothing_is_uncertain(kit: SimpleNamespace) -> None:
    net, image = network(kit), torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        found, none = kit.inference.sampled(net, image, (24, 32), kit.inference.Method(), 0)
        assert torch.allclose(found, net(image).softmax(1), atol=1e-6)
    assert torch.equal(none, torch.zeros(24, 32))


def test_a_network_without_dropout_has_no_samples(kit: SimpleNamespace) -> None:
    method = kit.inference.Method(samples=4)
    with pytest.raises(kit.runtime.Stop, match="no dropout"):
        kit.inference.sampled(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 8, 8), (8, 8), method, 0)


# --- the scripts ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    runner = Runner(work)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def trained(work: Path, kit: SimpleNamespace, runner: Runner) -> tuple[Path, Path]:
    """The folder of a network and a checkpoint of a short training."""
    out = work / "run"
    quick = ("--max-steps", 20, "--workers", 0, "--eval-every", 20)
    status, text = runner.run(work / "all", "train.py", "--out", out, *quick)
    assert status == 0, text
    return work / "all", out / "last.pt"


def scores(work: Path, runner: Runner, trained: tuple[Path, Path], *options: object) -> Any:
    report = work / "scores.json"
    weights = ("--weights", trained[1], "--workers", 0, "--json", report)
    status, text = runner.run(trained[0], "eval.py", *weights, *options)
    assert status == 0, text
    return json.loads(report.read_text()), text


def test_eval_with_everything(work: Path, runner: Runner, trained: tuple[Path, Path]) -> None:
    plain, text = scores(work, runner, trained)
    assert "boundary_f" not in plain and "uncertainty" not in plain and "fw_iou" in plain
    assert 0 < plain["fw_iou"] <= plain["pixel_accuracy"]
    options = ("--samples", "--boundary", "--crop-factors", 0, 200, 400, "--seed", 5)
    first, text = scores(work, runner, trained, *options)
    second, _ = scores(work, runner, trained, *options)
    assert first == second
    assert first["method"]["samples"] == 3 and first["method"]["seed"] == 5
    assert first["miou"] == pytest.approx(first["crop_factors"]["0"])
    assert list(first["crop_factors"]) == ["0", "200", "400"]
    assert list(first["boundary_f"]) == ["0.0005", "0.001875", "0.00375", "0.005"]
    assert set(first["boundary_f"]["0.005"]["classes"]) == set(first["iou"])
    assert first["uncertainty"]["wrong"] > first["uncertainty"]["right"] > 0
    for words in ("boundary F at 0.0005", "crop factor 400", "uncertainty where wrong"):
        assert words in text
    other, _ = scores(work, runner, trained, "--samples", "--seed", 6)
    assert other["miou"] != first["miou"]


@pytest.mark.parametrize(
    "options", [("--tile",), ("--tile", 48, 32), ("--slide",), ("--scales", "--flip"), ("--crf",)]
)
def test_eval_each_way(
    work: Path, runner: Runner, trained: tuple[Path, Path], options: tuple[object, ...]
) -> None:
    plain, _ = scores(work, runner, trained)
    found, _ = scores(work, runner, trained, *options)
    assert found["miou"] != plain["miou"]
    assert found["pixel_accuracy"] == pytest.approx(plain["pixel_accuracy"], abs=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tile", 3), "--tile takes a height and a width"),
        (("--tile", 0, 4), "--tile takes a height and a width"),
        (("--slide", 3, 4, 5), "--slide takes a height and a width"),
        (("--tile", "--slide"), "exclude each other"),
        (("--samples", 1), "--samples is 2 or more"),
        (("--scales", -1), "--scales must be positive"),
        (("--crop-factors", 500), "--crop-factors are 0 to 461"),
        (("--samples", 3, "--deploy"), "no dropout"),
    ],
)
def test_wrong_usage(
    runner: Runner, trained: tuple[Path, Path], options: tuple[object, ...], words: str
) -> None:
    deploy = (trained[0] / "deploy.py").read_text()
    if "--deploy" in options:
        bare = deploy.replace(
            "    return deploy", "    deploy.drop = nn.Identity()\n    return deploy"
        )
        (trained[0] / "deploy.py").write_text(bare)
    weights = ("--weights", trained[1], "--workers", 0)
    status, text = runner.run(trained[0], "eval.py", *weights, *options)
    (trained[0] / "deploy.py").write_text(deploy)
    assert status == 2 and words in text and "Traceback" not in text


def test_predict_writes_the_uncertainty(
    work: Path, runner: Runner, trained: tuple[Path, Path]
) -> None:
    folder, weights = trained
    kit = load(folder)
    scene = kit.data.Scenes("val", (40, 56)).image(0)
    picture = work / "scene.png"
    Image.fromarray(scene.permute(1, 2, 0).numpy()).save(picture)
    given = ("--weights", weights, picture, "--labels")
    seen = []
    for out, options in (("a", ()), ("b", ()), ("c", ("--seed", 9)), ("d", ("--crf", "--tile"))):
        more = ("--samples", 5, "--out", work / out, *options)
        status, text = runner.run(folder, "predict.py", *given, *more)
        assert status == 0, text
        with Image.open(work / out / "scene_uncertainty.png") as shade:
            assert shade.size == (56, 40) and shade.mode == "L"
            assert shade.getextrema()[1] == 255
            seen.append(shade.tobytes())
        assert "0 is black" in text
        assert (work / out / "scene_overlay.png").exists()
    assert seen[0] == seen[1] != seen[2]
    status, text = runner.run(folder, "predict.py", *given, "--out", work / "plain", "--crf")
    assert status == 0 and not (work / "plain" / "scene_uncertainty.png").exists()


# --- the recipe -----------------------------------------------------------------------------


def spec(inference: str, *, padding: int = 1, drop: bool = False, classes: int = 3) -> str:
    loss = "cross_entropy" if classes > 1 else "binary_cross_entropy"
    layer = "{op: dropout, p: 0.5}" if drop else "relu"
    return (
        "segc: 1\nmodel: Net\ninputs: {image: [N, 3, H, W]}\nlayers:\n"
        f"  a: {{op: conv2d, out_channels: 4, kernel_size: 3, padding: {padding}}}\n  b: {layer}\n"
        f"  logits: {{op: conv2d, out_channels: {classes}, kernel_size: 1}}\n"
        f"outputs: {{logits: logits}}\nlosses: {{seg: {{{loss}: logits}}}}\n"
        f"recipe:\n  inference: {inference}\n"
    )


def faults(text: str) -> list[tuple[str, int, int, str]]:
    from segc.diag import Fail

    try:
        build(Source.from_text(text, "spec.yaml"), {})
    except Fail as failed:
        places = [(d.code, d.loc, d.message) for d in failed.diagnostics]
        return [(code, at.line, at.column, text) for code, at, text in places if at]
    return []


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        (spec("{samples: 8}"), "SEG622", 24, "the network has no dropout"),
        (spec("{slide: {crop: [9, 9]}}", padding=0), "SEG622", 22, "as large as the image"),
        (spec("{tile: {size: [9, 9], overlap: 4}}", padding=0), "SEG622", 45, "its margin"),
        (spec("{average: log_probabilities}", classes=1), "SEG622", 24, "two or more"),
        (spec("{samples: 1}", drop=True), "SEG105", 24, "at least 2"),
        (spec("{tile: {size: [9]}}"), "SEG103", 28, "takes 2 numbers"),
        (spec("{slide: {crop: [9, 9], stride: 1.5}}"), "SEG105", 45, "at most 1"),
        (spec("{crf: {gaussian: {weight: 3, xy: 3}}}"), "SEG104", 20, "`bilateral` is missing"),
        (spec("{crf: {}, tiles: {}}"), "SEG107", 24, "unknown key `tiles`"),
    ],
)
def test_what_does_not_fit_is_said_where_it_stands(
    text: str, code: str, column: int, words: str
) -> None:
    found = [f for f in faults(text) if f[0] == code and words in f[3]]
    assert found, faults(text)
    assert found[0][1:3] == (11, column), found


def test_what_fits_is_built() -> None:
    for text in (
        spec("{samples: 8, scales: [0.5, 1], average: log_probabilities}", drop=True),
        spec("{tile: {size: [64, 64]}}", padding=0),
        spec("{tile: {size: [64, 64], overlap: 4}, slide: {crop: [33, 33], stride: 1}}"),
    ):
        assert faults(text) == []
