"""The command line: verbs, exit statuses, streams, and what a user sees when things go wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segc.cli import frame, main
from segc.cli.common import expand, stem
from segc.cli.parser import UsageError
from segc.cli.verbs import LATER, VERBS

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
        (["weights", "map"], "not in this version"),
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


# --- check ----------------------------------------------------------------------------------------
def test_check_says_what_is_proved(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "small.yaml"]) == 0
    assert capsys.readouterr().out == (
        f"ok small.yaml: Small, {SMALL_PARAMS} parameters, H % 2 == 0, W % 2 == 0\n"
    )
    assert main(["check", "-v", "small.yaml", "--set", "width=8"]) == 0
    out = capsys.readouterr().out
    assert "H = 2k" in out
    assert "small.yaml:12:" in out, "the layer that asks for it"
    assert main(["check", "-q", "small.yaml"]) == 0
    assert capsys.readouterr() == ("", "")


def test_check_goes_on_after_a_bad_spec(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "bad.yaml").write_text(broken())
    assert main(["check", "bad.yaml", "gone.yaml", "small.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("ok small.yaml")
    assert "bad.yaml:9:" in captured.err
    assert "did you mean `kernel_size`?" in captured.err
    assert "gone.yaml" in captured.err


def test_check_json_is_the_contract(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "small.yaml", "--input", "image=1x3x8x8"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert list(found) == [
        "format_version",
        "ok",
        "model",
        "spec",
        "inputs",
        "outputs",
        "constraints",
        "layers",
        "totals",
        "diagnostics",
    ]
    assert (found["format_version"], found["ok"], found["model"]) == (1, True, "Small")
    assert found["inputs"] == {"image": ["N", 3, "H", "W"]}
    assert found["outputs"] == {"logits": ["N", 2, "H", "W"]}
    assert found["constraints"] == ["H % 2 == 0", "W % 2 == 0"]
    assert found["layers"][1] == {
        "name": "pool1",
        "op": "max_pool2d",
        "inputs": ["conv1"],
        "shape": ["N", 4, "H / 2", "W / 2"],
        "outputs": {"out": ["N", 4, "H / 2", "W / 2"]},
        "params": 0,
        "trainable": 0,
        "file": "small.yaml",
        "line": 10,
        "column": 3,
        "size": [1, 4, 4, 4],
        "macs": 0,
        "activation_bytes": 4 * 4 * 4 * 4,
        "receptive_field": [4, 4],
        "stride": [2, 2],
    }
    macs = 8 * 8 * (4 * 3 * 9 + 2 * 8)
    assert found["totals"]["layers"] == 5
    assert (found["totals"]["params"], found["totals"]["macs"]) == (SMALL_PARAMS, macs)
    assert {"activation_bytes", "peak_bytes", "trainable"} <= found["totals"].keys()


def test_check_json_of_faults_and_of_many(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "bad.yaml").write_text(broken())
    assert main(["check", "--format", "json", "bad.yaml", "small.yaml"]) == 1
    captured = capsys.readouterr()
    bad, good = json.loads(captured.out)
    assert (bad["ok"], good["ok"], captured.err) == (False, True, "")
    first = bad["diagnostics"][0]
    assert (first["code"], first["file"], first["line"]) == ("SEG102", "bad.yaml", 9)
    assert {"severity", "message", "hint", "column", "end_column"} <= first.keys()
    assert main(["check", "--json", "small.yaml", "--input", "image=1x3x9x9"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["diagnostics"][0]["code"] == "SEG213"
    assert "macs" not in found["totals"]


def test_check_for_github_and_sarif(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (small / "bad.yaml").write_text(broken())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["check", "bad.yaml"]) == 1
    assert capsys.readouterr().out.startswith("::error file=bad.yaml,line=9,")
    assert main(["check", "bad.yaml", "--format", "text"]) == 1
    assert "::error" not in capsys.readouterr().out
    assert main(["check", "bad.yaml", "--format", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    assert (log["version"], log["runs"][0]["results"][0]["ruleId"]) == ("2.1.0", "SEG102")


# --- summary --------------------------------------------------------------------------------------
def test_summary_in_every_format(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["summary", "small.yaml", "--input", "image=1x3x8x8"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert f"5 layers, {SMALL_PARAMS} parameters" in text
    assert "accepts H % 2 == 0, W % 2 == 0" in text
    assert main([*words, "--format", "md"]) == 0
    assert "| pool1 | max_pool2d | 4x4x4 |" in capsys.readouterr().out
    assert main([*words, "--format", "csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "layer,op,size,params,MACs,MiB,field,stride"
    assert rows[1] == f"conv1,conv2d,1x4x8x8,112,{64 * 108},1024,3,1"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["macs"] == 64 * 124


@pytest.mark.parametrize(
    ("budget", "status"),
    [
        (f"params<={SMALL_PARAMS}", 0),
        (f"params<{SMALL_PARAMS}", 1),
        ("params<0.13K,layers<99", 1),
        ("params<0.131K , macs < 8K", 0),
        ("macs<=7.936K", 0),
        ("macs<7.936K", 1),
        ("peak_bytes<1Ki", 1),
    ],
)
def test_budgets(small: Path, capsys: pytest.CaptureFixture[str], budget: str, status: int) -> None:
    words = ["summary", "small.yaml", "--input", "image=1x3x8x8", "--budget", budget]
    assert main(words) == status
    assert ("over budget" in capsys.readouterr().err) is bool(status)
    assert main([*words, "--json"]) == status
    codes = [d["code"] for d in json.loads(capsys.readouterr().out)["diagnostics"]]
    assert codes == ["SEG087"] * status


# --- build ----------------------------------------------------------------------------------------
def test_build_writes_compares_and_protects(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small / "generated" / "small"
    assert main(["build", "small.yaml", "--check"]) == 1
    assert "model.py missing" in capsys.readouterr().err
    assert not out.exists(), "--check writes nothing"
    assert main(["build", "small.yaml"]) == 0
    assert {"model.py", "train.py", "report.md"} <= {p.name for p in out.iterdir()}
    compile((out / "model.py").read_text(), "model.py", "exec")
    assert main(["build", "small.yaml", "--check"]) == 0
    capsys.readouterr()
    (out / "model.py").write_text("edited\n")
    assert main(["build", "small.yaml", "--check"]) == 1
    assert "model.py differs" in capsys.readouterr().err
    assert main(["build", "small.yaml"]) == 1
    assert "edited since" in capsys.readouterr().err
    assert (out / "model.py").read_text() == "edited\n"
    assert main(["build", "small.yaml", "--force", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["changed"], found["directory"]) == (True, True, "generated/small")
    assert main(["build", "small.yaml", "--check"]) == 0


def test_a_bad_spec_changes_nothing_and_stops_no_other(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "bad.yaml").write_text(broken())
    assert main(["build", "bad.yaml", "small.yaml", "-o", "out"]) == 1
    assert sorted(p.name for p in (small / "out").iterdir()) == ["small"]
    err = capsys.readouterr().err
    assert "kernal_size: 3" in err, "the line is quoted"
    assert "[2/2] small.yaml" in err


# --- the other verbs ------------------------------------------------------------------------------
def test_new_starts_a_sound_formatted_spec(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "my_net"]) == 0
    text = (small / "my_net.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=segc.schema.json\n")
    assert "model: MyNet\n" in text
    assert json.loads((small / "segc.schema.json").read_text())["title"] == "segc spec"
    assert main(["check", "my_net.yaml"]) == 0
    assert main(["fmt", "--check", "my_net.yaml"]) == 0
    assert main(["new", "my_net"]) == 1
    assert (small / "my_net.yaml").read_text() == text
    assert main(["new", "other", "--like", "unett"]) == 1
    assert "did you mean `unet`?" in capsys.readouterr().err


@pytest.mark.parametrize("like", [p.stem for p in sorted((ROOT / "specs").glob("*.yaml"))])
def test_new_like_every_network_is_sound(
    small: Path, like: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "sub/mine", "--like", like]) == 0
    assert main(["check", "sub/mine.yaml"]) == 0
    assert "ok sub/mine.yaml: Mine, " in capsys.readouterr().out


def test_fmt(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small / "small.yaml"
    assert main(["fmt", "--check", "small.yaml"]) == 0
    path.write_text(SMALL.replace("width: 4", "width:   4"))
    before = path.read_bytes()
    assert main(["fmt", "--check", "small.yaml"]) == 1
    assert "small.yaml:3:1: error SEG085" in capsys.readouterr().err
    assert main(["fmt", "--diff", "small.yaml"]) == 1
    assert "\n+params: {width: 4}\n" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert main(["fmt", "small.yaml"]) == 0
    assert path.read_text() == SMALL
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert main(["fmt", "small.yaml"]) == 0
    assert path.read_bytes() == SMALL.encode()
    path.write_text("a: [1\n")
    assert main(["fmt", "small.yaml"]) == 1
    assert path.read_text() == "a: [1\n"


def test_fmt_keeps_modes_and_follows_links(small: Path) -> None:
    path = small / "small.yaml"
    path.write_text(SMALL.replace("width: 4", "width:   4"))
    path.chmod(0o640)
    (small / "link.yaml").symlink_to("small.yaml")
    assert main(["fmt", "link.yaml"]) == 0
    assert (small / "link.yaml").is_symlink()
    assert path.read_text() == SMALL
    assert path.stat().st_mode & 0o777 == 0o640


def test_explain_has_a_page_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    from segc import manual

    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    for name in manual.names():
        assert name in listed
        page = manual.page(name)
        assert page is not None
        assert len(page.splitlines()) > 2, name
        assert all(len(line) <= 100 for line in page.splitlines()), name
    assert main(["explain", "conv2d", "seg080"]) == 0
    out = capsys.readouterr().out
    assert "out_channels" in out
    assert "SEG080" in out


def test_examples_of_the_manual_are_sound_layers() -> None:
    """Each operator's example line, with something to read, is accepted by the reader."""
    from segc import manual
    from segc.diag import Report
    from segc.op import REGISTRY
    from segc.read import read
    from segc.source import Source

    for cls in REGISTRY.values():
        line = manual.example_line(cls)
        names = ("x", "a", "b", "c", "map", "indices", *(o.lstrip("*") for o in cls.operands))
        given = "\n".join(f"  {n}: identity" for n in dict.fromkeys(names) if n != "out")
        text = (
            "segc: 1\nmodel: M\ninputs:\n  image: [N, 8, H, W]\n"
            f"layers:\n{given}\n  {line}\noutputs: {{out: out}}\n"
        )
        report = Report()
        read(Source.from_text(text, "spec.yaml"), {}, report)
        assert not report.failed, (line, [d.message for d in report.diagnostics])


def test_draw_by_suffix(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "small.yaml"]) == 0
    assert capsys.readouterr().out.startswith("<svg ")
    for suffix, start in (("svg", b"<svg "), ("dot", b"digraph"), ("pdf", b"%PDF"), ("html", b"<")):
        assert main(["draw", "small.yaml", "-o", f"x.{suffix}"]) == 0
        assert (small / f"x.{suffix}").read_bytes().lstrip().startswith(start)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse_and_know_the_options(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "exit-code" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_bash_completes_verbs_options_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{w}'" for w in words)
        program = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _segc"
        program += '; printf "%s\\n" "${COMPREPLY[@]}"'
        return set(subprocess.check_output(["bash", "-c", program], text=True).split())

    assert complete("segc", "sum") == {"summary"}
    assert complete("segc", "diff", "--ex") == {"--exit-code"}
    assert complete("segc", "check", "--format", "s") == {"sarif"}
    assert "conv2d" in complete("segc", "explain", "conv")


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
