"""Accepted sizes against enumeration."""

from __future__ import annotations

import copy
import math
import pickle
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.dim import Dim, DimLike, Domain, ceil_div, evaluate, symbol
from segc.residues import EVERY, Sizes

H, W, N = symbol("H"), symbol("W"), symbol("N")
bounded = settings(derandomize=True, deadline=None, max_examples=120)
EVAL = {"floor": math.floor, "ceil": math.ceil, "min": min, "max": max, "__builtins__": {}}
SMALL = range(1, 401)
FAR = range(1_000_000, 1_000_200)


def meets(domain: Domain, **env: int) -> bool:
    """What the printed constraints say."""
    return all(eval(clause, EVAL, env) for clause in domain.constraints())


def same_set(domain: Domain, wanted: Any, points: Any = (*SMALL, *FAR)) -> None:
    """`domain` accepts of H exactly what `wanted` says, in every way it can be asked."""
    accepted = [x for x in points if wanted(x)]
    assert [x for x in points if domain.contains({"H": x})] == accepted
    assert [x for x in points if meets(domain, H=x)] == accepted
    first = domain.inside("H", 7)
    near = [x for x in first if x in SMALL]
    assert near == [x for x in accepted if x in SMALL][:7]
    assert len(first) == 7 or first == accepted
    refused = domain.outside("H", 6)
    assert refused == sorted(set(refused)) and not any(wanted(x) or x < 1 for x in refused)
    assert refused or len(accepted) == len(points) or not accepted
    if domain.empty:
        assert not accepted


# --- what layers demand ---------------------------------------------------------------------
Step = tuple[str, int, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["conv", "ceil_pool", "transposed", "upsample", "crop"]),
        st.integers(1, 5),
        st.integers(1, 3),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    max_size=5,
)


def walk(x: Any, chain: list[Step]) -> Any:
    for kind, k, s, p, d in chain:
        if kind == "conv":
            x = (x + 2 * p - d * (k - 1) - 1) // s + 1
        elif kind == "ceil_pool":
            x = (x + 2 * p - k + s - 1) // s + 1
        elif kind == "transposed":
            x = (x - 1) * s - 2 * p + d * (k - 1) + 1
        elif kind == "upsample":
            x = s * x
        else:
            x = x - k
    return x


@given(steps, steps)
@bounded
def test_equal(one: list[Step], other: list[Step]) -> None:
    domain = Domain().equal(walk(H, one), walk(H, other))
    same_set(domain, lambda x: walk(x, one) == walk(x, other))


@given(steps, steps, st.integers(-3, 60))
@bounded
def test_at_least(one: list[Step], other: list[Step], n: int) -> None:
    same_set(Domain().at_least(walk(H, one), n), lambda x: walk(x, one) >= n)
    same_set(Domain().at_least(-walk(H, one), -n), lambda x: -walk(x, one) >= -n)
    difference = walk(H, one) - walk(H, other)
    wanted = Domain().at_least(difference, n)
    same_set(wanted, lambda x: walk(x, one) - walk(x, other) >= n)


@given(steps, st.integers(1, 12))
@bounded
def test_multiple(one: list[Step], n: int) -> None:
    same_set(Domain().multiple(walk(H, one), n), lambda x: walk(x, one) % n == 0)


Ask = tuple[str, list[Step], list[Step], int]
asks = st.lists(
    st.tuples(st.sampled_from(["equal", "least", "multiple"]), steps, steps, st.integers(1, 9)),
    min_size=1,
    max_size=3,
)


def narrowed(domain: Domain, x: DimLike, ask: Ask) -> Domain:
    kind, one, other, n = ask
    if kind == "equal":
        return domain.equal(walk(x, one), walk(x, other))
    if kind == "least":
        return domain.at_least(walk(x, one), 3 * n)
    return domain.multiple(walk(x, one), n)


def meant(x: int, ask: Ask) -> bool:
    kind, one, other, n = ask
    if kind == "equal":
        return bool(walk(x, one) == walk(x, other))
    return bool(walk(x, one) >= 3 * n if kind == "least" else walk(x, one) % n == 0)


