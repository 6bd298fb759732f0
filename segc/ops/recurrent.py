"""Sequences of rows: embedding, LSTM, captions word by word."""

from __future__ import annotations

from typing import Any

from segc.code import At, Call, Expr, Helper, Self, X
from segc.op import Need, Param, Problem, Style, attr, op
from segc.ops.common import known, ranked, sizes
from segc.ops.rows import RowOp, same_rows
from segc.types import Tensor


def whole_numbers(x: Tensor, op: str, form: str, axes: int | None = None, operand: int = 0) -> None:
    """Demand a tensor of integers."""
    if x.dtype != "int" or axes not in (None, len(x.shape)):
        message = f"{op} takes {form}, got {sizes(x.shape)} ({x.dtype})"
        raise Problem("SEG201", message, operand=operand)


@op("embedding")
class Embedding(RowOp):
    """A learned vector for each number (torch.nn.Embedding).

    y[..., :] = weight[x[...]]
    x: int [...] from 0 -> [..., embedding_dim]
    """

    operands = ("x",)
    stateful = True
    weights = ("weight",)

    num_embeddings: int = attr("how many vectors there are", min=1)
    embedding_dim: int = attr("values of a vector", min=1)
    padding_idx: int | None = attr("the number whose vector stays zero", None, min=0)

    def validate(self) -> None:
        if self.padding_idx is not None and self.padding_idx >= self.num_embeddings:
            message = f"there is no vector {self.padding_idx}, only 0 to {self.num_embeddings - 1}"
            raise Problem("SEG210", message, attr="padding_idx")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        whole_numbers(x, self.name, "whole numbers")
        return Tensor((*x.shape, self.embedding_dim))

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return (Param("weight", (self.num_embeddings, self.embedding_dim)),)

    def module(self, x: Tensor) -> Call:
        sizes_ = (self.num_embeddings, self.embedding_dim)
        return Call(
            "nn.Embedding", sizes_, {"padding_idx": self.padding_idx}, {"padding_idx": None}
        )

    @property
    def style(self) -> Style:
        return Style("shape", f"embedding {self.embedding_dim}")


@op("lstm")
class Lstm(RowOp):
    """A long short-term memory along the second axis (torch.nn.LSTM, batch first).

    i, f, g, o = weight_ih x[t] + bias_ih + weight_hh h[t-1] + bias_hh, in four equal parts
    c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g), h[t] = sigmoid(o) tanh(c[t])
    x: [N, T, D] -> [N, T, hidden_size], twice as many values if bidirectional
    Hochreiter, Schmidhuber, Long Short-Term Memory, Neural Computation 1997.
    """

    operands = ("x",)
    stateful = True
    weights = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")

    hidden_size: int = attr("values of a state", min=1)
    num_layers: int = attr("layers, each reading the states of the one before", 1, min=1, max=16)
    bias: bool = attr("add learned numbers", True)
    dropout: float = attr("share of states dropped between layers in training", 0.0, min=0, max=1)
    bidirectional: bool = attr("run backwards too and put both states together", False)

    def validate(self) -> None:
        if self.dropout and self.num_layers == 1:
            message = "dropout is between layers, and there is one"
            raise Problem("SEG210", message, attr="dropout", hint="a `dropout` layer behind it")

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, (3,), "sequences [N, T, D]")
        known(x.shape[2], self.name, "values")
        return Tensor((*x.shape[:2], self.directions * self.hidden_size))

    def _widths(self, values: int) -> list[int]:
        """What each layer reads of a step."""
        return [values] + [self.directions * self.hidden_size] * (self.num_layers - 1)

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        gates, params = 4 * self.hidden_size, []
        for layer, width in enumerate(self._widths(known(x.shape[2], self.name, "values"))):
            for end in ("", "_reverse")[: self.directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, width), "weight_hh": (gates, self.hidden_size),
                }  # fmt: skip
                if self.bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                params += [Param(f"{name}_l{layer}{end}", s) for name, s in shapes.items()]
        return tuple(params)

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        rows, steps, values = inputs[0]
        each = sum(width + self.hidden_size for width in self._widths(values))
        return rows * steps * 4 * self.hidden_size * self.directions * each

    def module(self, x: Tensor) -> Call:
        names = ("num_layers", "bias", "dropout", "bidirectional")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        defaults = {name: self.attrs[name].default for name in names}
        values = {**values, "batch_first": True}
        return Call("nn.LSTM", (x.shape[2], self.hidden_size), values, defaults)

    def expr(self, x: Tensor) -> Expr:
        return At(Call(Self(), (X(0),)), 0)

    @property
    def style(self) -> Style:
        return Style("context", f"LSTM {self.hidden_size}")


