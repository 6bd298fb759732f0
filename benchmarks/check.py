"""How fast `segc check` is: whole processes side by side, and the cost of more layers.

    python benchmarks/check.py [--runs 9] [--layers 100 1000 10000 100000]

Prints medians and ratios; a ratio compares commands of the same run, so it holds on a slow or
shared machine where the times do not. `import torch` is left out where torch is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
CHAIN = """
import gc, sys, time
gc.set_threshold(200_000)  # as the command line does
from segc.check import verify
from segc.diag import Report
from segc.read import read
from segc.read.yaml import Limits
from segc.source import Source
count = int(sys.argv[1])
head = 'segc: 1\\nmodel: Chain\\ninputs: {image: [N, 8, H, W]}\\nlayers:\\n'
line = '  c%d: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}\\n  r%d: relu\\n'
body = ''.join(line % (i, i) for i in range(count // 2))
text = head + body + 'outputs: {y: r%d}\\n' % (count // 2 - 1)
limits = Limits(size=1 << 30, values=1 << 30, keys=1 << 30)
report = Report()
start = time.process_time()
graph = read(Source.from_text(text), {}, report, limits=limits, max_layers=1 << 30)
verify(graph, report)
print(time.process_time() - start)
report.raise_if_failed()
"""


def process(command: list[str]) -> float:
    """CPU seconds of one whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def side_by_side(runs: int) -> None:
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "segc check specs/deeplab.yaml": [python, "-m", "segc", "check", "specs/deeplab.yaml"],
    }
    if importlib.util.find_spec("torch"):
        commands["python -c 'import torch'"] = [python, "-c", "import torch"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(process(command))
    bare = median(times["python -c pass"])
    print(f"{'command':<34}{'CPU ms':>10}{'x bare Python':>15}")
    for name, values in times.items():
        print(f"{name:<34}{median(values) * 1e3:>10.0f}{median(values) / bare:>15.1f}")


def scaling(counts: list[int], runs: int) -> None:
    print(
        f"\n{'layers':>8}{'CPU ms':>10}{'us a layer':>12}{'x the line before':>20}{'peak MB':>10}"
    )
    previous: tuple[int, float] | None = None
    for count in counts:
        values, peak = [], 0
        for _ in range(runs):
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", CHAIN + MEMORY, str(count)],
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            )
            seconds, kilobytes = done.stdout.split()
            values.append(float(seconds))
            peak = max(peak, int(kilobytes) // 1024)
            if time.monotonic() - start > 20:
                break
        t = median(values)
        growth = f"{t / previous[1]:.1f} for {count / previous[0]:.0f}" if previous else ""
        print(f"{count:>8,}{t * 1e3:>10.0f}{t / count * 1e6:>12.1f}{growth:>20}{peak:>10}")
        previous = (count, t)


MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--layers", type=int, nargs="*", default=[100, 1_000, 10_000, 100_000])
    args = parser.parse_args()
    side_by_side(args.runs)
    scaling(args.layers, min(args.runs, 3))


if __name__ == "__main__":
    main()