@given(asks, steps, steps)
@bounded
def test_demands_together(asks: list[Ask], one: list[Step], other: list[Step]) -> None:
    domain, back = Domain(), Domain()
    for ask in asks:
        domain = narrowed(domain, H, ask)
    for ask in reversed(asks):
        back = narrowed(back, H, ask)
    same_set(domain, lambda x: all(meant(x, ask) for ask in asks))
    assert domain.constraints() == back.constraints()
    assert all(narrowed(domain, H, ask) is domain for ask in asks)
    points = [x for x in (*SMALL, *FAR) if domain.contains({"H": x})]
    _check_minimal(domain, points)
    _check_relation(domain, one, other, points)
    _check_simplify(domain, walk(H, one), points)
    _check_nearest(domain, points)


def _check_minimal(domain: Domain, points: list[int]) -> None:
    """Without any one of the constraints, more sizes would pass."""
    words = domain.constraints()
    for i in range(len(words)):
        others = words[:i] + words[i + 1 :]
        passed = (x for x in (*SMALL, *FAR) if all(eval(word, EVAL, {"H": x}) for word in others))
        assert len(list(passed)) > len(points)


def _check_relation(domain: Domain, one: list[Step], other: list[Step], points: list[int]) -> None:
    equal = [walk(x, one) == walk(x, other) for x in points]
    relation = domain.relation(walk(H, one), walk(H, other))
    if not points:
        return
    expected = "always" if all(equal) else "sometimes" if any(equal) else "never"
    far = any(not domain.contains({"H": x}) for x in FAR)
    assert relation == expected or (far and relation == "sometimes")


def _check_simplify(domain: Domain, d: DimLike, points: list[int]) -> None:
    word = domain.simplify(d)
    assert all(eval(word, EVAL, {"H": x}) == evaluate(d, {"H": x}) for x in points)


def _check_nearest(domain: Domain, points: list[int]) -> None:
    for value in (1, 17, 100, 399):
        below, above = domain.nearest("H", value)
        assert below == max((x for x in points if x <= value), default=None)
        close = min((x for x in points if x >= value), default=None)
        assert above == close or (close is None or close >= FAR[0])


# --- networks -------------------------------------------------------------------------------
def unet(x: Any, padding: int, joins: list[tuple[Any, Any]]) -> Any:
    """Sizes of the paper's U-Net; a join is (what is cropped, what it must match)."""
    lost = 4 - 4 * padding
    skips = []
    for _ in range(4):
        skips.append(x - lost)
        x = (x - lost) // 2
    x = x - lost
    for skip in reversed(skips):
        joins.append((skip, 2 * x))
        x = 2 * x - lost
    return x


