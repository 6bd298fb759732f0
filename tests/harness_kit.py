"""For the harness tests: small hand-made networks, their emitted harness, and a way to run it.

Starting Python and torch takes seconds, so `Runner` keeps one process that has both loaded and
forks it for every run: what runs is the emitted file itself, as `__main__`, in its own process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from segc.check import Checked
from segc.dim import DimLike, Domain, symbol
from segc.emit.harness import harness_files
from segc.ir import Graph, Input, Ref
from segc.loc import Loc
from segc.types import Tensor

HERE = Loc("spec.yaml", 1, 1, 2)
Size = Callable[[DimLike], DimLike]

CROSS_ENTROPY: dict[str, Any] = {
    "kind": "cross_entropy",
    "output": "logits",
    "target": "mask",
    "ignore_index": 255,
    "weight": 1.0,
    "class_weights": None,
    "reduction": "mean",
}
RECIPE: dict[str, Any] = {
    "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}},
    "schedule": {"poly": {"power": 0.9}},
    "max_steps": 40,
    "batch_size": 4,
    "crop": [32, 32],
    "augment": {"scale": [0.5, 2.0], "flip": True},
    "input": {"channels": "rgb", "range": 1},
}

TINY = '''\
"""A network with batch norm and dropout, a stride of two, and an auxiliary output."""

from torch import Tensor, cat, nn
from torch.nn import functional as F

__all__ = ["Tiny"]


class Tiny(nn.Module):
    def __init__(self, channels={channels}, classes={classes}, margin={margin}):
        super().__init__()
        self.margin = margin
        self.conv = nn.Conv2d(channels, 12, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(12)
        self.drop = nn.Dropout2d(0.2)
{head}        self.logits = nn.Conv2d(12 + channels, classes, 3, padding=1)

    def forward(self, image: Tensor){annotation}:
        x = self.drop(F.relu(self.bn(self.conv(image))))
        up = F.interpolate(x, scale_factor=2.0)
        logits = self.logits(cat([up, image], 1))
        m = self.margin
        logits = logits[:, :, m : logits.shape[2] - m, m : logits.shape[3] - m]
        return {result}
'''

DEPLOY = '''\
"""Tiny for inference: torch's own folding of a batch norm."""

from copy import deepcopy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def from_model(model):
    deploy = deepcopy(model).eval()
    deploy.conv = fuse_conv_bn_eval(deploy.conv, deploy.bn)
    deploy.bn = nn.Identity()
    return deploy
'''


def checked(
    *,
    name: str = "Tiny",
    channels: int = 3,
    outputs: Mapping[str, int] = {"logits": 3},
    sizes: Mapping[str, Size] | None = None,
    domain: Domain | None = None,
    losses: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    only: Mapping[str, str] | None = None,
    title: str = "Tiny",
    source: str = "",
    image: tuple[int | str, ...] | None = None,
) -> Checked:
    """A checked graph with these inputs and outputs and no layers: all the harness looks at."""
    n, height, width = symbol("N"), symbol("H"), symbol("W")
    shape = image or ("N", channels, "H", "W")
    value = Tensor(tuple(symbol(s) if isinstance(s, str) else s for s in shape))
    types: dict[Ref, Any] = {Ref("image"): value}
    for output, count in outputs.items():
        size = (sizes or {}).get(output, lambda side: side)
        h, w = value.shape[2:4] if image and len(image) == 4 else (height, width)
        types[Ref(output)] = Tensor((n, count, size(h), size(w)))
    graph = Graph(
        name,
        {"image": Input("image", shape, "float", HERE)},
        (),
        {},
        {output: Ref(output) for output in outputs},
        losses={"seg": CROSS_ENTROPY} if losses is None else losses,
        recipe=RECIPE if recipe is None else recipe,
        output_only=dict(only or {}),
        title=title,
        source=source,
    )
    even = Domain().multiple(height, 2).multiple(width, 2)
    return Checked(graph, types, domain or (Domain() if image else even))


def emit(
    folder: Path, given: Checked, *, classes: int = 3, channels: int = 3, margin: int = 0
) -> Path:
    """Write the harness and a matching `Tiny` network."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in harness_files(given).items():
        (folder / name).write_text(text, encoding="utf-8")
    several = len(given.graph.outputs) > 1
    text = TINY.format(
        channels=channels,
        classes=classes,
        margin=margin,
        head="        self.aux = nn.Conv2d(12, classes, 1)\n" if several else "",
        annotation=" -> dict[str, Tensor]" if several else " -> Tensor",
        result='{"logits": logits, "aux": self.aux(x)}' if several else "logits",
    )
    (folder / "model.py").write_text(text, encoding="utf-8")
    (folder / "deploy.py").write_text(DEPLOY, encoding="utf-8")
    return folder


def load(folder: Path) -> SimpleNamespace:
    """The emitted modules of a folder, imported under their own names and forgotten again."""
    names = sorted(file.stem for file in folder.glob("*.py"))
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        found = {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
    return SimpleNamespace(**found)


ZYGOTE = """
import json, os, runpy, signal, sys, traceback
import torch, torch._dynamo, torch.utils.data
torch.set_num_threads(1)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(order["cwd"])
        script = os.path.join(order["folder"], order["script"])
        sys.argv = [script, *order["args"]]
        sys.path.insert(0, order["folder"])
        status = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
        except BaseException:
            traceback.print_exc()
            status = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(child, flush=True)
    if order["wait"]:
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    while not order["wait"]:
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip() == "wait":
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            break
"""


class Runner:
    """Runs emitted scripts, one at a time."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.log = work / "output.txt"
        self.last = 0  # id of the process started last
        self.unfinished = False  # started, and `finish` has not been called
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self._give_up()
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def _give_up(self) -> None:
        """End a run that a failed test left behind."""
        if self.unfinished:
            kill(self.last)
            self.finish()

    def _order(self, folder: Path, script: str, args: Sequence[object], wait: bool) -> int:
        assert self.process.stdin and self.process.stdout
        self._give_up()
        self.log.unlink(missing_ok=True)
        order = {
            "folder": str(folder),
            "script": script,
            "args": [str(a) for a in args],
            "log": str(self.log),
            "cwd": str(self.work),
            "wait": wait,
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.last = int(self.process.stdout.readline())
        return self.last

    def run(self, folder: Path, script: str, *args: object) -> tuple[int, str]:
        """Exit status and everything printed."""
        assert self.process.stdout
        self._order(folder, script, args, True)
        status = int(self.process.stdout.readline())
        return status, self.output()

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def start(self, folder: Path, script: str, *args: object) -> int:
        """Start without waiting; `finish` must follow."""
        self._order(folder, script, args, False)
        self.unfinished = True
        return self.last

    def finish(self) -> tuple[int, str]:
        assert self.process.stdin and self.process.stdout
        self.unfinished = False
        self.process.stdin.write("wait\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return status, self.output()


def shared_data() -> Path:
    """The folder of real data sets; the test is skipped where there is none."""
    here = Path(__file__).resolve().parents[1]
    root = Path(os.environ.get("SEGC_DATA", here.parent / "shared" / "data"))
    if not (root / "camvid").is_dir():
        pytest.skip("no real data: set SEGC_DATA to a folder with camvid/ and isbi_em/")
    return root


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def kill(process: int, number: int = signal.SIGKILL) -> None:
    os.kill(process, number)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
