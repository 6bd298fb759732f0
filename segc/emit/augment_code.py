"""What a recipe's `augment` decides in train.py and sampling.py: constants, arguments, slots.

Only what the recipe uses is emitted. Images that are turned, moved or deformed go through one
warp (`warped`); where only scale, flip and crop are asked for, whole pixels are copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segc.emit.pieces import WIDTH, Code, call, number

Augment = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Knob:
    """One constant of train.py and the field of `Samples` that takes it."""

    field: str
    type: str
    value: str
    comment: str

    @property
    def name(self) -> str:
        return self.field.upper()


def knobs(augment: Augment) -> list[str]:
    """The lines of constants at the top of train.py."""
    return [_line(k) for k in _knobs(augment)]


def _line(knob: Knob) -> str:
    line = f"{knob.name} = {knob.value}  # {knob.comment}"
    if len(line) <= WIDTH or knob.value[0] not in "{(":
        return line
    opening, closing = knob.value[0], knob.value[-1]
    rows = "".join(f"    {item},\n" for item in knob.value[1:-1].split(", "))
    return f"{knob.name} = {opening}  # {knob.comment}\n{rows}{closing}"


def samples(augment: Augment, given: Sequence[str]) -> Code:
    """The line of main() that makes the training samples; `given` comes before what is random."""
    named = [f"{k.field}={k.name}" for k in _knobs(augment)]
    return Code(call("samples = Samples", ["train_set", *given, *named]).lstrip())


def inputs(augment: Augment, margin: int) -> list[str]:
    """What sampling.py takes from inputs.py."""
    names = ["IGNORE", "accepted_size", "to_input"]
    if margin:
        names += ["MARGIN"] if _warped(augment) else ["MARGIN", "mirror"]
    return names


def _warped(augment: Augment) -> bool:
    return any(augment.get(key) for key in ("rotate", "shift", "elastic"))


def slots(augment: Augment, channels: int, margin: int) -> dict[str, Any]:
    """What sampling.py.j2 prints or asks."""
    jitter = augment.get("color_jitter") or {}
    outside = bool(margin)  # the image goes on beyond its border
    asked = {
        "warped": _warped(augment),
        "rotate": augment.get("rotate"),
        "shift": augment.get("shift"),
        "elastic": augment.get("elastic"),
        "jitter": jitter,
        "hue": jitter.get("hue"),
        "colour_input": channels == 3,
        "blur": augment.get("blur"),
        "mirrored": augment.get("flip"),
        "turned": augment.get("quarter_turns"),
        "resized_crop": augment.get("resized_crop"),
        "resized": _resized(augment),
        "shorts": augment.get("shorts"),
        "expand": augment.get("expand"),
        "iou_crop": augment.get("iou_crop"),
        "rotated_some": _share(augment, "rotate") < 1,
        "blurred_some": _share(augment, "blur") < 1,
    }
    flags = {name: Code("yes" if value else "") for name, value in asked.items()}
    turn = "; the hue turns by at most `hue` of the circle" if jitter.get("hue") else ""
    return {
        **flags,
        "augment_fields": [Code(f"{k.field}: {k.type}  # {k.comment}") for k in _knobs(augment)],
        "new_size": Code(_new_size(augment)),
        "needs_math": Code("yes" if augment.get("rotate") or augment.get("blur") else ""),
        "hue_text": Code(turn),
        "inside": Code("" if outside else ", inside"),
        "tensor_inside": Code("" if outside else ", Tensor"),
    }


def _share(augment: Augment, key: str) -> float:
    return float((augment.get(key) or {}).get("probability", 1.0))


def _knobs(augment: Augment) -> list[Knob]:
    found: list[Knob] = []
    for make in (_size_knobs, _object_knobs, _window_knobs, _place_knobs, _colour_knobs):
        found += make(augment)
    return found


def _size_knobs(augment: Augment) -> list[Knob]:
    found = []
    sides = augment.get("resize") or []
    if len(sides) == 1:
        found.append(Knob("shorter_side", "int", str(sides[0]), "of the image, pixels"))
    if len(sides) == 2:
        text = "height and width of the image, pixels"
        found.append(Knob("base_size", "tuple[int, int]", f"({sides[0]}, {sides[1]})", text))
    if augment.get("scale"):
        text = "range of the random resize"
        found.append(Knob("scale", "tuple[float, float]", _tuple(augment["scale"]), text))
    if augment.get("scales"):
        text = "of the random resize"
        found.append(Knob("scales", "tuple[float, ...]", _tuple(augment["scales"]), text))
    return found


def _object_knobs(augment: Augment) -> list[Knob]:
    found, expand = [], augment.get("expand")
    if augment.get("shorts"):
        text = "of the image, one of which is drawn, pixels"
        found.append(Knob("shorts", "tuple[int, ...]", _tuple(augment["shorts"]), text))
    if expand:
        text = "largest factor of the empty image around it"
        found.append(Knob("expand", "float", number(expand["most"]), text))
        share = Knob("expand_share", "float", number(expand["probability"]), "of the images")
        found.append(share)
    return found


def _window_knobs(augment: Augment) -> list[Knob]:
    window = augment.get("resized_crop")
    if not window:
        return []
    area = "range of the window's share of the image"
    ratio = "range of its width / height"
    return [
        Knob("area", "tuple[float, float]", _tuple(window["area"]), area),
        Knob("ratio", "tuple[float, float]", _tuple(window["ratio"]), ratio),
    ]


def _place_knobs(augment: Augment) -> list[Knob]:
    found = []
    rotate, elastic = augment.get("rotate"), augment.get("elastic")
    if rotate:
        found.append(Knob("rotate", "float", number(rotate["degrees"]), "degrees either way"))
        found += _share_knob("rotate_share", rotate, "turned")
    if augment.get("shift"):
        text = "largest shift of the window either way, pixels"
        found.append(Knob("shift", "float", number(augment["shift"]), text))
    if elastic:
        value = f"({elastic['grid']}, {number(elastic['sigma'])})"
        text = "points a side, deviation of their displacement in pixels"
        found.append(Knob("elastic", "tuple[int, float]", value, text))
    return found


def _colour_knobs(augment: Augment) -> list[Knob]:
    found = []
    jitter, blur = augment.get("color_jitter"), augment.get("blur")
    if jitter:
        pairs = ", ".join(f'"{name}": {number(v)}' for name, v in jitter.items() if v)
        text = "factors within 1 - x to 1 + x; hue by x of the circle"
        found.append(Knob("color_jitter", "dict[str, float]", f"{{{pairs}}}", text))
    if blur:
        text = "range of the deviation, pixels"
        found.append(Knob("blur", "tuple[float, float]", _tuple(blur["sigma"]), text))
        found += _share_knob("blur_share", blur, "blurred")
    return found


def _share_knob(field: str, section: Mapping[str, Any], done: str) -> list[Knob]:
    if section["probability"] == 1:
        return []
    return [Knob(field, "float", number(section["probability"]), f"of the images are {done}")]


def _tuple(values: Any) -> str:
    return "(" + ", ".join(number(v) for v in values) + ("," if len(values) == 1 else "") + ")"


# --- the size an image is brought to --------------------------------------------------------


def _resized(augment: Augment) -> bool:
    return any(augment.get(key) for key in ("resize", "scale", "scales"))


def _new_size(augment: Augment) -> str:
    """Lines of `Samples.sample` that make `size` from the image's own."""
    sides = augment.get("resize") or []
    base = "self.base_size" if len(sides) == 2 else "mask.shape"
    factors = ["self.shorter_side / min(mask.shape)"] if len(sides) == 1 else []
    if augment.get("scale"):
        factors.append("rng.uniform(*self.scale)")
    if augment.get("scales"):
        factors.append("rng.choice(self.scales)")
    if not factors:
        return f"        size = {base}"
    return (
        f"        factor = {' * '.join(factors)}\n"
        f"        height, width = (max(1, round(side * factor)) for side in {base})\n"
        "        size = height, width"
    )
