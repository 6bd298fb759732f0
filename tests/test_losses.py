"""Emitted losses against direct computations in float64: loops over pixels, numpy, scipy."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from harness_kit import checked  # noqa: E402
from spec_kit import sound  # noqa: E402

from segc.emit.harness import harness_files  # noqa: E402

SHAPE = (3, 13, 11)  # images, rows, columns
CLASSES = 4


@pytest.fixture
def losses(tmp_path: Path) -> Any:
    """`losses(kind, output, key=value)` is the emitted losses.py with that loss alone."""

    def make(kind: str, outputs: Mapping[str, int], small: int = 1, **keys: Any) -> ModuleType:
        loss = {"kind": kind, "output": next(iter(outputs)), **keys}
        sizes = dict.fromkeys(outputs, lambda side: (side - 1) // small + 1)
        given = checked(outputs=outputs, losses={"seg": loss}, sizes=sizes)
        for name, text in harness_files(given).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, str(tmp_path))
        importlib.invalidate_caches()
        try:
            return importlib.import_module("losses")
        finally:
            sys.path.remove(str(tmp_path))
            for name in ("losses", "inputs", "runtime"):
                sys.modules.pop(name, None)

    return make


def labels(classes: int = CLASSES, seed: int = 0) -> Any:
    """Patches of classes with ignored pixels; the last image is ignored as a whole."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, classes, (SHAPE[0], 5, 4), generator=generator)
    mask = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, : SHAPE[1], : SHAPE[2]].clone()
    mask[:, :2, 3:7] = 255
    mask[2] = 255
    return mask


def scores(channels: int = CLASSES, shape: tuple[int, ...] = SHAPE, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], channels, *shape[1:], generator=generator).requires_grad_()


def entropy(logits: Any, n: int, y: int, x: int, label: int) -> float:
    """-log softmax(logits)[label] of one pixel."""
    row = logits[n, :, y, x].detach().double().numpy()
    return float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[label])


def reduced(terms: list[list[tuple[float, float]]], reduction: str) -> float:
    """From (weight, value) of the valid pixels of each image."""
    if reduction == "images":
        return sum(sum(w * v for w, v in t) / sum(w for w, _ in t) for t in terms if t)
    every = [pair for t in terms for pair in t]
    total = sum(w * v for w, v in every)
    by = {
        "mean": sum(w for w, _ in every),
        "valid_pixels": len(every),
        "batch": len(terms),
        "sum": 1,
    }
    return total / by[reduction]


def check(value: Any, expected: float, *inputs: Any) -> None:
    """The value, and a gradient that is there and finite."""
    assert float(value.detach()) == pytest.approx(expected, rel=2e-5, abs=1e-7)
    value.backward()
    for each in inputs:
        assert each.grad is not None and bool(each.grad.isfinite().all())


REDUCTIONS = ("mean", "valid_pixels", "batch", "sum", "images")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, [0.3, 1.0, 4.0, 0.0], "inverse_log", "per_image"])
@pytest.mark.parametrize("borders", [False, True])
def test_cross_entropy(losses: Any, reduction: str, weights: Any, borders: bool) -> None:
    border = {"w0": 10, "sigma": 5} if borders else None
    keys = {"reduction": reduction, "class_weights": weights, "border_weight": border}
    module = losses("cross_entropy", {"logits": CLASSES}, **keys)
    mask, logits = labels(), scores()
    table = [0.3, 1.0, 4.0, 0.0]
    extra = torch.rand(SHAPE, generator=torch.Generator().manual_seed(3))
    terms: list[list[tuple[float, float]]] = []
    for n in range(SHAPE[0]):
        pixels = [(y, x) for y in range(13) for x in range(11) if mask[n, y, x] != 255]
        terms.append([])
        for y, x in pixels:
            label = int(mask[n, y, x])
            share = sum(int(mask[n, v, u]) == label for v, u in pixels) / len(pixels)
            weight = 1.0 if weights is None else table[label]
            weight = 1 + (1 - share) if weights == "per_image" else weight
            weight += float(extra[n, y, x]) if borders else 0.0
            terms[-1].append((weight, entropy(logits, n, y, x, label)))
    arguments = [] if weights in (None, "per_image") else [torch.tensor(table)]
    arguments += [extra] if borders else []
    check(module.total_loss(logits, mask, *arguments), reduced(terms, reduction), logits)
    logits.grad = None
    nothing = module.total_loss(logits, torch.full_like(mask, 255), *arguments)
    check(nothing, 0.0, logits)
    assert bool((logits.grad == 0).all())


