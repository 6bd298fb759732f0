"""Anchors, priors, coding, clipping and appending of boxes: torchvision's numbers, and Caffe's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from emit_kit import ruff
from rows_kit import NAMESPACE, boxes, build, made, pick, rows, run, tensor
from torch import Tensor
from torchvision.models.detection import _utils as coding
from torchvision.models.detection import rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from segc.dim import symbol
from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY
from segc.types import Boxes

NAMESPACE.setdefault("math", math)
MAX_LOG = math.log(1000.0 / 16)
FPN = ((200, 336), (100, 168), (50, 84), (25, 42), (13, 21))
RETINA = (32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406, 512, 645, 812)
SSD = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1))
SSD_SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
SSD_RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
SSD_STEPS = (8, 16, 32, 64, 100, 300)
VGG_ANCHORS = (
    (-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199), (-56, -56, 71, 71),
    (-120, -120, 135, 135), (-248, -248, 263, 263), (-36, -80, 51, 95), (-80, -168, 95, 183),
    (-168, -344, 183, 359),
)  # fmt: skip
COCO = {"scales": SSD_SCALES, "used": (1, 2, 2, 2, 1, 1), "strides": SSD_STEPS}


def placed(
    op: str, size: tuple[int, int], maps: Any, n: int = 2, dtype: Any = None, **attrs: Any
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Boxes, their levels, and the image and maps they stand on."""
    values = [torch.zeros(n, 3, *s, dtype=dtype) for s in (size, *maps)]
    found = run(op, values, [tensor(*x.shape) for x in values], **attrs)
    return *found, values


def sample(n: int, seed: int = 0, images: int = 2, extent: float = 200) -> Tensor:
    """Boxes of n rows in several images, image by image."""
    torch.manual_seed(seed)
    corner = torch.rand(n, 2) * extent
    far = corner + 1 + torch.rand(n, 2) * extent / 2
    number = torch.arange(n) * images // max(n, 1)
    return torch.cat([number[:, None].float(), corner, far], dim=1)


# --- anchors ----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("sizes", "per_level"), [((32, 64, 128, 256, 512), 1), (RETINA, 3), ((31.7, 64, 1, 2, 513), 1)]
)
def test_anchors_are_torchvisions(sizes: Any, per_level: int, dtype: Any) -> None:
    found, level, (image, *maps) = placed(
        "anchors", (800, 1344), FPN, dtype=dtype, sizes=sizes, per_level=per_level
    )
    by_level = tuple(sizes[k : k + per_level] for k in range(0, len(sizes), per_level))
    generator = AnchorGenerator(by_level, ((0.5, 1.0, 2.0),) * 5)
    wanted = generator(ImageList(image, [(800, 1333)] * 2), maps)
    assert torch.equal(found[:, 1:], torch.cat(wanted)) and found.dtype == dtype
    assert found[:, 0].tolist() == [0.0] * len(wanted[0]) + [1.0] * len(wanted[1])
    each = torch.tensor([h * w * 3 * per_level for h, w in FPN])
    assert torch.equal(level, torch.arange(5).repeat_interleave(each).repeat(2))
    if per_level == 1:
        assert len(level) == 2 * 268_569


def test_anchor_ratios_and_odd_sizes() -> None:
    ratios = (0.33, 1.7, 3.0, 0.9)
    found, _, (image, *maps) = placed(
        "anchors", (97, 131), ((13, 17), (7, 8)), sizes=(19, 23, 57, 8), per_level=2, ratios=ratios
    )
    generator = AnchorGenerator(((19, 23), (57, 8)), (ratios,) * 2)
    assert torch.equal(found[:, 1:], torch.cat(generator(ImageList(image, [(97, 131)] * 2), maps)))


def test_stride_of_the_top_level() -> None:
    found, level, _ = placed("anchors", (800, 1344), FPN, 1, sizes=(32, 64, 128, 256, 512))
    top = found[level == 4].view(13, 21, 3, 5)
    assert (top[1, 1, 0] - top[0, 0, 0]).tolist() == [0, 64, 61, 64, 61]
    fixed, level, _ = placed(
        "anchors", (800, 1344), FPN, 1, sizes=(32, 64, 128, 256, 512), strides=(4, 8, 16, 32, 64)
    )
    top = fixed[level == 4].view(13, 21, 3, 5)
    assert (top[1, 1, 0] - top[0, 0, 0]).tolist() == [0, 64, 64, 64, 64]
    assert found[0, 1:].tolist() == [-23, -11, 23, 11]


