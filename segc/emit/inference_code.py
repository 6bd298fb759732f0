"""Slots of inference.py, crf.py and what calls them: what a recipe's `inference` offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from segc.emit.pieces import WIDTH, Code, call, number
from segc.facts import Facts


def _offered(recipe: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """`inference` of a recipe; unpadded networks can always be run in tiles."""
    found = {key: value for key, value in (recipe.get("inference") or {}).items() if value}
    if facts.margin and "tile" not in found:
        found["tile"] = {"size": None, "overlap": 0}
    if facts.margin:
        found.pop("slide", None)  # its windows would have to overlap by the margin
    return found


def inference_slots(
    recipe: Mapping[str, Any], facts: Facts, importing: Callable[[str, list[str]], Code]
) -> dict[str, Any]:
    """What the templates print and ask for; `importing` writes `from module import names`."""
    offers = _offered(recipe, facts)
    parts = {name: _yes(offers.get(name)) for name in ("crf", "tile", "slide", "samples", "scales")}
    logarithms = offers.get("average") == "log_probabilities" and facts.outputs > 1
    value = "logits.log_softmax(1)" if logarithms else "logits.softmax(1)"
    sized = bool(offers.get("tile") and offers["tile"]["size"])
    samples = bool(offers.get("samples"))
    return {
        **parts,
        "inference_knobs": Code("\n".join(_knobs(offers, facts))),
        "crf_knobs": Code("\n".join(_crf_knobs(offers["crf"]))) if offers.get("crf") else "",
        "scales_option": _scales_option(offers.get("scales")),
        "tile_option": _size_option("tile", "label H x W pixels at a time", sized),
        "tile_given": Code("args.tile or TILE" if sized else "args.tile"),
        "slide_option": _size_option("slide", "average over a sliding window of H x W", True),
        "samples_option": _samples_option(),
        "context": Code("MARGIN" if facts.margin else "OVERLAP"),
        "averaged": Code("log probabilities" if logarithms else "probabilities"),
        "logarithms": _yes(logarithms),
        "binary": _yes(facts.outputs == 1),
        "probabilities": Code("logits.sigmoid()" if facts.outputs == 1 else value),
        "tally_arguments": Code(
            "labels: Tensor, mask: Tensor" + (", uncertainty: Tensor" if samples else "")
        ),
        **_imports(samples, importing),
        "tally_call": Code("labels, mask" + (", uncertainty.cpu()" if samples else "")),
    }


def _imports(samples: bool, importing: Callable[[str, list[str]], Code]) -> dict[str, Code]:
    """What scoring.py, predict.py and eval.py take from inference.py and measures.py."""
    way = "sampled" if samples else "probabilities_of"
    measures = ["Boundary", "CropFactors", "LARGEST_FACTOR", "Measure"]
    return {
        "scoring_inference": importing("inference", ["Method", "labels_of", way]),
        "predict_inference": importing(
            "inference", ["Method", "add_options", "labels_of", "method_of", way]
        ),
        "eval_measures": importing("measures", [*measures, *(["Uncertainty"] if samples else [])]),
    }


def _yes(value: Any) -> Code | str:
    return Code("yes") if value else ""


# --- constants ------------------------------------------------------------------------------


def _knobs(offers: Mapping[str, Any], facts: Facts) -> Iterable[str]:
    if offers.get("scales"):
        values = [number(scale) for scale in offers["scales"]]
        yield f"SCALES = [{', '.join(values)}]  # of --scales"
    tile, slide = offers.get("tile"), offers.get("slide")
    if tile and tile["size"]:
        yield f"TILE = {_pair(tile['size'])}  # height and width that --tile labels at a time"
    if tile and not facts.margin:
        yield f"OVERLAP = {tile['overlap']}  # pixels that a tile sees around what it labels"
    if slide:
        yield f"SLIDE = {_pair(slide['crop'])}  # height and width of the window of --slide"
        yield f"STRIDE = {_share(slide['stride'])}  # its step, as a share of its size"
    if offers.get("samples"):
        yield f"SAMPLES = {offers['samples']}  # of --samples"


def _crf_knobs(crf: Mapping[str, Any]) -> Iterable[str]:
    alike, near = crf["bilateral"], crf["gaussian"]
    yield f"BILATERAL_WEIGHT = {number(alike['weight'])}"
    yield f"BILATERAL_XY = {number(alike['xy'])}  # standard deviation, pixels"
    yield f"BILATERAL_RGB = {number(alike['rgb'])}  # standard deviation, levels of 0 to 255"
    yield f"GAUSSIAN_WEIGHT = {number(near['weight'])}"
    yield f"GAUSSIAN_XY = {number(near['xy'])}  # standard deviation, pixels"
    yield f"ITERATIONS = {crf['iterations']}"


def _pair(values: Iterable[int]) -> str:
    height, width = values
    return f"({height}, {width})"


def _share(value: float) -> str:
    """2/3 as such: 0.6666666666666666 is what it is, not what it says."""
    near = Fraction(value).limit_denominator(100)
    short = near.denominator > 1 and float(near) == value and len(repr(value)) > 6
    return f"{near.numerator} / {near.denominator}" if short else number(value)


# --- options --------------------------------------------------------------------------------


def _scales_option(scales: Any) -> Code:
    nargs, given = ('"*"', " (bare: SCALES)") if scales else ('"+"', "")
    text = f'"average over resized images{given}"'
    return _option("scales", ["type=float", f"nargs={nargs}", "default=[1.0]", 'metavar="S"'], text)


def _size_option(name: str, what: str, bare: bool) -> Code:
    known = f" (bare: {name.upper()})" if bare else ""
    nargs = '"*"' if bare else "2"
    arguments = ["type=int", f"nargs={nargs}", 'metavar=("H", "W")']
    return _option(name, arguments, f'"{what}{known}"')


def _samples_option() -> Code:
    words = '"passes with dropout alive (bare: SAMPLES)"'
    arguments = ["type=int", 'nargs="?"', "const=SAMPLES", "default=0", 'metavar="N"']
    return _option("samples", arguments, words)


def _option(name: str, arguments: list[str], words: str) -> Code:
    text = call("add", [f'"--{name}"', *arguments, f"help={words}"])
    assert all(len(line) <= WIDTH for line in text.split("\n"))
    return Code(text)
