"""The emitted dense CRF against direct sums over all pairs of pixels and a lattice by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import CROSS_ENTROPY, RECIPE, checked, emit, load  # noqa: E402

BINARY = {k: v for k, v in CROSS_ENTROPY.items() if k != "class_weights"}
BINARY["kind"] = "binary_cross_entropy"
PUBLISHED = {  # weight, xy, rgb of the bilateral kernel; weight, xy of the Gaussian
    "deeplab v1": (5, 50, 10, 3, 3),
    "deeplab v2 VGG": (4, 49, 5, 3, 3),
    "deeplab v2 ResNet": (4, 67, 3, 3, 1),
    "DeconvNet": (5, 20, 3, 3, 3),
}


def crf(values: tuple[float, ...], iterations: int = 10) -> dict[str, Any]:
    weight, xy, rgb, near, side = values
    return {
        "bilateral": {"weight": weight, "xy": xy, "rgb": rgb},
        "gaussian": {"weight": near, "xy": side},
        "iterations": iterations,
    }


def emitted(folder: Path, values: tuple[float, ...], iterations: int = 10, **changes: Any) -> Any:
    recipe = {**RECIPE, "inference": {"crf": crf(values, iterations)}}
    return load(emit(folder, checked(recipe=recipe, **changes))).crf


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield emitted(tmp_path_factory.mktemp("crf") / "net", (5, 50, 10, 3, 3))


def scene(height: int = 24, width: int = 32, classes: int = 5) -> tuple[Any, Any, Any]:
    """Noisy probabilities [1, K, H, W], uint8 image [3, H, W] and the labels behind both."""
    noise = torch.Generator().manual_seed(1)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    labels = (y // (height // 3) + x // (width // 3)) % classes
    levels = torch.stack([labels * 90 % 256, labels * 50 % 256 + 30, labels * 140 % 256])
    image = levels + 12 * torch.randn(levels.shape, generator=noise)
    logits = 1.5 * torch.nn.functional.one_hot(labels, classes).permute(2, 0, 1)
    logits = logits + torch.randn(logits.shape, generator=noise)
    return logits.double().softmax(0)[None], image.clamp(0, 255).to(torch.uint8), labels


def kernels(image: Any, values: tuple[float, ...]) -> tuple[Any, Any]:
    """Both kernels between all pairs of pixels, by their definition."""
    _, xy, rgb, _, side = values
    y, x = torch.meshgrid(*(torch.arange(s).double() for s in image.shape[1:]), indexing="ij")
    place, colour = torch.stack([y, x]).flatten(1).T, image.flatten(1).T.double()
    apart = ((place[:, None] - place[None]) ** 2).sum(-1)
    unlike = ((colour[:, None] - colour[None]) ** 2).sum(-1)
    bilateral = torch.exp(-apart / (2 * xy**2) - unlike / (2 * rgb**2))
    return bilateral, torch.exp(-apart / (2 * side**2))


def mean_field(probabilities: Any, image: Any, values: tuple[float, ...], steps: int) -> Any:
    """Every pixel hears every other, one by one: what the method is defined to compute."""
    total = torch.zeros(image[0].numel(), image[0].numel(), dtype=torch.float64)
    for weight, kernel in zip((values[0], values[3]), kernels(image, values), strict=True):
        root = kernel.sum(1).sqrt()
        total += weight * kernel / root[:, None] / root[None]
    likelihood = probabilities[0].flatten(1).log()
    belief = likelihood.softmax(0)
    for _ in range(steps):
        belief = (likelihood + belief @ total).softmax(0)
    return belief.reshape(probabilities.shape)


def test_the_gaussian_kernel_is_exact(kit: Any) -> None:
    _, image, _ = scene()
    values = torch.rand(4, 24, 32, dtype=torch.float64)
    for sigma in (0.7, 3.0, 40.0):
        _, kernel = kernels(image, (0, 1, 1, 1, sigma))
        direct = (values.flatten(1) @ kernel).reshape(values.shape)
        found = kit.Spatial(24, 32, sigma, values).filter(values)
        assert torch.allclose(found, direct, rtol=1e-12, atol=0)


def test_mean_field_with_the_gaussian_kernel_is_exact(tmp_path: Path) -> None:
    probabilities, image, labels = scene()
    values = (0, 50, 10, 3, 3)
    found = emitted(tmp_path / "net", values).refine(probabilities, image)
    direct = mean_field(probabilities, image, values, 10)
    assert (found - direct).abs().max() < 1e-12
    before = (probabilities.argmax(1)[0] == labels).double().mean()
    after = (found.argmax(1)[0] == labels).double().mean()
    assert before < 0.7 and after > 0.8


@pytest.mark.parametrize("name", PUBLISHED)
def test_mean_field_with_the_lattice_is_near(name: str, tmp_path: Path) -> None:
    """The lattice spreads the bilateral kernel a little: few pixels end elsewhere."""
    probabilities, image, _ = scene()
    values = PUBLISHED[name]
    found = emitted(tmp_path / "net", values).refine(probabilities, image)
    direct = mean_field(probabilities, image, values, 10)
    assert torch.allclose(found.sum(1), torch.ones(1, 24, 32, dtype=torch.float64))
    assert (found - direct).abs().mean() < 0.02
    assert (found.argmax(1) == direct.argmax(1)).double().mean() > 0.95


def test_one_filtering_of_the_lattice_is_near(kit: Any) -> None:
    """Normalised as it is used, the bilateral sum is off by 2 % of the values' range."""
    probabilities, image, _ = scene()
    for xy, rgb in ((50, 10), (49, 5), (67, 3), (20, 3), (8, 30)):
        kernel, _ = kernels(image, (1, xy, rgb, 0, 1))
        direct = (probabilities[0].flatten(1) @ kernel / kernel.sum(0)).reshape(-1, 24, 32)
        lattice = kit.Lattice(kit.features(image.double(), xy, rgb))
        found = lattice.filter(probabilities[0]) / lattice.filter(torch.ones_like(direct[:1]))
        assert (found - direct).abs().mean() < 0.02, (xy, rgb)


