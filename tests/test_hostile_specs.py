"""Specs that are valid YAML and mean no good: found out quickly, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spec_kit import HEAD, IMAGE, check

from segc.diag_format import SHOWN

HERE = Path(__file__).parent
RUN = HERE / "hostile" / "check.py"
MANY = 3_000
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


def net(layers: str, output: str = "a", before: str = "", inputs: str = IMAGE) -> str:
    return f"{HEAD}{inputs}{before}layers:\n{layers}outputs: {{y: {output}}}\n"


def lines(form: Callable[[int], str], count: int = MANY, output: str = "k0", **more: str) -> str:
    """A network of `count` layers k0, k1, …"""
    return net("".join(f"  k{i}: {form(i)}\n" for i in range(count)), output, **more)


def nested(depth: int, inner: str, times: int = 20_000) -> str:
    for _ in range(depth):
        inner = f"{{repeat: {times}, layers: {{g: {inner}}}}}"
    return net(f"  a: {inner}\n")


def expression(text: str, quoted: bool = False) -> str:
    value = f'"{text}"' if quoted else text
    return net(f"  a: {{op: conv2d, out_channels: {value}, kernel_size: 1}}\n")


def blocks(form: Callable[[int], str], count: int, last: str) -> str:
    written = "".join(f"  b{i}: {{layers: {{{form(i)}}}}}\n" for i in range(count))
    return net(
        "  a: {block: b0}\n", before=f"blocks:\n{written}  b{count}: {{layers: {{{last}}}}}\n"
    )


def chain(layer: Callable[[int], str], numbers: tuple[int, ...] | range) -> str:
    body = "".join(layer(n) for n in numbers)
    return net(body, body.rpartition("\n  ")[2].partition(":")[0].strip())


def before(i: int) -> str:
    return f"s{i - 1}" if i else "image"


CONV3 = "{op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}"
STRIDED = "{op: conv2d, out_channels: 3, kernel_size: 3, stride: 2, padding: 1}"

CASES: dict[str, tuple[str, str]] = {  # what: (spec, code of the first diagnostic or "ok")
    # --- more layers than there may be
    "repeat 10^9": (net("  a: {repeat: 1000000000, op: relu}\n"), "SEG105"),
    "repeat 20,000": (net("  a: {repeat: 20000, op: relu}\n"), "ok"),
    "one layer too many": (net("  a: {repeat: 20000, op: relu}\n  b: relu\n", "b"), "SEG313"),
    "repeats inside each other": (nested(8, "relu"), "SEG313"),
    "repeats of what is absent": (nested(3, "{when: false, layers: {x: relu}}"), "SEG313"),
    "repeats of an unknown operator": (nested(3, "rely"), "SEG101"),
    "repeats of a bad reference": (nested(3, "{op: relu, from: nobody}"), "SEG301"),
    "blocks that double": (
        blocks(lambda i: f"p: {{block: b{i + 1}}}, q: {{block: b{i + 1}}}", 23, "r: relu"),
        "SEG313",
    ),
    "blocks that double, with a fault": (
        blocks(lambda i: f"p: {{block: b{i + 1}}}, q: {{block: b{i + 1}}}", 22, "r: rely"),
        "SEG101",
    ),
    "blocks 30 deep": (blocks(lambda i: f"p: {{block: b{i + 1}}}", 30, "r: relu"), "SEG313"),
    "a block in itself": (
        net("  a: {block: b}\n", before="blocks: {b: {layers: {c: {block: b}}}}\n"), "SEG302"),
    "groups used twice each": (
        net("  a: {layers: {x: relu}}\n" + "".join(
            f"  b{i}: {{layers: {{x: {{use: {p}}}, y: {{use: {p}}}}}}}\n"
            for i in range(40) for p in [f"b{i - 1}" if i else "a"]), "b39"),
        "SEG313",
    ),
    "3,000 uses of a group": (
        net("  a: {layers: {x: relu}}\n" + "".join(f"  k{i}: {{use: a}}\n" for i in range(MANY)),
            f"k{MANY - 1}"),
        "ok",
    ),
    "20,000 convolutions": (
        net(f"  a: {{repeat: 10000, layers: {{c: {CONV3}, r: relu}}}}\n"), "ok"),
    # --- thousands of mistakes
    "3,000 unknown operators": (lines(lambda i: f"rel{i}"), "SEG101"),
    "3,000 dangling references": (lines(lambda i: f"{{op: relu, from: j{i}}}"), "SEG301"),
    "3,000 forward references": (
        lines(lambda i: "relu" if i == MANY - 1 else f"{{op: relu, from: k{i + 1}}}"), "SEG303"),
    "3,000 misspelt arguments": (
        lines(lambda i: "{op: conv2d, out_chanels: 3, kernel_size: 1}"), "SEG102"),
    "3,000 unknown names in expressions": (
        lines(lambda i: f"{{op: conv2d, out_channels: q{i}, kernel_size: 1}}",
              before=f"params: {{{', '.join(f'p{i}: 1' for i in range(MANY))}}}\n"), "SEG109"),
    "3,000 parameters nothing reads": (
        net("  a: relu\n", before=f"params: {{{', '.join(f'p{i}: 1' for i in range(MANY))}}}\n"),
        "SEG315"),
    "3,000 unread layers": (lines(lambda i: "{op: relu, from: image}"), "SEG304"),
    "9,000 unknown sections": (
        HEAD + IMAGE + "".join(f"kk{i}: 1\n" for i in range(9_000)) + "layers: {a: relu}\n"
        "outputs: {y: a}\n", "SEG106"),
    "3,000 bad joins": (
        lines(lambda i: STRIDED if i == 0 else "{op: add, from: [k0, image]}"), "SEG304"),
    "2,000 bad joins in a block": (
        lines(lambda i: STRIDED if i == 0 else "{block: b, from: [k0, image]}", 2_000,
              before="blocks: {b: {inputs: [x, y], layers: {a: {op: add, from: [x, y]}}}}\n"),
        "SEG203"),
    "3,000 broken blocks nobody uses": (
        net("  a: relu\n", before="blocks:\n" + "".join(
            f"  b{i}: {{layers: {{p: rely}}}}\n" for i in range(MANY))), "SEG101"),
    "a cycle of 3,000 layers": (
        lines(lambda i: f"{{op: relu, from: k{(i + 1) % MANY}}}"), "SEG302"),
    "sixty layers that all read each other": (
        lines(lambda i: f"{{op: add, from: [{', '.join(f'k{j}' for j in range(60) if j != i)}]}}",
              60), "SEG302"),
    "a path of 2,000 parts": (
        net("  b: relu\n  a: {op: relu, from: b" + ".x" * 2_000 + "}\n"), "SEG301"),
    # --- expressions
    "powers of powers": (expression("9**9**9**9"), "SEG108"),
    "a hundred powers": (expression("2**" * 130 + "2"), "SEG108"),
    "200 parentheses": (expression("(" * 190 + "1" + ")" * 190), "SEG108"),
    "comparisons inside each other": (
        expression("1 if " + "(1<" * 30 + "1" + "<1)" * 30 + " else 1"), "ok"),
    "a sum of 200": (expression("1+" * 199 + "1"), "ok"),
    "400 signs": (expression("-" * 398 + "1"), "ok"),
    "an expression of 4,000 characters": (expression("1+" * 1_999 + "1"), "SEG108"),
    "lists of lists": (expression("[" * 120 + "1" + "]" * 120, quoted=True), "SEG108"),
    "a shell's variable": (expression("${HOME}", quoted=True), "SEG108"),
    "a shell's command": (expression("$(id)"), "SEG108"),
    "Python": (expression("__import__('os').system('id')", quoted=True), "SEG108"),
    "a template": (expression("{{ config }}", quoted=True), "SEG108"),
    # --- sizes
    "10^9 channels twice": (
        net("  b: {op: conv2d, out_channels: 1000000000, kernel_size: 3}\n"
            "  a: {op: conv2d, out_channels: 1000000000, kernel_size: 1}\n"), "SEG313"),
    "2^52 channels": (
        net("  a: {op: conv2d, out_channels: 4503599627370496, kernel_size: 3}\n"), "SEG313"),
    "a window of 10^9": (net("  a: {op: max_pool2d, kernel_size: 1000000000}\n"), "SEG105"),
    "padding of 10^9": (
        net("  a: {op: conv2d, out_channels: 3, kernel_size: 3, padding: 1000000000}\n"),
        "SEG105"),
    "dilation of 10^9": (
        net("  a: {op: conv2d, out_channels: 3, kernel_size: 3, dilation: 1000000000}\n"),
        "SEG105"),
    "10^5 times larger, ten times": (
        chain(lambda n: f"  a{n}: {{op: interpolate, scale_factor: 100000}}\n", range(10)),
        "SEG313"),
    "1.37 times larger, sixty times": (
        chain(lambda n: f"  a{n}: {{op: interpolate, scale_factor: 1.37}}\n", range(60)),
        "SEG313"),
    "strides without a common factor": (
        chain(lambda p: f"  a{p}: {{op: max_pool2d, kernel_size: 3, stride: {p}, padding: 1}}\n",
              PRIMES), "SEG313"),
    "joins after strides without a common factor": (
        chain(lambda p: f"  a{p}: {{op: max_pool2d, kernel_size: {p}, stride: {p}}}\n"
              f"  u{p}: {{op: interpolate, scale_factor: {p}}}\n"
              f"  j{p}: {{op: add, from: [u{p}, image]}}\n", PRIMES), "SEG313"),
    "large strides without a common factor": (
        net("  b: {op: max_pool2d, kernel_size: 99991}\n  c: {op: max_pool2d, kernel_size: 99989}\n"
            "  d: {op: interpolate, scale_factor: 99989}\n"
            "  e: {op: interpolate, scale_factor: 99991}\n  a: {op: add, from: [e, image]}\n"),
        "SEG313"),
    "the same constraint 1,000 times": (
        net("".join(f"  p{i}: {{op: max_pool2d, kernel_size: 2, from: image}}\n"
                    f"  u{i}: {{op: interpolate, scale_factor: 2}}\n"
                    f"  j{i}: {{op: add, from: [u{i}, image]}}\n" for i in range(1_000))
            + f"  a: {{op: add, from: [{', '.join(f'j{i}' for i in range(1_000))}]}}\n"), "ok"),
    "one join of 10,000": (
        net(f"  a: {{op: concat, from: [{', '.join(['image'] * 10_000)}]}}\n"), "ok"),
    "channels that double sixty times": (
        chain(lambda i: f"  s{i}: {{op: concat, from: [{', '.join([before(i)] * 2)}]}}\n",
              range(60)), "SEG313"),
    "poolings that round, forty times": (
        chain(lambda i: f"  a{i}: {{op: max_pool2d, kernel_size: 2, ceil_mode: true, "
              f"stride: {2 + i % 2}}}\n", range(40)), "ok"),
    "5,000 inputs": (
        net(f"  a: {{op: concat, from: [{', '.join(f'i{i}' for i in range(5_000))}]}}\n",
            inputs=f"inputs: {{{', '.join(f'i{i}: [N, 3, H{i}, W{i}]' for i in range(5_000))}}}\n"),
        "SEG313"),
    "an input of 5,000 axes": (
        net("  a: relu\n",
            inputs=f"inputs: {{image: [{', '.join(f's{i}' for i in range(5_000))}]}}\n"),
        "SEG313"),
    "20,000 choices": (
        net("  a: {op: conv2d, out_channels: p, kernel_size: 1}\n",
            before="params: {p: {type: int, default: 3, "
            f"choices: [{', '.join(map(str, range(20_000)))}]}}}}\n"), "ok"),
    # --- names
    "a keyword": (net("  class: relu\n", "class"), "SEG306"),
    "a method of modules": (net("  forward: relu\n", "forward"), "SEG306"),
    "dunder": (net("  __init__: relu\n", "__init__"), "SEG305"),
    "a dot": (net("  a.b: relu\n", "a.b"), "SEG305"),
    "a ligature": (net("  \ufb01lter: relu\n", "\ufb01lter"), "SEG305"),
    "a Cyrillic letter": (net("  \u0430: relu\n", "\u0430"), "SEG305"),
    "a template as a name": (net('  "{{ x }}": relu\n', '"{{ x }}"'), "SEG305"),
    "a quote in a name": (net("  'x\"y': relu\n", "'x\"y'"), "SEG305"),
    "a newline in a name": (net('  "x\\ny": relu\n', '"x\\ny"'), "SEG305"),
    "a name of 64 characters": (net(f"  {'a' * 64}: relu\n", "a" * 64), "SEG305"),
    "a model that is a library": (net("  a: relu\n").replace("Net", "torch"), "SEG306"),
    "a model that is a path": (net("  a: relu\n").replace("Net", "../x"), "SEG305"),
    "a model that is an option": (net("  a: relu\n").replace("Net", "-o"), "SEG305"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every case, each in a process of its own with limits on CPU time and memory."""
    folder = tmp_path_factory.mktemp("specs")
    files = []
    for number, (text, _) in enumerate(CASES.values()):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(text, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(RUN), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.stderr == ""
    found = map(json.loads, done.stdout.splitlines())
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("what", CASES)
def test_quickly_and_quietly(what: str, outcomes: dict[str, dict[str, Any]]) -> None:
    outcome, code = outcomes[what], CASES[what][1]
    assert outcome["status"] in (0, 1), outcome["output"][-2_000:]
    assert "Traceback" not in outcome["output"]
    assert (outcome["codes"] or ["ok"])[0] == code, outcome["output"][:2_000]
    assert outcome["mebibytes"] < 150
    bad = {c for c in outcome["output"] if not (c.isprintable() or c == "\n")}
    assert not bad, f"acts on a terminal: {bad}"


def test_many_mistakes_are_counted_not_printed() -> None:
    from segc.diag_format import render

    _, found = check(CASES["9,000 unknown sections"][0])
    assert len(found) == 9_000
    printed = render(found, {}, "text")
    assert printed.count("error SEG106") == SHOWN
    assert printed.endswith(f"and {9_000 - SHOWN:,} more\n")


def test_spec_text_is_never_code() -> None:
    """No import, exec, process, socket or write while hostile expressions are checked."""
    seen: list[str] = []
    active = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if active and event.startswith(
            ("exec", "compile", "import", "subprocess", "socket", "os.")
        ):
            seen.append(f"{event} {str(args)[:80]}")
        if active and event == "open" and args[1] not in ("r", "rb", None):
            seen.append(f"open {args}")

    check(CASES["Python"][0])  # everything is imported now
    sys.addaudithook(hook)
    for what in ("Python", "a template", "a shell's command", "powers of powers"):
        active = True
        check(CASES[what][0])
        active = False
    assert seen == []
