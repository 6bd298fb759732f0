"""Sequences against torch's layers, captions against their recurrence written once more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from op_torch import Built
from rows_kit import boxes, build, made, run, tensor
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segc.dim import symbol
from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY
R = symbol("R")
SMALL = {"vocabulary": 11, "embedding_dim": 5, "hidden_size": 7}
CAPTIONS = [tensor(R, 9), tensor(R, 4, dtype="int")]


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


def built(name: str, types: list[Any], **attrs: Any) -> Built:
    """The operator in torch; its parameters are those it tells of."""
    torch.manual_seed(0)
    op = build(name, **attrs)
    module = Built(op, types).double()
    ours = [(p.name, p.shape) for p in op.parameters(*types)]
    assert ours == [(n, tuple(p.shape)) for n, p in module.layer.named_parameters()]
    assert {n for n, _ in ours} >= {n for n in op.weights if not n.startswith("bias")}
    return module


def multiplied(module: Built, *values: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(*values)
    return counter.get_total_flops() // 2


# --- embedding --------------------------------------------------------------------------------


def test_embedding_is_torchs() -> None:
    types = [tensor(R, 3, dtype="int")]
    options = {"num_embeddings": 6, "embedding_dim": 4, "padding_idx": 2}
    module = built("embedding", types, **options)
    x = torch.tensor([[0, 5, 2], [1, 2, 2]])
    found, weight = module(x), module.layer.weight
    assert torch.equal(found, F.embedding(x, weight)) and not found[0, 2].any()
    assert run("embedding", [x[:0]], types, **options).shape == (0, 3, 4)
    assert fault("embedding", [tensor(R, 3)], **options).code == "SEG201"
    assert fault("embedding", types, **{**options, "padding_idx": 6}).attr == "padding_idx"


# --- lstm -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3, "bidirectional": True}, {"bias": False, "num_layers": 2}],
)
def test_lstm_is_torchs(options: dict[str, Any]) -> None:
    types = [tensor(R, 4, 5)]
    module = built("lstm", types, hidden_size=6, **options)
    theirs = nn.LSTM(5, 6, batch_first=True, **options).double()
    theirs.load_state_dict(module.layer.state_dict())
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    assert torch.equal(module(x), theirs(x)[0])
    op = build("lstm", hidden_size=6, **options)
    assert op.macs(((3, 4, 5),), (3, 4, 6)) == multiplied(module, x)
    run("lstm", [x.float()], types, hidden_size=6, **options)
    run("lstm", [x[:0].float()], types, hidden_size=6, **options)


def test_lstm_is_the_recurrence_of_its_page() -> None:
    module = built("lstm", [tensor(R, 4, 5)], hidden_size=6)
    p = {n: v.detach() for n, v in module.layer.named_parameters()}
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    h = c = torch.zeros(3, 6, dtype=torch.float64)
    for t in range(4):
        gates = x[:, t] @ p["weight_ih_l0"].T + p["bias_ih_l0"]
        gates = gates + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        i, f, g, o = gates.split(6, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        assert torch.allclose(module(x)[:, t], h, atol=1e-12)


def test_lstm_faults() -> None:
    assert fault("lstm", [tensor(R, 4)], hidden_size=6).code == "SEG201"
    assert fault("lstm", [tensor(R, 4, symbol("W"))], hidden_size=6).code == "SEG202"
    assert fault("lstm", [tensor(R, 4, 5)], hidden_size=6, dropout=0.5).attr == "dropout"


# --- captioner --------------------------------------------------------------------------------


def parts(module: Built) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in module.layer.named_parameters()}


def read(p: dict[str, Tensor], features: Tensor, tokens: list[list[int]]) -> list[Tensor]:
    """Scores after the features, START and words, of a torch LSTM with the same weights."""
    lstm = nn.LSTM(5, 7, batch_first=True).double()
    weight, bias = p["gates.weight"], p["gates.bias"]
    lstm.load_state_dict(
        {
            "weight_ih_l0": weight[:, :5], "weight_hh_l0": weight[:, 5:],
            "bias_ih_l0": bias, "bias_hh_l0": torch.zeros_like(bias),
        }
    )  # fmt: skip
    codes = F.relu(features @ p["encoder.weight"].T + p["encoder.bias"])
    words = p["lookup.weight"][torch.tensor(tokens, dtype=torch.int64)]
    hidden, _ = lstm(torch.cat([codes[:, None], words], dim=1))
    return list((hidden @ p["word.weight"].T + p["word.bias"]).detach().unbind(dim=1))


def test_captioner_reads_the_words_given_in_training() -> None:
    module = built("captioner", CAPTIONS, **SMALL).train()
    features = torch.randn(3, 9, dtype=torch.float64)
    words = torch.tensor([[3, 1, 11, 0], [2, 0, 0, 0], [5, 6, 7, 8]])
    scores, same = module(features, words)
    expected = read(parts(module), features, [[12, *row] for row in words.tolist()])
    assert torch.allclose(scores, torch.stack(expected, dim=1), atol=1e-12)
    assert scores.shape == (3, 6, 12) and torch.equal(same, words)
    scores[:, 1:].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.layer.parameters())


def test_captioner_chooses_words_outside_training() -> None:
    module = built("captioner", CAPTIONS, **SMALL).eval()
    with torch.no_grad():
        for parameter in module.layer.parameters():
            parameter.mul_(3)  # so that rows differ in what they say
    features = torch.randn(6, 9, dtype=torch.float64)
    scores, words = module(features, torch.zeros(6, 4, dtype=torch.int64))
    tokens = [[12] for _ in range(6)]
    for _ in range(4):
        last = read(parts(module), features, tokens)[-1]
        for row, best in zip(tokens, (last.argmax(dim=1) + 1).tolist(), strict=True):
            row.append(best)
    assert words.tolist() == [row[1:] for row in tokens] and len(words.unique()) > 2
    expected = torch.stack(read(parts(module), features, tokens), dim=1)
    assert torch.allclose(scores, expected, atol=1e-12)
    module.train()  # reading what it has chosen it scores the same
    assert torch.allclose(module(features, words)[0], scores, atol=1e-12)


def test_captioner_counts() -> None:
    module, op = built("captioner", CAPTIONS, **SMALL), build("captioner", **SMALL)
    features, words = torch.randn(3, 9).double(), torch.zeros(3, 4, dtype=torch.int64)
    for training in (True, False):
        module.train(training)
        assert op.macs(((3, 9), (3, 4)), (3, 6, 12)) == multiplied(module, features, words)
    # DenseCap: 4,198,401 + 1,025 for each of its words
    types = [tensor(R, 4096), tensor(R, 15, dtype="int")]
    shapes = [p.shape for p in build("captioner", vocabulary=10497).parameters(*types)]
    assert sum(torch.Size(s).numel() for s in shapes) == 14_957_826


def test_captioner_of_nothing_and_its_start() -> None:
    values = [torch.zeros(0, 9), torch.zeros(0, 4, dtype=torch.int64)]
    for training in (True, False):
        scores, words = run("captioner", values, CAPTIONS, training, **SMALL)
        assert scores.shape == (0, 6, 12) and words.shape == (0, 4)
    bias = parts(built("captioner", CAPTIONS, **SMALL))["gates.bias"]
    assert bias.tolist() == [0.0] * 7 + [1.0] * 7 + [0.0] * 14


def test_captioner_faults() -> None:
    other = tensor(symbol("S"), 4, dtype="int")
    assert fault("captioner", [CAPTIONS[0], other], **SMALL).code == "SEG214"
    assert fault("captioner", [CAPTIONS[0], tensor(R, 4)], **SMALL).operand == 1
    long = tensor(R, symbol("T"), dtype="int")
    assert fault("captioner", [CAPTIONS[0], long], **SMALL).code == "SEG202"
    assert fault("captioner", [tensor(R, 9, 2), CAPTIONS[1]], **SMALL).code == "SEG201"


# --- words ------------------------------------------------------------------------------------


def test_caption_targets_are_densecaps() -> None:
    words = torch.tensor([[3, 1, 11, 0], [2, 0, 0, 0], [5, 6, 7, 8], [0, 0, 0, 0]])
    types = [tensor(R, 4, dtype="int")]
    found = run("caption_targets", [words], types, vocabulary=11)
    assert found.tolist() == [
        [-1, 2, 0, 10, 11, -1], [-1, 1, 11, -1, -1, -1], [-1, 4, 5, 6, 7, 11],
        [-1, 11, -1, -1, -1, -1],
    ]  # fmt: skip
    assert run("caption_targets", [words[:0]], types, vocabulary=11).shape == (0, 6)
    assert fault("caption_targets", [tensor(R, 4)], vocabulary=11).code == "SEG201"


def test_blank_words() -> None:
    found = run("blank_words", [torch.ones(3, 5)], [boxes("R")], length=4)
    assert found.shape == (3, 4) and found.dtype == torch.int64 and not found.any()
    assert run("blank_words", [torch.ones(0, 5)], [boxes("R")], length=4).shape == (0, 4)
