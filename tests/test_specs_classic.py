"""The classic systems against the literature: totals to the unit, the papers' shapes, the authors'
Caffe definitions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from specs_kit import layer, load, sizes
from test_specs import DATA, prototxt

from segc.analyse import shapes, table
from segc.ir import Ref

# --- totals -------------------------------------------------------------------------------------

TOTALS = [
    ("fcn_alexnet", {}, 58_704_590, 1_750_329),
    ("fcn8s_atonce", {}, 134_490_527, 127_008 + 512 + 256),
    ("deconvnet", {}, 251_805_653, 0),
    ("bayesian_segnet", {}, 29_449_355, 0),
    ("deeplab_largefov", {}, 20_505_429, 0),
    ("deeplabv2_vgg16", {}, 37_877_652, 0),
    ("deeplabv2_resnet101", {}, 44_048_532, 44_048_532 - 43_943_188),
    ("dilation_frontend", {}, 134_346_581, 0),
    ("dilation8_voc", {}, 141_149_720, 0),
    ("dilation10_cityscapes", {}, 134_373_043, 19 * 16 * 16),
    ("dcgan_generator", {}, 18_885_760, 0),
    ("sliding_window", {}, 219_290, 0),
    ("ddff", {}, 39_790_348, 0),
    ("ddff", {"cc3": False}, 39_200_524, 0),
    ("ddff", {"cc3": False, "cc1": True}, 39_237_388, 0),
    ("ddff", {"cc3": False, "cc2": True}, 39_347_980, 0),
    ("ddff", {"cc3": False, "cc4": True}, 41_559_820, 0),
    ("ddff", {"cc3": False, "cc5": True}, 41_559_820, 0),
    ("ddff", {"cc1": True, "cc2": True, "cc4": True, "cc5": True}, 44_693_260, 0),
    ("deeplabv3plus_xception65", {}, 41_055_413, 0),
    ("deeplabv3plus_xception65", {"classes": 19, "output_stride": 8}, 41_054_899, 0),
    ("deeplabv3plus_xception65", {"classes": 150}, 41_088_566, 0),
]


@pytest.mark.parametrize(("name", "params", "total", "frozen"), TOTALS)
def test_parameter_total_is_the_published_one(
    name: str, params: dict[str, Any], total: int, frozen: int
) -> None:
    totals = table(load(name, **params)).totals
    assert (totals.params, totals.params - totals.trainable) == (total, frozen)


PARTS = [
    ("deeplabv2_resnet101", "scores.aspp.", 1_548_372),
    ("deeplabv3plus_xception65", "backbone.", 37_867_312),
    ("dilation8_voc", "ct_", 6_803_139),
]


@pytest.mark.parametrize(("name", "prefix", "total"), PARTS)
def test_parts_have_their_published_share(name: str, prefix: str, total: int) -> None:
    rows = table(load(name)).rows
    assert sum(r.params for r in rows if r.node.name.startswith(prefix)) == total


def test_scale_and_shift_of_deconvnet_are_counted_apart() -> None:
    rows = table(load("deconvnet")).rows
    assert sum(r.params for r in rows if r.node.op.name == "batch_norm2d") == 33_408


# --- shapes at the papers' sizes ----------------------------------------------------------------

SHAPES: list[tuple[str, dict[str, Any], tuple[int, int], dict[str, tuple[int, ...]]]] = [
    ("fcn_alexnet", {}, (500, 500), {
        "conv1": (96, 173, 173), "pool1": (96, 86, 86), "pool2": (256, 43, 43),
        "pool5": (256, 21, 21), "fc6": (4096, 16, 16), "upscore": (21, 543, 543),
        "score": (21, 500, 500)}),
    ("fcn8s_atonce", {}, (500, 500), {
        "scale_pool4": (512, 44, 44), "scale_pool3": (256, 88, 88), "score": (21, 500, 500)}),
    ("deconvnet", {}, (224, 224), {
        "pool5": (512, 7, 7), "fc6.conv": (4096, 1, 1), "fc7.relu": (4096, 1, 1),
        "fc6_deconv.relu": (512, 7, 7), "unpool5": (512, 14, 14), "unpool4": (512, 28, 28),
        "unpool3": (256, 56, 56), "unpool2": (128, 112, 112), "unpool1": (64, 224, 224),
        "seg_score": (21, 224, 224)}),
    ("bayesian_segnet", {}, (360, 480), {
        "encdrop4": (512, 23, 30), "encdrop5": (512, 12, 15), "decdrop3": (128, 90, 120)}),
    ("deeplab_largefov", {}, (321, 321), {
        "pool1": (64, 161, 161), "pool2": (128, 81, 81), "pool3": (256, 41, 41),
        "pool5a": (512, 41, 41), "fc8": (21, 41, 41), "logits": (21, 321, 321)}),
    ("deeplab_largefov", {}, (513, 513), {"fc8": (21, 65, 65), "logits": (21, 513, 513)}),
    ("deeplabv2_vgg16", {}, (321, 321), {"branch4.fc8": (21, 41, 41), "fuse": (21, 41, 41)}),
    ("deeplabv2_resnet101", {}, (513, 513), {
        "scores.backbone.relu": (64, 257, 257), "scores.backbone.maxpool": (64, 129, 129),
        "image05": (3, 257, 257), "image075": (3, 385, 385), "scores.aspp.add": (21, 65, 65),
        "scores05.aspp.add": (21, 33, 33), "scores075.aspp.add": (21, 49, 49),
        "fuse": (21, 65, 65), "logits": (21, 513, 513)}),
    ("deeplabv2_resnet101", {}, (321, 321), {"scores.aspp.add": (21, 41, 41)}),
    ("dilation_frontend", {}, (900, 900), {"final": (21, 66, 66), "logits": (21, 528, 528)}),
    ("dilation_frontend", {}, (500, 500), {"final": (21, 16, 16)}),
    ("dilation8_voc", {}, (900, 900), {
        "ct_conv1_1": (42, 130, 130), "ct_conv1_2": (42, 128, 128), "ct_conv2_1": (84, 124, 124),
        "ct_conv3_1": (168, 116, 116), "ct_conv4_1": (336, 100, 100),
        "ct_conv5_1": (672, 68, 68), "ct_fc1": (672, 66, 66), "ct_final": (21, 66, 66)}),
    ("dilation10_cityscapes", {}, (1396, 1396), {
        "final": (19, 128, 128), "ctx_upsample": (19, 1024, 1024), "logits": (19, 1024, 1024)}),
    ("dilation10_cityscapes", {}, (852, 1640), {"final": (19, 60, 159)}),
    ("encoder_decoder_nearest", {}, (64, 96), {
        "pool1": (64, 32, 48), "pool2": (128, 16, 24), "relu3": (256, 16, 24),
        "relu4": (128, 16, 24), "relu5": (64, 32, 48), "scores": (21, 64, 96)}),
    ("full_resolution", {"depth": 3}, (7, 9), {"features.2.relu": (64, 7, 9)}),
    ("deeplabv3plus_xception65", {}, (513, 513), {
        "backbone.relu1_2": (64, 257, 257), "backbone.entry2.sep2.bn_pointwise": (256, 129, 129),
        "backbone.exit2_3.relu_pointwise": (2048, 33, 33), "aspp.concat": (1280, 33, 33),
        "concat": (304, 129, 129), "classifier": (21, 129, 129), "logits": (21, 513, 513)}),
    ("deeplabv3plus_xception65", {"output_stride": 8}, (513, 513), {
        "backbone.exit2_3.relu_pointwise": (2048, 65, 65), "low.relu": (48, 129, 129)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params", "image", "wanted"), SHAPES)
def test_shapes_are_the_papers(
    name: str, params: dict[str, Any], image: tuple[int, int], wanted: dict[str, tuple[int, ...]]
) -> None:
    found = sizes(name, *image, **params)
    assert {at: found[at] for at in wanted} == wanted


def test_patch_classifier_shapes() -> None:
    found = shapes(load("sliding_window"), {"N": 1})
    maps = {at: found[Ref(at)][1:] for at in ("conv1", "pool1", "conv2", "pool2", "conv3")}
    sides = {"conv1": 92, "pool1": 46, "conv2": 42, "pool2": 21, "conv3": 18}
    assert maps == {at: (48, n, n) for at, n in sides.items()}
    deep = {"pool3": 9, "conv4": 6, "pool4": 3}
    assert all(found[Ref(at)][1:] == (48, n, n) for at, n in deep.items())
    assert found[Ref("flatten")] == (1, 432) and found[Ref("fc2")] == (1, 2)


def test_generators_end_at_their_image_sizes() -> None:
    dcgan = shapes(load("dcgan_generator"), {"N": 1})
    sides = [dcgan[Ref(at)][1:] for at in ("map", "up1.relu", "up2.relu", "up3.relu", "tanh")]
    assert sides == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    chairs = shapes(load("chairs_decoder"), {"N": 1})
    widths = [chairs[Ref(f"rgb.conv{i}")][1:] for i in range(1, 5)]
    assert widths == [(256, 16, 16), (92, 32, 32), (48, 64, 64), (3, 128, 128)]
    assert chairs[Ref("mask.conv4")] == (1, 1, 128, 128)


def test_ddff_maps_a_stack_to_one_disparity() -> None:
    checked = load("ddff")
    found = shapes(checked, {"N": 2, "H": 384, "W": 576})
    assert found[Ref("images")] == (20, 3, 384, 576)
    assert found[Ref("conv1_1_D.relu")] == (20, 1, 384, 576)
    assert found[Ref("maps")] == (2, 10, 384, 576)
    assert found[Ref("scoring")] == (2, 1, 384, 576)
    assert not checked.domain.contains({"N": 1, "H": 383, "W": 552})  # the data set's own size


# --- the authors' Caffe definitions -------------------------------------------------------------

CAFFE = [
    ("fcn_alexnet", "fcn/voc-fcn-alexnet/train.prototxt", 12),
    ("fcn8s_atonce", "fcn/voc-fcn8s-atonce/train.prototxt", 26),
    ("bayesian_segnet", "segnet/Models/bayesian_segnet_train.prototxt", 31),
    ("dilation8_voc", "dilation/dilation8_pascal_voc_deploy.prototxt", 27),
    ("dilation10_cityscapes", "dilation/dilation10_cityscapes_deploy.prototxt", 30),
]
WINDOW = [("kernel_size", "kernel_size", 0), ("stride", "stride", 1), ("pad", "padding", 0),
          ("dilation", "dilation", 1)]  # fmt: skip


def caffe(file: str) -> dict[str, dict[str, str]]:
    path = DATA / "prototxt" / file
    if not path.exists():
        pytest.skip(f"no Caffe definitions at {path.parent}: set SEGC_DATA")
    return prototxt(path)


@pytest.mark.parametrize(("name", "file", "count"), CAFFE)
def test_every_window_equals_the_authors_prototxt(name: str, file: str, count: int) -> None:
    graph, compared = load(name).graph, 0
    own = {"fc-final": "final", "conv1_1_D": "classifier"}
    for at, fields in caffe(file).items():
        node = graph.by_name.get(f"{at}.conv") or graph.by_name.get(own.get(at, at))
        if "kernel_size" not in fields:
            continue
        assert node is not None, at
        op: Any = node.op
        for theirs, ours, default in WINDOW:
            if getattr(op, ours) is not None:  # a pooling's step is its window by default
                assert getattr(op, ours) == (int(fields.get(theirs, default)),) * 2, (at, ours)
        if fields["type"] != "Pooling":
            assert op.out_channels == int(fields["num_output"]), at
            assert op.groups == int(fields.get("group", 1)), at
            assert op.bias == (fields.get("bias_term") != "false"), at
        compared += 1
    assert compared == count


@pytest.mark.parametrize(("name", "file"), [(n, f) for n, f, _ in CAFFE[:2]])
def test_crops_equal_the_authors_prototxt(name: str, file: str) -> None:
    crops = {at: f for at, f in caffe(file).items() if f.get("type") == "Crop"}
    assert crops
    for at, fields in crops.items():
        assert layer(name, at).op.offset == (int(fields["offset"]),) * 2


def test_the_dropouts_of_bayesian_segnet_stand_where_the_authors_have_them() -> None:
    """In the Caffe file a dropout works in place on the layer before it."""
    path = DATA / "prototxt" / "segnet/Models/bayesian_segnet_train.prototxt"
    if not path.exists():
        pytest.skip(f"no Caffe definitions at {path.parent}: set SEGC_DATA")
    text = path.read_text()
    layers = re.split(r"\blayer\s*\{", text)[1:]
    theirs = [
        re.search(r'bottom:\s*"(\w+)"', body)[1]  # type: ignore[index]
        for body in layers
        if '"Dropout"' in body
    ]
    nodes = [n for n in load("bayesian_segnet").graph.nodes if n.op.name == "dropout"]
    assert [n.inputs[0].node.partition(".")[0] for n in nodes] == theirs
    assert theirs == ["pool3", "pool4", "pool5", "conv5_1_D", "conv4_1_D", "conv3_1_D"]
