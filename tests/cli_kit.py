"""What the tests of the command line share: a small spec, and segc as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNET = str(ROOT / "specs" / "unet.yaml")

SMALL = """\
segc: 1
model: Small
params: {width: 4}

inputs:
  image: [N, 3, H, W]

layers:
  conv1: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  pool1: {op: max_pool2d, kernel_size: 2}
  up1: {op: interpolate, scale_factor: 2, mode: nearest}
  join: {op: concat, from: [conv1, up1]}
  logits: {op: conv2d, out_channels: 2, kernel_size: 1}

outputs: {logits: logits}

losses:
  seg: {cross_entropy: logits, target: mask}
"""
# parameters of SMALL by hand: 4 * 3 * 9 + 4, and 2 * 8 + 2
SMALL_PARAMS = 112 + 18


def run(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """segc as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "segc", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a small spec, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def broken(text: str = SMALL) -> str:
    return text.replace("kernel_size: 3", "kernal_size: 3")
