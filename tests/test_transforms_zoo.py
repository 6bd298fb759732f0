"""Transforms against torch in float64: what they promise is computed independently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from emit_kit import builder, emit, network
from torch import nn
from torchvision.models.vgg import VGG, make_layers
from torchvision.ops import FrozenBatchNorm2d

from segc.analyse import table
from segc.diag import Fail
from segc.manual import page
from segc.source import Source
from segc.verify import trained_like, verify

SPECS = Path(__file__).resolve().parent.parent / "specs"
EXACT = 1e-12  # relative to the largest value, float64


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def spec(layers: str, transforms: str = "", inputs: str = "[N, 3, H, W]", more: str = "") -> str:
    """A spec whose last layer `z` is its output."""
    given = f"transforms:\n{transforms}" if transforms else ""
    head = f"segc: 1\nmodel: Net\ntitle: t\ninputs: {{image: {inputs}}}\n"
    return f"{head}{more}layers:\n{layers}\n{given}outputs: {{z: z}}\n"


def made(text: str, **params: Any) -> Any:
    return network(emit(text, **params))().eval()


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= EXACT * max(1.0, float(b.detach().abs().max()))


def parameters(text: str, **params: Any) -> int:
    return table(builder(text, params)({})).totals.params


def viewed(source: nn.Module, target: nn.Module) -> None:
    """Load weights in order, each viewed in the shape it has in `target`; names must agree."""
    theirs, ours = source.state_dict(), target.state_dict()
    assert list(theirs) == list(ours)
    target.load_state_dict({k: v.view(ours[k].shape) for k, v in theirs.items()})


# --- convolutionalise -----------------------------------------------------------------------
VGG_LAYERS = """
  features:
    layers:
      0: {op: conv2d, out_channels: 6, kernel_size: 3, padding: 1}
      1: relu
      2: {op: max_pool2d, kernel_size: 2}
      3: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
      4: relu
      5: {op: max_pool2d, kernel_size: 2}
  avgpool: {op: adaptive_avg_pool2d, output_size: 7}
  flatten: flatten
  classifier:
    layers:
      0: {op: linear, out_features: 20}
      1: relu
      2: dropout
      3: {op: linear, out_features: 16}
      4: relu
      5: dropout
      6: {op: linear, out_features: 5}
  z: identity"""
TO_28 = "  - convolutionalise: {size: [28, 28]}\n"


def small_vgg() -> VGG:
    """torchvision's VGG with few channels."""
    with torch.device("meta"):
        model = VGG(nn.Identity(), init_weights=False)
    model.features = make_layers([6, "M", 8, "M"])
    layers = [nn.Linear(8 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 16), nn.ReLU()]
    model.classifier = nn.Sequential(*layers, nn.Dropout(), nn.Linear(16, 5))
    return model.eval()


def test_a_convolutional_vgg_gives_torchvisions_logits_at_the_training_size() -> None:
    theirs, ours = small_vgg(), made(spec(VGG_LAYERS, TO_28))
    viewed(theirs, ours)
    image = torch.randn(2, 3, 28, 28)
    same(ours(image), theirs(image)[:, :, None, None])
    assert ours(torch.randn(1, 3, 40, 44)).shape == (1, 5, 4, 5)


def test_convolutionalising_keeps_the_number_of_parameters() -> None:
    fixed = spec(VGG_LAYERS, inputs="[N, 3, 28, 28]")
    assert parameters(fixed) == parameters(spec(VGG_LAYERS, TO_28))
    assert parameters(fixed) == sum(p.numel() for p in small_vgg().parameters())


FULL_VGG = "\n".join(
    f"  c{n}: {{op: conv2d, out_channels: {c}, kernel_size: 3, padding: 1}}\n  r{n}: relu"
    if c
    else f"  p{n}: {{op: max_pool2d, kernel_size: 2}}"
    for n, c in enumerate([64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3, 0])
)
FULL_VGG += """
  flatten: flatten
  fc6: {op: linear, out_features: 4096}
  relu6: relu
  fc7: {op: linear, out_features: 4096}
  relu7: relu
  z: {op: linear, out_features: 1000}"""


