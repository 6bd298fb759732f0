"""Symbolic sizes against plain integers and against torch."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.dim import (
    Dim,
    DimLike,
    SizeError,
    ceil_div,
    evaluate,
    substitute,
    symbol,
    symbols,
    text,
)
from segc.waves import trend, values, wave

H, W, N = symbol("H"), symbol("W"), symbol("N")
bounded = settings(derandomize=True, deadline=None, max_examples=150)
EVAL = {"floor": math.floor, "ceil": math.ceil, "min": min, "max": max, "__builtins__": {}}


def conv(x: DimLike, k: int = 3, s: int = 1, p: int = 0, d: int = 1) -> DimLike:
    return (x + 2 * p - d * (k - 1) - 1) // s + 1


def ceil_pool(x: DimLike, k: int, s: int, p: int = 0) -> DimLike:
    return ceil_div(x + 2 * p - k, s) + 1


# --- normal form --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (H + 1 - 1, H),
        (H + W, W + H),
        (2 * H - H, H),
        ((H + W) * (H - W), H * H - W * W),
        (conv(H, 3, 2, 1), (H + 1) // 2),
        (conv(conv(H, 3, 2, 1), 3, 2, 1), (H + 3) // 4),
        (conv(H, 7, 2, 3), conv(H, 3, 2, 1)),
        (H // 2 // 2 // 2, H // 8),
        ((2 * (H // 2)) // 2, H // 2),
        ((2 * (H // 2) + 1) // 2, H // 2),
        ((6 * H + 3) // 4, (3 * H + 1) // 2),
        ((3 * H) // 2, H + H // 2),
        ((H + 7) // 2, (H + 1) // 2 + 3),
        ((5 - H) // 2, 5 // 2 - H + (H + 1) // 2),
        (2 * ((2 * ((H + 4) // 2)) // 2), 2 * (H // 2) + 4),
        ((H * W * 4 + 2 * H) // 2, 2 * H * W + H),
        ((H // 3 + W) // 2, (H + 3 * W) // 6),
        (ceil_div(ceil_div(H, 2), 2), ceil_div(H, 4)),
        (H % 4, H - 4 * (H // 4)),
    ],
)
def test_equal_sizes_have_one_form(one: DimLike, other: DimLike) -> None:
    assert one == other
    assert hash(one) == hash(other)
    assert text(one) == text(other)


def test_constants_are_ints() -> None:
    assert (H - H).__class__ is int
    assert H * 0 == 0 and (H * 0).__class__ is int
    assert H + 3 - H == 3
    assert (2 * H + 5) // 2 - H == 2
    assert ceil_div(7, 2) == 4
    assert (H // 2 * 2 - 2 * (H // 2) + 1).__class__ is int


def test_different_sizes_differ() -> None:
    forms = [H, W, H + 1, 2 * H, H * W, H // 2, (H + 1) // 2, H // 3, 5 - H]
    assert len(set(forms)) == len(forms)
    assert all(d != 5 for d in forms)


@pytest.mark.parametrize(
    ("d", "word"),
    [
        (H, "H"),
        (H // 2, "floor(H / 2)"),
        ((H + 1) // 2, "floor((H + 1) / 2)"),
        (2 * ((H + 1) // 2) - 3, "2 * floor((H + 1) / 2) - 3"),
        (5 - H, "5 - H"),
        (-H - 5, "-H - 5"),
        (N * 64 * H * W, "64 * N * H * W"),
        (W - 1 - H, "W - H - 1"),
        (7, "7"),
    ],
)
def test_text(d: DimLike, word: str) -> None:
    assert text(d) == word == str(d)


def test_symbols() -> None:
    assert symbols((H + W // 2) // 3 * N) == {"H", "W", "N"}
    assert symbols(3) == frozenset()


def test_substitute_rebuilds_the_normal_form() -> None:
    assert substitute((H + 1) // 2, {"H": 2 * W + 1}) == W + 1
    assert substitute(H * W + N, {"H": 3, "W": 4}) == N + 12
    assert substitute(5, {"H": 1}) == 5


@pytest.mark.parametrize("d", [H, (H + W // 3) // 2 * N - 4])
def test_copies_are_equal(d: Dim) -> None:
    for other in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d), copy.copy(d)):
        assert other == d and hash(other) == hash(d)
        assert other - d == 0


@pytest.mark.parametrize("n", [0, -2])
def test_only_positive_divisors(n: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        H // n


# --- against integers -----------------------------------------------------------------------
Pair = tuple[DimLike, Callable[[dict[str, int]], int]]


def _leaf(name: str) -> Pair:
    return symbol(name), lambda env: env[name]


def _grow(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    def combine(kind: str, a: Pair, b: Pair, n: int) -> Pair:
        (x, f), (y, g) = a, b
        if kind == "+":
            return x + y, lambda env: f(env) + g(env)
        if kind == "-":
            return x - y, lambda env: f(env) - g(env)
        if kind == "*":
            return x * y, lambda env: f(env) * g(env)
        if kind == "//":
            return x // n, lambda env: f(env) // n
        if kind == "ceil":
            return ceil_div(x, n), lambda env: -(-f(env) // n)
        return x * n - 3, lambda env: f(env) * n - 3

    kinds = st.sampled_from(["+", "-", "*", "//", "//", "ceil", "scale"])
    return st.builds(combine, kinds, inner, inner, st.integers(1, 6))


expressions = st.recursive(
    st.sampled_from([_leaf("H"), _leaf("W"), _leaf("N"), (3, lambda env: 3)]), _grow, max_leaves=7
)
sizes = st.fixed_dictionaries({name: st.integers(1, 60) for name in "HWN"})


@given(expressions, st.lists(sizes, min_size=3, max_size=3))
@bounded
def test_evaluates_as_integers_do(pair: Pair, envs: list[dict[str, int]]) -> None:
    d, plain = pair
    for env in envs:
        assert evaluate(d, env) == plain(env)
        assert eval(text(d), EVAL, env) == plain(env)
        assert substitute(d, env) == plain(env)


@given(expressions, expressions)
@bounded
def test_sum_and_difference_cancel(a: Pair, b: Pair) -> None:
    x, y = a[0], b[0]
    assert x + y == y + x
    assert x * y == y * x
    assert x + y - y == x
    assert (x - y) + (y - x) == 0


Step = tuple[str, int, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["conv", "ceil_pool", "transposed", "upsample", "scale", "crop"]),
        st.integers(1, 7),
        st.integers(1, 3),
        st.integers(0, 3),
        st.integers(1, 2),
    ),
    max_size=7,
)


def walk(x: DimLike, chain: list[Step]) -> DimLike:
    """A chain of layers; each formula is the documented torch one."""
    for kind, k, s, p, d in chain:
        if kind == "conv":
            x = (x + 2 * p - d * (k - 1) - 1) // s + 1
        elif kind == "ceil_pool":
            x = (x + 2 * p - k + s - 1) // s + 1
        elif kind == "transposed":
            x = (x - 1) * s - 2 * p + d * (k - 1) + 1
        elif kind == "upsample":
            x = s * x
        elif kind == "scale":
            x = x * k // (s + 1)
        else:
            x = x - k
    return x


@given(steps)
@bounded
def test_chains_of_layers(chain: list[Step]) -> None:
    d = walk(H, chain)
    found = wave(d) if isinstance(d, Dim) else None
    period = found[0] if found else 1
    points = list(range(-20, min(3 * period, 1_500) + 20))
    plain = [walk(x, chain) for x in points]
    assert [evaluate(d, {"H": x}) for x in points] == plain
    assert values(d, points) == plain


@given(steps, st.integers(1, 5_000))
@bounded
def test_waves(chain: list[Step], x: int) -> None:
    d = walk(H, chain)
    assert isinstance(d, Dim)
    found = wave(d)
    assert found is not None
    period, gain = found
    assert walk(x + period, chain) == walk(x, chain) + gain
    assert wave(d + W * H) is None


@given(steps, steps, st.integers(1, 300))
@bounded
def test_trend_is_true(one: list[Step], other: list[Step], x: int) -> None:
    for d in (walk(H, one), -walk(H, one), walk(H, one) - walk(H, other)):
        rise = evaluate(d, {"H": x + 1}) - evaluate(d, {"H": x})
        assert trend(d) is None or rise * trend(d) >= 0
    assert trend(walk(H, one)) == 1
    assert trend(-walk(H, one)) == -1


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    layers = [
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), conv(H, 3, 2, 1)),
        (nn.Conv2d(1, 1, 7, stride=2, padding=3), conv(H, 7, 2, 3)),
        (nn.Conv2d(1, 1, 3, dilation=4), conv(H, 3, d=4)),
        (nn.MaxPool2d(2, ceil_mode=True), ceil_pool(H, 2, 2)),
        (nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1), (H - 1) * 2 + 2),
        (nn.Upsample(scale_factor=2), 2 * H),
    ]
    for height in range(9, 42):
        x = torch.empty(1, 1, height, 9, device="meta")
        for layer, d in layers:
            assert layer.to("meta")(x).shape[2] == evaluate(d, {"H": height}), layer


# --- limits ---------------------------------------------------------------------------------
def test_runaway_formulas_stop_early() -> None:
    start = time.perf_counter()
    with pytest.raises(SizeError):
        x: DimLike = H
        for _ in range(2_000):
            x = (3 * x + 1) * 5 // 2
    with pytest.raises(SizeError):
        y: DimLike = H + W + 1
        for _ in range(100):
            y = y * y
    assert time.perf_counter() - start < 5


def test_a_long_chain_stays_small() -> None:
    start = time.perf_counter()
    x: DimLike = H
    for i in range(20_000):
        x = conv(x, 3, 2, 1) * 2 if i % 2 else conv(x, 3, 1, 1)
    assert time.perf_counter() - start < 2
    assert text(x) == "2 * floor((H + 1) / 2)"


SCRIPT = """
from segc.dim import Domain, symbol
H, W, N = map(symbol, "HWN")
d = (H // 3 + W * 5 - N * H) // 4 + H // 2 * (W // 2) + (H + 2 * W) // 7
print(d, d * (N + W // 2))
domain = Domain().equal(H // 2 * 2, H // 3 * 3).multiple(W, 4).equal(N * (W // 2), H + 70)
domain = domain.at_least(H % 5 + W, 9)
print(domain.constraints(), domain.describe("H"), domain.describe("W"))
print(domain.simplify(d), domain.inside("W", 5), domain.outside("H", 5))
"""


def test_same_text_for_every_hash_seed() -> None:
    root = Path(__file__).resolve().parent.parent
    found = set()
    for seed in ("0", "1", "77"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