def test_caffe_anchors() -> None:
    """The list that py-faster-rcnn's generate_anchors prints, moved by 16 pixels a cell."""
    attrs = {"sizes": (128, 256, 512), "per_level": 3, "strides": (16,), "form": "caffe"}
    found, level, _ = placed("anchors", (600, 1000), ((38, 63),), 1, **attrs)
    assert found.shape == (21_546, 5) and not level.any()
    assert found[:9, 1:].tolist() == [list(map(float, box)) for box in VGG_ANCHORS]
    assert (found.view(38, 63, 9, 5)[2, 3] - found[:9])[:, 1:].unique(dim=0).tolist() == [
        [48, 32, 48, 32]
    ]
    (kind, _) = made("anchors", [tensor(1, 3, 600, 1000), tensor(1, 8, 38, 63)], **attrs)
    assert isinstance(kind, Boxes) and kind.legacy


def test_anchors_by_width_and_height() -> None:
    """DenseCap's: of inclusive pixels, the first centre at 7.5, not rounded."""
    shapes = (45, 90, 90, 45, 64, 64)
    attrs = {"shapes": shapes, "per_level": 3, "offset": 7.5, "strides": (16,)}
    found, _, _ = placed("anchors", (64, 64), ((4, 4),), 1, rounded=False, legacy=True, **attrs)
    sides = (found[:, 3:] - found[:, 1:3] + 1).view(16, 3, 2)
    assert sides[5].flatten().tolist() == list(shapes)
    centres = ((found[:, 3:] + found[:, 1:3]) / 2).view(4, 4, 3, 2)
    assert centres[2, 1].tolist() == [[23.5, 39.5]] * 3


def test_unrounded_anchors() -> None:
    found, _, _ = placed("anchors", (32, 32), ((2, 2),), 1, sizes=(32,), rounded=False)
    w, h = 32 / math.sqrt(0.5) / 2, 32 * math.sqrt(0.5) / 2
    assert torch.allclose(found[0, 1:], torch.tensor([-w, -h, w, h]))


# --- SSD's priors -----------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [SSD_STEPS, None])
@pytest.mark.parametrize("clip", [True, False])
def test_priors_are_torchvisions(steps: Any, clip: bool) -> None:
    attrs = {**COCO, "strides": steps, "clip": "sizes" if clip else "none"}
    found, level, (image, *maps) = placed("priors", (300, 300), SSD, **attrs)
    generator = DefaultBoxGenerator(
        SSD_RATIOS, scales=list(SSD_SCALES), steps=steps and list(steps), clip=clip
    )
    wanted = torch.cat(generator(ImageList(image, [(300, 300)] * 2), maps))
    assert torch.equal(found[:, 1:], wanted)
    assert len(found) == 2 * 8732
    assert level[:8732].bincount().tolist() == [5776, 2166, 600, 150, 36, 4]


def test_priors_of_an_oblong_image() -> None:
    maps, ratios = ((20, 30), (10, 15)), (2.0, 3.0)
    found, _, (image, *values) = placed(
        "priors", (160, 240), maps, scales=(0.2, 0.5, 0.95), ratios=ratios
    )
    generator = DefaultBoxGenerator([[2, 3]] * 2, scales=[0.2, 0.5, 0.95])
    wanted = generator(ImageList(image, [(160, 240)] * 2), values)
    assert torch.equal(found[:, 1:], torch.cat(wanted))


def test_numbers_of_the_priors() -> None:
    found, _, _ = placed("priors", (300, 300), SSD, 1, **COCO)
    first = [
        (-6.5, -6.5, 14.5, 14.5), (-11.370, -11.370, 19.370, 19.370),
        (-10.849, -3.425, 18.849, 11.425), (-3.425, -10.849, 11.425, 18.849),
    ]  # fmt: skip
    assert torch.allclose(found[:4, 1:], torch.tensor(first), atol=6e-4)
    assert torch.allclose(found[-1, 1:], torch.tensor([57.723, 0, 242.277, 300]), atol=6e-4)