def test_inverse_log_is_enets(losses: Any) -> None:
    module = losses("cross_entropy", {"logits": CLASSES}, class_weights="inverse_log")
    counts = torch.tensor([[60, 30, 10, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    expected = [1 / math.log(1.02 + share) for share in (0.6, 0.3, 0.1, 0.0)]
    assert module.inverse_log(counts).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("how", ["corners", "centres", "slice"])
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (1, 1), (7, 4), (13, 11)])
def test_labels_are_sampled(losses: Any, how: str, rows: int, columns: int) -> None:
    """The index of each label by its definition, in exact fractions."""
    from fractions import Fraction

    def index(i: int, small: int, large: int) -> int:
        if how == "corners":
            at = Fraction(i * (large - 1), max(1, small - 1))
            return math.floor(at + Fraction(1, 2))
        if how == "centres":
            return math.floor((i + Fraction(1, 2)) * large / small)
        return min(large - 1, i * round(large / small))

    module = losses("cross_entropy", {"logits": CLASSES}, small=4, resize=f"labels_{how}")
    mask, logits = labels(), scores(shape=(3, rows, columns))
    terms = []
    for n in range(SHAPE[0]):
        for y in range(rows):
            for x in range(columns):
                label = int(mask[n, index(y, rows, 13), index(x, columns, 11)])
                if label != 255:
                    terms.append(entropy(logits, n, y, x, label))
    expected = sum(terms) / max(1, len(terms))
    check(module.total_loss(logits, mask), expected, logits)


def test_sampling_of_the_papers(losses: Any) -> None:
    """Every eighth label: 321 to 41 from corner to corner, 128 to 16 from the first on."""
    for how, large, small in (("corners", 321, 41), ("slice", 128, 16), ("corners", 513, 65)):
        module = losses("cross_entropy", {"logits": CLASSES}, small=8, resize=f"labels_{how}")
        mask = torch.randint(0, 9, (2, large, large), generator=torch.Generator().manual_seed(0))
        sampled = getattr(module, f"labels_{how}")(mask, torch.Size((small, small)))
        assert torch.equal(sampled, mask[:, ::8, ::8])
    module = losses("cross_entropy", {"logits": CLASSES}, small=8, resize="labels_centres")
    mask = torch.randint(0, 9, (2, 321, 321), generator=torch.Generator().manual_seed(0))
    nearest = torch.nn.functional.interpolate(mask[None].float(), (31, 41), mode="nearest-exact")
    assert torch.equal(module.labels_centres(mask, torch.Size((31, 41))), nearest[0].long())


def test_the_centre_of_a_patch(losses: Any, tmp_path: Path) -> None:
    """A classifier of windows of any size: no scripts, but its loss."""
    text = """\
        segc: 1
        model: Patch
        inputs: {image: [N, 1, H, W]}
        layers:
          pool: {op: adaptive_avg_pool2d, output_size: 1}
          flat: flatten
          fc: {op: linear, out_features: 4}
        outputs: {logits: fc}
        losses: {seg: {cross_entropy: logits, target: centre, class_weights: [1, 2, 3, 4]}}
        """
    files = harness_files(sound(dedent(text)))
    assert list(files) == ["losses.py"] and "inputs" not in files["losses.py"]
    scope: dict[str, Any] = {}
    exec(compile(files["losses.py"], "losses.py", "exec"), scope)
    mask = torch.zeros(3, 95, 95, dtype=torch.long)
    mask[0, 47, 47], mask[1, 47, 47] = 2, 3
    mask[2, 47, 47] = 255
    logits = scores()[:, :, 0, 0].detach().requires_grad_()
    wide = logits[:, :, None, None]
    total = 3 * entropy(wide, 0, 0, 0, 2) + 4 * entropy(wide, 1, 0, 0, 3)
    weights = torch.tensor([1.0, 2, 3, 4])
    assert scope["CLASS_WEIGHTS"] == (1, 2, 3, 4)
    check(scope["total_loss"](logits, mask, weights), total / 7, logits)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_class_of_an_image(weighted: bool, reduction: str) -> None:
    weights = [1.0, 2.0, 3.0, 4.0] if weighted else [1.0] * 4
    given = ", class_weights: [1, 2, 3, 4]" if weighted else ""
    text = f"""\
        segc: 1
        model: Classifier
        inputs: {{image: [N, 1, 8, 8]}}
        layers:
          flat: flatten
          fc: {{op: linear, out_features: 4}}
        outputs: {{logits: fc}}
        losses: {{seg: {{cross_entropy: logits, target: label, reduction: {reduction}{given}}}}}
        """
    source = harness_files(sound(dedent(text)))["losses.py"]
    assert "IGNORE" not in source
    scope: dict[str, Any] = {}
    exec(compile(source, "losses.py", "exec"), scope)
    logits, true = scores()[:, :, 0, 0].detach().requires_grad_(), [2, 3, 0]
    wide = logits[:, :, None, None]
    total = sum(weights[c] * entropy(wide, n, 0, 0, c) for n, c in enumerate(true))
    by = sum(weights[c] for c in true) if reduction == "mean" else 1
    arguments = [torch.tensor(weights)] if weighted else []
    check(scope["total_loss"](logits, torch.tensor(true), *arguments), total / by, logits)


# --- border weights -------------------------------------------------------------------------


def objects_of(mask: Any) -> list[Any]:
    """4-connected components of the classes but 0, by flood fill."""
    found, seen = [], np.zeros(mask.shape, bool)
    for start in np.ndindex(*mask.shape):
        if seen[start] or mask[start] in (0, 255):
            continue
        inside, stack = np.zeros(mask.shape, bool), [start]
        while stack:
            y, x = stack.pop()
            within = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if within and not inside[y, x] and mask[y, x] == mask[start]:
                inside[y, x] = True
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        seen |= inside
        found.append(inside)
    return found


def border_distances(mask: Any) -> Any:
    """[objects, H, W]: from each pixel to the nearest pixel on the other side of a border."""
    grid = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1).reshape(-1, 2)
    away = np.sqrt(((grid[:, None] - grid[None]) ** 2).sum(-1).astype(np.float64))
    maps = []
    for inside in objects_of(mask):
        flat = inside.reshape(-1)
        other = flat[:, None] != flat[None]
        if other.any():
            maps.append(np.where(other, away, np.inf).min(1).reshape(mask.shape))
    return np.stack(maps) if maps else np.zeros((0, *mask.shape))


