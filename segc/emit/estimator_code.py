"""Slots of estimators.py: what is fitted to the answers of a network that looks at regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.emit.pieces import Code, lit, number, prose

_SVM = (
    ("C", "c", "weight of the errors"),
    ("BIAS", "bias", "the constant beside the features"),
    ("POSITIVE_WEIGHT", "positive_weight", "factor of the errors on objects"),
    ("LENGTH", "length", "of the features, on average"),
    ("OVERLAP", "overlap", "negatives overlap the objects of their class by less"),
)
_BOX = (
    ("RIDGE", "ridge", "penalty on the weights"),
    ("LENGTH", "length", "of the features, on average"),
    ("OVERLAP", "overlap", "regions overlap their object by more"),
    ("ROWS", "rows", "regions of a class at most"),
)


def estimator_slots(estimators: Mapping[str, Any]) -> dict[str, Any]:
    """What the template prints or asks; `estimators` is empty where the recipe has none."""
    svm, box = estimators.get("svm"), estimators.get("box_regressor")
    if not svm:
        return {"estimators": Code("")}
    about = "Regions of an image are scored by linear SVMs, one a class, on what the network says "
    about += "of each"
    about += ", and moved by ridge regressions." if box else "."
    return {
        "estimators": Code("yes"),
        "with_regressor": Code("yes" if box else ""),
        "estimators_about": prose(about),
        "estimator_knobs": Code("\n".join(_knobs(svm, box))),
    }


def _knobs(svm: Mapping[str, Any], box: Mapping[str, Any] | None) -> list[str]:
    """Constants of the recipe."""
    outputs = [lit(name) for name in dict.fromkeys(part["features"] for part in (svm, box) if part)]
    comma = "," if len(outputs) == 1 else ""
    names = ["box", "box_scale", "svm", "svm_scale"] if box else ["svm", "svm_scale"]
    return [
        f"OUTPUTS = ({', '.join(outputs)}{comma})  # of the network, with a row for each region",
        f"NAMES = [{', '.join(map(lit, names))}]  # what `fit` writes",
        *_constants("SVM", svm, _SVM),
        *(_constants("BOX", box, _BOX) if box else []),
    ]


def _constants(
    word: str, values: Mapping[str, Any], rows: tuple[tuple[str, str, str], ...]
) -> list[str]:
    features = f"{word}_FEATURES = {lit(values['features'])}"
    return [features, *(f"{word}_{n} = {number(values[k])}  # {about}" for n, k, about in rows)]