def test_vgg16_has_its_published_total_in_both_forms() -> None:
    assert parameters(spec(FULL_VGG, inputs="[N, 3, 224, 224]")) == 138_357_544
    checked = builder(spec(FULL_VGG, "  - convolutionalise: {size: [224, 224]}\n"))({})
    assert table(checked).totals.params == 138_357_544
    ops = {n.name: n.op for n in checked.graph.nodes}
    kernels = [ops[name].kernel_size for name in ("fc6", "fc7", "z")]
    assert kernels == [(7, 7), (1, 1), (1, 1)]
    assert checked.domain.constraints() == ("H >= 224", "W >= 224")


def n4() -> nn.Sequential:
    """The patch classifier as its paper's table gives it."""
    trunk: list[nn.Module] = []
    for channels, kernel in [(1, 4), (48, 5), (48, 4), (48, 4)]:
        trunk += [nn.Conv2d(channels, 48, kernel), nn.Tanh(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(48 * 9, 200), nn.Tanh(), nn.Linear(200, 2)]
    return nn.Sequential(*trunk, *head).eval()


@pytest.mark.parametrize(("stride", "extra"), [(1, (2, 1)), (16, (32, 17)), (4, (5, 8))])
def test_the_convolutional_patch_classifier_is_the_classifier_at_each_window(
    stride: int, extra: tuple[int, int]
) -> None:
    path = str(SPECS / "sliding_window_convolutional.yaml")
    window, image = n4(), torch.randn(1, 1, 95 + extra[0], 95 + extra[1])
    dense = made(path, output_stride=stride)
    weights = zip(dense.state_dict().items(), window.state_dict().values(), strict=True)
    dense.load_state_dict({k: v.view(own.shape) for (k, own), v in weights})
    found = dense(image)
    rows, columns = range(0, extra[0] + 1, stride), range(0, extra[1] + 1, stride)
    assert found.shape == (1, 2, len(rows), len(columns))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            patch = image[:, :, top : top + 95, left : left + 95]
            same(found[:, :, i, j], window(patch))


def test_the_patch_classifier_and_its_convolutional_form_have_equal_totals() -> None:
    totals = [SPECS / f"sliding_window{form}.yaml" for form in ("", "_convolutional")]
    assert [parameters(str(p)) for p in totals] == [sum(p.numel() for p in n4().parameters())] * 2


def test_global_pooling_becomes_its_window_and_vectors_become_maps() -> None:
    layers = """
  conv: {op: conv2d, out_channels: 8, kernel_size: 3, stride: 2}
  pool: {op: adaptive_avg_pool2d, output_size: 1}
  flatten: flatten
  fc: {op: linear, out_features: 6, bias: false}
  bn: batch_norm1d
  act: {op: prelu, num_parameters: 6}
  a: {op: linear, out_features: 4}
  b: {op: linear, from: act, out_features: 3}
  joined: {op: concat, from: [a, b], dim: -1}
  z: {op: softmax, dim: -1}"""
    ours = made(spec(layers, "  - convolutionalise: {size: [11, 15]}\n"))
    plain = made(spec(layers, inputs="[N, 3, 11, 15]"))
    trained_like(plain)
    viewed(plain, ours)
    image = torch.randn(3, 3, 11, 15)
    state = plain.state_dict()
    x = nn.functional.conv2d(image, state["conv.weight"], state["conv.bias"], stride=2)
    x = x.mean((2, 3)) @ state["fc.weight"].T
    x = (x - state["bn.running_mean"]) / (state["bn.running_var"] + 1e-5).sqrt()
    x = nn.functional.prelu(x * state["bn.weight"] + state["bn.bias"], state["act.weight"])
    both = [x @ state[f"{n}.weight"].T + state[f"{n}.bias"] for n in "ab"]
    same(ours(image), torch.cat(both, 1).softmax(1)[:, :, None, None])
    assert ours(torch.randn(1, 3, 13, 17)).shape == (1, 7, 2, 2)


# --- replace_norm -----------------------------------------------------------------------------
UNIT = """blocks:
  unit:
    params: {out: int}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1, bias: false}
      bn: {op: batch_norm2d, eps: 1.0e-3, init: {weight: zeros}}
      relu: relu
"""
TRUNK = """
  trunk:
    layers:
      a: {block: unit, out: 8}
      b: {block: unit, out: 12}
  head: {block: unit, out: 4}
  z: {op: conv2d, out_channels: 2, kernel_size: 1}"""


def normed(transforms: str) -> str:
    return spec(TRUNK, transforms, more=UNIT)


def by_hand(state: dict[str, torch.Tensor], norms: dict[str, nn.Module], x: Any) -> Any:
    for name in ("trunk.a", "trunk.b", "head"):
        x = nn.functional.conv2d(x, state[f"{name}.conv.weight"], padding=1)
        norm = norms[name]
        wanted = {k for k in state if k.startswith(f"{name}.bn.")}
        norm.load_state_dict({k.removeprefix(f"{name}.bn."): state[k] for k in wanted})
        x = norm(x).relu()
    return nn.functional.conv2d(x, state["z.weight"], state["z.bias"])


REPLACED = {
    "group": lambda c: nn.GroupNorm(4, c, eps=1e-3),
    "instance": lambda c: nn.InstanceNorm2d(c, eps=1e-3, affine=True),
    "frozen": lambda c: FrozenBatchNorm2d(c, eps=1e-3),
}


@pytest.mark.parametrize("norm", REPLACED)
def test_a_replaced_norm_computes_what_torchs_does(norm: str) -> None:
    text = normed(f"  - replace_norm: {{layers: trunk, norm: {norm}, num_groups: 4}}\n")
    ours = made(text)
    trained_like(ours)
    norms = {"trunk.a": REPLACED[norm](8), "trunk.b": REPLACED[norm](12)}
    norms["head"] = nn.BatchNorm2d(4, eps=1e-3).eval()
    image = torch.randn(2, 3, 6, 7)
    same(ours(image), by_hand(ours.state_dict(), norms, image))


def test_a_synchronised_norm_is_the_batch_norm_on_one_machine() -> None:
    """Same tensors by the same names; equal in training too, in a single process on the CPU."""
    plain = made(normed(""))
    sync = made(normed("  - replace_norm: {layers: trunk, norm: sync}\n"))
    assert isinstance(sync.trunk.a.bn, nn.SyncBatchNorm) and sync.trunk.a.bn.eps == 1e-3
    assert isinstance(sync.head.bn, nn.BatchNorm2d)
    trained_like(plain)
    assert list(plain.state_dict()) == list(sync.state_dict())
    sync.load_state_dict(plain.state_dict(), strict=True)
    image = torch.randn(2, 3, 6, 7)
    same(sync.eval()(image), plain.eval()(image))
    same(sync.train()(image), plain.train()(image))
    for name, value in plain.state_dict().items():  # the running statistics followed alike
        same(sync.state_dict()[name].double(), value.double())


def test_processes_without_gpus_are_refused_a_synchronised_norm() -> None:
    """torch raises in the middle of the first step; train.py says it before it reads data."""
    from segc.build import check_source
    from segc.emit.harness import harness_files

    def train(transforms: str) -> str:
        text = normed(transforms)
        return harness_files(check_source(Source.from_text(text, "net.yaml"), {}))["train.py"]

    said = 'raise Stop("nn.SyncBatchNorm needs a GPU for each process: use one process here", 2)'
    assert said in train("  - replace_norm: {layers: trunk, norm: sync}\n")
    assert "needs a GPU" not in train("")


def test_a_synchronised_norm_keeps_what_was_said_of_the_batch_norm() -> None:
    layers = """
  a: {op: batch_norm2d, momentum: 0.03, affine: false}
  b: {op: batch_norm2d, track_running_stats: false, freeze: true}
  z: {op: conv2d, out_channels: 2, kernel_size: 1}"""
    init = "init:\n  batch_norm2d: {weight: {constant: {value: 2}}}\n"
    model = made(spec(layers, "  - replace_norm: {norm: sync}\n", more=init))
    assert model.a.momentum == 0.03 and model.a.weight is None
    assert model.b.running_mean is None and not model.b.weight.requires_grad
    assert float(model.b.weight.detach().sum()) == 6


def test_frozen_norms_load_a_batch_norms_checkpoint_and_never_change() -> None:
    plain, frozen = made(normed("")), made(normed("  - replace_norm: {norm: frozen}\n"))
    trained_like(plain)
    frozen.load_state_dict(plain.state_dict(), strict=True)
    image = torch.randn(2, 3, 6, 7)
    wanted = plain(image)
    same(frozen.train()(image), wanted)
    same(frozen.eval()(image), wanted)
    assert not any(".bn." in name for name, _ in frozen.named_parameters())
    assert parameters(normed("  - replace_norm: {norm: frozen}\n")) == 27 * 8 + 72 * 12 + 432 + 10


def test_initial_values_follow_the_norm() -> None:
    model = made(normed("  - replace_norm: {norm: group, num_groups: 2}\n"))
    assert not model.trunk.a.bn.weight.any()
    frozen = made(normed("  - replace_norm: {norm: frozen}\n"))
    assert float(frozen.trunk.a.bn.weight.sum()) == 8  # a buffer has no initial value to choose


def test_initialisers_by_operator_stay_with_the_layers_they_were_for() -> None:
    layers = """
  gn: {op: group_norm, num_groups: 1}
  bn: batch_norm2d
  conv: {op: conv2d, out_channels: 3, kernel_size: 3}
  flatten: flatten
  fc: {op: linear, out_features: 2}
  z: batch_norm1d"""
    init = """init:
  batch_norm2d: {bias: {constant: {value: 2}}}
  batch_norm1d: {bias: {constant: {value: 3}}}
  linear: {bias: {constant: {value: 4}}}
  conv2d: {bias: {constant: {value: 5}}}
"""
    first = "  - replace_norm: {layers: bn, norm: group, num_groups: 3}\n"
    model = made(spec(layers, f"{first}  - convolutionalise: {{size: 6}}\n", more=init))
    found = [
        float(model.get_submodule(n).bias.detach().mean()) for n in ("gn", "bn", "conv", "fc", "z")
    ]
    assert [round(v, 9) for v in found] == [0, 2, 5, 4, 3]
    assert isinstance(model.fc, nn.Conv2d) and isinstance(model.z, nn.BatchNorm2d)


# --- freeze and tie ---------------------------------------------------------------------------
def test_frozen_weights_get_no_gradient_and_the_rest_does() -> None:
    text = normed("  - freeze: {layers: trunk}\n")
    model = made(text).train()
    model(torch.randn(2, 3, 6, 6)).sum().backward()
    for name, p in model.named_parameters():
        assert p.requires_grad != name.startswith("trunk."), name
        assert (p.grad is None) == name.startswith("trunk."), name
    totals = table(builder(text)({})).totals
    assert totals.params - totals.trainable == 27 * 8 + 16 + 72 * 12 + 24


TWINS = """
  small: {op: avg_pool2d, kernel_size: 2}
  fine:
    layers:
      a: {block: unit, from: image, out: 4}
      b: {repeat: 2, block: unit, out: 4}
  coarse:
    layers:
      a: {block: unit, from: small, out: 4}
      b: {repeat: 2, block: unit, out: 4}
  up: {op: interpolate, like: image, mode: nearest}
  z: {op: add, from: [fine, up]}"""
TWIN_UNIT = UNIT.replace(", init: {weight: zeros}", "")


def test_tied_groups_compute_with_the_same_weights_and_add_their_gradients() -> None:
    tied = made(spec(TWINS, "  - tie: {layers: coarse, to: fine}\n", more=TWIN_UNIT))
    free = made(spec(TWINS, more=TWIN_UNIT))
    trained_like(tied)
    state = tied.state_dict()
    assert not any(k.startswith("coarse.") for k in state)
    assert len(free.state_dict()) == 2 * len(state)
    copies = {k.replace("fine.", "coarse.", 1): v for k, v in state.items()}
    free.load_state_dict({**state, **copies})
    image = torch.randn(1, 3, 8, 10)
    same(tied(image), free(image))
    for model in (tied, free):
        model(image).square().sum().backward()
    gradients = {k: p.grad for k, p in free.named_parameters()}
    for name, p in tied.named_parameters():
        same(p.grad, gradients[name] + gradients[name.replace("fine.", "coarse.", 1)])


HEADS = """
  one:
    layers:
      stem: {block: unit, out: 4}
      body: {repeat: 3, block: unit, out: 4}
      head: {op: conv2d, out_channels: 4, kernel_size: 1}
  two:
    layers:
      stem: {block: unit, out: 4}
      body: {repeat: 3, block: unit, out: 4}
      head: {op: conv2d, out_channels: 4, kernel_size: 1}
  conv: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1, bias: false}
  z: {block: unit, out: 4}"""


@pytest.mark.parametrize(
    ("layers", "to"),
    [
        ("two.head", "one.head"),
        ("two.body", "one.body"),
        ("two.body.1", "one.body.1"),
        ("two.body.0", "two.body.2"),
        ("two.stem", "one.body.0"),
        ("conv", "one.body.1.conv"),
        ("z", "two.body.0"),
    ],
)
def test_parts_of_groups_can_be_tied(layers: str, to: str) -> None:
    text = spec(HEADS, f"  - tie: {{layers: {layers}, to: {to}}}\n", more=TWIN_UNIT)
    tied, free = made(text), made(spec(HEADS, more=TWIN_UNIT))
    trained_like(tied)
    state = tied.state_dict()
    gone = {k for k in free.state_dict() if k.startswith(f"{layers}.")}
    assert set(free.state_dict()) - set(state) == gone != set()
    free.load_state_dict({**state, **{k: state[to + k[len(layers) :]] for k in gone}})
    image = torch.randn(1, 3, 8, 10)
    same(tied(image), free(image))


# --- stride_to_dilation -----------------------------------------------------------------------
RESIDUAL = """blocks:
  unit:
    params: {out: int, stride: 1, dilation: 1, project: false}
    inputs: [x]
    layers:
      conv1: {op: conv2d, out_channels: out, kernel_size: 3, stride: stride, padding: dilation,
        dilation: dilation}
      relu1: relu
      conv2: {op: conv2d, out_channels: out, kernel_size: 3, padding: dilation, dilation: dilation}
      skip: {op: conv2d, when: project, from: x, out_channels: out, kernel_size: 1, stride: stride}
      z: {op: add, from: [conv2, skip]}
"""


BODY = """
  body:
    layers:
      stem: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
      layer1: {repeat: 2, block: unit, out: 4, stride: "2 if i == 0 else 1", project: i == 0}
      layer2:
        layers:
          0: {block: unit, out: 4, stride: 2, dilation: D0, project: true}
          1: {block: unit, out: 4, dilation: D1}
          2: {block: unit, out: 4, dilation: D2}
  z: identity"""


def residual(transforms: str = "", dilations: tuple[int, ...] = (1, 1, 1)) -> str:
    """A net of stride 8 whose last stage has blocks of these dilations."""
    layers = BODY
    for i, d in enumerate(dilations):
        layers = layers.replace(f"D{i}", str(d))
    return spec(layers, transforms, more=RESIDUAL)


@pytest.mark.parametrize(("output_stride", "step"), [(4, 2), (2, 4), (1, 8)])
@pytest.mark.parametrize("size", [(32, 40), (29, 35)])
def test_the_dense_network_sampled_is_the_strided_one(
    output_stride: int, step: int, size: tuple[int, int]
) -> None:
    dense = made(residual(f"  - stride_to_dilation: {{output_stride: {output_stride}}}\n"))
    strided = made(residual())
    strided.load_state_dict(dense.state_dict())
    image = torch.randn(1, 3, *size)
    same(dense(image)[..., ::step, ::step], strided(image))


@pytest.mark.parametrize(("output_stride", "step"), [(4, 2), (1, 8)])
@pytest.mark.parametrize("grid", [(1, 2, 4), (3, 1, 2)])
def test_multi_grid_sampled_is_the_strided_network_with_those_dilations(
    output_stride: int, step: int, grid: tuple[int, ...]
) -> None:
    arguments = f"layers: body, output_stride: {output_stride}, multi_grid: {list(grid)}"
    dense = made(residual(f"  - stride_to_dilation: {{{arguments}}}\n"))
    strided = made(residual(dilations=grid))
    strided.load_state_dict(dense.state_dict())
    image = torch.randn(1, 3, 33, 38)
    same(dense(image)[..., ::step, ::step], strided(image))


@pytest.mark.parametrize(
    ("output_stride", "first", "rates"),
    [
        (16, "dilate", [2, 4, 8]),  # DeepLab v3, section 3.2.1: 2 * (1, 2, 4)
        (8, "dilate", [4, 8, 16]),
        (16, "keep", [1, 4, 8]),
        (8, "keep", [2, 8, 16]),
    ],
)
def test_multi_grid_rates_of_deeplab_v3(output_stride: int, first: str, rates: list[int]) -> None:
    text = (SPECS / "deeplab.yaml").read_text(encoding="utf-8")
    call = "stride_to_dilation: {layers: backbone, output_stride: output_stride"
    assert call in text
    more = f"{call}, first_block: {first}, multi_grid: [1, 2, 4]"
    source = Source.from_text(text.replace(call, more), str(SPECS / "deeplab.yaml"))
    ops = {n.name: n.op for n in _graph(source, output_stride).nodes}
    found = [ops[f"backbone.layer4.{i}.conv2"] for i in range(3)]
    assert [op.dilation for op in found] == [(r, r) for r in rates]
    assert [op.padding for op in found] == [(r, r) for r in rates]
    assert ops["backbone.layer3.5.conv2"].dilation == ((2, 2) if output_stride == 8 else (1, 1))


def _graph(source: Source, output_stride: int) -> Any:
    from segc.build import check_source

    return check_source(source, {"output_stride": output_stride}).graph


# --- refusals, verification, the manual -------------------------------------------------------
FLAT = "\n  conv: {op: conv2d, out_channels: 4, kernel_size: 3}\n  flatten: flatten"
FC = f"{FLAT}\n  z: {{op: linear, out_features: 2}}"
BN = "\n  conv: {op: conv2d, out_channels: 6, kernel_size: 3}\n  z: batch_norm2d"
PAIR = """
  a: {op: conv2d, out_channels: 3, kernel_size: 1}
  b: {op: conv2d, out_channels: 3, kernel_size: 3}
  z: {op: conv2d, out_channels: 4, kernel_size: 1}"""

REFUSED = [
    (BN, "convolutionalise: {size: 8}", "SEG210", "no flatten of a map"),
    (FC, "convolutionalise: {size: 2}", "SEG213", "at 2 x 2, `conv`"),
    (FC, "convolutionalise: {size: 8, layers: nowhere}", "SEG301", "`nowhere`"),
    (f"{FLAT}\n  n: layer_norm\n  z: {{op: linear, out_features: 2}}",
     "convolutionalise: {size: 8}", "SEG210", "`n`: layer_norm stands between"),
    (f"{FLAT}\n  fc: {{op: linear, out_features: 4}}\n  z: {{op: unflatten, sizes: [2, 2]}}",
     "convolutionalise: {size: 8}", "SEG210", "has no form for maps"),
    (f"{FLAT}\n  fc: {{op: linear, out_features: 6}}\n  z: {{op: add, from: [fc, image]}}",
     "convolutionalise: {size: 8}", "SEG210", "joins a flattened map"),
    (f"{FC.replace('flatten: flatten', 'pool: {op: adaptive_avg_pool2d, output_size: 4}')}"
     .replace("  z:", "  flatten: flatten\n  z:"),
     "convolutionalise: {size: 9}", "SEG210", "windows of different sizes from 7 x 7 to 4 x 4"),
    (BN, "replace_norm: {norm: group, num_groups: 4}", "SEG202", "6 channels of `z`"),
    (BN, "replace_norm: {norm: group, num_groups: 3, layers: conv}", "SEG210", "no batch norm"),
    (BN.replace("z: batch_norm2d", "z: {op: batch_norm2d, track_running_stats: false}"),
     "replace_norm: {norm: frozen}", "SEG210", "no statistics"),
    (BN.replace("\n  z:", "\n  z0: batch_norm2d\n  z1: {use: z0}\n  z:"),
     "replace_norm: {norm: instance, layers: z1}", "SEG210", "replace both norms"),
    (BN, "freeze: {layers: nowhere}", "SEG301", "`nowhere`"),
    (BN.replace("z: batch_norm2d", "z: relu"), "freeze: {layers: z}", "SEG210", "no weights"),
    (PAIR.replace("{op: conv2d, out_channels: 4, kernel_size: 1}", "{use: a}"),
     "freeze: {layers: z}", "SEG210", "freeze them there"),
    (PAIR, "tie: {layers: b, to: a}", "SEG210", "`kernel_size` is [3, 3] here and [1, 1] there"),
    (PAIR, "tie: {layers: z, to: z}", "SEG210", "two different groups"),
    (PAIR, "tie: {layers: z, to: a}", "SEG210", "`out_channels` is 4 here and 3 there"),
    (PAIR.replace("out_channels: 3, kernel_size: 3", "out_channels: 5, kernel_size: 3")
     .replace("s: 4", "s: 3"),
     "tie: {layers: z, to: a}", "SEG210", "different shapes"),
    (HEADS, "tie: {layers: two.stem.conv, to: two.body.0.conv}", "SEG210", "lies in the block"),
    (BN, "stride_to_dilation: {output_stride: 1, multi_grid: [1, 2]}", "SEG210", "no stage has"),
    (BN.replace("kernel_size: 3", "kernel_size: 3, stride: 2"),
     "stride_to_dilation: {output_stride: 1, multi_grid: [1, 2]}", "SEG210", "in no stage"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "transform", "code", "phrase"), REFUSED)
def test_a_refusal_says_why_and_points_into_the_transform(
    layers: str, transform: str, code: str, phrase: str
) -> None:
    text = spec(layers, f"  - {transform}\n", more=TWIN_UNIT if "block: unit" in layers else "")
    with pytest.raises(Fail) as failed:
        builder(text)({})
    first = failed.value.diagnostics[0]
    assert (first.code, phrase in first.message) == (code, True), first
    line = next(n for n, t in enumerate(text.split("\n"), 1) if transform in t)
    assert first.loc is not None and first.loc.line == line


def test_a_grid_has_one_number_for_each_block() -> None:
    with pytest.raises(Fail) as failed:
        builder(residual("  - stride_to_dilation: {output_stride: 4, multi_grid: [1, 2]}\n"))({})
    assert "`body.layer2` has 3 blocks" in failed.value.diagnostics[0].message


def test_a_fixed_input_of_another_size_is_refused() -> None:
    with pytest.raises(Fail) as failed:
        builder(spec(FC, "  - convolutionalise: {size: 8}\n", inputs="[N, 3, 9, 8]"))({})
    assert "`image` [N, 3, 9, 8] cannot be 8 x 8" in failed.value.diagnostics[0].message


def test_a_layer_used_again_on_other_channels_is_refused() -> None:
    layers = "\n  a: {op: conv2d, out_channels: 4, kernel_size: 1}\n  z: {use: a}"
    with pytest.raises(Fail) as failed:
        builder(spec(layers))({})
    assert failed.value.diagnostics[0].code == "SEG202"


VERIFIED = {
    "convolutionalise": spec(VGG_LAYERS, TO_28),
    "group": normed("  - replace_norm: {norm: group, num_groups: 4}\n"),
    "instance": normed("  - replace_norm: {norm: instance}\n"),
    "frozen": normed("  - replace_norm: {norm: frozen, layers: trunk}\n"),
    "freeze": normed("  - freeze: {layers: trunk.a}\n"),
    "tie": spec(TWINS, "  - tie: {layers: coarse, to: fine}\n", more=TWIN_UNIT),
    "multi_grid": residual("  - stride_to_dilation: {output_stride: 2, multi_grid: [1, 2, 4]}\n"),
}


@pytest.mark.parametrize("name", VERIFIED)
def test_emission_and_deploy_module_verify_after_a_transform(name: str) -> None:
    torch.set_default_dtype(torch.float32)
    findings = list(verify(Source.from_text(VERIFIED[name], "specs/net.yaml"), {}))
    assert len(findings) >= 6
    assert [f for f in findings if not f.ok] == []


@pytest.mark.parametrize("name", ["convolutionalise", "replace_norm", "freeze", "tie"])
def test_each_transform_has_a_manual_page_with_an_example(name: str) -> None:
    text = page(name) or ""
    assert "example" in text and f"transforms: [{{{name}: {{" in text
