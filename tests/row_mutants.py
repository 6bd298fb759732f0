"""Networks that find objects with a few things wrong with them: seeded mutations that speak of
rows, levels and phases, and what runs of those that `check` lets pass."""

from __future__ import annotations

import copy
import random
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from spec_kit import check

from segc.check import Checked
from segc.diag import Diagnostic
from segc.ir import Ref
from segc.op import REGISTRY

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs"
CLASSES = ("{}", "{} + 1", "{} - 1", "2 * {}", "4")
Layer = dict[str, Any]
Layers = dict[str, Any]


@cache
def _file(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    blocks: dict[str, Any] = {}
    for library in () if "extends" in spec else spec.pop("use", ()):
        used = _file((path.parent / library).resolve())
        blocks |= used.get("blocks", {})
        if "weights" in used:
            spec["weights"] = {**used["weights"], **spec.get("weights", {})}
    if blocks or "blocks" in spec:
        spec["blocks"] = {**blocks, **spec.get("blocks", {})}
    return spec


def small() -> dict[str, dict[str, Any]]:
    """Networks small enough to run in great numbers."""
    return {path.stem: _file(path) for path in sorted((HERE / "detectors").glob("*.yaml"))}


def large() -> dict[str, dict[str, Any]]:
    """Specs of the zoo that read ground truth; those that extend another one name it."""
    found = {}
    for path in sorted(SPECS.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if "type: boxes" in text or "extends: " in text and "rcnn" in path.stem:
            found[path.stem] = _file(path)
    return found


def written(spec: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(spec), sort_keys=False, default_flow_style=None, width=10**6)


class Mutator:
    """Draws mutations from one seeded generator, so that a mutant can be made again."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.done: list[str] = []

    def mutate(self, spec: dict[str, Any], times: int) -> dict[str, Any]:
        spec = copy.deepcopy(spec)
        self.lists = list(_lists(spec))
        while times:
            action = self.random.choice(ACTIONS)
            if getattr(self, action)(spec):
                self.done.append(action)
                times -= 1
        return spec

    # --- what there is ------------------------------------------------------------------------
    def one(self, wanted: Any) -> tuple[Layers, str, Layer] | None:
        """A layer that `wanted` holds for, with its list and its name."""
        found = [
            (layers, name, layer)
            for layers in self.lists
            for name, layer in layers.items()
            if isinstance(layer, dict) and wanted(layer)
        ]
        return self.random.choice(found) if found else None

    def names(self, layers: Layers, before: str | None = None) -> list[str]:
        """What a layer of this list may read: above it, or outside; with ports and levels."""
        found = list(self.inputs)
        for names in (self.outer, layers):
            for name, layer in names.items():
                if names is layers and name == before:
                    break
                found.append(name)
                if not isinstance(layer, dict):
                    continue
                op = REGISTRY.get(layer.get("op", ""))
                ports = {"anchors": ("level",), "sample": ("positive",), "priors": ("level",),
                         "class_boxes": ("scores", "labels"), "candidates": ("scores", "labels"),
                         "append_rows": ("order",), "hard_negatives": ("positive",)}  # fmt: skip
                if op is not None:
                    found += [f"{name}.{port}" for port in ports.get(op.name, ())]
                found += [f"{name}.{level}" for level in layer.get("levels") or {}]
                found += [f"{name}.{inner}" for inner in layer.get("layers") or {}]
        return found

    def read(self, layers: Layers, name: str) -> str:
        return str(self.random.choice(self.names(layers, name)))

    @property
    def inputs(self) -> list[str]:
        return self._inputs

    @property
    def outer(self) -> Layers:
        return self.lists[0]

    # --- mutations ----------------------------------------------------------------------------
    def operand(self, spec: Any) -> bool:
        """One operand is another value."""
        self._inputs = list(spec.get("inputs") or {})
        found = self.one(lambda x: "from" in x)
        if found is None:
            return False
        layers, name, layer = found
        if isinstance(layer["from"], list):
            layer["from"][self.random.randrange(len(layer["from"]))] = self.read(layers, name)
        else:
            layer["from"] = self.read(layers, name)
        return True

    def sibling(self, spec: Any) -> bool:
        """One operand is what another layer of the list reads, most likely of another row set."""
        found = self.one(lambda x: isinstance(x.get("from"), list))
        if found is None:
            return False
        layers, _, layer = found
        others = [
            ref
            for x in layers.values()
            if isinstance(x, dict)
            for ref in (x["from"] if isinstance(x.get("from"), list) else [])
        ]
        layer["from"][self.random.randrange(len(layer["from"]))] = self.random.choice(others)
        return True

    def exchanged(self, spec: Any) -> bool:
        """Two operands change places; those of `phase` too."""
        phase = self.random.random() < 0.3
        found = self.one(
            lambda x: (
                isinstance(x.get("from"), list)
                and len(x["from"]) > 1
                and (not phase or x.get("op") == "phase")
            )
        )
        if found is None:
            return False
        refs = found[2]["from"]
        i, j = self.random.sample(range(len(refs)), 2)
        refs[i], refs[j] = refs[j], refs[i]
        return True

    def level(self, spec: Any) -> bool:
        """A level is dropped, renamed, moved, or another value."""
        found = self.one(lambda x: isinstance(x.get("levels"), dict) and x["levels"])
        if found is None:
            return False
        layers, name, layer = found
        levels = layer["levels"]
        key = self.random.choice(list(levels))
        entries = list(levels.items())
        how = self.random.choice(("drop", "rename", "shuffle", "other", "twice"))
        if how == "drop":
            del levels[key]
        elif how == "rename":
            new = self.random.choice(("p2", "p3", "p4", "p7", "x", "image"))
            layer["levels"] = {(new if k == key else k): v for k, v in entries}
        elif how == "shuffle":
            self.random.shuffle(entries)
            layer["levels"] = dict(entries)
        elif how == "other":
            self._inputs = list(spec.get("inputs") or {})
            levels[key] = self.read(layers, name)
        else:
            levels["p9"] = levels[key]
        return True

    def level_name(self, spec: Any) -> bool:
        """A reference to a level is to another one, or to the pyramid."""
        found = self.one(lambda x: ".p" in str(x.get("from")))
        if found is None:
            return False
        layer = found[2]
        new = self.random.choice((".p2", ".p3", ".p4", ".p5", ""))
        text = str(layer["from"]) if not isinstance(layer["from"], list) else None
        if text is not None:
            layer["from"] = re.sub(r"\.p\d", new, text)
        else:
            layer["from"] = [re.sub(r"\.p\d", new, str(r)) for r in layer["from"]]
        return True

    def mapped(self, spec: Any) -> bool:
        """`each` and `share` exchanged, dropped, added."""
        how = self.random.random()
        found = self.one(lambda x: (how < 0.2 and "op" in x) or "each" in x or "share" in x)
        if found is None:
            return False
        layer = found[2]
        held = layer.pop("each", None), layer.pop("share", None)
        if held == (None, None) or how < 0.7:
            layer["each" if held[1] else "share"] = "level"
        return True

    def phase(self, spec: Any) -> bool:
        """`only` changed, dropped, added."""
        some = self.random.random() < 0.6
        found = self.one(lambda x: "only" in x or not some)
        if found is None:
            return False
        layer = found[2]
        new = self.random.choice(("train", "test", None))
        layer.pop("only", None)
        if new:
            layer["only"] = new
        return True

    def given(self, spec: Any) -> bool:
        """An input is of another phase, type or form."""
        inputs = spec.get("inputs") or {}
        found = [x for x in inputs.values() if isinstance(x, dict)]
        if not found:
            return False
        declared = self.random.choice(found)
        key = self.random.choice(("only", "type", "legacy", "shape"))
        if key == "only":
            declared.pop("only", None)
        elif key == "type":
            declared["type"] = self.random.choice(("boxes", "labels", "masks", "sizes", "tensor"))
        elif key == "legacy":
            declared["legacy"] = not declared.get("legacy", False)
        else:
            declared["shape"] = copy.deepcopy(self.random.choice(found)["shape"])
        return True

    def ungathered(self, spec: Any) -> bool:
        """Who reads gathered rows reads what they were gathered from."""
        found = self.one(lambda x: x.get("op") == "gather" and isinstance(x.get("from"), list))
        if found is None:
            return False
        layers, name, layer = found
        new = layer["from"][-1]
        for other in layers.values():
            if isinstance(other, dict) and isinstance(other.get("from"), list):
                other["from"] = [new if r == name else r for r in other["from"]]
        return True

    def dropped(self, spec: Any) -> bool:
        """A layer is gone; who read it reads what it read first."""
        found = self.one(lambda x: "from" in x and "op" in x)
        if found is None:
            return False
        layers, name, layer = found
        refs = layer["from"]
        new = refs[0] if isinstance(refs, list) else refs
        del layers[name]
        for other in layers.values():
            if isinstance(other, dict) and "from" in other:
                own = other["from"]
                if isinstance(own, list):
                    other["from"] = [new if r == name else r for r in own]
                elif own == name:
                    other["from"] = new
        return True

    def number(self, spec: Any) -> bool:
        """A number, or one of a list, or how many there are, is another."""
        found = self.one(lambda x: any(_numeric(v) for k, v in x.items() if k != "from"))
        if found is None:
            return False
        layer = found[2]
        key = self.random.choice([k for k, v in layer.items() if k != "from" and _numeric(v)])
        value = layer[key]
        if isinstance(value, dict):
            value = {k: max(1, v + self.random.choice((-1, 1, 5))) if type(v) is int else v
                     for k, v in value.items()}  # fmt: skip
        elif isinstance(value, list):
            at = self.random.randrange(len(value) or 1)
            how = self.random.choice(("drop", "add", "scale"))
            if how == "drop":
                value = value[:at] + value[at + 1 :]
            elif how == "add":
                value = [*value, (value or [1])[-1]]
            else:
                value = [2 * v if n == at else v for n, v in enumerate(value)]
        elif isinstance(value, bool):
            value = not value
        elif isinstance(value, int):
            value += self.random.choice((-1, 1, 2, value))
        else:
            value = round(value * self.random.choice((0.5, 2.0, 10.0)), 6)
        layer[key] = value
        return True

    def classes(self, spec: Any) -> bool:
        """The number of classes is another one in one place."""
        found = self.one(lambda x: any("classes" in str(v) for k, v in x.items() if k != "from"))
        if found is None:
            return False
        layer = found[2]
        key = self.random.choice([k for k, v in layer.items() if "classes" in str(v)])
        new = self.random.choice(CLASSES).format("classes")
        if isinstance(layer[key], list):
            layer[key] = [new if v == "classes" else v for v in layer[key]]
        elif isinstance(layer[key], str):
            layer[key] = layer[key].replace("classes", f"({new})")
        return True

    def attribute(self, spec: Any) -> bool:
        """An attribute is dropped, or one is added."""
        found = self.one(lambda x: x.get("op") in REGISTRY)
        if found is None:
            return False
        layers, name, layer = found
        attrs = REGISTRY[layer["op"]].attrs
        present = [k for k in layer if k in attrs]
        if present and self.random.random() < 0.3:
            del layer[self.random.choice(present)]
            return True
        if not attrs:
            return False
        a = attrs[self.random.choice(sorted(attrs))]
        self._inputs = list(spec.get("inputs") or {})
        layer[a.name] = self.value(a, layers, name)
        return True

    def value(self, a: Any, layers: Layers, name: str) -> Any:
        """A value an attribute may have."""
        number = self.random.choice((1, 2, 3, 4, 8))
        by_kind: dict[str, Any] = {
            "int": number, "float": self.random.choice((0.0, 0.3, 0.7, 1.0, 4)),
            "bool": self.random.random() < 0.5, "Pair": number, "Padding": number, "Quad": number,
            "Ints": [4, 8, 16][:number], "Floats": [1.0, 2.0, 4.0, 8.0][:number], "Scale": number,
            "PhaseInt": {"train": number, "test": number + 1},
        }  # fmt: skip
        if a.kind == "Operand":
            return self.read(layers, name)
        if a.choices:
            return self.random.choice(a.choices)
        return by_kind.get(a.kind, "x")

    def operator(self, spec: Any) -> bool:
        """A layer has another operator of rows, with as many operands."""
        found = self.one(lambda x: x.get("op") in REGISTRY and "from" in x)
        if found is None:
            return False
        layers, name, layer = found
        count = len(layer["from"]) if isinstance(layer["from"], list) else 1
        others = [
            n for n, cls in sorted(REGISTRY.items()) if cls.rowed and len(cls.operands) == count
        ]
        new = self.random.choice(others)
        self._inputs = list(spec.get("inputs") or {})
        layer["op"] = new
        attrs = REGISTRY[new].attrs
        for key in [k for k in layer if k not in ("op", "from", "only", "each", "share", "when")]:
            if key not in attrs:
                del layer[key]
        for a in attrs.values():
            if a.required and a.name not in layer:
                layer[a.name] = self.value(a, layers, name)
        return True

    def inserted(self, spec: Any) -> bool:
        """One more layer at the end of a list, with an operator of rows, read by an output."""
        self._inputs = list(spec.get("inputs") or {})
        layers = self.outer
        cls = REGISTRY[self.random.choice(sorted(n for n, c in REGISTRY.items() if c.rowed))]
        count = len(cls.operands) + (cls.operands[-1].startswith("*") and self.random.randrange(2))
        layer: Layer = {"op": cls.name, "from": [self.read(layers, "") for _ in range(count)]}
        if self.random.random() < 0.6:
            layer["only"] = self.random.choice(("train", "test"))
        for a in cls.attrs.values():
            if a.required or self.random.random() < 0.2:
                layer[a.name] = self.value(a, layers, "")
        layers[f"added{len(layers)}"] = layer
        return True


ACTIONS = (
    "operand", "operand", "sibling", "sibling", "sibling", "exchanged", "level", "level_name",
    "mapped", "phase", "phase", "given", "ungathered", "dropped", "number", "number", "classes",
    "attribute", "attribute", "operator", "inserted", "inserted", "inserted",
)  # fmt: skip


def _numeric(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(_numeric(v) for v in value.values())
    if isinstance(value, list):
        return all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (int, float))


def _lists(spec: Any) -> Iterator[Layers]:
    """The lists of layers of a spec, the outermost first."""
    tops = [spec.get("layers") or {}, *(b["layers"] for b in (spec.get("blocks") or {}).values())]
    for layers in tops:
        yield layers
        queue = list(layers.values())
        for layer in queue:
            if isinstance(layer, dict) and isinstance(layer.get("layers"), dict):
                yield layer["layers"]
                queue += layer["layers"].values()


# --- what passes ------------------------------------------------------------------------------
UNREAD = re.compile(r"nothing reads (?:the input )?`(.+)`")


def judged(
    spec: dict[str, Any], file: str = "net.yaml"
) -> tuple[str, Checked | None, list[Diagnostic]]:
    """The verdict on a mutant; values that nothing reads any more become outputs of it."""
    for _n in range(4):
        text = written(spec)
        checked, found = check(text, file=file)
        unread = [m[1] for d in found if d.code == "SEG304" and (m := UNREAD.match(d.message))]
        if not unread or any(d.code != "SEG304" for d in found):
            break
        for name in unread:
            spec["outputs"][f"left{len(spec['outputs'])}"] = name
    return text, checked, found


def run(text: str, checked: Checked) -> str | None:
    """What goes wrong when an accepted mutant is emitted, built and run; None if nothing does."""
    import torch

    from segc.analyse import shapes
    from segc.build import Maker
    from segc.drawn import settled
    from segc.emit.module import instrumented_source, model_source
    from segc.source import Source
    from segc.verify import _compare, make_inputs, network

    make = Maker(Source.from_text(text, "net.yaml"), {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network(model_source(make), "plain")
        model = network(instrumented_source(make), "tapped", "cpu")
    for env in environments(checked):
        given = make_inputs(checked, env, "cpu")
        for training in (True, False):
            model.train(training)
            torch.manual_seed(0)
            result = model(**given)
            if training:
                trained = [v for v in result.values() if v.requires_grad and v.dim() == 0]
                if trained:
                    sum(trained).backward()
            fault = _compare(model.taps, shapes(settled(checked, model.taps), env))
            if fault:
                return f"training={training}, {env}: {fault}"
            for name, ref in checked.graph.outputs.items():
                phase = checked.graph.output_only.get(name)
                there = phase in (None, "train" if training else "test")
                if there != (name in result):
                    return f"output {name} of {ref} in training={training}"
                if there and result[name] is None:
                    return f"output {name} is None in training={training}"
    return None


def environments(checked: Checked) -> list[dict[str, int]]:
    """Sizes to run at: a small image, an odd one, one without objects."""
    found = []
    for height, width, objects in ((64, 96, 3), (61, 45, 4)):
        env: dict[str, int] = {}
        for n, declared in enumerate(checked.graph.inputs.values()):
            wanted = (2, 3, height, width) if n == 0 else (objects, 17, 17, 17)
            for d, size in zip(declared.shape, wanted, strict=False):
                if isinstance(d, str) and d not in env:
                    near = [v for v in checked.domain.nearest(d, size) if v is not None]
                    env[d] = near[-1] if near else size
        if checked.domain.contains(env):
            found.append(env)
    return found


def outputs_of(checked: Checked) -> list[Ref]:
    return list(checked.graph.outputs.values())
