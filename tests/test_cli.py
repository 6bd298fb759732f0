"""The command line: exit statuses, streams, and what a user sees when things go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cli_kit
import pytest
from cli_kit import ROOT, SMALL, UNET, broken, run

from segc.cli import main
from segc.cli.common import expand, stem
from segc.cli.parser import UsageError
from segc.cli.verbs import LATER, VERBS

small = cli_kit.small  # the fixture


# --- the frame ------------------------------------------------------------------------------------
def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "segc 0.1.0\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    assert not any(f"  {verb} " in out for verb in LATER)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "example:" in out
    assert f"segc {verb}" in out.split("example:")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which verb?"),
        (["bild", "x"], "did you mean `build`?"),
        (["--foo"], "unknown option"),
        (["export", "unet"], "not in this version"),
        (["check"], "required: SPEC"),
        (["check", "x", "--fromat", "json"], "did you mean `--format`?"),
        (["check", "x", "--format", "xml"], "invalid choice"),
        (["check", "x", "--json", "--format", "sarif"], "contradict"),
        (["check", "x", "-o"], "expected one argument"),
        (["check", "x", "--set", "width"], "is not NAME=VALUE"),
        (["check", "x", "--set", "a=1", "--set", "a=2"], "given twice"),
        (["check", "x", "--input", "image=0x3"], "is not NAME=SIZES"),
        (["check", "x", "--input", "image"], "is not NAME=SIZES"),
        (["summary", "a", "b"], "unexpected argument `b`"),
        (["summary", "a", "--budget", "params<40X"], "is not a limit"),
        (["summary", "a", "--budget", "param<40M"], "did you mean `params`?"),
        (["summary", "a", "--budget", "macs<4G"], "needs --input"),
        (["diff", "a"], "needs two specs"),
        (["diff", "a", "b", "--format", "svg"], "not in this version"),
        (["diff", "-", "--against", "HEAD"], "--against needs"),
        (["draw", "a", "-o", "x.gif"], "chooses the format"),
        (["explain", "conv2"], "did you mean `conv2d`?"),
        (["new", "1st"], "cannot name a network"),
        (["completion", "tcsh"], "invalid choice"),
        (["fmt", "-", "-"], "given twice"),
        (["build", "a/u.yaml", "b/u.yaml"], "would both write u/"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_exits_2_with_the_way_out(
    words: list[str], said: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_an_unexpected_exception_is_exit_70(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        raise KeyError("x\x1b[31m")

    monkeypatch.setattr("segc.cli.schema.run", fail)
    monkeypatch.delenv("SEGC_DEBUG", raising=False)
    assert main(["schema"]) == 70
    err = capsys.readouterr().err
    assert "bug in segc" in err
    assert "Traceback" not in err
    assert "\x1b" not in err
    monkeypatch.setenv("SEGC_DEBUG", "1")
    assert main(["schema"]) == 70
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.delenv("SEGC_DEBUG")
    assert main(["schema", "-v"]) == 70
    path = Path(capsys.readouterr().err.rpartition("traceback: ")[2].strip())
    assert "KeyError" in path.read_text()
    path.unlink()


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "a\nb"), 3, "a\\nb: Permission denied"),
        (MemoryError(), 3, "out of memory"),
        (ModuleNotFoundError("no", name="torch.nn"), 3, "pip install 'segc[torch]'"),
        (ModuleNotFoundError("no", name="segc.gone"), 70, "bug in segc"),
    ],
)
def test_what_the_machine_and_the_user_may_do(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("segc.cli.schema.run", fail)
    assert main(["schema"]) == status
    assert said in capsys.readouterr().err


# --- streams --------------------------------------------------------------------------------------
def test_closed_and_full_stdout_end_in_exit_3_without_a_word() -> None:
    words = [sys.executable, "-m", "segc", "schema"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in ("{} | head -c1 >/dev/null; exit ${{PIPESTATUS[0]}}", "{} >/dev/full", "{} >&-"):
        done = subprocess.run(
            ["bash", "-c", command.format(" ".join(words))], capture_output=True, text=True, env=env
        )
        assert (done.returncode, done.stderr) == (3, ""), command


def test_same_bytes_under_every_locale(small: Path) -> None:
    (small / "small.yaml").write_text(broken().replace("Small", "Großes"))
    outputs = {
        run("check", "small.yaml", LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8=utf8).stderr
        for locale, utf8 in (("C", "0"), ("C.UTF-8", "0"), ("POSIX", "1"))
    }
    assert len(outputs) == 1
    assert "kernal_size" in outputs.pop()


def test_colour(small: Path) -> None:
    (small / "small.yaml").write_text(broken())
    assert "\x1b[" not in run("check", "small.yaml").stderr, "not a terminal"
    assert "\x1b[" in run("check", "small.yaml", "--color", "always").stderr
    assert "\x1b[" in run("check", "small.yaml", "--color", "always", NO_COLOR="1").stderr
    assert "\x1b[" not in run("check", "small.yaml", "--color", "never").stderr


@pytest.mark.skipif(not shutil.which("script"), reason="needs script(1) for a terminal")
@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_on_a_terminal(small: Path, env: dict[str, str], coloured: bool) -> None:
    (small / "small.yaml").write_text(broken())
    base = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} -m segc check small.yaml", "/dev/null"],
        capture_output=True,
        text=True,
        cwd=small,
        env={**base, "PYTHONPATH": str(ROOT), "TERM": "xterm", **env},
    )
    assert ("\x1b[" in done.stdout) is coloured


def test_check_imports_only_what_it_needs() -> None:
    program = f"""
import sys
from segc.cli import main
status = main(["check", {UNET!r}])
heavy = {{"torch", "numpy", "jsonschema", "networkx", "jinja2", "graphviz", "rich", "difflib"}}
others = {{"segc.emit", "segc.draw", "segc.diff", "segc.schema", "segc.publish", "segc.catalogue",
          "segc.build", "segc.summary", "segc.manual"}}
found = sorted((heavy | others) & set(sys.modules))
print("loaded:", found, file=sys.stderr)
sys.exit(status or bool(found))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# --- specs on the command line --------------------------------------------------------------------
def test_directories_stand_for_their_specs(small: Path) -> None:
    (small / "d").mkdir()
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (small / "d" / name).write_text(SMALL)
    assert expand(["x.yaml", "d/"]) == ["x.yaml", "d/a.yaml", "d/b.yaml"]
    (small / "empty").mkdir()
    with pytest.raises(UsageError):
        expand(["empty"])


def test_the_name_of_a_network_on_disk(small: Path) -> None:
    assert stem("specs/unet.yaml") == "unet"
    assert stem("HEAD~1:specs/unet.yaml") == "unet"
    (small / "a:b.yaml").write_text(SMALL)
    assert stem("a:b.yaml") == "a:b"


def test_standard_input_and_git_revisions(small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "segc", "check", "-"],
        input=SMALL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.startswith("ok -: Small, 130 parameters")
    git(small, "init", "-q")
    git(small, "add", ".")
    git(small, "commit", "-qm", "one")
    (small / "small.yaml").write_text(SMALL.replace("width: 4", "width: 8"))
    assert "Small, 130 parameters" in run("check", "HEAD:small.yaml", cwd=small).stdout
    done = run("diff", "small.yaml", "--against", "HEAD", cwd=small)
    assert "parameter width 4 -> 8" in done.stdout
    assert run("check", "HEAD:gone.yaml", cwd=small).returncode == 1


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)
