"""What the scripts share: exit statuses, signals, processes, checkpoints, logs, progress."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

try:
    import fcntl
except ImportError:  # Windows: a run directory is not locked there
    fcntl = None

DIGEST = 32  # bytes of SHA-256 at the end of a checkpoint


class Stop(Exception):
    """Why a run ends early, in words for the person who started it, and its exit status.

    1 data or checkpoint at fault, 2 wrong usage, 3 the machine refused, 75 stopped but resumable,
    130 interrupted.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(main: Callable[[], None]) -> None:
    """Call `main`; a fault of data or machine ends in one line on stderr and a status."""
    try:
        main()
    except Stop as stop:
        leave(str(stop), stop.status)
    except KeyboardInterrupt:
        leave("interrupted", 130)
    except BrokenPipeError:
        os._exit(3)
    except (torch.OutOfMemoryError, MemoryError):
        leave("out of memory: take a smaller --crop or --batch-size, or --amp bf16", 3)
    except OSError as error:
        leave(f"{error.strerror or error}: {error.filename or 'the system refused'}", 3)
    except RuntimeError as error:
        leave(*machine_fault(error))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def leave(message: str, status: int) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(status)


def machine_fault(error: RuntimeError) -> tuple[str, int]:
    """What PyTorch reports as a RuntimeError although the machine is to blame; others re-raised."""
    text = str(error)
    if "DataLoader worker" in text or "DataLoader timed out" in text:
        return "a data worker died or hung (out of memory?): try fewer --workers", 3
    if "can't allocate memory" in text or "out of memory" in text:
        return "out of memory: take a smaller --crop or --batch-size, or --amp bf16", 3
    if "deterministic" in text:
        return f"--deterministic is not possible here: {text.splitlines()[0]}", 3
    if "Connection closed by peer" in text or "Connection reset" in text:
        return "another process of this run has died; its own message says why", 3
    raise error


class Interrupt:
    """Notes the first SIGINT or SIGTERM so that the step can finish; a second Ctrl-C quits."""

    def __init__(self) -> None:
        self.number = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.note)

    def note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            os._exit(130)
        self.number = self.number or number
        os.write(2, b"\nstopping after this step; the state will be saved (Ctrl-C again: quit)\n")

    @property
    def status(self) -> int:
        return 130 if self.number == signal.SIGINT else 75