@pytest.mark.parametrize("case", ["blobs", "touching", "one", "none", "all", "ignored"])
def test_border_weights_are_unets(losses: Any, case: str) -> None:
    pytest.importorskip("scipy")
    mask = np.zeros((26, 33), np.uint8)
    if case in ("blobs", "ignored"):
        rng = np.random.default_rng(2)
        for _ in range(7):
            y, x, label = rng.integers(26), rng.integers(33), rng.integers(1, 3)
            mask[max(0, y - 3) : y + 2, max(0, x - 2) : x + 4] = label
    if case == "touching":
        mask[4:9, 4:9], mask[4:9, 9:14], mask[9:12, 14:20] = 1, 2, 1  # side by side, diagonal
    mask[5:9, 5:9] = 1 if case == "one" else mask[5:9, 5:9]
    mask[:] = 1 if case == "all" else mask
    mask[10:14, 10:20] = 255 if case == "ignored" else mask[10:14, 10:20]
    module = losses("cross_entropy", {"logits": 3}, border_weight={"w0": 10, "sigma": 2.5})
    found = module.border_map(torch.from_numpy(mask)).numpy()
    distances = np.sort(border_distances(mask), axis=0)
    expected = np.zeros(mask.shape)
    if len(distances) >= 2:
        expected = 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 2.5**2))
    assert found == pytest.approx(expected, abs=1e-6, rel=1e-5)
    assert found.max() > 1 if case in ("blobs", "touching", "ignored") else found.max() == 0