def test_unet_padded() -> None:
    domain = Domain()
    for s in (H, W):
        joins: list[tuple[Any, Any]] = []
        out = unet(s, 1, joins)
        for skip, up in joins:
            domain = domain.equal(skip, up)
        assert domain.simplify(out) == str(s)
    assert domain.constraints() == ("H % 16 == 0", "W % 16 == 0")
    assert domain.describe("H") == "H = 16k, k >= 1 (16, 32, 48, …)"
    assert domain.inside("H", 3) == [16, 32, 48]
    assert domain.simplify(H // 2) == "H / 2"
    assert domain.simplify(2 * (H // 2)) == "H"
    assert domain.simplify((H + 1) // 2) == "H / 2"
    assert domain.simplify(512 * (H // 16) * (W // 16) * N) == "2 * N * H * W"
    assert domain.relation((H + 1) // 2, H // 2) == "always"
    assert domain.nearest("H", 513) == (512, 528)
    assert domain.nearest("H", 7) == (None, 16)


def test_unet_valid() -> None:
    """Crops are centred: the differences are even; all maps have at least one pixel."""
    joins: list[tuple[Any, Any]] = []
    out = unet(H, 0, joins)
    domain = Domain().at_least(out, 1)
    for skip, up in joins:
        domain = domain.multiple(skip - up, 2).at_least(skip - up, 0).at_least(up, 1)
    assert domain.constraints() == ("(H - 12) % 16 == 0", "H >= 188")
    assert domain.describe("H") == "H = 16k + 12, k >= 11 (188, 204, 220, …)"
    assert domain.simplify(out) == "H - 184"
    assert domain.outside("H", 3) == [172, 187, 189]
    assert domain.contains({"H": 572}) and evaluate(out, {"H": 572}) == 388

    def fits(x: int) -> bool:
        found: list[tuple[int, int]] = []
        last = unet(x, 0, found)
        return last >= 1 and all(s >= u >= 1 and (s - u) % 2 == 0 for s, u in found)

    same_set(domain, fits)


def test_dilated_head_at_stride_eight() -> None:
    domain = Domain().equal((H - 1) // 8 * 8 + 1, H)
    assert domain.constraints() == ("(H - 1) % 8 == 0",)
    assert domain.describe("H") == "H = 8k + 1, k >= 0 (1, 9, 17, …)"
    assert domain.simplify((H + 1) // 2) == "(H + 1) / 2"
    assert domain.simplify((H + 7) // 8 * ((H + 1) // 2)) in {
        "(H + 7) * (H + 1) / 16",
        "(H * H + 8 * H + 7) / 16",
    }


def test_any_size() -> None:
    fcn: DimLike = H + 198  # 100 pixels of padding, five halvings that round up, a 7x7 window
    for _ in range(5):
        fcn = ceil_div(fcn, 2)
    domain = Domain().at_least(fcn - 6, 1)
    assert domain.constraints() == ()
    assert domain.describe("H") == "any H >= 1"
    assert domain.outside("H", 4) == []
    assert domain.inside("H", 3) == [1, 2, 3]
    assert domain.nearest("H", 5) == (5, 5)
    assert domain.nearest("H", 0) == (None, 1)
    assert domain.at_least(H, 1) is domain


# --- words ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("domain", "constraints", "told"),
    [
        (Domain().equal(H, 224), ("H == 224",), "H = 224 only"),
        (Domain().equal(H // 2, 112), ("H in (224, 225)",), "H = 224 or 225 only"),
        (Domain().equal(H // 32, 7), ("H >= 224", "H <= 255"), "any H from 224 to 255"),
        (Domain().at_least(H // 32, 1), ("H >= 32",), "any H >= 32"),
        (Domain().at_least(12 - H, 2), ("H <= 10",), "any H from 1 to 10"),
        (
            Domain().at_least(H % 4 * (-1) + 1, 0),
            ("H % 4 in (0, 1)",),
            "H = 4k or 4k + 1, H >= 1 (1, 4, 5, …)",
        ),
        (Domain().at_least(H % 4, 1), ("H % 4 != 0",), "H % 4 != 0 (1, 2, 3, …)"),
        (
            Domain().multiple(H, 4).at_least(30 - H, 0),
            ("H in (4, 8, 12, 16, 20, 24, 28)",),
            "H = 4k, 1 <= k <= 7 (4, 8, 12, …)",
        ),
        (
            Domain().at_least(H + 3 * (H % 2), 8),
            ("H >= 7 or H == 5",),
            None,
        ),
        (Domain().equal(H, 2 * H), ("False",), "no H"),
        (
            Domain().multiple(H, 16).at_least(2_000 - H, 0),
            ("H % 16 == 0", "H <= 2000"),
            "H = 16k, 1 <= k <= 125 (16, 32, 48, …)",
        ),
    ],
)
def test_words(domain: Domain, constraints: tuple[str, ...], told: str | None) -> None:
    assert domain.constraints() == constraints
    assert told is None or domain.describe("H") == told


@pytest.mark.parametrize(
    ("domain", "d", "word"),
    [
        (Domain(), H // 2, "floor(H / 2)"),
        (Domain(), H // 2 + (H + 1) // 2, "H"),
        (Domain(), H - 2, "H - 2"),
        (Domain(), (H - 2) * (W - 2) * 8 * N, "8 * N * (H - 2) * (W - 2)"),
        (Domain(), H * W * N, "N * H * W"),
        (Domain().multiple(H, 3), H // 3 + 2, "H / 3 + 2"),
        (Domain().multiple(H, 2), H // 2 + W // 2, "(H + 2 * floor(W / 2)) / 2"),
        (Domain().multiple(H, 6), (H + 1) // 4, "floor((H + 1) / 4)"),
        (Domain().multiple(H, 2), 64 * N * (H // 2) * (W // 2), "32 * N * H * floor(W / 2)"),
        (Domain().equal(H, 224), H // 2 + 1, "113"),
        (Domain().equal(H // 2, 112), H // 2, "112"),
        (Domain().equal(H // 2, 112), (H + 1) // 2, "H - 112"),
        (Domain().multiple(H, 4).equal(H, W), W // 2, "W / 2"),
        (Domain().equal(H, W), (H + W) // 2, "H"),
        (Domain().equal(W, 8), (H + W) // 2, "floor((H + W) / 2)"),
        (Domain().equal(W, 8).multiple(H, 2), (H + W) // 2, "H / 2 + 4"),
        (Domain().multiple(5 - H, 4), (5 - H) // 4, "(5 - H) / 4"),
        (Domain(), 12, "12"),
    ],
)
def test_simplify(domain: Domain, d: DimLike, word: str) -> None:
    assert domain.simplify(d) == word
    for h, w, n in product(range(1, 26), range(1, 14), (1, 3)):
        env = {"H": h, "W": w, "N": n}
        if domain.contains(env):
            assert eval(word, EVAL, env) == evaluate(d, env)


# --- several symbols ------------------------------------------------------------------------
def test_linked_symbols() -> None:
    domain = Domain().equal(H, W).multiple(W, 8)
    assert domain.constraints() == ("H % 8 == 0", "H == W")
    assert domain.describe("W") == "W = 8k, k >= 1 (8, 16, 24, …)"
    assert domain.relation(H // 2, W // 2) == "always"
    assert domain.relation(H, W + 1) == "never"
    assert domain.contains({"H": 8, "W": 8}) and not domain.contains({"H": 8, "W": 16})
    assert domain.contains({"H": 8}) and not domain.contains({"W": 9})
    assert domain.inside("W", 2) == [8, 16]


def test_linked_with_a_difference() -> None:
    domain = Domain().multiple(H, 4).equal(2 * W, 2 * H - 10)
    assert domain.constraints() == ("(W - 3) % 4 == 0", "H == W + 5")
    assert domain.inside("H", 3) == [8, 12, 16]
    assert domain.relation(H - W, 5) == "always"
    chained = domain.equal(N, W + 1)
    assert chained.constraints() == ("(W - 3) % 4 == 0", "H == W + 5", "N == W + 1")
    assert chained.relation(H, N + 4) == "always"
    root_moves = Domain().equal(H, W + 2).equal(W, N + 3)
    assert root_moves.constraints() == ("H == N + 5", "W == N + 3")
    assert root_moves.equal(H, W + 1).empty
    assert Domain().equal(2 * W, 2 * H - 11).empty


def test_other_demands_are_kept_word_for_word() -> None:
    domain = Domain().equal(H // 2 * W, 64)
    assert domain.constraints() == ("W * floor(H / 2) == 64",)
    assert domain.inside("H", 4) == [2, 3, 4, 5]
    assert domain.outside("H", 3) == [1, 6, 7]
    assert domain.nearest("H", 7) == (5, 8)
    assert domain.describe("H") == "any H >= 1, where W * floor(H / 2) == 64"
    for h, w in product(range(1, 140), range(1, 70)):
        assert domain.contains({"H": h, "W": w}) == (h // 2 * w == 64) == meets(domain, H=h, W=w)
    assert domain.equal(H // 2 * W, 64) is domain
    assert domain.equal(W * 2 * (H // 2), 128) is domain
    assert domain.relation(W * (H // 2) + 1, 65) == "always"


def test_kept_demands_are_used_when_more_is_known() -> None:
    domain = Domain().equal(H * W, 64)
    assert domain.equal(H, 8).constraints() == ("H == 8", "W == 8")
    assert domain.equal(H, 7).empty
    assert domain.at_least(H, 65).empty
    both = Domain().equal(H // 2 + W // 2, 10).equal(H, W)
    assert both.constraints() == ("H in (10, 11)", "H == W")
    least = Domain().at_least(H * W, 10)
    assert least.at_least(H * W, 5) is least
    assert least.at_least(H * W, 20).constraints() == ("H * W >= 20",)
    assert least.at_least(H, 10).constraints() == ("H >= 10",)
    assert Domain().multiple(H * W, 4).constraints() == ("(H * W) % 4 == 0",)
    assert Domain().multiple(H * W, 4).multiple(H, 4).constraints() == ("H % 4 == 0",)


@pytest.mark.parametrize(
    ("domain", "a", "b", "relation"),
    [
        (Domain(), H * W, W * H, "always"),
        (Domain(), 4 * (H // 2) * (W // 2), H * W, "sometimes"),
        (Domain().multiple(H, 2).multiple(W, 2), 4 * (H // 2) * (W // 2), H * W, "always"),
        (Domain().multiple(H - 1, 2), 2 * (H // 2) * W, H * W, "never"),
        (Domain(), H * W + 1, 0, "never"),
        (Domain(), 2 * H * W, 7, "never"),
        (Domain(), 2 * H + 2 * (W // 2), 2 * (W // 4) + 1, "never"),
        (Domain(), H // 2 + (H + 1) // 2 + W, H + W, "always"),
        (Domain(), H // 2, W // 2, "sometimes"),
        (Domain().at_least(H, 9).at_least(8 - W, 0), H, W, "never"),
        (Domain(), H % 2 * (W % 2), 2, "never"),
        (Domain().multiple(H, 2).multiple(W, 2), (H + W) // 2, H // 2 + W // 2, "always"),
    ],
)
def test_relation(domain: Domain, a: DimLike, b: DimLike, relation: str) -> None:
    assert domain.relation(a, b) == relation


small = st.sampled_from(
    [H, W, H // 2, W // 2, (H + 1) // 2, H % 3, H * W, (H // 2) * (W // 3), N * H, (H + W) // 3]
)
combos = st.builds(
    lambda a, b, m, n: m * a - b + n, small, small, st.integers(1, 3), st.integers(-9, 9)
)
kinds = st.sampled_from(["equal", "at_least", "multiple"])


@given(st.lists(st.tuples(kinds, combos, st.integers(1, 6)), min_size=1, max_size=3), combos)
@bounded
def test_several_symbols(demands: list[tuple[str, DimLike, int]], probe: DimLike) -> None:
    domain = Domain()
    for kind, d, n in demands:
        domain = getattr(domain, kind)(d, n)
    relation, word = domain.relation(probe, 4), domain.simplify(probe)
    for h, w, b in product(range(1, 15), range(1, 15), (1, 2, 5)):
        env = {"H": h, "W": w, "N": b}
        numbers = [(kind, evaluate(d, env), n) for kind, d, n in demands]
        wanted = all(
            v == n if kind == "equal" else v >= n if kind == "at_least" else v % n == 0
            for kind, v, n in numbers
        )
        assert domain.contains(env) == wanted == meets(domain, **env)
        if wanted:
            assert not domain.empty
            value = evaluate(probe, env)
            assert eval(word, EVAL, env) == value
            assert relation != "never" or value != 4
            assert relation != "always" or value == 4


# --- limits and habits ----------------------------------------------------------------------
def test_long_periods_are_kept_word_for_word() -> None:
    d = H // 70_001 * 70_001
    domain = Domain().equal(d, H)
    assert domain.constraints() == ("H == 70001 * floor(H / 70001)",)
    assert domain.contains({"H": 70_001}) and not domain.contains({"H": 70_002})
    assert domain.equal(d, H) is domain
    known = domain.equal(H, 140_002)
    assert known.constraints() == ("H == 140002",)
    assert domain.equal(H, 5).empty


def test_nothing_changes_in_place() -> None:
    domain = Domain().multiple(H, 4)
    before = domain.constraints()
    assert domain.equal(H, 16).constraints() == ("H == 16",)
    assert domain.multiple(H, 3).constraints() == ("H % 12 == 0",)
    assert domain.equal(H, W).relation(H, W) == "always"
    assert domain.constraints() == before
    assert domain.relation(H, W) == "sometimes"
    assert domain.multiple(2 * H, 8) is domain
    assert domain.multiple(H, 3) is domain.multiple(H, 3)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies(clone: Any) -> None:
    domain = Domain().multiple(H, 4).equal(W, H + 3).equal(H * N, 48)
    other = clone(domain)
    assert other.constraints() == domain.constraints()
    assert other.relation(W, H + 3) == "always"
    assert repr(other) == repr(domain)


def test_an_empty_domain_stays_empty() -> None:
    domain = Domain().equal(H, 5).equal(H, 6)
    assert domain.empty and domain.at_least(W, 2).empty and domain.equal(3, 3).empty
    assert domain.constraints() == ("False",)
    assert not domain.contains({"H": 5})
    assert domain.inside("H", 2) == [] == domain.outside("H", 2)
    assert domain.nearest("H", 5) == (None, None)
    assert domain.simplify(H // 2) == "floor(H / 2)"
    assert Domain().at_least(-H, 0).empty and Domain().multiple(7, 2).empty


def test_sizes_below_one_are_refused() -> None:
    assert not Domain().contains({"H": 0})
    assert Domain().contains({"H": 1})
    assert Domain().contains({})


lines = st.dictionaries(
    st.integers(0, 11), st.tuples(st.integers(0, 4), st.none() | st.integers(0, 3)), min_size=1
)


def _sizes(found: dict[int, tuple[int, int | None]]) -> Sizes:
    table = {}
    for r, (first, more) in found.items():
        lo = (r or 12) + 12 * first
        table[r] = lo, None if more is None else lo + 12 * more
    return Sizes(12, table)


@given(lines, lines)
@bounded
def test_sets_of_values(one: Any, other: Any) -> None:
    a, b = _sizes(one), _sizes(other)
    points = range(1, 200)
    members = [x for x in points if x in a]
    assert [x for x in points if x in a.reduced()] == members
    assert [x for x in points if x in a.refined(36)] == members
    assert [x for x in points if x in a.meet(b)] == [x for x in members if x in b]
    assert [x for x in range(1, 205) if x in a.shifted(5)] == [x + 5 for x in members]
    assert [x for x in points if x in a.clipped(9, 77)] == [x for x in members if 9 <= x <= 77]
    assert a.first(5) == members[:5]
    assert EVERY.meet(a).reduced() == a.reduced()


def test_speed() -> None:
    """A demand repeated, and demands of a deep network, cost next to nothing."""
    domain = Domain().multiple(H, 32)
    d = (H + 1) // 2 - 3
    domain = domain.at_least(d, 1)
    start = time.perf_counter()
    for _ in range(10_000):
        domain = domain.at_least(d, 1)
    for i in range(2_000):
        domain = domain.at_least(H // 4 - i % 7, -i)
    assert time.perf_counter() - start < 1.0


def test_hostile_demands_end_soon() -> None:
    start = time.perf_counter()
    domain = Domain()
    for i in range(30):
        domain = domain.at_least(H % (8_191 + i) - H % 97, -40)
        domain = domain.at_least(H % 31 * (W % 37) * (N % 41) - i, -40)
    assert domain.contains({"H": 1, "W": 1, "N": 1})
    prime = Domain().equal(H * W * N, 1_000_003)
    assert prime.inside("H", 5) == [1]
    assert prime.nearest("H", 100) == (1, None)
    assert time.perf_counter() - start < 8


def test_links_with_too_many_residues_are_kept_word_for_word() -> None:
    domain = Domain().at_least(H % 101, 50).at_least(W % 103 % 7, 1).at_least(W % 107, 50)
    linked = domain.equal(H, W)
    assert linked.constraints()[-1] == "H == W"
    assert linked.contains({"H": 50, "W": 50}) is domain.contains({"H": 50, "W": 50})
    assert not linked.contains({"H": 50, "W": 51})


def test_three_symbols_tied() -> None:
    domain = Domain().equal(H * W * N, 12)
    assert domain.inside("H", 9) == [1, 2, 3, 4, 6, 12]
    assert domain.nearest("H", 8) == (6, 12)


def test_dims_of_a_product_are_not_waves() -> None:
    d = H * H - 16
    assert isinstance(d, Dim)
    domain = Domain().equal(d, 0)
    assert domain.constraints() == ("H * H == 16",)
    assert domain.inside("H", 2) == [4]
