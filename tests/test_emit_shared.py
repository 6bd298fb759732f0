"""Groups applied again that also read values outside them: one class for all applications."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segc.build import Maker
from segc.emit.module import model_source
from segc.source import Source
from segc.verify import import_source, verify

HEAD = """segc: 1
model: Net
inputs: {image: [N, 4, H, W]}
layers:
"""
WIDE = "  wide: {op: pad, padding: 1}\n"
GROUP = """  g:
    from: FIRST
    layers:
      relu: relu
      cut: {op: crop, like: image}
      conv: {op: conv2d, out_channels: 4, kernel_size: 1}
  h: {use: g, from: SECOND}
"""
NESTED = """  g:
    from: FIRST
    layers:
      relu: relu
      inner:
        from: relu
        layers:
          cut: {op: crop, like: image}
          conv: {op: conv2d, out_channels: 4, kernel_size: 1}
          add: {op: add, from: [conv, image]}
  h: {use: g, from: SECOND}
"""
TAIL = "  out: {op: concat, from: [g, h]}\noutputs: {y: out}\n"
ORDERS = (("image", "wide"), ("wide", "image"), ("wide", "wide"), ("image", "image"))


def spec(group: str, order: tuple[str, str]) -> Source:
    made = group.replace("FIRST", order[0]).replace("SECOND", order[1])
    return Source.from_text(HEAD + (WIDE if "wide" in order else "") + made + TAIL)


def direct(source: Source, weight: Tensor, bias: Tensor, image: Tensor, read: str) -> Tensor:
    """One application, written out."""
    x = F.relu(F.pad(image, (1, 1, 1, 1)) if read == "wide" else image)
    y = F.conv2d(x[..., : image.shape[2], : image.shape[3]], weight, bias)
    return y + image if "inner" in source.text else y


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("group", [GROUP, NESTED])
def test_an_outer_value_may_be_the_input_of_one_application(
    group: str, order: tuple[str, str]
) -> None:
    source = spec(group, order)
    assert [f.what for f in verify(source, {}) if not f.ok] == []
    network = import_source(model_source(Maker(source, {})), "net").Net().double()
    weight, bias = network.parameters()
    image = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    wanted = torch.cat([direct(source, weight, bias, image, read) for read in order], 1)
    torch.testing.assert_close(network(image), wanted, rtol=0, atol=1e-12)