def test_border_weights_say_what_to_install(losses: Any, monkeypatch: Any) -> None:
    module = losses("cross_entropy", {"logits": 3}, border_weight={"w0": 10, "sigma": 5})
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(Exception, match="pip install scipy") as stop:
        module.border_map(torch.zeros(4, 4, dtype=torch.uint8))
    assert type(stop.value).__name__ == "Stop"


# --- one channel, edges ---------------------------------------------------------------------


def released_edges(mask: Any, radius: int, classes: int) -> Any:
    """The borders as Gated-SCNN's released data set draws them, with scipy."""
    edt = pytest.importorskip("scipy.ndimage").distance_transform_edt
    edges = np.zeros(mask.shape, bool)
    for i in range(classes):
        padded = np.pad(mask == i + 1, 1)
        distance = (edt(padded) + edt(~padded))[1:-1, 1:-1]
        edges |= (distance <= radius) & (padded.any())
    return edges


def true_edges(mask: Any, radius: int) -> Any:
    """Pairs of pixels of different classes within the radius, by brute force."""
    edges = np.zeros(mask.shape, bool)
    for (y, x), (v, u) in ((a, b) for a in np.ndindex(mask.shape) for b in np.ndindex(mask.shape)):
        near = (y - v) ** 2 + (x - u) ** 2 <= radius**2
        edges[y, x] |= near and 255 not in (mask[y, x], mask[v, u]) and mask[y, x] != mask[v, u]
    return edges


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("released", [False, True])
def test_edges_of_labels(losses: Any, radius: int, released: bool) -> None:
    keys = {"target": "edges", "edges": {"radius": radius, "released": released}}
    module = losses("binary_cross_entropy", {"logits": CLASSES, "edges": 1}, **keys)
    mask = labels()
    for n in range(SHAPE[0]):
        image = mask[n].numpy()
        expected = released_edges(image, radius, 4) if released else true_edges(image, radius)
        found = (module.released_edges_of if released else module.edges_of)(mask[n : n + 1], radius)
        assert (found[0].numpy() == expected).all()
    assert bool(found.any()) is False  # the image that is all ignored


def log_loss(p: float, truth: bool) -> float:
    return -math.log(p if truth else 1 - p)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("reads", ["logits", "probability", "probability_as_logits"])
@pytest.mark.parametrize("target", ["mask", "edges", "released"])
def test_binary_cross_entropy(
    losses: Any, reduction: str, balanced: bool, reads: str, target: str
) -> None:
    keys: dict[str, Any] = {"reduction": reduction, "balanced": balanced, "reads": reads}
    keys["target"] = "mask" if target == "mask" else "edges"
    keys["edges"] = {"radius": 2, "released": True} if target == "released" else None
    module = losses("binary_cross_entropy", {"edges": 1}, **keys)
    mask, output = labels(2), scores(1)
    if reads != "logits":
        output = output.detach().sigmoid().requires_grad_()
    probability = np.vectorize(sigmoid)(output.detach().double().numpy()[:, 0])
    if reads == "probability":
        probability = output.detach().double().numpy()[:, 0]
    if target == "mask":
        truth = (mask == 1).numpy()
    elif target == "edges":
        truth = np.stack([true_edges(m.numpy(), 2) for m in mask])
    else:
        truth = np.stack([released_edges(m.numpy(), 2, 2) for m in mask])
    valid = np.ones(SHAPE, bool) if target == "released" else (mask != 255).numpy()
    share = truth[valid].mean()
    terms: list[list[tuple[float, float]]] = [[] for _ in range(SHAPE[0])]
    for at in zip(*np.nonzero(valid), strict=True):
        weight = (1 - share if truth[at] else share) if balanced else 1.0
        terms[at[0]].append((weight, log_loss(probability[at], truth[at])))
    expected = reduced(terms, reduction)
    check(module.total_loss(output, mask), expected, output)
    output.grad = None
    if target != "released":  # there every pixel counts
        check(module.total_loss(output, torch.full_like(mask, 255)), 0.0, output)


