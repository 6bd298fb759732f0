"""The verbs of the command line, one by one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cli_kit
import pytest
from cli_kit import ROOT, SMALL, SMALL_PARAMS, broken

from segc.cli import main
from segc.cli.verbs import VERBS

small = cli_kit.small  # the fixture


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
        given = "\n".join(
            f"  {n}: identity" for n in dict.fromkeys(names) if n not in ("out", "image")
        )
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
