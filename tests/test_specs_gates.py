"""Gated-SCNN, LRR-4x and the hypercolumn classifier: published totals, shapes, names, traps, and
values equal to the networks written down once more from the papers' formulas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from op_torch import Built
from specs_kit import layer, load, module, sizes

from segc.analyse import shapes, table
from segc.ir import Ref

TOLERANCE = 1e-5  # of the largest value, float32
VGG16_CONVS, VGG16_FC = 14_714_688, 102_764_544 + 16_781_312

TOTALS = [
    ("gscnn", 137_278_190, 65),  # dsn1 is in the checkpoint, and nowhere else
    ("lrr_4x", 162_540_152, 54_768),
    ("hypercolumn_pixel", VGG16_CONVS + VGG16_FC + 21 * (256 + 512 + 4096 + 1), 0),
]


@pytest.mark.parametrize(("name", "total", "fixed"), TOTALS)
def test_parameter_total_is_the_published_one(name: str, total: int, fixed: int) -> None:
    totals = table(load(name)).totals
    assert (totals.params, totals.params - totals.trainable) == (total, fixed)


def test_parts_of_lrr_have_their_published_share() -> None:
    rows = table(load("lrr_4x")).rows

    def count(end: str) -> int:
        return sum(r.params for r in rows if r.node.name.endswith(end))

    assert count("deconv") == 4 * 210 * 8 * 8 and count("upsample") == 3 * 21 * 4 * 4
    assert count("coefficients") == sum(25 * c * 210 + 210 for c in (4096, 512, 512, 256))


SHAPES: list[tuple[str, tuple[int, int], dict[str, tuple[int, ...]]]] = [
    ("gscnn", (96, 128), {
        "mod1.conv1": (64, 96, 128), "mod2.block3.add": (128, 48, 64),
        "mod3.block3.add": (256, 24, 32), "mod4.block6.add": (512, 12, 16),
        "mod5.block3.add": (1024, 12, 16), "mod6.block1.add": (2048, 12, 16),
        "mod7.block1.add": (4096, 12, 16), "gate1.conv": (32, 96, 128),
        "gate2.conv": (16, 96, 128), "gate3.conv": (8, 96, 128), "canny": (1, 96, 128),
        "aspp.edge_down": (1, 12, 16), "aspp.concat": (1536, 12, 16), "concat": (304, 48, 64),
        "final_seg.6": (19, 48, 64), "logits": (19, 96, 128), "edge_out": (1, 96, 128)}),
    ("lrr_4x", (384, 384), {
        "features.15": (256, 96, 96), "features.22": (512, 48, 48), "features.29": (512, 24, 24),
        "drop7": (4096, 12, 12), "level32.coefficients": (210, 12, 12),
        "level32.deconv": (21, 48, 48), "level16.detail.coefficients": (210, 24, 24),
        "level16.sum": (21, 96, 96), "level8.sum": (21, 192, 192), "level4.sum": (21, 384, 384),
        "score": (21, 384, 384)}),
    ("hypercolumn_pixel", (500, 333), {
        "features.16": (256, 63, 42), "features.23": (512, 32, 21), "drop7": (4096, 16, 11),
        "hypercolumn": (4864, 500, 333), "logits": (21, 500, 333)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "image", "wanted"), SHAPES)
def test_shapes_are_the_papers(
    name: str, image: tuple[int, int], wanted: dict[str, tuple[int, ...]]
) -> None:
    found = sizes(name, *image)
    assert {at: found[at] for at in wanted} == wanted


def test_accepted_sizes() -> None:
    assert load("gscnn").domain.constraints() == ()
    assert load("hypercolumn_pixel").domain.constraints() == ()
    taken = load("lrr_4x").domain  # whatever the poolings round up to a multiple of 32
    assert all(
        taken.contains({"H": h, "W": 64}) == (h % 32 in (0, 29, 30, 31)) for h in range(1, 99)
    )


# --- values -------------------------------------------------------------------------------------


def trained(name: str, **params: Any) -> Any:
    """The network with weights, and running statistics, as after some training."""
    torch.manual_seed(0)
    model = module(name, **params)().eval()
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif value.is_floating_point() and not value.any():  # weights that start as zeros
            value.normal_(0, 0.01)
    return model


def near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max())


def resized(x: torch.Tensor, like: torch.Tensor, corners: bool = True) -> torch.Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=corners)


class Weights:
    """The formulas of Gated-SCNN over a state dict."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state, self.used = state, set[str]()

    def __getitem__(self, key: str) -> torch.Tensor:
        self.used.add(key)
        return self.state[key]

    def conv(self, x: torch.Tensor, at: str, dilation: int = 1, stride: int = 1) -> torch.Tensor:
        weight = self[f"{at}.weight"]
        bias = self[f"{at}.bias"] if f"{at}.bias" in self.state else None
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, bias, stride, padding, dilation)

    def norm(self, x: torch.Tensor, at: str) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self[f"{at}.{n}"] for n in names))

    def bn_relu(self, x: torch.Tensor, at: str) -> torch.Tensor:
        return self.norm(x, at).relu()

    def cbr(self, x: torch.Tensor, at: str, dilation: int = 1) -> torch.Tensor:
        return self.bn_relu(self.conv(x, f"{at}.0", dilation), f"{at}.1")

    def wide(self, x: torch.Tensor, at: str, dilation: int, stride: int = 1) -> torch.Tensor:
        before = self.bn_relu(x, f"{at}.bn1.0")
        projected = f"{at}.proj_conv.weight" in self.state
        shortcut = self.conv(before, f"{at}.proj_conv", stride=stride) if projected else x
        y, n = self.conv(before, f"{at}.convs.conv1", dilation, stride), 2
        while f"{at}.convs.conv{n}.weight" in self.state:
            y = self.bn_relu(y, f"{at}.convs.bn{n}.0")
            y = self.conv(y, f"{at}.convs.conv{n}", dilation)
            n += 1
        return y + shortcut

    def stage(self, x: torch.Tensor, at: str, blocks: int, rate: int, stride: int) -> torch.Tensor:
        for n in range(blocks):
            x = self.wide(x, f"{at}.block{n + 1}", rate, stride if n == 0 else 1)
        return x

    def basic(self, x: torch.Tensor, at: str) -> torch.Tensor:
        y = self.bn_relu(self.conv(x, f"{at}.conv1"), f"{at}.bn1")
        return (self.norm(self.conv(y, f"{at}.conv2"), f"{at}.bn2") + x).relu()

    def gate(self, x: torch.Tensor, g: torch.Tensor, at: str) -> torch.Tensor:
        a = self.norm(torch.cat([x, g], 1), f"{at}.gate_conv.0")
        a = self.conv(self.conv(a, f"{at}.gate_conv.1").relu(), f"{at}.gate_conv.3")
        alpha = self.norm(a, f"{at}.gate_conv.4").sigmoid()
        return self.conv(x * (alpha + 1), f"{at}.conv")

    def pyramid(self, x: torch.Tensor, edges: torch.Tensor) -> Iterator[torch.Tensor]:
        yield resized(self.cbr(x.mean((2, 3), keepdim=True), "aspp.img_conv"), x)
        yield self.cbr(resized(edges, x), "aspp.edge_conv")
        for n, rate in enumerate((1, 12, 24, 36)):
            yield self.cbr(x, f"aspp.features.{n}", rate)

    def gscnn(self, image: torch.Tensor, canny: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        m1 = self.conv(image, "mod1.conv1")
        m2 = self.stage(F.max_pool2d(m1, 3, 2, 1), "mod2", 3, 1, 1)
        m3 = self.stage(F.max_pool2d(m2, 3, 2, 1), "mod3", 3, 1, 1)
        m4 = self.stage(m3, "mod4", 6, 1, 2)
        m5 = self.stage(m4, "mod5", 3, 2, 1)
        m7 = self.stage(self.stage(m5, "mod6", 1, 4, 1), "mod7", 1, 4, 1)
        shapes = m1
        for n, (trunk, at) in enumerate([(m3, "dsn3"), (m4, "dsn4"), (m7, "dsn7")], 1):
            shapes = self.conv(self.basic(shapes, f"res{n}"), f"d{n}")
            shapes = self.gate(shapes, resized(self.conv(trunk, at), image), f"gate{n}")
        edges = self.conv(shapes, "fuse").sigmoid()
        acts = self.conv(torch.cat([edges, canny], 1), "cw").sigmoid()
        coarse = self.conv(torch.cat(list(self.pyramid(m7, acts)), 1), "bot_aspp")
        fine = self.conv(m2, "bot_fine")
        y = torch.cat([fine, resized(coarse, fine)], 1)
        y = self.bn_relu(self.conv(y, "final_seg.0"), "final_seg.1")
        y = self.bn_relu(self.conv(y, "final_seg.3"), "final_seg.4")
        return resized(self.conv(y, "final_seg.6"), image, corners=False), edges


def test_gscnn_computes_what_the_paper_and_its_code_say() -> None:
    model = trained("gscnn")
    with torch.no_grad():
        model.cw.weight.copy_(torch.tensor([0.7, -0.01])[None, :, None, None])
    image = torch.randn(2, 3, 41, 50)
    values = layer("gscnn", "canny").op.values
    assert values == {"low": 10, "high": 100} and layer("gscnn", "canny").inputs == (Ref("image"),)
    canny = Built(layer("gscnn", "canny").op, [load("gscnn").types[Ref("image")]])(image)
    assert set(canny.unique().tolist()) == {0.0, 255.0}
    weights = Weights(model.state_dict())
    with torch.no_grad():
        found = model(image)
        logits, edges = weights.gscnn(image, canny)
    assert near(found["logits"], logits) and near(found["edges"], edges)
    unused = {k for k in weights.state if not k.endswith("num_batches_tracked")} - weights.used
    assert unused == {"dsn1.weight", "dsn1.bias"}


def released_names() -> Iterator[str]:
    """Names in the released checkpoint whose tensors are found under the same name here."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    yield "mod1.conv1.weight"
    for mod, blocks in zip(range(2, 8), (3, 3, 6, 3, 1, 1), strict=True):
        for block in (f"mod{mod}.block{n + 1}" for n in range(blocks)):
            yield from (f"{block}.bn1.0.{n}" for n in norm)
            last = 3 if mod > 5 else 2
            yield from (f"{block}.convs.conv{n}.weight" for n in range(1, last + 1))
            yield from (f"{block}.convs.bn{k}.0.{n}" for k in range(2, last + 1) for n in norm)
        yield f"mod{mod}.block1.proj_conv.weight"
    for conv in ("dsn1", "dsn3", "dsn4", "dsn7", "d1", "d2", "d3"):
        yield from (f"{conv}.weight", f"{conv}.bias")
    yield from (f"{conv}.weight" for conv in ("fuse", "cw", "bot_fine", "bot_aspp"))
    for n in (1, 2, 3):
        yield from (f"res{n}.conv{k}.weight" for k in (1, 2))
        yield from (f"res{n}.bn{k}.{name}" for k in (1, 2) for name in norm)
    for branch in ("img_conv", "edge_conv", *(f"features.{n}" for n in range(4))):
        yield f"aspp.{branch}.0.weight"
        yield from (f"aspp.{branch}.1.{n}" for n in norm)
    yield from (f"final_seg.{n}.weight" for n in (0, 3, 6))
    yield from (f"final_seg.{k}.{n}" for k in (1, 4) for n in norm)


def test_gscnn_has_the_names_of_the_released_checkpoint() -> None:
    with torch.device("meta"):
        ours = set(module("gscnn")().state_dict())
    theirs = list(released_names())
    assert len(theirs) == len(set(theirs)) == 326
    rest = sorted(ours - set(theirs))
    assert set(theirs) <= ours and len(rest) == 371 - 326
    assert {name.partition(".")[0] for name in rest} == {"gate1", "gate2", "gate3"}


def test_the_gates_of_gscnn_learn_and_canny_stops_the_gradient() -> None:
    model = module("gscnn")().train()
    image = torch.randn(2, 3, 16, 16)
    model(image)["logits"].square().mean().backward()
    missing = {n for n, p in model.named_parameters() if p.grad is None}
    assert missing == {"dsn1.weight", "dsn1.bias"}
    assert model.gate3.conv.weight.grad.any()


@pytest.mark.parametrize("name", ["lrr_4x", "hypercolumn_pixel"])
def test_the_convolutions_of_vgg16_load_from_torchvision(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().features.state_dict()
        ours = module(name)().features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def lrr(model: Any, image: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """Scores at 32x, 16x, 8x and 4x."""
    taps, x = [], image
    for n, part in enumerate(model.features):
        x = part(x)
        taps += [x] if n in (15, 22, 29) else []
    x = model.fc7(model.fc6(x).relu()).relu()

    def rebuilt(part: Any, x: torch.Tensor) -> torch.Tensor:
        """Each coefficient times its basis, four pixels apart, added class by class."""
        c = F.conv2d(x, part.coefficients.weight, part.coefficients.bias, padding=2)
        n, _, h, w = c.shape
        bases = part.deconv.weight[:, 0]
        patches = torch.einsum("nkhw,kab->nkabhw", c, bases)
        patches = patches.reshape(n, classes, -1, 8, 8, h, w).sum(2).reshape(n, classes * 64, h * w)
        return F.fold(patches, (4 * h, 4 * w), 8, padding=2, stride=4)

    levels = [rebuilt(model.level32, x)]
    for part, features in zip((model.level16, model.level8, model.level4), taps[::-1], strict=True):
        kernel = torch.tensor([0.25, 0.75, 0.75, 0.25])
        kernel = (kernel[:, None] * kernel).expand(classes, 1, 4, 4)
        up = F.conv_transpose2d(levels[-1], kernel, stride=2, padding=1, groups=classes)
        p = up.softmax(1)
        n, c, h, w = p.shape
        high = F.unfold(F.pad(p, (4, 4, 4, 4), value=-1), 9).reshape(n, c, 81, h, w).amax(2)
        low = F.unfold(F.pad(p, (4, 4, 4, 4), value=2), 9).reshape(n, c, 81, h, w).amin(2)
        levels.append(up + (high - low) * rebuilt(part.detail, features))
    return levels


def test_lrr_refines_where_the_coarser_level_sees_a_boundary() -> None:
    torch.manual_seed(0)
    model = trained("lrr_4x", classes=3, bases=4)
    image = torch.randn(1, 3, 64, 95)
    with torch.no_grad():
        for part in (model.level32, model.level16.detail, model.level8.detail, model.level4.detail):
            part.coefficients.weight.normal_(0, 0.02)
        found, wanted = model(image), lrr(model, image, 3)
    assert list(found) == ["logits", "logits8", "logits16", "logits32"]
    assert near(found["logits32"], wanted[0]) and near(found["logits16"], wanted[1])
    assert near(found["logits8"], wanted[2]) and near(found["logits"], wanted[3][:, :, :64, :95])
    assert float(wanted[3].std()) > 0


def test_every_level_of_lrr_has_a_loss_and_the_bases_none() -> None:
    graph = load("lrr_4x").graph
    assert {loss["output"] for loss in graph.losses.values()} == set(graph.outputs)
    with torch.device("meta"):
        model = module("lrr_4x")()
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        *(f"level{n}.upsample.weight" for n in (16, 8, 4)),
        *(f"level{n}.detail.deconv.weight" for n in (16, 8, 4)), "level32.deconv.weight",
    }  # fmt: skip


def test_hypercolumns_classified_before_or_after_their_enlargement() -> None:
    model = trained("hypercolumn_pixel", classes=5)
    image = torch.randn(1, 3, 70, 45)
    with torch.no_grad():
        model.logits.bias.normal_()
        found = model(image)
        pool3 = model.features[:17](image)
        pool4 = model.features[17:24](pool3)
        fc7 = model.fc7(model.fc6(model.features[24:](pool4)).relu()).relu()
        taps = (0.0027 * pool3, 0.063 * pool4, fc7)
        weights = model.logits.weight.split([256, 512, 4096], 1)
        scores = [F.conv2d(x, w) for x, w in zip(taps, weights, strict=True)]
        total = sum(resized(s, image, corners=False) for s in scores)
        total = total + model.logits.bias[:, None, None]
    assert near(found, total)
    found_shapes = shapes(load("hypercolumn_pixel"), {"N": 1, "H": 70, "W": 45})
    assert found_shapes[Ref("hypercolumn")] == (1, 4864, 70, 45)
