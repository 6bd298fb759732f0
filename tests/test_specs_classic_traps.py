"""What each classic system is known to be got wrong by, and the lecture's worked examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from specs_kit import layer, load, module, run, sizes
from torch import nn

from segc.analyse import table
from segc.ir import Ref


def test_the_factors_of_fcn8s_at_once_are_frozen_before_the_scores() -> None:
    for at, factor in [("pool4", 0.01), ("pool3", 0.0001)]:
        node = layer("fcn8s_atonce", f"scale_{at}")
        assert node.inputs == (Ref(at),) and node.op.value == factor and node.freeze
        assert layer("fcn8s_atonce", f"score_{at}").inputs == (Ref(f"scale_{at}"),)
    assert layer("fcn8s_atonce", "conv5_1").inputs == (Ref("pool4"),)


def test_alexnet_pools_before_it_normalises() -> None:
    assert layer("fcn_alexnet", "norm1").inputs == (Ref("pool1"),)
    assert layer("fcn_alexnet", "conv2").inputs == (Ref("norm1"),)


def test_every_layer_of_deconvnet_but_the_score_is_normalised() -> None:
    graph = load("deconvnet").graph
    convs = [n for n in graph.nodes if n.op.name in ("conv2d", "conv_transpose2d")]
    normed = {n.inputs[0].node for n in graph.nodes if n.op.name == "batch_norm2d"}
    assert [n.name for n in convs if n.name not in normed] == ["seg_score"]
    assert not [n for n in graph.nodes if n.op.name == "dropout"]
    indices = [ref for n in graph.nodes for ref in n.inputs if ref.port == "indices"]
    assert indices == [Ref(f"pool{i}", "indices") for i in range(5, 0, -1)]


def test_only_deeplab_v1_pools_before_fc6() -> None:
    assert layer("deeplab_largefov", "fc6").inputs == (Ref("pool5a"),)
    rates = []
    for i in range(1, 5):
        node = layer("deeplabv2_vgg16", f"branch{i}.fc6")
        assert node.inputs == (Ref("pool5"),)
        rates.append(node.op.dilation)
    assert rates == [(r, r) for r in (6, 12, 18, 24)]


@pytest.mark.parametrize("size", [321, 513])
def test_corner_aligned_sizes_make_the_last_resize_exactly_eightfold(size: int) -> None:
    low = sizes("deeplab_largefov", size, size)["fc8"][1]
    x = torch.rand(1, 1, low, low, dtype=torch.float64)
    y = run("deeplab_largefov", "logits", x, torch.zeros(1, 3, size, size))
    assert y.shape[-1] == 8 * (low - 1) + 1 == size
    assert torch.allclose(y[..., ::8, ::8], x)


def test_the_three_scales_share_every_weight_and_are_fused_by_their_maximum() -> None:
    checked = load("deeplabv2_resnet101")
    by_scale = {s: [n for n in checked.graph.nodes if n.name.startswith(f"{s}.")]
                for s in ("scores", "scores075", "scores05")}  # fmt: skip
    assert len({len(nodes) for nodes in by_scale.values()}) == 1
    for scale in ("scores075", "scores05"):
        for own, copy in zip(by_scale["scores"], by_scale[scale], strict=True):
            assert copy.shared == own.name
            assert (copy.op.name, copy.op.values) == (own.op.name, own.op.values)
    fuse = checked.graph.by_name["fuse"]
    assert fuse.op.name == "maximum" and len(fuse.inputs) == 3


def test_the_msra_resnet_strides_first_and_dilates_every_unit() -> None:
    graph = load("deeplabv2_resnet101").graph
    base = "scores.backbone"
    assert graph.by_name[f"{base}.layer2.0.conv1"].op.stride == (2, 2)
    assert graph.by_name[f"{base}.layer2.0.conv2"].op.stride == (1, 1)
    for stage, units, rate in [("layer3", 23, 2), ("layer4", 3, 4)]:
        found = {graph.by_name[f"{base}.{stage}.{i}.conv2"].op.dilation
                 for i in range(units)}  # fmt: skip
        assert found == {(rate, rate)}
    heads = [graph.by_name[f"scores.aspp.c{i}"] for i in range(4)]
    assert [h.op.dilation[0] for h in heads] == [6, 12, 18, 24]
    assert all(h.op.bias for h in heads)


def interp_map(scores: torch.Tensor, zoom: int, height: int, width: int) -> torch.Tensor:
    """The dilation authors' enlargement, value by value; past the last score it is repeated."""
    out = torch.zeros(height, width, dtype=scores.dtype)
    rows, columns = scores.shape
    for h in range(height):
        for w in range(width):
            r0, c0 = h // zoom, w // zoom
            r1, c1 = min(r0 + 1, rows - 1), min(c0 + 1, columns - 1)
            rt, ct = h / zoom - r0, w / zoom - c0
            left = rt * scores[r1, c0] + (1 - rt) * scores[r0, c0]
            right = rt * scores[r1, c1] + (1 - rt) * scores[r0, c1]
            out[h, w] = (1 - ct) * left + ct * right
    return out


