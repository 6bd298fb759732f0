"""Specs with a few things wrong with them: seeded, structural mutations of sound ones."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import yaml

SPECS = Path(__file__).parent.parent / "specs"
JUNK: tuple[Any, ...] = (
    True, False, None, 0, 1, -1, 2, 3, 7, 64, 10**9, 2**52, 1.0, 0.5, -0.5, "3", "", "x", "image",
    "H", "same", "relu", "conv2d", "width", "4 * width", "2 * nobody", "9**9**9", "1 // 0", "i",
    "i == 0", "true", "$mode", "$width", "pool1.indices", "pool1.input", "enc1.conv1", "train",
    [], [3], [1, 2], [1, 2, 3, 4], ["x", "y"], [[1]], {}, {"a": 1}, {"op": "relu"},
    "a.b.c", "..", "(" * 40, "1 if 0 else 2", "min()", "max(1, 2)", "[1, 2]", "[1, 2][5]",
)  # fmt: skip
LAYER_KEYS = ("repeat", "when", "only", "from", "freeze", "init", "use", "op", "block", "layers")

Path_ = list[tuple[Any, Any]]  # containers on the way, each with the key or index taken


class Mutator:
    """Draws mutations from one seeded generator, so a failing mutant can be made again."""

    def __init__(self, seed: int, operators: list[str]) -> None:
        self.random = random.Random(seed)
        self.operators = operators

    def mutate(self, spec: dict[str, Any], times: int) -> str:
        """The YAML text of the spec after some mutations."""
        spec = copy.deepcopy(spec)
        for _ in range(times):
            places = _places(spec)
            if not places:
                break
            container, key = self.random.choice(places)
            action = self.random.choice(ACTIONS)
            getattr(self, action)(spec, container, key)
        return yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=10**6)

    def drop(self, spec: Any, container: Any, key: Any) -> None:
        del container[key]

    def junk(self, spec: Any, container: Any, key: Any) -> None:
        container[key] = copy.deepcopy(self.random.choice(JUNK))

    def number(self, spec: Any, container: Any, key: Any) -> None:
        if isinstance(container[key], int):
            container[key] = container[key] + self.random.choice((-1, 1, 2, 5))

    def rename(self, spec: Any, container: Any, key: Any) -> None:
        if isinstance(container, dict):
            name = self._typo(str(key))
            entries = [(name if k == key else k, v) for k, v in container.items()]
            container.clear()
            container.update(entries)

    def misspell(self, spec: Any, container: Any, key: Any) -> None:
        if isinstance(container[key], str):
            container[key] = self._typo(container[key])

    def reorder(self, spec: Any, container: Any, key: Any) -> None:
        if isinstance(container, dict):
            entries = list(container.items())
            self.random.shuffle(entries)
            container.clear()
            container.update(entries)
        else:
            self.random.shuffle(container)

    def exchange(self, spec: Any, container: Any, key: Any) -> None:
        other, place = self.random.choice(_places(spec))
        mine, theirs = copy.deepcopy(container[key]), copy.deepcopy(other[place])
        container[key] = theirs
        other[place] = mine

    def operator(self, spec: Any, container: Any, key: Any) -> None:
        layer = self._layer(spec)
        if layer is not None:
            layer["op"] = self.random.choice(self.operators)

    def rewire(self, spec: Any, container: Any, key: Any) -> None:
        layer, names = self._layer(spec), list(spec.get("layers") or {})
        if layer is not None and names:
            count = self.random.choice((1, 1, 2, 3))
            found = [str(self.random.choice(names)) for _ in range(count)]
            layer["from"] = found[0] if count == 1 else found

    def key(self, spec: Any, container: Any, key: Any) -> None:
        layer = self._layer(spec)
        if layer is not None:
            word = self.random.choice(LAYER_KEYS)
            layer[word] = copy.deepcopy(self.random.choice(JUNK))

    def repeat(self, spec: Any, container: Any, key: Any) -> None:
        layer = self._layer(spec)
        if layer is not None:
            layer["repeat"] = self.random.choice((1, 2, 3, 30))

    def absent(self, spec: Any, container: Any, key: Any) -> None:
        layer = self._layer(spec)
        if layer is not None:
            layer["when"] = False

    def _layer(self, spec: Any) -> dict[str, Any] | None:
        blocks = spec.get("blocks")
        lists = [spec.get("layers")]
        lists += [b.get("layers") for b in (blocks.values() if isinstance(blocks, dict) else ())
                  if isinstance(b, dict)]  # fmt: skip
        layers = [v for layers in lists if isinstance(layers, dict) for v in layers.values()]
        found = [layer for layer in layers if isinstance(layer, dict)]
        return self.random.choice(found) if found else None

    def _typo(self, word: str) -> str:
        at = self.random.randrange(len(word) + 1)
        return self.random.choice((
            word[:at] + word[at + 1 :],
            word[:at] + self.random.choice("abxyz_19.-") + word[at:],
            word[:at][::-1] + word[at:],
            word.upper(),
        ))  # fmt: skip


ACTIONS = (
    "drop", "junk", "junk", "number", "number", "rename", "misspell", "reorder", "exchange",
    "operator", "operator", "rewire", "rewire", "key", "repeat", "absent",
)  # fmt: skip


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    found: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                stack.append(node[key])
    return found


NAMES = (
    "unet", "segnet", "segnet_basic", "fcn32s", "deeplab", "deconvnet", "encoder_decoder_nearest",
    "chairs_decoder", "lraspp_mobilenet_v3_large",
)  # fmt: skip


def sound() -> dict[str, dict[str, Any]]:
    """The specs to start from; the files it uses are written into a spec."""
    found = {}
    for name in NAMES:
        spec = yaml.safe_load((SPECS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert "extends" not in spec
        for library in spec.pop("use", ()):
            used = yaml.safe_load((SPECS / library).read_text(encoding="utf-8"))
            for key in ("blocks", "weights"):
                if key in used:
                    spec[key] = {**used[key], **spec.get(key, {})}
        found[name] = spec
    return found