def ignore_signals(worker: int) -> None:
    """Data workers leave signals to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


# --- processes and devices ------------------------------------------------------------------


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU of this process if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Stop(f"--device {name}: not a device; for example cpu, cuda, cuda:1", 2) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Stop("no CUDA device here: use --device cpu", 3)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise Stop(f"{device} does not exist: {torch.cuda.device_count()} GPU(s) here", 3)
    return device


def join(device: torch.device) -> tuple[int, int]:
    """Rank and number of processes; more than one when started by torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(minutes=10))
    return distributed.get_rank(), world


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is up in any process, so that all of them decide the same."""
    if not distributed.is_initialized():
        return flag
    shared = torch.tensor(float(flag), device=device)
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return bool(shared.item())


def autocast(device: torch.device, amp: str) -> contextlib.AbstractContextManager[Any]:
    if amp == "off":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if amp == "bf16" else torch.float16)


def lock(out: Path) -> Any:
    """Own the run directory until the process ends (keep the result alive)."""
    out.mkdir(parents=True, exist_ok=True)
    handle = open(out / "lock", "a+", encoding="utf-8")  # noqa: SIM115
    if fcntl is None:
        return handle
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read().strip() or "another run"
        raise Stop(f"{out} is in use by {owner}", 3) from None
    handle.truncate(0)
    handle.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    return handle


# --- checkpoints ----------------------------------------------------------------------------


def save(state: dict[str, Any], path: Path, keep: Path | None = None) -> None:
    """Publish a checkpoint whole or not at all; the file it replaces becomes `keep`.

    Written to a temporary file, synced, then renamed; its last 32 bytes are the SHA-256 of the
    rest. Raises OSError and leaves everything as it was if the disk is full.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.write(hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if keep is not None and path.exists():
        os.replace(path, keep)
    os.replace(temporary, path)
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


@dataclass
class Keeper:
    """Saves the states of a run. A full disk is tolerated twice: what was saved stays intact."""

    out: Path
    failures: int = 0

    def save(self, state: dict[str, Any], better: bool) -> None:
        """`last.pt` holds everything, `best.pt` the weights of the best validation."""
        if not all_finite(state["weights"].values()):
            raise Stop(f"the weights are no longer finite; {self.out} keeps the last good state")
        try:
            if better:
                best = {key: state[key] for key in ("weights", "settings", "place")}
                save(best, self.out / "best.pt")
            save(state, self.out / "last.pt", keep=self.out / "previous.pt")
            self.failures = 0
        except OSError as error:
            self.failures += 1
            free = shutil.disk_usage(self.out).free >> 20
            text = f"cannot save in {self.out}: {error.strerror} ({free} MiB free)"
            if self.failures == 3:
                raise Stop(f"{text}; given up after three attempts", 3) from None
            print(f"\n{text}; the state before is intact, training goes on", file=sys.stderr)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint that `save` wrote, on the CPU. Nothing in the file can run code."""
    if not path.is_file():
        raise Stop(f"{path}: no such file")
    content = memoryview(path.read_bytes())
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise Stop(f"{path} is damaged, or train.py did not write it")
    return torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True)


def newest(out: Path) -> dict[str, Any] | None:
    """The last intact state of a run directory; None if it holds none at all."""
    found = [path for path in (out / "last.pt", out / "previous.pt") if path.exists()]
    for path in found:
        try:
            return load(path)
        except Stop as stop:
            print(f"{stop}; trying the one before", file=sys.stderr)
    if found:
        raise Stop(f"no checkpoint in {out} can be used; to start again, take another --out")
    return None


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of a checkpoint: ours, or any file that torch reads as plain data."""
    if not path.is_file():
        raise Stop(f"{path}: no such file")
    try:
        if zipfile.is_zipfile(path):
            refuse_bombs(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise Stop(f"{path} is not a checkpoint: {str(error).splitlines()[0]}") from None
    settings = state.get("settings", {}) if isinstance(state, dict) else {}
    for key in ("weights", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise Stop(f"{path} holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}, settings


def refuse_bombs(path: Path) -> None:
    """Entries of a real checkpoint are stored, so they cannot be larger than the file."""
    with zipfile.ZipFile(path) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
        packed = any(entry.compress_type for entry in archive.infolist())
    if packed or declared > path.stat().st_size:
        raise Stop(f"{path} is not a checkpoint: its entries are compressed")


def load_strict(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights that must fit; otherwise say what differs."""
    own = model.state_dict()
    wrong = [f"  {name}: missing in the checkpoint" for name in own if name not in weights]
    wrong += [f"  {name}: not in the network" for name in weights if name not in own]
    wrong += [
        f"  {name}: {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if wrong:
        more = [f"  and {len(wrong) - 10} more"] if len(wrong) > 10 else []
        raise Stop("\n".join([f"{path} is of another network:", *wrong[:10], *more]))
    bad = [name for name, value in weights.items() if not all_finite([value])]
    if bad:
        raise Stop(f"{path}: {bad[0]} holds values that are not finite")
    model.load_state_dict(weights)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """PyTorch takes a state of any shape and fails steps later; this looks first."""
    try:
        optimizer.load_state_dict(state)
    except ValueError as error:
        raise Stop(f"{path}: the optimizer's state does not fit: {error}") from None
    for parameter, values in optimizer.state.items():
        if any(v.dim() and v.shape != parameter.shape for v in values.values()):
            raise Stop(f"{path}: the optimizer's state is of another network")


def load_fitting(model: nn.Module, path: Path) -> str:
    """Load what has the same name and shape; the text says what was left out."""
    weights, own = read_weights(path)[0], model.state_dict()
    fits = {n: w for n, w in weights.items() if n in own and own[n].shape == w.shape}
    model.load_state_dict(fits, strict=False)
    lines = [f"{path}: {len(fits)} of the network's {len(own)} tensors taken"]
    for name in own:
        if name in weights and name not in fits:
            shapes = f"{tuple(weights[name].shape)} there, {tuple(own[name].shape)} here"
            lines.append(f"  {name}: {shapes}; keeps its initial values")
        elif name not in weights and not name.endswith("num_batches_tracked"):
            lines.append(f"  {name}: not there; keeps its initial values")
    lines += [f"  {name}: not in this network" for name in weights if name not in own]
    if len(lines) > 21:
        lines = [*lines[:21], f"  and {len(lines) - 21} more"]
    return "\n".join(lines)


def all_finite(values: Any) -> bool:
    return all(bool(v.isfinite().all()) for v in values if v.is_floating_point())


# --- logs and progress ----------------------------------------------------------------------


class Log:
    """`metrics.jsonl`, one object a line; lines after the step resumed from are cut off."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_log(path) if line["step"] <= step] if step else []
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(temporary, path)
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self.board = tensorboard(path.parent, step)

    def write(self, step: int, **values: Any) -> None:
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            if self.board is not None and isinstance(value, float):
                self.board.add_scalar(name, value, step)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; a last line torn by a crash is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def tensorboard(out: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out), purge_step=step or None)


class Progress:
    """A bar with rate and time left on a terminal; elsewhere one line every `every` steps."""

    def __init__(self, total: int, done: int, every: int) -> None:
        self.total, self.first, self.every = total, done, every
        self.start = time.monotonic()
        self.live = sys.stderr.isatty()

    def show(self, done: int, text: str, images: int = 0) -> None:
        """`images` is the number of images a step takes, for the rate."""
        if not self.live and done % self.every and done != self.total:
            return
        spent = time.monotonic() - self.start
        rate = (done - self.first) / spent if spent > 0 else 0.0
        left = (self.total - done) / rate if rate else 0.0
        speed = f"{rate * images:.1f} images/s" if images else f"{rate:.1f}/s"
        clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02}"
        line = f"{done}/{self.total} {text} {speed} {clock} left"
        if self.live:
            full = 20 * done // max(self.total, 1)
            print(f"\r[{'=' * full}{' ' * (20 - full)}] {line}\033[K", end="", file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