def test_certain_probabilities_have_a_finite_loss(losses: Any) -> None:
    module = losses("binary_cross_entropy", {"edges": 1}, reads="probability")
    output = torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]], requires_grad=True)
    mask = torch.tensor([[[0, 1, 1, 0]]])
    check(module.total_loss(output, mask), -math.log(1e-12) / 2, output)


def test_gated_scnns_balanced_loss_is_the_released_one(losses: Any) -> None:
    """Weights negatives / all and positives / all, the mean over all pixels."""
    keys = {"target": "edges", "edges": {"radius": 2, "released": True}, "balanced": True}
    keys |= {"reads": "probability_as_logits", "reduction": "valid_pixels"}
    module = losses("binary_cross_entropy", {"edges": 1}, **keys)
    mask, output = labels(), scores(1).detach().sigmoid()
    truth = torch.from_numpy(np.stack([released_edges(m.numpy(), 2, 4) for m in mask])).double()
    positive, negative = truth.sum(), (1 - truth).sum()
    weight = torch.where(truth == 1, negative, positive) / truth.numel()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        output[:, 0].double(), truth, weight
    )
    check(module.total_loss(output.requires_grad_(), mask), float(expected), output)


# --- Gated-SCNN -----------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "per_image"])
def test_edge_attention(losses: Any, weights: str | None) -> None:
    keys = {"edges": "edges", "class_weights": weights, "reduction": "images"}
    module = losses("edge_attention", {"logits": CLASSES, "edges": 1}, **keys)
    mask, logits = labels(), scores()
    edges = torch.rand(3, 1, 13, 11, generator=torch.Generator().manual_seed(5), requires_grad=True)
    total = 0.0
    for n in range(3):
        counted = [
            (y, x, int(mask[n, y, x]))
            for y in range(13)
            for x in range(11)
            if edges[n, 0, y, x] > 0.8 and mask[n, y, x] != 255
        ]
        if not counted:
            continue
        found = [label for *_, label in counted]
        weight = {k: 2 - found.count(k) / len(found) if weights else 1.0 for k in found}
        values = sum(weight[k] * entropy(logits, n, y, x, k) for y, x, k in counted)
        total += values / sum(weight[k] for k in found)
    output = {"logits": logits, "edges": edges}
    check(module.total_loss(output, mask), total, logits)
    assert edges.grad is None
    calm = {"logits": logits, "edges": torch.zeros_like(edges)}
    logits.grad = None
    check(module.total_loss(calm, mask), 0.0, logits)


def triangle_smoothed(plane: Any) -> Any:
    """Rows and columns by [1 2 3 4 5 4 3 2 1] / 25, the outermost value repeated."""
    kernel = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    padded = np.pad(plane, 4, mode="edge")
    rows = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), 1, padded)
    return np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), 0, rows)


def strength(plane: Any) -> Any:
    down, right = np.gradient(triangle_smoothed(plane))
    return np.sqrt((down**2 + right**2) / 2)


def test_dual_task_of_the_paper(losses: Any) -> None:
    module = losses("dual_task", {"logits": CLASSES})
    mask, logits = labels(), scores()
    said = logits.detach().argmax(1).numpy()
    valid = (mask != 255).numpy()
    differences: tuple[list[float], list[float]] = ([], [])
    for n in range(3):
        for k in range(CLASSES):
            one = strength(((said[n] == k) & valid[n]).astype(float))
            other = strength((mask[n].numpy() == k).astype(float))
            for which, b in enumerate((one, other)):
                differences[which].extend(np.abs(one - other)[(b > 1e-4) & valid[n]])
    expected = np.mean(differences[0]) / 2 + np.mean(differences[1]) / 2
    check(module.total_loss(logits, mask), expected, logits)
    assert float(logits.grad.abs().max()) > 0
    assert bool((logits.grad.permute(0, 2, 3, 1)[mask == 255] == 0).all())