def test_the_scores_of_the_dilated_net_are_enlarged_as_the_authors_do() -> None:
    scores = torch.rand(3, 4, dtype=torch.float64)
    zoomed = run("dilation_frontend", "zoom", scores[None, None])
    edged = run("dilation_frontend", "edge", zoomed)
    assert torch.allclose(edged[0, 0], interp_map(scores, 8, 24, 32))


def test_the_dilated_net_scores_the_pixels_with_all_their_context() -> None:
    checked = load("dilation_frontend")
    for height, width in [(373, 380), (500, 501), (900, 1000)]:
        found = sizes("dilation_frontend", height, width)
        assert found["logits"][1:] == (height - 372, width - 372)
    assert not checked.domain.contains({"N": 1, "H": 372, "W": 900})
    convs = [n for n in checked.graph.nodes if n.op.name == "conv2d"]
    assert all(n.op.padding == (0, 0) for n in convs)


def test_the_context_module_starts_as_the_identity() -> None:
    names = [n.name for n in load("dilation10_cityscapes").graph.nodes]
    first, last = names.index("ctx_conv1_1"), names.index("ctx_final")
    x = torch.randn(1, 19, 9, 9, dtype=torch.float64).relu()
    net = nn.Sequential()
    for at in names[first : last + 1]:
        op: Any = layer("dilation10_cityscapes", at).op
        if op.name == "relu":
            net.append(nn.ReLU())
            continue
        assert set(layer("dilation10_cityscapes", at).init["weight"]) == {"dirac"}
        window = {key: getattr(op, key) for key in ("kernel_size", "padding", "dilation")}
        conv = nn.Conv2d(19, op.out_channels, **window).double()
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
        net.append(conv)
    assert torch.equal(net(x), x)


def test_dcgan_normalises_the_flat_projection() -> None:
    norm = layer("dcgan_generator", "project_bn")
    assert norm.op.name == "batch_norm1d"
    made = module("dcgan_generator")().eval()
    assert made.project_bn.num_features == 16_384
    y = made(torch.rand(2, 100) * 2 - 1)
    assert y.shape == (2, 3, 64, 64) and y.abs().max() <= 1


def test_the_skips_of_ddff_are_taken_before_the_pooling() -> None:
    graph = load("ddff").graph
    concat = graph.by_name["concat3"]
    assert concat.inputs == (Ref("upconv3"), Ref("conv3_3.relu"))
    assert graph.by_name["pool3"].inputs == (Ref("conv3_3.relu"),)
    last = [n.op.name for n in graph.nodes if n.name.startswith("conv1_1_D.")]
    assert last == ["conv2d", "batch_norm2d", "relu"]  # on the one-channel map too


def test_chairs_unpool_and_convolve_is_a_strided_transposed_convolution() -> None:
    x = torch.randn(1, 48, 5, 6, dtype=torch.float64)
    weight = torch.randn(3, 48, 5, 5, dtype=torch.float64)
    conv: Any = layer("chairs_decoder", "rgb.conv4").op
    assert (conv.kernel_size, conv.padding) == ((5, 5), (2, 2))
    ours = F.conv2d(run("chairs_decoder", "rgb.unpool4", x), weight, padding=2)
    flipped = weight.transpose(0, 1).flip(2, 3)
    theirs = F.conv_transpose2d(x, flipped, stride=2, padding=2, output_padding=1)
    assert torch.allclose(ours, theirs)


def rates(stride: int) -> dict[str, int]:
    """Layer of the Xception trunk -> dilation of its 3x3 convolution."""
    graph = load("deeplabv3plus_xception65", output_stride=stride).graph
    found = {}
    for node in graph.nodes:
        if node.name.startswith("backbone.") and node.name.endswith(".depthwise"):
            rate = node.op.dilation[0]
            assert node.op.padding[0] == rate
            found[node.name.removeprefix("backbone.").removesuffix(".depthwise")] = rate
    return found


def test_xception_multiplies_the_rate_after_the_unit_that_loses_its_stride() -> None:
    def of(found: dict[str, int], unit: str) -> set[int]:
        return {rate for name, rate in found.items() if name.startswith(unit)}

    coarse, fine = rates(16), rates(8)
    units = ("entry2", "entry3", "middle", "exit1", "exit2")
    assert [of(coarse, u) for u in units] == [{1}, {1}, {1}, {1}, {2}]
    assert [of(fine, u) for u in units] == [{1}, {1}, {2}, {2}, {4}]


def test_xception_strides_on_the_third_separable_convolution() -> None:
    graph = load("deeplabv3plus_xception65").graph
    for unit in ("entry1", "entry2", "entry3"):
        strides = [graph.by_name[f"backbone.{unit}.sep{i}.depthwise"].op.stride[0]
                   for i in (1, 2, 3)]  # fmt: skip
        assert strides == [1, 1, 2]
    assert graph.by_name["low.conv"].inputs == (Ref("backbone.entry2.sep2.bn_pointwise"),)
    order = [ref.node.split(".")[1] for ref in graph.by_name["aspp.concat"].inputs]
    assert order == ["pooling", "conv1x1", "atrous1", "atrous2", "atrous3"]
    assert [r.node for r in graph.by_name["concat"].inputs] == ["upsample", "low.relu"]