def test_priors_in_shares_of_the_image() -> None:
    pixels, _, (image, *_) = placed("priors", (300, 300), SSD, **COCO)
    shares, _, _ = placed("priors", (300, 300), SSD, **COCO, frame="normalised")
    (kind, _) = made(
        "priors", [tensor(2, 3, 300, 300), *(tensor(2, 2, *s) for s in SSD)], **COCO,
        frame="normalised",
    )  # fmt: skip
    assert isinstance(kind, Boxes) and kind.frame == "normalised" and kind.images == 2
    spread = run("scale_boxes", [shares, image], [kind, tensor(2, 3, 300, 300)])
    assert torch.allclose(spread, pixels, atol=1e-4)
    sizes = torch.tensor([[300, 300], [150, 600]])
    own = run("scale_boxes", [shares, sizes], [kind, tensor(2, 2)])
    second = pixels[8732:, 1:] * torch.tensor([2, 0.5, 2, 0.5])
    assert torch.allclose(own[8732:, 1:], second, atol=1e-4)


def test_priors_clipped_with_their_centres() -> None:
    """ssd.pytorch cuts off centres too: with a stride of 32 the tenth is at 304 of 300 pixels."""
    found, level, _ = placed("priors", (300, 300), SSD, 1, **{**COCO, "clip": "all"})
    centre = (found[:, 1:3] + found[:, 3:]) / 2
    assert centre[level == 2].max() == 300
    assert centre[level == 1].max() == 18.5 * 16


# --- rows of maps -----------------------------------------------------------------------------
def test_anchor_rows_are_torchvisions() -> None:
    torch.manual_seed(0)
    shapes = ((4, 5), (2, 3), (1, 1))
    logits, deltas = ([torch.randn(2, 3 * v, *s) for s in shapes] for v in (1, 4))
    scores = run("anchor_rows", logits, [tensor(*x.shape) for x in logits])
    values = run("anchor_rows", deltas, [tensor(*x.shape) for x in deltas], per_row=4)
    wanted = rpn.concat_box_prediction_layers(list(logits), list(deltas))
    assert torch.equal(scores, wanted[0].flatten()) and torch.equal(values, wanted[1])


def test_anchor_rows_of_blocks() -> None:
    """py-faster-rcnn's scores: nine of the background, then nine of objects."""
    x = torch.arange(18.0)[None, :, None, None] + 100 * torch.arange(4.0).view(1, 1, 2, 2)
    found = run("anchor_rows", [x], [tensor(1, 18, 2, 2)], per_row=2, order="blocks")
    assert found.view(4, 9, 2)[3, 5].tolist() == [305, 314]
    same = x.reshape(1, 2, 9 * 2, 2).softmax(1).view(1, 18, 2, 2)  # as the prototxt reshapes
    probability = run("anchor_rows", [same], [tensor(1, 18, 2, 2)], per_row=2, order="blocks")
    assert torch.allclose(found.softmax(1), probability)


