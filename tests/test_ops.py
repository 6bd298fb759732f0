"""What operators say: problems with their place, emitted code, labels, fields, accepted sizes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from op_torch import Built, Numbers, Symbols, printed

from segc.catalogue import CATALOGUE
from segc.check import verify
from segc.diag import Report
from segc.dim import Domain, symbol
from segc.op import REQUIRED, Example, Field, Op, Problem, op, union
from segc.ops import FAMILIES, REGISTRY
from segc.ops.resize import exact
from segc.read import read
from segc.source import Source
from segc.types import Index, Tensor

N, H, W = symbol("N"), symbol("H"), symbol("W")
PIXEL = Field(Fraction(1), Fraction(1), Fraction(0))


def image(channels: Any = 3, height: Any = H, width: Any = W) -> Tensor:
    return Tensor((N, channels, height, width))


def make(name: str, **values: Any) -> Op:
    made = REGISTRY[name](**values)
    made.validate()
    return made


def problem(name: str, *types: Any, **values: Any) -> Problem:
    """The problem an operator raises when built, or asked for its shape."""
    need = Symbols()
    need.domain = need.domain.at_least(H, 16).at_least(W, 16)
    with pytest.raises(Problem) as caught:
        make(name, **values).infer(need, *types)
    return caught.value


def demands(name: str, *types: Any, **values: Any) -> Domain:
    need = Symbols()
    make(name, **values).infer(need, *types)
    return need.domain


# --- problems ----------------------------------------------------------------------------------
PROBLEMS = [
    ("conv2d", {"out_channels": 4, "kernel_size": 3}, [Tensor((N, 8))],
     "SEG201", 0, None, "conv2d takes a map [N, C, H, W]; this tensor has 2 axes: N x 8"),
    ("relu", {}, [Tensor((N, H, W), "int")],
     "SEG201", 0, None, "relu computes with real numbers, this tensor holds int values"),
    ("conv2d", {"out_channels": 4, "kernel_size": 3, "groups": 2}, [image(3)],
     "SEG202", 0, "groups", "3 input channels do not divide into 2 groups"),
    ("conv2d", {"out_channels": 5, "kernel_size": 3, "groups": 3}, [image(3)],
     "SEG202", None, "groups", "5 output channels do not divide into 3 groups"),
    ("conv2d", {"out_channels": 4, "kernel_size": 7}, [image(3, 5)],
     "SEG205", 0, None,
     "conv2d: a window of 7 pixels does not fit a map of height 5, which must be at least 7"),
    ("conv2d", {"out_channels": 4, "kernel_size": 3, "padding": "same", "stride": 2}, [image()],
     "SEG210", None, "stride", "`padding: same` keeps the size, a stride changes it"),
    ("conv_transpose2d",
     {"out_channels": 4, "kernel_size": 3, "stride": 2, "output_padding": 2}, [image()],
     "SEG210", None, "output_padding", "output_padding 2 is not below the stride 2"),
    ("max_pool2d", {"kernel_size": 2, "padding": 2}, [image()],
     "SEG210", None, "padding", "padding 2 is more than half the kernel_size 2"),
    ("concat", {}, [image(64), image(32, H // 2, W // 2)],
     "SEG203", 1, None,
     "concat joins maps of different size: H x W and floor(H / 2) x floor(W / 2)"),
    ("add", {}, [image(64), image(64), image(1, 7, W)],
     None, None, None, None),
    ("add", {}, [image(64), image(32)],
     "SEG203", 1, None, "add joins maps of 64 channels and 32 channels"),
    ("add", {}, [image(64), Tensor((N, 64))],
     "SEG201", 1, None, "add joins tensors of different rank: N x 64 x H x W and N x 64"),
    ("add", {"coefficients": (0.5,)}, [image(), image()],
     "SEG210", None, "coefficients", "1 coefficient for 2 operands"),
    ("center_crop", {}, [image(3, H, W), image(3, H - 3, W)],
     "SEG204", 0, None,
     "center_crop from height H to height H - 3 leaves margins that are not equal"),
    ("center_crop", {}, [image(3, H - 2, W), image()],
     "SEG211", 0, None, "center_crop cannot enlarge a map of height H - 2 to height H"),
    ("crop", {"size": (4, 4), "offset": 3}, [image(3, 6, 7)],
     "SEG211", 0, None,
     "a window of height 4 from pixel 3 on reaches outside a map of height 6"),
    ("crop", {}, [image()],
     "SEG210", None, None, "crop needs either `like` or `size`, has neither"),
    ("interpolate", {}, [image()],
     "SEG210", None, None, "interpolate needs one of scale_factor, size, like, grow and shrink"),
    ("interpolate", {"scale_factor": 2, "align_corners": True}, [image()],
     "SEG210", None, "align_corners",
     "`align_corners` goes with mode bilinear or bicubic, not nearest"),
    ("interpolate", {"scale_factor": 0.29}, [image()],
     "SEG210", None, "scale_factor", "floor(H * 0.29) depends on how the product is rounded"),
    ("linear", {"out_features": 4}, [Tensor((N, 8 * H * W))],
     "SEG202", 0, None,
     "linear has weights for each of its input features, and their number, 8 * H * W, depends "
     "on the input's size"),
    ("group_norm", {"num_groups": 32}, [image(48)],
     "SEG202", 0, "num_groups", "48 channels do not divide into 32 groups"),
    ("pad", {"padding": 4, "mode": "reflect"}, [image(3, 4)],
     "SEG205", 0, "padding",
     "reflect padding of 4 needs a map of height 5 or more, this one has 4"),
    ("reshape", {"shape": (2, 5)}, [Tensor((3, 4))],
     "SEG212", 0, "shape", "reshape of 3 x 4 to [2, 5] changes the number of values"),
    ("softmax", {"dim": 4}, [image()], "SEG210", None, "dim", "axis 4 of a tensor with 4 axes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "types", "code", "operand", "attr", "text"), PROBLEMS)
def test_problem_names_both_sides_and_its_place(
    name: str, values: dict, types: list, code: str, operand: int, attr: str, text: str
) -> None:
    if code is None:  # sizes that can agree are a demand, not a problem
        assert "H == 7" in demands(name, *types, **values).constraints()
        return
    found = problem(name, *types, **values)
    assert (found.code, found.operand, found.attr) == (code, operand, attr)
    assert found.message == text


def test_unpooling_with_the_indices_of_another_pooling() -> None:
    x, other = image(8, H // 4, W // 4), image(8, H // 2, W // 2)
    indices = Index(other.shape, image(8).shape, "pool1")
    found = problem("max_unpool2d", x, indices)
    assert (found.code, found.operand) == ("SEG207", 1)
    assert "the indices of pool1 are for a map of floor(H / 2) x floor(W / 2)" in found.message
    found = problem("max_unpool2d", image(4, H // 2, W // 2), indices)
    assert (found.code, found.message) == (
        "SEG207",
        "the indices of pool1 are for 8 channels, the map to unpool has 4 channels",
    )


def test_unpooling_to_a_map_the_indices_do_not_point_into() -> None:
    pooled = image(8, H // 2, W // 2)
    indices = Index(pooled.shape, image(8).shape, "pool1")
    found = problem("max_unpool2d", pooled, indices, image(8, H + 1, W), size="other")
    assert (found.code, found.attr) == ("SEG203", "size")
    assert demands("max_unpool2d", pooled, indices).constraints() == ("H % 2 == 0", "W % 2 == 0")
    assert demands("max_unpool2d", pooled, indices, image(8), size="x").constraints() == ()
    wrong = problem("max_unpool2d", pooled, indices, image(8), size="x", kernel_size=7)
    assert (wrong.code, wrong.attr) == ("SEG210", "size")


@pytest.mark.parametrize("code", [c for c in sorted(CATALOGUE) if c[3] == "2" and c != "SEG209"])
def test_catalogue_examples_do_what_they_say(code: str) -> None:
    def codes(text: str) -> set[str]:
        report = Report()
        graph = read(Source.from_text(text, "net.yaml"), {}, report)
        assert graph is not None
        verify(graph, report)
        return {d.code for d in report.diagnostics}

    entry = CATALOGUE[code]
    assert not entry.bad or codes(entry.bad) == {code}
    assert not entry.good or codes(entry.good) == set()


# --- accepted sizes ----------------------------------------------------------------------------
def test_unet_skip_demands_even_sizes() -> None:
    up = image(64, H // 2 * 2, W // 2 * 2)
    domain = demands("center_crop", image(64), up)
    assert domain.constraints()[:2] == ("H % 2 == 0", "W % 2 == 0")
    crop = make("center_crop")
    assert not crop.identity(image(64), up)
    assert crop.identity(image(64), up, same=lambda a, b: domain.relation(a, b) == "always")


def test_corner_aligned_grid_of_a_pyramid_head() -> None:
    """A map of (H - 1)/8 + 1 grown by 8 is the input's size again, where 8 divides H - 1."""
    grown = make("interpolate", grow=8, mode="bilinear", align_corners=True)
    need = Symbols()
    found = grown.infer(need, image(3, (H - 1) // 8 + 1, (W - 1) // 8 + 1))
    make("add").infer(need, image(3), found)
    assert need.domain.constraints() == ("(H - 1) % 8 == 0", "(W - 1) % 8 == 0")


@pytest.mark.parametrize("z", [2, 3, 8])
def test_grow_is_the_corner_aligned_zoom(z: int) -> None:
    values = {"grow": z, "mode": "bilinear", "align_corners": True}
    types = [Tensor((1, 2, 5, 4))]
    x = torch.rand(1, 2, 5, 4, dtype=torch.float64)
    y = Built(make("interpolate", **values), types)(x)
    assert tuple(y.shape) == make("interpolate", **values).infer(Numbers(), *types).shape
    assert torch.allclose(y[..., ::z, ::z], x)


@pytest.mark.parametrize("f", [1, 2, 4])
def test_shrink_takes_every_fth_pixel_where_f_divides(f: int) -> None:
    values = {"shrink": f, "mode": "bilinear", "align_corners": True}
    x = torch.rand(1, 2, 8 * f + 1, 4 * f + 1, dtype=torch.float64)
    y = Built(make("interpolate", **values), [Tensor(tuple(x.shape))])(x)
    assert torch.allclose(y, x[..., ::f, ::f])


@pytest.mark.parametrize(
    ("shrink", "grow", "before", "after"),
    [(2, None, 513, 257), (4, 3, 513, 385), (3, 4, 49, 65), (4, 3, 514, 385), (4, 3, 516, 385)],
)
def test_shrink_then_grow_has_caffes_size(
    shrink: int, grow: int | None, before: int, after: int
) -> None:
    values: dict[str, Any] = {"shrink": shrink, "mode": "bilinear", "align_corners": True}
    values |= {"grow": grow} if grow else {}
    resize = make("interpolate", **values)
    assert resize.infer(Numbers(), Tensor((1, 3, before, before))).shape == (1, 3, after, after)
    x = torch.zeros(1, 1, before, before)
    assert Built(resize, [Tensor(tuple(x.shape))])(x).shape[2:] == (after, after)


@pytest.mark.parametrize("scale", [0.5, 1.5, 2, 1 / 3, 2 / 3, 0.1, 0.7, 0.29, 1.1, 7 / 5, 0.123456])
def test_exact_factor_gives_torchs_size_for_every_size(scale: float) -> None:
    """Where the factor is refused there is a size for which exact arithmetic differs."""
    fraction = exact(scale)
    near = fraction or Fraction(scale).limit_denominator(1024)
    sizes = range(1, 20_000)
    agree = all(int(n * scale) == n * near.numerator // near.denominator for n in sizes)
    assert agree == (fraction is not None)


# --- emitted code --------------------------------------------------------------------------------
LINES = [
    ("conv2d", {"out_channels": 64, "kernel_size": (3, 3), "padding": (1, 1), "bias": False},
     [image(3)], "nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)", "layer(x0)"),
    ("conv2d", {"out_channels": 64, "kernel_size": 1}, [image(3)],
     "nn.Conv2d(3, 64, kernel_size=1)", "layer(x0)"),
    ("conv_transpose2d", {"out_channels": 21, "kernel_size": 4, "stride": 2, "bias": False},
     [image(21)], "nn.ConvTranspose2d(21, 21, kernel_size=4, stride=2, bias=False)", "layer(x0)"),
    ("batch_norm2d", {}, [image(64)], "nn.BatchNorm2d(64)", "layer(x0)"),
    ("sync_batch_norm2d", {}, [image(64)], "nn.SyncBatchNorm(64)", "layer(x0)"),
    ("batch_norm2d", {"momentum": 0.01}, [image(64)], "nn.BatchNorm2d(64, momentum=0.01)",
     "layer(x0)"),
    ("relu", {}, [image()], "nn.ReLU()", "F.relu(x0)"),
    ("leaky_relu", {"negative_slope": 0.2}, [image()], "nn.LeakyReLU(negative_slope=0.2)",
     "F.leaky_relu(x0, negative_slope=0.2)"),
    ("dropout", {}, [image()], "nn.Dropout(0.5)", "layer(x0)"),
    ("max_pool2d", {"kernel_size": 2, "stride": 2}, [image()], "nn.MaxPool2d(2)",
     "F.max_pool2d(x0, 2)"),
    ("max_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, [image()],
     "nn.MaxPool2d(3, stride=2, padding=1)", "F.max_pool2d(x0, 3, stride=2, padding=1)"),
    ("adaptive_avg_pool2d", {"output_size": 1}, [image()], "nn.AdaptiveAvgPool2d(1)",
     "F.adaptive_avg_pool2d(x0, 1)"),
    ("max_unpool2d", {"size": "pool1.input"},
     [image(3, 4, 4), Index((N, 3, 4, 4), (N, 3, 8, 8), "pool1"), image(3, 8, 8)], "None",
     "F.max_unpool2d(x0, x1, 2, output_size=x2.shape[-2:])"),
    ("interpolate", {"like": "low", "mode": "bilinear"}, [image(), image()], "None",
     'F.interpolate(x0, size=x1.shape[-2:], mode=\'bilinear\', align_corners=False)'),
    ("interpolate", {"scale_factor": 2}, [image()], "nn.Upsample(scale_factor=2)",
     "F.interpolate(x0, scale_factor=2)"),
    ("concat", {}, [image(), image()], "None", "torch.cat([x0, x1], dim=1)"),
    ("add", {}, [image(), image()], "None", "x0 + x1"),
    ("add", {"coefficients": (1, 0.5)}, [image(), image()], "None", "x0 + 0.5 * x1"),
    ("maximum", {}, [image()] * 3, "None", "torch.maximum(torch.maximum(x0, x1), x2)"),
    ("center_crop", {}, [image(), image()], "None", "center_crop(x0, x1)"),
    ("crop", {"like": "image", "offset": 19}, [image(), image()], "None",
     "crop_like(x0, x1, top=19, left=19)"),
    ("flatten", {}, [image()], "nn.Flatten()", "x0.flatten(1)"),
    ("permute", {"dims": (0, 2, 3, 1)}, [image()], "None", "x0.permute(0, 2, 3, 1)"),
    ("scale", {"value": 0.01}, [image()], "None", "0.01 * x0"),
    ("scale", {"learned": True}, [image()], "ChannelScale(3)", "layer(x0)"),
    ("l2_norm", {}, [image()], "None", "F.normalize(x0, dim=1)"),
    ("pad", {"padding": 2, "mode": "reflect"}, [image()], "nn.ReflectionPad2d(2)",
     "F.pad(x0, (2, 2, 2, 2), mode='reflect')"),
    ("identity", {}, [image()], "nn.Identity()", "x0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "types", "module", "expression"), LINES)
def test_code_reads_as_written_by_hand(
    name: str, values: dict, types: list, module: str, expression: str
) -> None:
    made = make(name, **values)
    assert printed(made.module(*types)) == module
    assert printed(made.expr(*types)) == expression


def test_helpers_compute_what_they_say() -> None:
    nails = Built(make("bed_of_nails", scale_factor=(2, 3)), [image()])
    x = torch.rand(1, 2, 3, 4)
    y = nails(x)
    assert torch.equal(y[..., ::2, ::3], x)
    assert y.count_nonzero() == x.count_nonzero()

    centre = Built(make("center_crop"), [image(), image()])
    assert torch.equal(centre(x, torch.rand(1, 1, 1, 2)), x[..., 1:2, 1:3])

    norm = Built(make("l2_norm", scale=20), [image(2)])
    assert torch.allclose(norm(x).norm(dim=1), torch.tensor(20.0))

    constant = Built(make("constant", shape=(1, 2), value=3), [])
    assert constant.layer.state_dict() == {}
    assert torch.equal(constant(), torch.full((1, 2), 3.0))

    scale = Built(make("scale", learned=True, value=0.5, bias=True), [image(2)])
    assert torch.equal(scale(x), x / 2)


# --- labels and fields -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "values", "family", "label"),
    [
        ("conv2d", {"out_channels": 64, "kernel_size": 3}, "conv", "conv 3×3, 64"),
        ("conv2d", {"out_channels": 64, "kernel_size": (1, 7), "stride": 2}, "conv",
         "conv 1×7, 64, stride 2"),
        ("conv2d", {"out_channels": 256, "kernel_size": 3, "dilation": 12}, "dilated",
         "conv 3×3, 256, rate 12"),
        ("conv_transpose2d", {"out_channels": 21, "kernel_size": 4, "stride": 2}, "up",
         "up-conv 4×4, 21, stride 2"),
        ("max_pool2d", {"kernel_size": 2}, "down", "max pool 2×2"),
        ("adaptive_avg_pool2d", {"output_size": 1}, "context", "avg pool to 1×1"),
        ("interpolate", {"scale_factor": 2, "mode": "bilinear"}, "up", "bilinear ×2"),
        ("softmax", {}, "predict", "softmax"),
        ("dropout", {"p": 0.1}, "act", "dropout 0.1"),
    ],
)  # fmt: skip
def test_label(name: str, values: dict, family: str, label: str) -> None:
    style = make(name, **values).style
    assert (style.family, style.label) == (family, label)


def test_every_label_is_short_and_of_a_known_family() -> None:
    families = {"conv", "dilated", "down", "up", "context", "predict", "merge", "norm", "act"}
    families |= {"region", "shape", "input"}
    for cls in REGISTRY.values():
        for example in cls.examples:
            style = cls(**example.attrs).style
            assert style.family in families
            assert 0 < len(style.label) <= 40


def test_receptive_field_of_vgg16_and_of_unet() -> None:
    """404 pixels at VGG16's fc6 and 212 at its conv5_3 pooling; steps 32 (published figures)."""
    conv = make("conv2d", out_channels=1, kernel_size=3, padding=1)
    pool = make("max_pool2d", kernel_size=2)
    field = PIXEL
    for convs in (2, 2, 3, 3, 3):
        for layer in (*[conv] * convs, pool):
            field = layer.field(0, (field,))
    assert (field.size, field.step) == (212, 32)
    field = make("conv2d", out_channels=1, kernel_size=7).field(0, (field,))
    assert field.size == 404


def test_centre_of_an_upsampled_field_stays_in_place() -> None:
    """Pooling by 2 and a transposed convolution by 2 see the 2 pixels of one cell."""
    pooled = make("avg_pool2d", kernel_size=2).field(0, (PIXEL,))
    up = make("conv_transpose2d", out_channels=1, kernel_size=2, stride=2).field(0, (pooled,))
    assert up == Field(Fraction(3), Fraction(1), Fraction(-1))
    skip = make("center_crop").field(0, (PIXEL, PIXEL), (12, 8, 8))
    assert skip == Field(Fraction(1), Fraction(1), Fraction(2))


def test_fields_without_sizes_are_loose_but_right() -> None:
    pooled = make("avg_pool2d", kernel_size=4).field(0, (PIXEL,))
    like = make("interpolate", like="image", mode="nearest")
    assert like.field(0, (pooled, PIXEL)).step == 1
    assert make("adaptive_avg_pool2d", output_size=6).field(0, (PIXEL,)).size is None
    assert make("interpolate", size=9).field(0, (PIXEL,)).size is None
    constant = make("constant", shape=(1, 1, 1, 1)).field(0, ())
    assert union((pooled, constant)) == pooled


# --- the registry ------------------------------------------------------------------------------
def test_registry_is_complete_and_imports_nothing_heavy() -> None:
    code = "import sys, segc.ops; print(len(segc.ops.REGISTRY), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(len(REGISTRY)), "False"]
    families = {module.__name__.rpartition(".")[2] for module in FAMILIES}
    assert {cls.family for cls in REGISTRY.values()} == families


def test_attributes_and_defaults_are_torchs() -> None:
    """Where torch has a layer of that name, defaults are its own."""
    import inspect

    layers = {"conv2d": torch.nn.Conv2d, "conv_transpose2d": torch.nn.ConvTranspose2d,
              "batch_norm2d": torch.nn.BatchNorm2d, "sync_batch_norm2d": torch.nn.SyncBatchNorm,
              "group_norm": torch.nn.GroupNorm,
              "instance_norm2d": torch.nn.InstanceNorm2d, "avg_pool2d": torch.nn.AvgPool2d,
              "max_pool2d": torch.nn.MaxPool2d, "prelu": torch.nn.PReLU,
              "local_response_norm": torch.nn.LocalResponseNorm, "elu": torch.nn.ELU,
              "hardtanh": torch.nn.Hardtanh, "softplus": torch.nn.Softplus,
              "dropout": torch.nn.Dropout, "flatten": torch.nn.Flatten,
              "interpolate": F.interpolate, "leaky_relu": torch.nn.LeakyReLU}  # fmt: skip
    for name, layer in layers.items():
        theirs = inspect.signature(layer).parameters
        for attr in REGISTRY[name].attrs.values():
            if attr.name in ("like", "grow", "shrink"):
                continue
            default = theirs[attr.name].default
            assert (default is inspect.Parameter.empty) == (attr.default is REQUIRED), attr
            assert attr.required or attr.default == default, (name, attr)


def test_unknown_kind_of_attribute_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="unknown kind"):

        @op("broken")
        class Broken(Op):
            size: complex = REGISTRY["conv2d"].attrs["stride"]  # type: ignore[assignment]

    assert "broken" not in REGISTRY


def test_example_shapes_cover_their_operands() -> None:
    for cls in REGISTRY.values():
        for example in cls.examples:
            assert isinstance(example, Example)
            if cls.rowed:
                continue  # rows_kit gives them theirs
            count = len(cls.operands) + len(cls(**example.attrs).extra)
            starred = cls.operands[-1:] == ("*xs",)
            assert len(example.shapes) >= 2 if starred else len(example.shapes) == count
