"""Files of weights: read as plain data, written whole. Imports torch where it is used."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segc.diag import Diagnostic, Fail

NESTED = ("weights", "state_dict", "model")  # keys under which a state dict may lie


def read_weights(path: str) -> dict[str, Any]:
    """The tensors of a checkpoint by name, on the CPU. Nothing in the file can run code.

    Raises Fail: exit 1 if it is no checkpoint, exit 3 if a package is missing or the machine
    refuses.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise _refusal(path, "no such file")
        state = _safetensors(path) if path.endswith(".safetensors") else _torch(file)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error), exit=3) from None
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    torch = load_torch()
    tensors = isinstance(state, dict) and all(isinstance(n, str) for n in state)
    if not tensors or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise _refusal(path, "it holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _torch(file: Path) -> Any:
    torch = load_torch()
    try:
        if zipfile.is_zipfile(file):
            _refuse_bombs(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError,
        IndexError, AttributeError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _refusal(str(file), reason) from None


def _refuse_bombs(file: Path) -> None:
    """Entries of a real checkpoint are stored, so they cannot be larger than the file."""
    with zipfile.ZipFile(file) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
        packed = any(entry.compress_type for entry in archive.infolist())
    if packed or declared > file.stat().st_size:
        raise _refusal(str(file), "its entries are compressed")


def _safetensors(path: str) -> Any:
    load_torch()
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        hint = "pip install safetensors"
        raise Fail(Diagnostic("SEG031", f"{path} needs safetensors", None, hint), exit=3) from None
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refusal(path, str(error).splitlines()[0]) from None


def load_torch() -> Any:
    """The torch package; Fail (exit 3) where it is not installed."""
    try:
        import torch
    except ImportError:
        message = "weights are read with PyTorch, which is not installed"
        hint = "pip install 'segc[torch]'"
        raise Fail(Diagnostic("SEG031", message, None, hint), exit=3) from None
    return torch


def shapes_of(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(value.shape) for name, value in state.items()}


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of a tensor that holds values that are not finite."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return name
    return None


def as_bytes(state: Mapping[str, Any]) -> bytes:
    """The file torch.load reads as this state dict."""
    buffer = io.BytesIO()
    load_torch().save(dict(state), buffer)
    return buffer.getvalue()


def _refusal(path: str, reason: str, exit: int = 1) -> Fail:
    return Fail(Diagnostic("SEG510", f"cannot read weights from {path}: {reason}"), exit=exit)