@op("captioner")
class Captioner(RowOp):
    """Words about each row: its features, then word after word through an LSTM (DenseCap).

    x[0] = relu(encoder features), x[1] = lookup[START], x[t+1] = lookup[word t]
    i, f, g, o = gates (x[t], h[t-1]); c and h as in `lstm`; y[t] = word h[t]
    features: [R, D], words: int [R, T] -> [R, T + 2, vocabulary + 1]; port `words`: int [R, T]
    Words are 1 to vocabulary, vocabulary + 1 is START and END, 0 is none; y[t] scores the numbers
    from 1 on, and y[0] is of no use. In training the words are those given. Otherwise the given
    ones are not read, each is the one with the largest score after those before it.
    Johnson, Karpathy, Fei-Fei, DenseCap, CVPR 2016.
    """

    operands = ("features", "words")
    stateful = True
    weights = (
        "encoder.weight", "encoder.bias", "lookup.weight", "gates.weight", "gates.bias",
        "word.weight", "word.bias",
    )  # fmt: skip

    vocabulary: int = attr("words there are", min=1)
    embedding_dim: int = attr("values that a word, and the features, become", 512, min=1)
    hidden_size: int = attr("values of the LSTM's state", 512, min=1)
    helpers = (
        Helper(
            "Captioner",
            '''\
class Captioner(nn.Module):
    """An LSTM that reads features, START and words, and scores the next word at each step.

    Words are 1 to vocabulary, vocabulary + 1 is START and END, 0 is none.
    """

    def __init__(self, features: int, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(features, embedding)
        self.lookup = nn.Embedding(vocabulary + 2, embedding)
        self.gates = nn.Linear(embedding + hidden, 4 * hidden)
        self.word = nn.Linear(hidden, vocabulary + 1)
        with torch.no_grad():
            self.gates.bias.zero_()
            self.gates.bias[hidden : 2 * hidden] = 1  # it remembers at first

    def forward(self, features: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [R, T + 2, vocabulary + 1] and words [R, T]: the given ones in training, else
        one by one those with the largest scores."""
        x = F.relu(self.encoder(features))
        cell = state = features.new_zeros(len(features), self.word.in_features)
        token = words.new_full((len(features),), self.word.out_features)  # START
        scores: list[Tensor] = []
        for step in range(words.shape[1] + 2):
            gates = self.gates(torch.cat([x, state], dim=1))
            opened, kept, new, shown = gates.chunk(4, dim=1)
            cell = kept.sigmoid() * cell + opened.sigmoid() * new.tanh()
            state = shown.sigmoid() * cell.tanh()
            scores.append(self.word(state))
            if step > 0:
                chosen = scores[step].argmax(dim=1) + 1
                token = words[:, step - 1] if self.training and step <= words.shape[1] else chosen
            x = self.lookup(token)
        y = torch.stack(scores, dim=1)
        return y, words if self.training else y[:, 1:-1].argmax(dim=2) + 1
''',
        ),
    )

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "words")

    def infer(self, need: Need, features: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        ranked(features, self.name, (2,), "features [R, D]")
        known(features.shape[1], self.name, "values")
        whole_numbers(words, self.name, "words, int [R, T]", 2, operand=1)
        known_length(words, self.name, 1)
        what = f"{self.name} pairs features and words"
        same_rows(need, features.shape[0], words.shape[0], what)
        rows, length = words.shape
        return Tensor((rows, length + 2, self.vocabulary + 1)), words

    def parameters(self, features: Tensor, words: Tensor) -> tuple[Param, ...]:
        v, e, h = self.vocabulary, self.embedding_dim, self.hidden_size
        return (
            Param("encoder.weight", (e, features.shape[1])),
            Param("encoder.bias", (e,)),
            Param("lookup.weight", (v + 2, e)),
            Param("gates.weight", (4 * h, e + h)),
            Param("gates.bias", (4 * h,)),
            Param("word.weight", (v + 1, h)),
            Param("word.bias", (v + 1,)),
        )

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        (rows, values), (_, length) = inputs
        step = 4 * (self.embedding_dim + self.hidden_size) + self.vocabulary + 1
        return rows * (values * self.embedding_dim + (length + 2) * self.hidden_size * step)

    def module(self, features: Tensor, words: Tensor) -> Call:
        widths = (self.vocabulary, self.embedding_dim, self.hidden_size)
        return Call("Captioner", (features.shape[1], *widths))

    @property
    def style(self) -> Style:
        return Style("predict", f"captions, LSTM {self.hidden_size}")


def known_length(words: Tensor, op: str, operand: int) -> None:
    """Demand a number of words that does not depend on the input."""
    if not isinstance(words.shape[1], int):
        message = f"{op} says a fixed number of words, this is {sizes(words.shape[1:])}"
        raise Problem("SEG202", message, operand=operand, hint="give it in `inputs`: [G, 15]")


@op("caption_targets")
class CaptionTargets(RowOp):
    """What a captioner should score highest at each step: the words, then END (DenseCap).

    y[r, t] = words[r, t-1] - 1, the first 0 counting as vocabulary + 1; -1 for t = 0 and after END
    words: int [R, T] -> int [R, T + 2]; targets of a cross-entropy, -1 ignored
    """

    operands = ("words",)

    vocabulary: int = attr("words there are", min=1)
    helpers = (
        Helper(
            "caption_targets",
            '''\
def caption_targets(words: Tensor, vocabulary: int) -> Tensor:
    """The class at each step of a caption [R, T], 0 for none at its end: [R, T + 2], -1 ignored."""
    after = F.pad(words, (0, 1))  # one more step, for END
    first = (after == 0) & ((after == 0).cumsum(dim=1) == 1)
    return F.pad(after.masked_fill(first, vocabulary + 1) - 1, (1, 0), value=-1)
''',
        ),
    )

    def infer(self, need: Need, words: Tensor) -> Tensor:
        whole_numbers(words, self.name, "words, int [R, T]", 2)
        known_length(words, self.name, 0)
        rows, length = words.shape
        return Tensor((rows, length + 2), "int")

    def expr(self, words: Tensor) -> Call:
        return Call("caption_targets", (X(0), self.vocabulary))


@op("blank_words")
class BlankWords(RowOp):
    """No words for each row, in the form of captions: what a captioner is given outside training.

    y[r, t] = 0
    x: [R, ...] -> int [R, length]
    """

    operands = ("x",)
    kinds = {"x": "any"}

    length: int = attr("words of a caption", min=1)
    helpers = (
        Helper(
            "blank_words",
            '''\
def blank_words(x: Tensor, length: int) -> Tensor:
    """int64 [R, length] of zeros for x [R, ...]."""
    return torch.zeros(len(x), length, dtype=torch.int64, device=x.device)
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        return Tensor((x.shape[0], self.length), "int")

    def expr(self, x: Tensor) -> Call:
        return Call("blank_words", (X(0), self.length))