# --- the lattice by hand --------------------------------------------------------------------


def lattice_by_hand(points: list[list[float]], values: list[float]) -> list[float]:
    """Splat, blur, slice over a dictionary; the simplex is found by trying all of them."""
    d = len(points[0])
    basis = [[1.0] * i + [-float(i)] + [0.0] * (d - i) for i in range(1, d + 1)]
    raised = []
    for point in points:
        parts = [
            [f / (i * (i + 1)) ** 0.5 * (2 / 3) ** 0.5 * (d + 1) * b for b in row]
            for i, (f, row) in enumerate(zip(point, basis, strict=True), 1)
        ]
        raised.append([sum(column) for column in zip(*parts, strict=True)])
    places = [around(point) for point in raised]
    grid: dict[tuple[int, ...], float] = defaultdict(float)
    for place, value in zip(places, values, strict=True):
        for corner, share in place:
            grid[corner] += share * value
    for axis in range(d + 1):
        old = dict(grid)
        for corner in old:
            for sign in (1, -1):
                near = tuple(c + sign * (1 - (d + 1) * (i == axis)) for i, c in enumerate(corner))
                grid[corner] += 0.5 * old.get(near, 0.0)
        grid = defaultdict(float, {corner: grid[corner] for corner in old})
    return [sum(share * grid[corner] for corner, share in place) for place in places]


def around(point: list[float]) -> list[tuple[tuple[int, ...], float]]:
    """The corners of the simplex that holds a point, and its barycentric coordinates."""
    count = len(point)
    guess = [round(p / count) * count for p in point]
    for offset in product((-count, 0, count), repeat=count):
        zero = [g + o for g, o in zip(guess, offset, strict=True)]
        if sum(zero):
            continue
        for order in permutations(range(count)):
            rest = [(point[i] - zero[i]) / count for i in order]
            falling = all(a >= b - 1e-12 for a, b in zip(rest, rest[1:], strict=False))
            if falling and rest[0] - rest[-1] <= 1 + 1e-12:
                return corners_of(zero, order, rest)
    raise AssertionError("no simplex")


