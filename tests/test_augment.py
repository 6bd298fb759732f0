"""Augmentation as emitted, against direct computations: what moves, what changes colour."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import RECIPE, checked, emit  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from test_harness_parts import load  # noqa: E402

from segc.dim import Domain, symbol  # noqa: E402

TURN = {"degrees": 30, "probability": 1.0}
ELASTIC = {"grid": 3, "sigma": 4.0}
JITTER = {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.25}
Maker = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """The emitted modules of a network whose recipe augments so, with or without a margin."""
    work, made = tmp_path_factory.mktemp("augment"), {}

    def make(augment: dict[str, Any], margin: int = 0, channels: int = 3) -> SimpleNamespace:
        key = repr((augment, margin, channels))
        if key not in made:
            recipe = {**RECIPE, "augment": augment}
            height, width = symbol("H"), symbol("W")
            domain = Domain().at_least(height, 2 * margin + 1).at_least(width, 2 * margin + 1)
            sizes = {"logits": lambda side: side - 2 * margin}
            net = checked(recipe=recipe, channels=channels, domain=domain, sizes=sizes)
            made[key] = load(emit(work / str(len(made)), net, margin=margin, channels=channels))
        return made[key]

    return make


class Picture:
    """A split of one image. `pixels` uint8 [C, H, W], `labels` uint8 [H, W]."""

    names = ("a", "b", "c")

    def __init__(self, pixels: Any, labels: Any) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return "picture"

    def image(self, index: int) -> Any:
        return self.pixels

    def mask(self, index: int) -> Any:
        return self.labels


def coordinates(height: int, width: int, axis: int = 0) -> Picture:
    """Every pixel says where it is: 4 y and 4 x in the image, y or x as label."""
    places = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([4 * places[0], 4 * places[1], 0 * places[0]]).to(torch.uint8)
    return Picture(pixels, places[axis].to(torch.uint8))


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> Picture:
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (channels, height, width), generator=draw)
    labels = torch.randint(0, 3, (height, width), generator=draw)
    return Picture(pixels.to(torch.uint8), labels.to(torch.uint8))


# --- where things go ------------------------------------------------------------------------

GEOMETRY: dict[str, dict[str, Any]] = {
    "scale": {"scale": [0.5, 2.0]},
    "steps": {"scales": [0.6, 0.75, 1.5]},
    "rotate": {"rotate": TURN},
    "some": {"rotate": {"degrees": 30, "probability": 0.5}},
    "shift": {"shift": 6.5},
    "elastic": {"elastic": ELASTIC},
    "flip": {"flip": True, "shift": 0.5},
    "square": {"resize": [48, 56]},
    "shorter": {"resize": [50]},
    "all": {
        "resize": [60],
        "scale": [0.7, 1.4],
        "rotate": TURN,
        "shift": 6.5,
        "elastic": ELASTIC,
        "flip": True,
    },
}


@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("name", GEOMETRY)
def test_image_and_labels_come_from_the_same_place(build: Maker, name: str, margin: int) -> None:
    """Image and labels that hold their own coordinates agree within half a pixel.

    Near the border the image is mirrored or averaged over fewer pixels, and says something else.
    """
    kit, size = build(GEOMETRY[name], margin), (44, 60)
    crop, valid, off = (24 + 2 * margin, 28 + 2 * margin), 0, 0.0
    for axis in (0, 1):
        samples = samples_of(kit, coordinates(*size, axis), crop, 5, GEOMETRY[name])
        for epoch in range(25):
            image, mask = samples.sample(epoch, 0)
            inner = image[axis, margin : image.shape[1] - margin, margin : image.shape[2] - margin]
            assert inner.shape == mask.shape == (24, 28)
            place = inner * 255 / 4
            inside = (mask != 255) & (mask >= 3) & (mask < size[axis] - 3)
            away = (place - mask.float())[inside]
            assert float(away.abs().max(0).values if away.numel() else 0) <= 0.5 + 0.15, epoch
            valid, off = valid + away.numel(), off + float(away.sum())
    assert valid > 50 * 24 * 28 * 0.2
    assert abs(off / valid) < 0.2


def samples_of(kit: Any, split: Any, crop: Any, seed: int, augment: dict[str, Any]) -> Any:
    """Samples as train.py makes them: its constants by the names of the fields."""
    values: dict[str, Any] = {}
    sides = augment.get("resize") or []
    if sides:
        values["base_size" if len(sides) == 2 else "shorter_side"] = (
            tuple(sides) if len(sides) == 2 else sides[0]
        )
    for key in ("scale", "scales", "shift"):
        if key in augment:
            values[key] = augment[key]
    if "rotate" in augment:
        values["rotate"] = augment["rotate"]["degrees"]
        if augment["rotate"]["probability"] < 1:
            values["rotate_share"] = augment["rotate"]["probability"]
    if "elastic" in augment:
        values["elastic"] = (augment["elastic"]["grid"], augment["elastic"]["sigma"])
    if "color_jitter" in augment:
        values["color_jitter"] = augment["color_jitter"]
    if "blur" in augment:
        values["blur"] = augment["blur"]["sigma"]
        if augment["blur"]["probability"] < 1:
            values["blur_share"] = augment["blur"]["probability"]
    return kit.sampling.Samples(split, crop, None, seed, **values)


@pytest.mark.parametrize("margin", [0, 3])
def test_labels_are_never_mixed(build: Maker, margin: int) -> None:
    kit, picture = build(GEOMETRY["all"], margin), noise(30, 40)
    picture.labels = picture.labels * 100  # 0, 100, 200: a mixture would be something else
    samples = samples_of(kit, picture, (24, 28), 1, GEOMETRY["all"])
    found = torch.cat([samples.sample(epoch, 0)[1].flatten() for epoch in range(20)])
    assert set(found.unique().tolist()) == {0, 100, 200, 255}


@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("side", [(20, 24), (30, 40)])
def test_warping_by_nothing_changes_nothing(build: Maker, side: Any, margin: int) -> None:
    """Elastic deformation of no deviation: the window of a plain crop, of small images too."""
    still = {"elastic": {"grid": 3, "sigma": 0.0}}
    picture = noise(*side)
    crop = (24 + 2 * margin, 28 + 2 * margin)
    ours = samples_of(build(still, margin), picture, crop, 2, still)
    kit = build({}, margin)
    for epoch in range(10):
        image, mask = ours.sample(epoch, 0)
        wanted = kit.sampling.cut(picture.pixels, picture.labels, crop, ours_rng(2, epoch))
        padded = torch.zeros(image.shape)
        padded[:, : wanted[0].shape[1], : wanted[0].shape[2]] = wanted[0] / 255
        assert torch.equal(mask, wanted[1])
        assert torch.allclose(image, padded, atol=1e-5)


def ours_rng(seed: int, epoch: int) -> random.Random:
    return random.Random(f"{seed} {epoch} 0")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_rot90(build: Maker, turns: int) -> None:
    kit, picture = build({"rotate": TURN}), noise(25, 25)
    lines = torch.arange(25), torch.arange(25)
    points = torch.stack(torch.meshgrid(*lines, indexing="ij")).float()
    turned = kit.sampling.rotated(points, (25, 25), 90.0 * turns)
    image, mask, inside = kit.sampling.warp(picture.pixels, picture.labels, (25, 25), turned)
    shown = torch.rot90(picture.pixels, -turns, (1, 2)), torch.rot90(picture.labels, -turns)
    other = torch.rot90(picture.pixels, turns, (1, 2)), torch.rot90(picture.labels, turns)
    wanted = shown if torch.equal(mask, shown[1]) else other
    assert inside.all() and torch.equal(mask, wanted[1])
    assert torch.allclose(image, wanted[0].float(), atol=1e-2)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.floats(-180, 180), st.integers(2, 60), st.integers(2, 60))
def test_rotation_keeps_distances_and_its_centre(
    build: Maker, degrees: float, height: int, width: int
) -> None:
    kit = build({"rotate": TURN})
    points = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)).double() * 60
    turned = kit.sampling.rotated(points, (height, width), degrees).view(2, -1)
    flat = points.view(2, -1)
    for one in range(35):
        before, after = flat - flat[:, one : one + 1], turned - turned[:, one : one + 1]
        assert torch.allclose(before.square().sum(0), after.square().sum(0))
    centre = torch.tensor([(height - 1) / 2, (width - 1) / 2]).view(2, 1, 1)
    assert torch.allclose(kit.sampling.rotated(centre, (height, width), degrees), centre, atol=1e-4)
    turn = complex(math.cos(math.radians(degrees)), -math.sin(math.radians(degrees)))
    point = complex(float(points[1, 0, 0] - centre[1]), float(points[0, 0, 0] - centre[0])) * turn
    image = complex(float(turned[1, 0] - centre[1]), float(turned[0, 0] - centre[0]))
    assert abs(point - image) < 1e-3


def test_rotations_fill_the_range(build: Maker) -> None:
    """The angle between the rows of the window, as the coordinates in the image tell it."""
    augment = {"rotate": {"degrees": 12, "probability": 0.5}}
    kit = build(augment)
    samples = samples_of(kit, coordinates(60, 60), (8, 8), 3, augment)
    angles = []
    for epoch in range(200):
        points = samples.points((60, 60), random.Random(epoch))
        across = points[:, 0, 7] - points[:, 0, 0]
        angles.append(math.degrees(math.atan2(float(across[0]), float(across[1]))))
    assert max(angles) <= 12.01 and min(angles) >= -12.01
    assert max(angles) > 11 and min(angles) < -11
    assert 60 < sum(abs(a) < 1e-3 for a in angles) < 140


def test_elastic_displacements_are_those_drawn_at_the_grid(build: Maker) -> None:
    """Corners, edges and centre of the window move by the draws; bicubic weights between."""
    kit = build({"elastic": ELASTIC})
    field = kit.sampling.displacements(3, 10.0, (41, 61), random.Random(4))
    rng = random.Random(4)
    drawn = torch.tensor([rng.gauss(0, 10.0) for _ in range(18)]).view(2, 3, 3)
    assert torch.allclose(field[:, ::20, ::30], drawn, atol=1e-4)
    # halfway between columns 0 and 1 of row 0, with a = -0.75: (-3, 19, 19, -3) / 32
    left, middle, right = drawn[0, 0]
    halfway = (-3 * left + 19 * left + 19 * middle - 3 * right) / 32
    assert abs(float(field[0, 0, 15] - halfway)) < 1e-3
    many = [
        kit.sampling.displacements(3, 10.0, (3, 3), random.Random(seed)).flatten()
        for seed in range(400)
    ]
    assert 9.5 < float(torch.cat(many).std()) < 10.5


def test_shrunk_images_do_not_alias(build: Maker) -> None:
    """Stripes one pixel wide become grey, not stripes, when the image is halved and turned."""
    augment = {"rotate": {"degrees": 10, "probability": 1.0}, "scales": [0.5]}
    pixels = torch.zeros(3, 80, 80, dtype=torch.uint8)
    pixels[:, ::2] = 255
    samples = samples_of(build(augment), Picture(pixels, pixels[0] // 255), (20, 20), 0, augment)
    for epoch in range(5):
        image, _ = samples.sample(epoch, 0)
        assert float((image[:, 5:15, 5:15] - 0.5).abs().max()) < 0.1


def test_sizes_before_the_crop(build: Maker) -> None:
    """A crop of the whole shows what the image was resized to."""
    cases = [
        ({"resize": [50, 70]}, (50, 70)),
        ({"resize": [20]}, (20, 40)),
        ({"resize": [20], "scales": [1.5]}, (30, 60)),
        ({"resize": [40, 20], "scale": [0.5, 0.5]}, (20, 10)),
        ({"scales": [0.5]}, (15, 30)),
    ]
    for augment, size in cases:
        samples = samples_of(build(augment), noise(30, 60), None, 0, augment)
        image, mask = samples.sample(0, 0)
        assert image.shape[1:] == mask.shape == size, augment
        warped = {**augment, "shift": 0.001}
        image, mask = samples_of(build(warped), noise(30, 60), None, 0, warped).sample(0, 0)
        assert image.shape[1:] == mask.shape == size, warped


def test_discrete_scales_all_occur_and_no_other(build: Maker) -> None:
    augment = {"scales": [0.5, 1, 1.5, 2]}
    samples = samples_of(build(augment), noise(20, 20), None, 0, augment)
    seen = {samples.sample(epoch, 0)[1].shape[0] for epoch in range(60)}
    assert seen == {10, 20, 30, 40}


def test_the_shift_moves_the_window(build: Maker) -> None:
    augment = {"shift": 6.5}
    samples = samples_of(build(augment), coordinates(40, 40), None, 0, augment)
    places = torch.stack(
        [samples.points((40, 40), random.Random(seed))[:, 0, 0] for seed in range(300)]
    )
    assert float(places.abs().max()) <= 6.5
    assert (places.amax(0) > 6).all() and (places.amin(0) < -6).all()


def test_all_of_it_is_a_function_of_seed_epoch_index(build: Maker) -> None:
    augment = {**GEOMETRY["all"], "color_jitter": JITTER}
    augment["blur"] = {"sigma": [0.15, 1.3], "probability": 0.5}
    kit, picture = build(augment), noise(40, 50)

    def draw(seed: int, epoch: int) -> Any:
        return samples_of(kit, picture, (16, 20), seed, augment).sample(epoch, 0)

    again, first = draw(1, 7), draw(1, 7)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], draw(1, 8)[0]) and not torch.equal(first[0], draw(2, 7)[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        other = draw(1, 7)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])


def test_no_two_images_or_epochs_share_their_draws(build: Maker) -> None:
    """Every (seed, epoch, index) has a window of its own."""
    kit, split, seen = build({"flip": True}), noise(1000, 1000), set()
    for seed, epoch, index in [(s, e, i) for s in range(3) for e in range(12) for i in range(12)]:
        image, _ = samples_of(kit, split, (8, 8), seed, {}).sample(epoch, index)
        seen.add(image.numpy().tobytes())
    assert len(seen) == 3 * 12 * 12


# --- colours --------------------------------------------------------------------------------


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.5, 0.5))
def test_hue_turns_as_torchvisions(build: Maker, seed: int, share: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    image = noise(9, 11, seed).pixels.float()
    image[:, 0] = image[:1, 0]  # greys have no hue
    image[1, 1] = image[0, 1]  # ties between channels
    image[2, 2] = image[1, 2]
    wanted = functional.adjust_hue(image / 255, share) * 255
    ours = build({"color_jitter": JITTER}).sampling.turn_hue(image, share)
    assert torch.allclose(ours, wanted, atol=0.05)


class Drawn(random.Random):
    """Draws of factors decided by the test."""

    factor = 1.0

    def uniform(self, a: float, b: float) -> float:
        assert a <= self.factor <= b
        return self.factor


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("factor", [0.75, 1.0, 1.2])
def test_each_colour_change_is_torchvisions(build: Maker, name: str, factor: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    amount = 0.25 if name != "hue" else 0.5
    kit, image = build({"color_jitter": {name: amount}}), noise(9, 11).pixels
    if name == "hue":
        factor -= 1
    rng = Drawn(0)
    rng.factor = factor
    ours = kit.sampling.color_jitter(image, {name: amount}, rng)
    wanted = getattr(functional, f"adjust_{name}")(image.float() / 255, factor) * 255
    assert torch.allclose(ours, wanted, atol=0.05)


def test_colour_changes_come_in_every_order(build: Maker) -> None:
    """Brightness then contrast is not contrast then brightness: both results occur."""
    amounts = {"brightness": 0.25, "contrast": 0.25}
    kit, image = build({"color_jitter": amounts}), noise(9, 11).pixels
    seen = set()
    for seed in range(40):
        rng = Drawn(seed)
        rng.factor = 1.25
        seen.add(round(float(kit.sampling.color_jitter(image, amounts, rng).sum())))
    assert len(seen) == 2


def test_grey_images_have_brightness_and_contrast(build: Maker) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    augment = {"color_jitter": {"contrast": 0.5}}
    kit, image = build(augment, channels=1), noise(9, 11, channels=1).pixels
    rng = Drawn(0)
    rng.factor = 1.4
    ours = kit.sampling.color_jitter(image, augment["color_jitter"], rng)
    wanted = functional.adjust_contrast(image.float() / 255, 1.4) * 255
    assert torch.allclose(ours, wanted, atol=0.05)


@pytest.mark.parametrize("sigma", [0.15, 0.7, 1.3, 2.0])
def test_blur_is_the_gaussian_of_scipy(build: Maker, sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    augment = {"blur": {"sigma": [0.15, 2.0], "probability": 1.0}}
    image = noise(15, 17).pixels
    ours = build(augment).sampling.blur(image, sigma)
    cut = math.ceil(3 * sigma) / sigma
    wanted = [
        ndimage.gaussian_filter(c.numpy().astype("float64"), sigma, mode="nearest", truncate=cut)
        for c in image
    ]
    assert torch.allclose(
        ours.double(), torch.stack([torch.from_numpy(w) for w in wanted]), atol=1e-3
    )


@pytest.mark.parametrize("augment", [{"flip": True}, {"shift": 4}], ids=["cut", "warped"])
def test_colours_leave_labels_and_what_lies_outside(build: Maker, augment: dict[str, Any]) -> None:
    """The same window as without; padding stays the network's zero, and labels what they were."""
    coloured = {**augment, "color_jitter": {"brightness": 0.5}}
    picture = noise(10, 12)
    plain = samples_of(build(augment), picture, (16, 20), 3, augment)
    ours = samples_of(build(coloured), picture, (16, 20), 3, coloured)
    changed = 0
    for epoch in range(10):
        (image, mask), (other, same) = plain.sample(epoch, 0), ours.sample(epoch, 0)
        assert torch.equal(mask, same)
        assert (other[:, mask == 255] == 0).all() and (mask == 255).any()
        changed += not torch.equal(image, other)
    assert changed == 10