def test_anchors_and_their_rows_are_one_set() -> None:
    n, h, w = symbol("N"), symbol("H"), symbol("W")
    maps = [tensor(n, 12, h // 4, w // 4), tensor(n, 12, h // 8, w // 8)]
    (anchors, level) = made("anchors", [tensor(n, 3, h, w), *maps], sizes=(32, 64))
    (deltas,) = made("anchor_rows", maps, per_row=4)
    assert anchors.shape[0] == level.shape[0] == deltas.shape[0]
    (decoded,) = made("decode_boxes", [anchors, deltas])
    assert decoded == anchors and isinstance(decoded, Boxes) and decoded.images == n
    (fewer,) = made("anchor_rows", maps, per_row=6)
    with pytest.raises(Problem, match="pairs boxes with deltas"):
        made("decode_boxes", [anchors, tensor(fewer.shape[0], 4)])


# --- coding -----------------------------------------------------------------------------------
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), WEIGHTS])
@pytest.mark.parametrize("n", [0, 1, 57])
def test_decode_is_torchvisions(n: int, weights: Any) -> None:
    base, deltas = sample(n), torch.randn(n, 4) * 3
    deltas[: n // 2, 2:] += 40  # past the limit
    coder = coding.BoxCoder(weights)
    types = [boxes("R"), tensor(rows("R"), 4)]
    found = run("decode_boxes", [base, deltas], types, delta_weights=weights, max_log=MAX_LOG)
    assert torch.equal(found[:, 1:], coder.decode_single(deltas, base[:, 1:]))
    assert torch.equal(found[:, 0], base[:, 0])


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), WEIGHTS])
@pytest.mark.parametrize("n", [0, 1, 57])
def test_encode_is_torchvisions(n: int, weights: Any) -> None:
    base, targets = sample(n), sample(n, seed=1)
    found = run("encode_boxes", [base, targets], [boxes("R"), boxes("R")], delta_weights=weights)
    coder = coding.BoxCoder(weights)
    assert torch.equal(found, coder.encode_single(targets[:, 1:], base[:, 1:]))
    back = run(
        "decode_boxes", [base, found], [boxes("R"), tensor(rows("R"), 4)], delta_weights=weights
    )
    assert torch.allclose(back[:, 1:], targets[:, 1:], atol=1e-3)


def test_numbers_of_the_code() -> None:
    base, target = torch.tensor([[0.0, 0, 0, 40, 40]]), torch.tensor([[0.0, 10, 20, 50, 80]])

    def both(legacy: bool, **attrs: Any) -> tuple[list[float], list[float]]:
        pair = [boxes("R", legacy)] * 2
        code = run("encode_boxes", [base, target], pair, **attrs)
        types = [boxes("R", legacy), tensor(rows("R"), 4)]
        back = run("decode_boxes", [base, code], types, **attrs)
        return code[0].tolist(), back[0, 1:].tolist()

    near = pytest.approx
    assert both(False) == (near([0.25, 0.75, 0, 0.40547], abs=1e-5), near([10, 20, 50, 80]))
    code, back = both(False, delta_weights=WEIGHTS)
    assert code == near([2.5, 7.5, 0, 2.02733], abs=1e-5) and back == near([10, 20, 50, 80])
    code, back = both(True)  # py-faster-rcnn's decoding adds the pixel and does not take it back
    assert code == near([0.24390, 0.73171, 0, 0.39730], abs=1e-5)
    assert back == near([10, 20, 51, 81], abs=1e-4)


def test_large_sizes_without_a_limit() -> None:
    base, deltas = sample(3), torch.full((3, 4), 6.0)
    types = [boxes("R"), tensor(rows("R"), 4)]
    free, bound = (run("decode_boxes", [base, deltas], types, max_log=m) for m in (None, 4.0))
    width = base[:, 3] - base[:, 1]
    assert torch.allclose(free[:, 3] - free[:, 1], width * math.exp(6), rtol=1e-4)
    assert torch.allclose(bound[:, 3] - bound[:, 1], width * math.exp(4), rtol=1e-4)


def test_coding_has_gradients() -> None:
    base = sample(5).double()
    deltas = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    op = [boxes("R"), tensor(rows("R"), 4)]
    assert torch.autograd.gradcheck(lambda d: run("decode_boxes", [base, d], op), deltas)


@pytest.mark.parametrize("n", [0, 9])
def test_class_boxes_are_torchvisions(n: int) -> None:
    base, deltas, scores = sample(n), torch.randn(n, 20), torch.rand(n, 5)
    types = [boxes("R"), tensor(rows("R"), 20), tensor(rows("R"), 5)]
    found, score, label = run(
        "class_boxes", [base, deltas, scores], types, delta_weights=WEIGHTS, max_log=MAX_LOG
    )
    decoded = coding.BoxCoder(WEIGHTS).decode_single(deltas, base[:, 1:]).view(n, 5, 4)
    assert torch.equal(found[:, 1:], decoded[:, 1:].reshape(-1, 4))
    assert torch.equal(found[:, 0], base[:, 0].repeat_interleave(4))
    assert torch.equal(score, scores[:, 1:].flatten())
    assert torch.equal(label, torch.tensor([1, 2, 3, 4]).repeat(n))