def test_dual_task_is_zero_for_the_labels_themselves(losses: Any) -> None:
    module = losses("dual_task", {"logits": CLASSES})
    mask = labels()
    right = 9 * (mask[:, None] == torch.arange(CLASSES).view(1, -1, 1, 1)).float()
    check(module.total_loss(right.requires_grad_(), mask), 0.0, right)
    check(module.total_loss(right, torch.full_like(mask, 255)), 0.0, right)


def test_dual_task_as_released(losses: Any) -> None:
    """With the noise it drew: Gumbel softmax of temperature 0.5, no gradient in space."""
    module = losses("dual_task", {"logits": CLASSES}, released=True)
    mask, logits = labels(), scores()
    torch.manual_seed(7)
    found = module.total_loss(logits, mask)
    torch.manual_seed(7)
    uniform = torch.rand(3, CLASSES, 13, 11).double().numpy()
    valid = (mask != 255).numpy()[:, None]
    x = np.where(valid, logits.detach().double().numpy(), 0)
    x = (x - np.log(1e-10 - np.log(uniform + 1e-10))) / 0.5
    x = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    y = np.where(valid[:, 0], mask.numpy(), 0)[:, None] == np.arange(CLASSES)[None, :, None, None]
    one, other = (np.sqrt(2 * m.astype(float) ** 2 + 1e-6) for m in (x, y))
    one, other = one / one.max(), other / other.max()
    check(found, np.abs(one - other).mean(), logits)  # the threshold of 1e-8 is always passed


def test_the_losses_of_gated_scnn_together(tmp_path: Path) -> None:
    """Weights 1, 20, 1, 1, as a spec states them; the sum is that of the parts."""
    text = dedent("""\
        segc: 1
        model: Shapes
        inputs: {image: [N, 3, H, W]}
        layers:
          logits: {op: conv2d, out_channels: 4, kernel_size: 1}
          edge: {op: conv2d, from: image, out_channels: 1, kernel_size: 1}
          edges: sigmoid
        outputs: {logits: logits, edges: edges}
        losses:
          seg: {cross_entropy: logits, class_weights: per_image, reduction: images}
          edge: {binary_cross_entropy: edges, target: edges, edges: {radius: 2, released: true},
            balanced: true, reads: probability_as_logits, weight: 20, reduction: valid_pixels}
          attention: {edge_attention: logits, edges: edges, class_weights: per_image,
            reduction: images}
          dual: {dual_task: logits, released: true}
        """)
    for name, source in harness_files(sound(text)).items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.import_module("losses")
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("losses", "inputs", "runtime"):
            sys.modules.pop(name, None)
    mask, logits, edges = labels(), scores(), scores(1).detach().sigmoid().requires_grad_()
    torch.manual_seed(0)
    total = module.total_loss({"logits": logits, "edges": edges}, mask)
    torch.manual_seed(0)
    parts = module.seg_loss(logits, mask) + 20 * module.edge_loss(edges, mask)
    parts = parts + module.attention_loss(logits, edges, mask) + module.dual_loss(logits, mask)
    check(total, float(parts.detach()), logits, edges)


# --- maps of numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
@pytest.mark.parametrize("least", [None, 0.3])
def test_squared_error(tmp_path: Path, reduction: str, least: float | None) -> None:
    loss = {"kind": "squared_error", "output": "logits", "target": "depth", "weight": 2}
    loss |= {"reduction": reduction, "minimum": least}
    files = harness_files(checked(outputs={"logits": 1}, losses={"depth": loss}))
    assert list(files) == ["losses.py"]
    scope: dict[str, Any] = {}
    exec(compile(files["losses.py"], "losses.py", "exec"), scope)
    output, truth = scores(1), torch.rand(3, 1, 13, 11, generator=torch.Generator().manual_seed(4))
    values = [
        (a - b) ** 2
        for a, b in zip(output.flatten().tolist(), truth.flatten().tolist(), strict=True)
        if least is None or b >= least
    ]
    by = {"sum": 1, "mean": len(values), "batch": 3}[reduction]
    check(scope["total_loss"](output, truth), 2 * sum(values) / by, output)
    output.grad = None
    if least is not None:
        check(scope["total_loss"](output, torch.zeros_like(truth)), 0.0, output)