def corners_of(zero: list[int], order: Any, rest: list[float]) -> Any:
    count = len(zero)
    found = [(tuple(zero), 1 - rest[0] + rest[-1])]
    for r in range(1, count):
        wrapped = order[count - r :]
        corner = tuple(z + r - count * (i in wrapped) for i, z in enumerate(zero))
        found.append((corner, rest[count - r - 1] - rest[count - r]))
    return found


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_lattice_by_hand(kit: Any, d: int) -> None:
    draw = torch.Generator().manual_seed(d)
    points = 3 * torch.rand(5, 6, d, generator=draw, dtype=torch.float64)
    values = torch.rand(1, 5, 6, generator=draw, dtype=torch.float64)
    found = kit.Lattice(points).filter(values)
    expected = lattice_by_hand(points.reshape(-1, d).tolist(), values.flatten().tolist())
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [2, 5])
def test_points_lie_within_their_simplex(kit: Any, d: int) -> None:
    points = 40 * torch.rand(500, d, generator=torch.Generator().manual_seed(0)).double() - 20
    raised = kit.elevate(points)
    assert raised.sum(1).abs().max() < 1e-9
    corners, shares = kit.simplex(raised)
    assert (corners.sum(2) == 0).all() and (shares > -1e-12).all()
    for remainder, corner in enumerate(corners):
        assert (corner % (d + 1) == remainder).all()
    assert torch.allclose(shares.sum(0), torch.ones(500).double())
    assert torch.allclose((corners * shares[:, :, None]).sum(0), raised)


# --- shapes, binary networks, limits --------------------------------------------------------


def test_a_grey_image_and_a_single_line(kit: Any) -> None:
    for size in ((1, 1), (1, 7), (6, 2)):
        probabilities = torch.rand(1, 4, *size).softmax(1)
        found = kit.refine(probabilities, torch.zeros(1, *size, dtype=torch.uint8))
        assert found.shape == probabilities.shape and found.dtype == torch.float32
        assert torch.allclose(found.sum(1), torch.ones(1, *size))


def test_certainty_stays_finite(kit: Any) -> None:
    probabilities = torch.zeros(1, 3, 8, 8)
    probabilities[:, 1] = 1
    found = kit.refine(probabilities, torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert torch.equal(found.argmax(1), torch.ones(1, 8, 8, dtype=torch.int64))
    assert found.isfinite().all()


def test_a_network_of_one_channel_has_two_classes(tmp_path: Path) -> None:
    values = (5, 20, 30, 3, 3)
    one = emitted(tmp_path / "one", values, outputs={"logits": 1}, losses={"seg": BINARY})
    two = emitted(tmp_path / "two", values)
    _, image, _ = scene()
    yes = torch.rand(1, 1, 24, 32, dtype=torch.float64)
    both = two.refine(torch.cat([1 - yes, yes], 1), image)
    assert torch.allclose(one.refine(yes, image), both[:, 1:], rtol=1e-12)


def test_kernels_too_narrow_to_number_are_refused(tmp_path: Path) -> None:
    net = load(
        emit(
            tmp_path / "net",
            checked(recipe={**RECIPE, "inference": {"crf": crf((1, 0.01, 0.01, 1, 1))}}),
        )
    )
    noise = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    with pytest.raises(net.runtime.Stop, match="too small"):
        net.crf.refine(torch.full((1, 2, 64, 64), 0.5), noise.to(torch.uint8))


def test_modules_are_only_emitted_on_request(tmp_path: Path) -> None:
    plain: SimpleNamespace = load(emit(tmp_path / "plain", checked()))
    assert not hasattr(plain, "crf")