def test_the_full_resolution_net_sees_twice_its_depth_and_one() -> None:
    for depth in (1, 3, 5):
        rows = table(load("full_resolution", depth=depth), {"image": (1, 3, 64, 64)}).rows
        scores = next(r for r in rows if r.node.name == "scores")
        assert scores.receptive_field == (2 * depth + 1, 2 * depth + 1)


# --- the lecture's worked examples --------------------------------------------------------------


def grid(*rows: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


SMALL = grid((1, 2), (3, 4))
LARGE = grid((1, 2, 6, 3), (3, 5, 2, 1), (1, 2, 2, 1), (7, 3, 4, 8))


def test_nearest_neighbour_upsampling_of_the_lecture() -> None:
    up = run("encoder_decoder_nearest", "up1", SMALL)
    assert torch.equal(up, grid((1, 1, 2, 2), (1, 1, 2, 2), (3, 3, 4, 4), (3, 3, 4, 4)))


def test_bed_of_nails_of_the_lecture() -> None:
    up = run("encoder_decoder_bed_of_nails", "up1", SMALL)
    assert torch.equal(up, grid((1, 0, 2, 0), (0, 0, 0, 0), (3, 0, 4, 0), (0, 0, 0, 0)))


def test_max_unpooling_of_the_lecture() -> None:
    pooled, indices = run("encoder_decoder_max_unpool", "pool1", LARGE)
    assert torch.equal(pooled, grid((5, 6), (7, 8)))
    assert indices[0, 0].tolist() == [[5, 2], [12, 15]]
    up = run("encoder_decoder_max_unpool", "up1", SMALL, indices, LARGE)
    assert torch.equal(up, grid((0, 0, 2, 0), (0, 1, 0, 0), (0, 0, 0, 0), (3, 0, 0, 4)))


def test_ties_of_a_pooling_go_to_the_first() -> None:
    _, indices = run("encoder_decoder_max_unpool", "pool1", torch.ones(1, 1, 2, 2))
    assert indices.item() == 0


def test_transposed_convolution_of_the_lecture_spreads_2x2_over_4x4() -> None:
    """Each value is spread over its 3x3 window, two pixels apart; overlaps add up."""
    op: Any = layer("encoder_decoder_transposed", "up1").op
    stride, padding, extra = op.stride[0], op.padding[0], op.output_padding[0]
    weight = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)
    spread = torch.zeros(7, 7, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            window = SMALL[0, 0, i, j] * weight[0, 0]
            spread[stride * i : stride * i + 3, stride * j : stride * j + 3] += window
    wanted = spread[padding : padding + 4, padding : padding + 4]
    found = F.conv_transpose2d(SMALL, weight, None, stride, padding, extra)
    assert op.kernel_size == (3, 3)
    assert torch.equal(found[0, 0], wanted)
    assert F.conv_transpose2d(SMALL, weight, None, stride, padding).shape[-1] == 3  # 2H - 1


@pytest.mark.parametrize("kind", ["nearest", "bed_of_nails", "max_unpool", "transposed"])
def test_every_encoder_decoder_scores_every_pixel(kind: str) -> None:
    net = module(f"encoder_decoder_{kind}", classes=3, d1=4, d2=6, d3=8)().eval()
    assert net(torch.rand(2, 3, 8, 12)).shape == (2, 3, 8, 12)


def test_odd_images_keep_their_size_where_unpooling_knows_what_was_pooled() -> None:
    net = module("encoder_decoder_max_unpool", classes=3, d1=4, d2=6, d3=8)().eval()
    assert net(torch.rand(1, 3, 9, 7)).shape == (1, 3, 9, 7)  # unpooled to the size pooled
    plain = module("encoder_decoder_nearest", classes=3, d1=4, d2=6, d3=8)().eval()
    assert plain(torch.rand(1, 3, 9, 7)).shape == (1, 3, 8, 4)


def test_the_patch_classifier_convolved_gives_the_scores_of_its_windows() -> None:
    """Nothing is padded, so each score of the dense form is that of the 95x95 window below it."""
    torch.manual_seed(0)
    net = module("sliding_window")().double().eval()
    image = torch.rand(1, 1, 95 + 32, 95 + 16, dtype=torch.float64)
    x = image
    for i in range(1, 5):
        x = F.max_pool2d(torch.tanh(getattr(net, f"conv{i}")(x)), 2)
    x = torch.tanh(F.conv2d(x, net.fc1.weight.view(200, 48, 3, 3), net.fc1.bias))
    dense = F.conv2d(x, net.fc2.weight.view(2, 200, 1, 1), net.fc2.bias)
    assert dense.shape[2:] == (3, 2)
    for i in range(3):
        for j in range(2):
            patch = image[..., 16 * i : 16 * i + 95, 16 * j : 16 * j + 95]
            assert torch.allclose(net(patch)[0], dense[0, :, i, j], atol=1e-12)