@pytest.mark.parametrize("background", ["first", "last", "none"])
@pytest.mark.parametrize("form", ["flat", "by class", "foreground", "agnostic"])
def test_class_boxes_in_all_forms(background: str, form: str) -> None:
    base, deltas, scores = sample(6), torch.randn(6, 3, 4), torch.rand(6, 3)
    columns = {"first": [1, 2], "last": [0, 1], "none": [0, 1, 2]}[background]
    given = {"flat": deltas.flatten(1), "by class": deltas, "foreground": deltas[:, columns],
             "agnostic": deltas[:, 0]}[form]  # fmt: skip
    types = [boxes("R"), tensor(rows("R"), *given.shape[1:]), tensor(rows("R"), 3)]
    found, score, label = run("class_boxes", [base, given, scores], types, background=background)
    single = [boxes("R"), tensor(rows("R"), 4)]
    wanted = torch.stack(
        [
            run("decode_boxes", [base, deltas[:, 0 if form == "agnostic" else c]], single)
            for c in columns
        ],
        dim=1,
    )
    assert torch.equal(found, wanted.flatten(0, 1))
    assert torch.equal(score, scores[:, columns].flatten())
    assert label.tolist() == columns * 6


# --- clipping, appending ----------------------------------------------------------------------
@pytest.mark.parametrize("n", [0, 1, 40])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_clip_is_torchvisions(n: int, dtype: Any) -> None:
    base = sample(n, images=3)
    base[:, 1:] -= 40
    sizes = torch.tensor([[90, 120], [64, 33], [150, 100]], dtype=dtype)
    found = run("clip_boxes", [base, sizes], [boxes("R"), tensor(3, 2)])
    for image, (h, w) in enumerate(sizes.tolist()):
        here = base[:, 0] == image
        assert torch.equal(found[here, 1:], clip_boxes_to_image(base[here, 1:], (h, w)))
    assert torch.equal(found[:, 0], base[:, 0])


def test_clip_of_inclusive_pixels() -> None:
    base = torch.tensor([[0, -3.0, 5, 100, 100], [1, 120, 120, 130, 130]])
    found = run(
        "clip_boxes", [base, torch.tensor([[60, 80], [40, 50]])], [boxes("R", True), tensor(2, 2)]
    )
    assert found.tolist() == [[0, 0, 5, 79, 59], [1, 49, 39, 49, 39]]


def test_appended_rows_follow_those_of_their_image() -> None:
    proposals, truth = sample(7, images=3), sample(3, seed=1, images=2)
    truth[:, 0] = torch.tensor([0, 2, 2])  # the second image has none
    types = [boxes("R"), boxes("G")]
    both, order = run("append_rows", [proposals, truth], types)
    wanted = [
        torch.cat([proposals[proposals[:, 0] == i], truth[truth[:, 0] == i]]) for i in range(3)
    ]
    assert torch.equal(both, torch.cat(wanted))
    assert torch.equal(torch.cat([proposals, truth])[order], both)
    a, b = torch.randn(7, 2), torch.randn(3, 2)
    follow = [pick("S", rows("R") + rows("G")), tensor(rows("R"), 2), tensor(rows("G"), 2)]
    assert torch.equal(run("append_values", [order, a, b], follow), torch.cat([a, b])[order])


@pytest.mark.parametrize(("r", "g"), [(0, 0), (0, 3), (4, 0)])
def test_appending_to_and_of_nothing(r: int, g: int) -> None:
    both, order = run("append_rows", [sample(r), sample(g)], [boxes("R"), boxes("G")])
    assert len(both) == len(order) == r + g


