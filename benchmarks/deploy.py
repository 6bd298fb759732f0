"""How fast deploy modules are: plain and deploy networks, eager and compiled, in turns.

    python benchmarks/deploy.py [--networks unet segnet …] [--size 256] [--runs 15] [--threads 1]
        [--device cpu|cuda] [--layout channels_last|contiguous] [--plain-layout …] [--amp bf16]
        [--no-compile] [--rule NAME=on|off] [--balance N] [--json FILE]

The four run one after the other, again and again: A B C D A B C D. A figure is the median of the
ratios to the plain eager run of the same turn (2.00: half the time), with its quartiles, so it
holds on a slow or shared machine where the times do not. On one thread of a CPU the time is that
of the process, else that of the clock. Memory is the most that tensors and workspace take at once
in one forward pass, weights left out, again plain over the other. Weights are random, running
statistics of the size that training leaves; the outputs are compared.

The process starts itself again with a C library that keeps freed memory: else the pages that each
large tensor is given anew make identical networks differ by up to 4 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from segc.analyse import reference_sizes
from segc.build import Maker
from segc.check import Checked
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.optimise import Options
from segc.source import Source
from segc.verify import import_source, network, trained_like

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = (
    "encoder_decoder_nearest",
    "encoder_decoder_bed_of_nails",
    "encoder_decoder_max_unpool",
    "encoder_decoder_transposed",
    "unet_nearest",
    "unet",
    "segnet",
    "fcn32s",
    "fcn8s",
    "deeplab",
    "deeplabv3_resnet50",
    "pspnet50",
    "drn_c_26",
    "deconvnet",
    "gscnn",
)
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
SURROUNDINGS = {  # set before anything is loaded: the script restarts itself with them
    "MALLOC_MMAP_MAX_": "0",  # glibc keeps freed memory
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "KINETO_LOG_LEVEL": "5",  # the memory profiler talks much
}
SHORT = 0.05  # seconds: what takes less is repeated within a turn
OTHERS = ("plain compiled", "deploy", "deploy compiled")
Run = Callable[[], Any]


@dataclass
class Row:
    """What was measured of one network; ratios are plain eager over the other."""

    network: str
    input: str
    plain_ms: float = 0.0
    macs: float = 1.0
    time: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # quartiles
    memory: dict[str, float] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    difference: float = 0.0  # of the outputs, relative to the largest value


class Bench:
    """A plain and a deploy network on one input."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.args = args
        make = Maker(Source.open(str(ROOT / "specs" / f"{name}.yaml")), {}, options(args))
        optimised = make.optimised({})
        self.rules: dict[str, int] = {}
        for fired in optimised.fired:
            self.rules[fired.rule] = self.rules.get(fired.rule, 0) + 1
        torch.manual_seed(0)
        self.shapes = input_shapes(make({}), args.size)
        self.inputs = {n: torch.randn(shape) for n, shape in self.shapes.items()}
        plain = network(model_source(make), "plain", "cpu").eval().requires_grad_(False)
        trained_like(plain)
        deploy = import_source(deploy_source(make.deploy, optimised), "deploy").from_model(plain)
        self.layouts = {"plain": args.plain_layout or args.layout, "deploy": args.layout}
        self.models = {
            "plain": self._placed(plain, "plain"),
            "deploy": self._placed(deploy, "deploy"),
        }

    def _placed(self, value: Any, name: str) -> Any:
        """A model or a tensor on the device, in the memory format of one of the networks."""
        value = value.to(self.args.device)
        if isinstance(value, torch.Tensor) and value.dim() != 4:
            return value
        return value.to(memory_format=FORMATS[self.layouts[name]])

    def runs(self) -> Iterator[tuple[str, Run]]:
        """Each way to run it, warm, plain eager first."""
        for name, model in self.models.items():
            yield name, self._warm(model, name)
        if self.args.compile:
            for name, model in self.models.items():
                yield f"{name} compiled", self._warm(torch.compile(model), name)

    def _warm(self, model: Any, name: str) -> Run:
        inputs = {n: self._placed(x, name) for n, x in self.inputs.items()}

        def run() -> Any:
            with torch.inference_mode(), self._autocast():
                return model(**inputs)

        for _ in range(2):
            run()
        return run

    def _autocast(self) -> Any:
        if not self.args.amp:
            return nullcontext()
        return torch.autocast(self.args.device, dtype=torch.bfloat16)

    def macs(self, name: str) -> int:
        """Multiply-accumulates that torch counts."""
        counter = FlopCounterMode(display=False)
        with counter, torch.inference_mode():
            self.models[name](**{n: self._placed(x, name) for n, x in self.inputs.items()})
        return int(counter.get_total_flops()) // 2


def input_shapes(checked: Checked, size: int) -> dict[str, tuple[int, ...]]:
    """The accepted sizes nearest `size`, whatever the crop of the recipe; batch 1."""
    recipe = {k: v for k, v in checked.graph.recipe.items() if k != "crop"}
    return reference_sizes(replace(checked, graph=replace(checked.graph, recipe=recipe)), size)


def options(args: argparse.Namespace) -> Options:
    """What the command line asks of the optimiser."""
    chosen = dict(rule.split("=", 1) for rule in args.rule)
    on = frozenset(name for name, value in chosen.items() if value == "on")
    more = {} if args.balance is None else {"balance": args.balance}
    return Options(on=on, off=frozenset(chosen) - on, **more)


# --- measuring ------------------------------------------------------------------------------


