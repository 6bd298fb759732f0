"""`segc train`, `eval`, `predict`: arguments, statuses and signals pass through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_kit import ROOT

from segc.cli import frame


# --- train, eval, predict -------------------------------------------------------------------------
def scripted(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("status", [0, 1, 3, 75])
def test_the_status_of_a_script_is_passed_on(tmp_path: Path, status: int) -> None:
    from segc.cli.harness import call

    assert call(scripted(tmp_path, f"import sys; sys.exit({status})"), []) == status


def test_arguments_reach_the_script_and_segcs_own_do_not() -> None:
    module = frame.load("train")
    parser = frame.parser_of("train")
    passed = ["--data", "camvid", "--out", "runs/u", "--epochs", "3", "x.png"]
    words = ["u.yaml", *passed[:2], "--set", "width=8", *passed[2:6], "-o", "gen", *passed[6:]]
    args = frame.parse(parser, module, words)
    assert (args.spec, args.sets, args.output) == ("u.yaml", [("width", "8")], "gen")
    assert args.rest == passed


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGKILL, 137)]
)
def test_signals_end_the_script_and_its_status_is_reported(
    tmp_path: Path, number: int, status: int
) -> None:
    """SIGTERM is handed on; SIGINT reaches both from the terminal; a killed script is 128 + n."""
    script = scripted(
        tmp_path,
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(75))\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(30)\n",
    )
    program = (
        "import sys\nfrom pathlib import Path\nfrom segc.cli.harness import call\n"
        f"sys.exit(call(Path({str(script)!r}), []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, cwd=ROOT, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.1)
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
        else:
            os.kill(child if number == signal.SIGKILL else parent.pid, number)
        assert parent.wait(10) == status
