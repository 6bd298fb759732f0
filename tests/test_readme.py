"""The README shows what the tool really prints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def segc(*words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "segc", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.S | re.M)


def shown(command: str) -> list[str]:
    """The lines the README shows under a command, without those an ellipsis stands for."""
    for block in blocks("console"):
        before, found, after = block.partition(f"$ {command}\n")
        if found:
            lines = after.split("\n$ ")[0].strip("\n").splitlines()
            return [line for line in lines if line != "…"]
    raise AssertionError(f"the README does not show `{command}`")


def test_quick_start_is_two_commands() -> None:
    section = README.split("## Quick start")[1]
    block = re.search(r"^```sh\n(.*?)^```", section, flags=re.S | re.M)
    assert block and len(block.group(1).strip().splitlines()) == 2


COMMANDS = [
    "segc check specs/unet.yaml",
    "segc check specs/unet.yaml --set padding=0",
    "segc summary specs/segnet_basic.yaml --input image=1x3x360x480",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_output_is_real(command: str) -> None:
    printed = segc(*command.split()[1:]).splitlines()
    for line in shown(command):
        assert line in printed


def test_the_wrong_skip_is_told_as_shown(tmp_path: Path) -> None:
    text = (ROOT / "specs" / "unet.yaml").read_text(encoding="utf-8")
    (tmp_path / "wrong.yaml").write_text(text.replace("[dec3, enc2]", "[dec3, enc3]"))
    printed = segc_in(tmp_path)
    for line in shown("segc check wrong.yaml"):
        assert line in printed


def segc_in(folder: Path) -> list[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from segc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "wrong.yaml"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stderr.splitlines()


def test_the_diff_is_told_as_shown(tmp_path: Path) -> None:
    command = "segc diff specs/deeplab.yaml specs/deeplab_os8.yaml --input image=1x3x513x513"
    specs = tmp_path / "specs"
    for folder in ("blocks", "weights"):
        shutil.copytree(ROOT / "specs" / folder, specs / folder)
    text = (ROOT / "specs" / "deeplab.yaml").read_text(encoding="utf-8")
    (specs / "deeplab.yaml").write_text(text, encoding="utf-8")
    changed = text.replace("type: int, default: 16", "type: int, default: 8")
    assert changed != text
    (specs / "deeplab_os8.yaml").write_text(changed, encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from segc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()[1:]],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = done.stdout.splitlines()
    for line in shown(command):
        assert line in printed


def test_emitted_code_shown_is_what_is_emitted() -> None:
    emitted = (ROOT / "generated" / "unet" / "model.py").read_text(encoding="utf-8")
    (code,) = [b for b in blocks("python") if b.startswith("class Up")]
    assert code.strip() in emitted


def test_files_listed_are_those_written() -> None:
    listed = shown("segc build specs/unet.yaml")[0].split(": ")[1].split()
    written = {p.name for p in (ROOT / "generated" / "unet").iterdir()} - {".segc.json"}
    assert set(listed) == written


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