def test_images_are_known_of_boxes_that_follow() -> None:
    n = symbol("N")
    base = Boxes((rows("R"), 5), images=n)
    for op, others in (
        ("append_rows", [boxes("G")]),
        ("decode_boxes", [tensor(rows("R"), 4)]),
        ("class_boxes", [tensor(rows("R"), 8), tensor(rows("R"), 2)]),
        ("phase", [boxes("T")]),
        ("detach", []),
    ):
        found = made(op, [base, *others])[0]
        assert isinstance(found, Boxes) and found.images == n
    (joined,) = made("phase", [boxes("T"), base])
    (clipped,) = made("clip_boxes", [boxes("G"), tensor(n, 2)])
    (picked,) = made("gather", [pick("S", "R"), base])
    assert joined.images == clipped.images == picked.images == n  # type: ignore[union-attr]


# --- faults -----------------------------------------------------------------------------------
LEVELS = [tensor(2, 3, 64, 64), tensor(2, 9, 16, 16), tensor(2, 9, 8, 8)]
SHARES = boxes("R", frame="normalised")
FAULTS = [
    ("anchors", LEVELS, {"sizes": (32,)}, "SEG210", "1 value in `sizes` where 2 are needed"),
    ("anchors", LEVELS, {"sizes": (32, 64), "per_level": 3}, "SEG210", "where 6 are needed"),
    ("anchors", LEVELS, {"sizes": (32, 64), "strides": (4,)}, "SEG210", "`strides` where 2"),
    ("anchors", LEVELS, {"shapes": (32, 64)}, "SEG210", "`shapes` where 4 are needed"),
    ("anchors", LEVELS, {"shapes": (32, 64, 1)}, "SEG210", "pairs of width and height"),
    ("anchors", LEVELS, {}, "SEG210", "either `sizes` and `ratios` or `shapes`"),
    ("anchors", LEVELS, {"sizes": (32, 64), "shapes": (1, 1)}, "SEG210", "either `sizes`"),
    ("anchors", LEVELS, {"sizes": (32, 64), "form": "caffe"}, "SEG210", "strides of the maps"),
    ("anchors", LEVELS, {"sizes": (32, 64), "ratios": ()}, "SEG210", "one ratio at least"),
    ("anchors", LEVELS[:1], {"sizes": (32,)}, "SEG201", "there is none"),
    ("anchors", [LEVELS[0], tensor(3, 9, 4, 4)], {"sizes": (32,)}, "SEG203", "same images"),
    ("anchors", [LEVELS[0], tensor(2, 9)], {"sizes": (32,)}, "SEG201", "a map"),
    ("priors", LEVELS, {"scales": (0.1, 0.2)}, "SEG210", "2 values in `scales` where 3"),
    ("priors", LEVELS, {"scales": (0.1, 0.2, 1), "used": (1,)}, "SEG210", "`used` where 2"),
    ("priors", LEVELS, {"scales": (0.1, 0.2, 1), "used": (1, 3)}, "SEG210", "3 ratios of 2"),
    ("priors", LEVELS, {"scales": (0.1, 0.2, 1), "strides": (1,)}, "SEG210", "`strides`"),
    ("anchor_rows", LEVELS[1:], {"per_row": 4}, "SEG202", "9 channels do not divide into 4"),
    ("anchor_rows", [tensor(2, symbol("C"), 4, 4)], {}, "SEG202", "depends on the input"),
    ("decode_boxes", [boxes("R"), tensor(rows("Q"), 4)], {}, "SEG214", "`R`, the other of `Q`"),
    ("decode_boxes", [boxes("R"), tensor(rows("R"), 8)], {}, "SEG201", "four deltas"),
    ("decode_boxes", [boxes("R"), tensor(rows("R"), 4)], {"delta_weights": (1, 1)}, "SEG210",
     "four, of x, y, w and h, got 2"),
    ("encode_boxes", [boxes("R"), boxes("Q")], {}, "SEG214", "`R`, the other of `Q`"),
    ("encode_boxes", [boxes("R"), SHARES], {}, "SEG206", "in pixels and in shares"),
    ("encode_boxes", [boxes("R", True), boxes("R")], {}, "SEG206", "inclusive pixels"),
    ("append_rows", [boxes("R", True), boxes("G")], {}, "SEG206", "one geometry"),
    ("append_rows", [SHARES, boxes("G")], {}, "SEG206", "one frame"),
    ("append_values", [pick("S", rows("R") + rows("G")), tensor(rows("R")), tensor(rows("Q"))],
     {}, "SEG214", "`order` of `append_rows`"),
    ("append_values", [pick("S", rows("R") + rows("G")), tensor(rows("R"), 2), tensor(rows("G"))],
     {}, "SEG203", "values of one kind"),
    ("class_boxes", [boxes("R"), tensor(rows("R"), 9), tensor(rows("R"), 3)], {}, "SEG202",
     r"\[R, 12\], \[R, 8\] or \[R, 4\]"),
    ("class_boxes", [boxes("R"), tensor(rows("R"), 4), tensor(rows("R"), 1)], {}, "SEG210",
     "leaves no class"),
    ("class_boxes", [boxes("R"), tensor(rows("R"), 4), tensor(rows("R"))], {}, "SEG201",
     "scores of all classes"),
    ("class_boxes", [boxes("R"), tensor(rows("R"), 3, 2), tensor(rows("R"), 3)], {}, "SEG201",
     r"\[R, C, 4\]"),
    ("class_boxes", [boxes("R"), tensor(rows("R"), 12), tensor(rows("Q"), 3)], {}, "SEG214",
     "`R`, the other of `Q`"),
    ("clip_boxes", [SHARES, tensor(2, 2)], {}, "SEG206", "shares of the image"),
    ("clip_boxes", [boxes("R"), tensor(2, 3, 8, 8)], {}, "SEG201", "height and width of each"),
    ("clip_boxes", [Boxes((rows("R"), 5), images=3), tensor(2, 2)], {}, "SEG203", "3 images"),
    ("scale_boxes", [boxes("R"), tensor(2, 2)], {}, "SEG206", "these are in pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "types", "attrs", "code", "words"), FAULTS)
def test_faults(op: str, types: Any, attrs: Any, code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as found:
        build(op, **attrs)
        made(op, types, **attrs)
    assert found.value.code == code
    assert found.value.hint or code in ("SEG201", "SEG202")  # shared checks of maps have none


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_devices_and_precisions(dtype: Any, device: str) -> None:
    """Nothing is made on another device or in another precision than the values are in."""

    def like(*shape: int) -> Tensor:
        return torch.ones(*shape, dtype=dtype, device=device)

    n, types = 5, [tensor(2, 3, 64, 64), tensor(2, 8, 4, 4)]
    images = [like(2, 3, 64, 64), like(2, 8, 4, 4)]
    base, deltas, scores = like(n, 5), like(n, 4), like(n, 3)
    sides = torch.ones(2, 2, dtype=torch.int64, device=device)
    coded = [boxes("R"), tensor(rows("R"), 4)]
    shares = boxes("R", frame="normalised")
    results = [
        run("anchors", images, types, sizes=(32,)),
        run("anchors", images, types, shapes=(32, 64)),
        run("anchors", images, types, sizes=(32,), form="caffe", strides=(16,)),
        run("priors", images, types, scales=(0.5, 1)),
        run("anchor_rows", images[1:], types[1:], per_row=4),
        run("decode_boxes", [base, deltas], coded, max_log=4),
        run("encode_boxes", [base, base], [boxes("R")] * 2),
        run("class_boxes", [base, deltas, scores], [*coded, tensor(rows("R"), 3)]),
        run("clip_boxes", [base, sides], [boxes("R"), tensor(2, 2)]),
        run("scale_boxes", [base, sides], [shares, tensor(2, 2)]),
        run("scale_boxes", [base, images[0]], [shares, types[0]]),
        run("append_rows", [base, base], [boxes("R"), boxes("G")]),
    ]
    for value in results:
        first = value[0] if isinstance(value, tuple) else value
        assert first.dtype == dtype and first.device.type == device


@pytest.mark.parametrize("family", ["priors", "boxes"])
def test_emitted_functions_are_formatted_and_allowed(family: str) -> None:
    helpers = {h.name: h for op in REGISTRY.values() if op.family == family for h in op.helpers}
    math = "import math\n\n" if family == "priors" else ""
    head = f"{math}import torch\nfrom torch import Tensor"
    source = "\n\n\n".join([head, *(h.source.rstrip() for h in helpers.values())]) + "\n"
    assert helpers and audit(source) == [] and ruff(source) == ""
