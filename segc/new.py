"""A spec to start from: `segc new`."""

from __future__ import annotations

import json
import os
import posixpath
import re
from pathlib import Path

from segc.diag import Diagnostic, Fail, did_you_mean

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
SCHEMA_FILE = "segc.schema.json"
_HEADER = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"

START = """\
segc: 1
model: {model}
title: {title}

params:
  classes: {{type: int, default: 2, min: 2, doc: classes to tell apart}}
  width: {{type: int, default: 32, min: 1, doc: channels of the first level}}

inputs:
  image: [N, 3, H, W]

blocks:
  conv_bn_relu:
    doc: A 3x3 convolution that keeps the size, batch norm, ReLU.
    params: {{out: int}}
    inputs: [x]
    layers:
      conv: {{op: conv2d, out_channels: out, kernel_size: 3, padding: 1, bias: false}}
      bn: batch_norm2d
      relu: relu

layers:
  enc1: {{block: conv_bn_relu, out: width}}
  pool1: {{op: max_pool2d, kernel_size: 2}}
  enc2: {{block: conv_bn_relu, out: 2 * width}}
  pool2: {{op: max_pool2d, kernel_size: 2}}
  bridge: {{block: conv_bn_relu, out: 4 * width}}
  up2: {{op: interpolate, like: enc2, mode: bilinear, align_corners: false}}
  join2: {{op: concat, from: [up2, enc2]}}
  dec2: {{block: conv_bn_relu, out: 2 * width}}
  up1: {{op: interpolate, like: enc1, mode: bilinear, align_corners: false}}
  join1: {{op: concat, from: [up1, enc1]}}
  dec1: {{block: conv_bn_relu, out: width}}
  logits: {{op: conv2d, out_channels: classes, kernel_size: 1}}

outputs: {{logits: logits}}

losses:
  seg: {{cross_entropy: logits, target: mask, ignore_index: 255}}

recipe:
  optimizer: {{sgd: {{lr: 0.05, momentum: 0.9, weight_decay: 1.0e-4}}}}
  schedule: {{poly: {{power: 0.9}}}}
  epochs: 50
  batch_size: 8
  augment: {{scale: [0.5, 2.0], flip: true}}
"""


def zoo() -> Path:
    """The directory of the networks that come with segc."""
    installed = Path(__file__).parent / "zoo"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "specs"


def known() -> list[str]:
    """The networks `--like` can start from."""
    return sorted(p.stem for p in zoo().glob("*.yaml"))


def write(folder: Path, name: str, like: str | None) -> list[Path]:
    """Write NAME.yaml, the editor's schema, and the block files it uses; the paths written.

    Raises Fail if NAME.yaml exists or `like` is not known. Block files and the schema that are
    there already stay as they are.
    """
    spec = folder / f"{name}.yaml"
    if os.path.lexists(spec):
        message = f"{spec.as_posix()} exists already"
        raise Fail(Diagnostic("SEG088", message, hint="choose another name, or remove it first"))
    text, blocks = _start(name) if like is None else _like(name, like)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {spec: text, **{folder / b: t for b, t in blocks.items()}}
    wanted[folder / SCHEMA_FILE] = _schema_text()
    written = [path for path in wanted if not os.path.lexists(path)]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(wanted[path])
    return written


def _schema_text() -> str:
    from segc.schema import schema

    return json.dumps(schema("7"), indent=1) + "\n"


def _start(name: str) -> tuple[str, dict[str, str]]:
    title = name.replace("_", " ")
    return _HEADER + START.format(model=class_name(name), title=title), {}


def class_name(name: str) -> str:
    """`my_net` -> `MyNet`; capitals stay."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _like(name: str, like: str) -> tuple[str, dict[str, str]]:
    """The text of a network of the zoo under another name, and the block files it uses."""
    path = zoo() / f"{like}.yaml"
    if like not in known():
        hint = did_you_mean(like, known()) or f"there are {', '.join(known())}"
        raise Fail(Diagnostic("SEG089", f"there is no network `{like}` to start from", hint=hint))
    text = path.read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("# yaml-language-server")]
    body = "\n".join(lines).lstrip("\n") + "\n"
    body = re.sub(r"(?m)^model: *\S+", f"model: {class_name(name)}", body, count=1)
    return _HEADER + body, _used(path.parent, text)


def _used(folder: Path, text: str) -> dict[str, str]:
    """The files a spec stands on, and those they stand on, by relative name."""
    found: dict[str, str] = {}
    waiting = [("", text)]
    while waiting:
        around, body = waiting.pop()
        for name in re.findall(r"[\w./-]+\.yaml", _stands_on(body)):
            path = posixpath.normpath(posixpath.join(around, name))  # from the file that names it
            if path not in found and (folder / path).is_file():
                found[path] = (folder / path).read_text("utf-8")
                waiting.append((posixpath.dirname(path), found[path]))
    return found


def _stands_on(text: str) -> str:
    """What `use`, `extends` and the stages of a recipe say."""
    sections = re.findall(r"(?m)^(?:use|extends):(.*(?:\n[ \t-].*)*)", text)
    return " ".join([*sections, *re.findall(r"\bnetwork: *([\w./-]+\.yaml)", text)])