def measure(name: str, args: argparse.Namespace) -> Row:
    """Everything about one network."""
    bench = Bench(name, args)
    shown = ", ".join("x".join(map(str, shape)) for shape in bench.shapes.values())
    row = Row(name, shown, rules=bench.rules)
    row.macs = bench.macs("plain") / bench.macs("deploy")
    runs = dict(bench.runs())
    row.difference = max(difference(runs["plain"](), run()) for run in runs.values())
    row.memory = {n: peak(run, args.device) for n, run in runs.items()}
    plain = row.memory.pop("plain")
    row.memory = {n: plain / size for n, size in row.memory.items()}
    turns = interleaved(runs, args)
    row.plain_ms = 1e3 * median(turns["plain"])
    for other in runs.keys() - {"plain"}:
        pairs = zip(turns["plain"], turns[other], strict=True)
        low, middle, high = quantiles([a / b for a, b in pairs], n=4, method="inclusive")
        row.time[other] = low, middle, high
    torch._dynamo.reset()
    return row


def interleaved(runs: dict[str, Run], args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of one call of each, turn by turn."""
    repeats = max(1, round(SHORT / max(timed(runs["plain"], 1, args), 1e-9)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.runs):
        for name, run in runs.items():
            found[name].append(timed(run, repeats, args))
    return found


def timed(run: Run, repeats: int, args: argparse.Namespace) -> float:
    """Seconds of one call."""
    alone = args.device == "cpu" and args.threads == 1
    clock = time.process_time if alone else time.perf_counter
    synchronise(args.device)
    start = clock()
    for _ in range(repeats):
        run()
    synchronise(args.device)
    return (clock() - start) / repeats


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak(run: Run, device: str) -> int:
    """The most bytes that one call holds at once beyond what was there."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return int(torch.cuda.max_memory_allocated() - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = recorded.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    most = held = 0
    for _, size in memory:
        held += size
        most = max(most, held)
    return most


def difference(wanted: Any, got: Any) -> float:
    """The largest difference of two results, relative to the largest value."""
    if not isinstance(wanted, torch.Tensor):
        return max(difference(wanted[key], got[key]) for key in wanted)
    wanted, got = wanted.float(), got.float()
    return float((got - wanted).abs().max() / wanted.abs().max())


# --- the table ------------------------------------------------------------------------------


def head(args: argparse.Namespace) -> str:
    """What the figures hold for."""
    where = torch.cuda.get_device_name() if args.device == "cuda" else processor()
    alone = args.device == "cpu" and args.threads == 1
    clock = "CPU time of the process" if alone else "wall time"
    precision = "bf16 autocast" if args.amp else "fp32"
    other = f" (plain {args.plain_layout})" if args.plain_layout else ""
    return (
        f"{where}, {args.threads} thread(s), torch {torch.__version__}, {precision}, "
        f"{args.layout}{other}, batch 1, {args.runs} turns, {clock}"
    )


def processor() -> str:
    """The CPU's name and what vectors torch uses on it."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return f"{names[0] if names else 'CPU'} ({torch.backends.cpu.get_cpu_capability()})"


COLUMNS = (
    "| network | input | plain, ms | MACs | plain compiled | deploy | deploy compiled "
    "| deploy against plain compiled | memory: plain compiled, deploy, deploy compiled |"
)


def line(row: Row) -> str:
    """The row as Markdown."""
    times = [_ratio(row.time.get(n)) for n in OTHERS]
    memory = ", ".join(f"{row.memory[n]:.2f}" if n in row.memory else "-" for n in OTHERS)
    cells = [row.network, row.input, f"{row.plain_ms:.0f}", f"{row.macs:.2f}", *times]
    return "| " + " | ".join([*cells, _against_compiled(row), memory]) + " |"


def _against_compiled(row: Row) -> str:
    """Deploy eager and deploy compiled, each over the plain network compiled."""
    if "plain compiled" not in row.time:
        return "-"
    base = row.time["plain compiled"][1]
    return ", ".join(f"{row.time[n][1] / base:.2f}" for n in ("deploy", "deploy compiled"))


def _ratio(quartiles: tuple[float, float, float] | None) -> str:
    if quartiles is None:
        return "-"
    low, middle, high = quartiles
    return f"**{middle:.2f}** ({low:.2f}-{high:.2f})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--size", type=int, default=256, help="height and width, or the nearest")
    parser.add_argument("--runs", type=int, default=15, help="turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layout", choices=tuple(FORMATS), default="channels_last")
    parser.add_argument("--plain-layout", choices=tuple(FORMATS), help="of the plain networks")
    parser.add_argument("--amp", choices=("bf16",), help="autocast to it")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--rule", action="append", default=[], metavar="NAME=on|off")
    parser.add_argument("--balance", type=float)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not os.environ.keys() >= SURROUNDINGS.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SURROUNDINGS})
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    print(head(args), COLUMNS, "|---" * COLUMNS.count(" | ") + "|---|", sep="\n", flush=True)
    rows: list[Row] = []
    for name in args.networks:
        if not (ROOT / "specs" / f"{name}.yaml").exists():
            sys.exit(f"there is no specs/{name}.yaml")
        rows.append(measure(name, args))
        print(line(rows[-1]), flush=True)
        if args.json:
            figures = {"what": head(args), "rows": [asdict(row) for row in rows]}
            args.json.write_text(json.dumps(figures, indent=1) + "\n")
    worst = max(rows, key=lambda row: row.difference)
    print(f"outputs differ by at most {worst.difference:.1e} ({worst.network})")


if __name__ == "__main__":
    main()
