"""How long `segc check` and `segc build` take for every spec, and what they write.

    python benchmarks/build.py [--specs unet deeplab …] [--runs 3] [--fresh]

CPU time of one process that does all of them after another, the least of the runs; with --fresh
also that of a process for each, start of Python included. The limits are those of the design: 0.5 s
for one network, 20 s for all.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segc.build import build, check_source
from segc.source import Source

ROOT = Path(__file__).resolve().parent.parent
ONE, ALL = 0.5, 20.0  # seconds


@dataclass(frozen=True)
class Row:
    """One spec: CPU seconds of check and build, and what the build is."""

    spec: str
    layers: int
    check: float
    build: float
    lines: int  # of model.py
    size: int  # bytes of all files


def least(do: Callable[[], object], runs: int) -> float:
    """CPU seconds of the fastest of some runs in this process."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        do()
        times.append(time.process_time() - start)
    return min(times)


def measure(name: str, runs: int) -> Row:
    source = Source.open(str(ROOT / "specs" / f"{name}.yaml"))
    built = build(source)
    return Row(
        name,
        len(built.checked.graph.nodes),
        least(lambda: check_source(source, {}), runs),
        least(lambda: build(source), runs),
        built.files["model.py"].count("\n"),
        sum(len(text.encode()) for text in built.files.values()),
    )


def fresh(name: str) -> float:
    """CPU seconds of `segc build` as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "segc", "build", f"specs/{name}.yaml", "-q", "-o", folder]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specs", nargs="+", metavar="NAME")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fresh", action="store_true", help="also a process for each")
    args = parser.parse_args()
    gc.set_threshold(200_000)  # as the command line does
    names = args.specs or sorted(p.stem for p in (ROOT / "specs").glob("*.yaml"))
    print("| spec | layers | check, ms | build, ms | as a process, ms | lines of model.py | MB |")
    print("|---|---|---|---|---|---|---|")
    rows, alone = [], []
    for name in names:
        row = measure(name, args.runs)
        rows.append(row)
        alone.append(fresh(name) if args.fresh else 0.0)
        process = f"{alone[-1] * 1e3:.0f}" if args.fresh else "-"
        times = f"{row.check * 1e3:.0f} | {row.build * 1e3:.0f} | {process}"
        cells = f"{name} | {row.layers} | {times} | {row.lines} | {row.size / 1e6:.2f}"
        print(f"| {cells} |", flush=True)
    total = sum(row.build for row in rows)
    slow = [row.spec for row in rows if row.build > ONE]
    print(f"all: check {sum(r.check for r in rows):.1f} s, build {total:.1f} s (limit {ALL:.0f})")
    if args.fresh:
        print(f"as processes {sum(alone):.1f} s")
    print(f"over {ONE} s: {', '.join(slow) or 'none'}; longest file {max(r.lines for r in rows)}")


if __name__ == "__main__":
    main()