# --- what a recipe may say ------------------------------------------------------------------


def test_only_colours_have_a_hue() -> None:
    from segc.build import check_source
    from segc.diag import Fail
    from segc.source import Source

    def text(channels: int, jitter: str) -> str:
        return f"""segc: 1
model: Net
inputs: {{image: [N, {channels}, H, W]}}
layers: {{logits: {{op: conv2d, out_channels: 2, kernel_size: 1}}}}
outputs: {{logits: logits}}
losses: {{seg: {{cross_entropy: logits}}}}
recipe: {{augment: {{color_jitter: {jitter}}}}}
"""

    check_source(Source.from_text(text(3, "0.25"), "net.yaml"), {})
    check_source(Source.from_text(text(1, "{brightness: 0.25}"), "net.yaml"), {})
    with pytest.raises(Fail) as failed:
        check_source(Source.from_text(text(1, "{hue: 0.25}"), "net.yaml"), {})
    (only,) = failed.value.diagnostics
    assert only.code == "SEG604" and "the image has 1" in only.message
    assert only.loc is not None and (only.loc.line, only.loc.column) == (7, 40)


def test_nothing_is_emitted_that_the_recipe_does_not_use(build: Maker) -> None:
    from segc.emit.harness import harness_files

    words = {
        "rotate": ("rotated", "math.cos"),
        "elastic": ("displacements", "bicubic"),
        "color_jitter": ("color_jitter", "grey"),
        "blur": ("blur",),
        "flip": ("flip(-1)",),
        "scale": ("rng.uniform(*self.scale)",),
    }
    full = {**GEOMETRY["all"], "color_jitter": JITTER}
    full["blur"] = {"sigma": [0.15, 1.3], "probability": 0.5}
    for left_out in words:
        augment = {k: v for k, v in full.items() if k != left_out}
        text = harness_files(checked(recipe={**RECIPE, "augment": augment}))["sampling.py"]
        for key, found in words.items():
            assert all((word in text) == (key != left_out) for word in found), (left_out, key)


def test_train_py_makes_the_samples_it_states(build: Maker, tmp_path: Path) -> None:
    """The constants of train.py reach the fields of `Samples` of the same name."""
    import ast

    augment = {**GEOMETRY["all"], "color_jitter": JITTER}
    augment["blur"] = {"sigma": [0.15, 1.3], "probability": 0.5}
    folder = emit(tmp_path, checked(recipe={**RECIPE, "augment": augment}))
    tree = ast.parse((folder / "train.py").read_text())
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Samples"
    ]
    stated = {k.arg: ast.unparse(k.value) for k in calls[0].keywords}
    values = {
        ast.unparse(n.targets[0]): ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) in stated.values()
    }
    assert {k: values[v] for k, v in stated.items()} == {
        "shorter_side": 60,
        "scale": (0.7, 1.4),
        "rotate": 30,
        "shift": 6.5,
        "elastic": (3, 4.0),
        "color_jitter": JITTER,
        "blur": (0.15, 1.3),
        "blur_share": 0.5,
    }
