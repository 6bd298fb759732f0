"""Slots of the scripts of networks that find objects: what they take and give, sizes, words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.emit.estimator_code import estimator_slots
from segc.emit.pieces import Code, block, import_line, prose
from segc.facts import Facts

# Of COCO's keypoints of a person: deviations in thousandths of its size, and the mirror's order.
_SIGMAS = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
_MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
_OTHER_SIGMA = 0.05
_USUAL = {"short": 800, "long": 1333, "size": None}
_PADDED = 32  # as torchvision and Detectron pad batches
_SPECS = (("box", "boxes"), ("mask", "masks"), ("keypoint", "keypoints"))


def instance_slots(facts: Facts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates of `instances` print or ask; nothing for other networks."""
    if facts.task != "instances":
        return {}
    names = {taken.name for taken in facts.takes}
    asked = {
        "with_masks": has_masks(facts),
        "with_keypoints": has_keypoints(facts),
        "with_rois": "rois" in names,
        "with_sizes": "sizes" in names,
        "takes_inclusive": facts.inclusive[0],
        "gives_inclusive": facts.inclusive[1],
    }
    return {
        **{name: Code("yes" if value else "") for name, value in asked.items()},
        "image": Code(facts.takes[0].name),
        **_input_slots(facts, recipe),
        **_import_slots(facts, recipe, asked),
        **_word_slots(facts),
        **estimator_slots(recipe.get("estimators") or {}),
        "keypoints": Code(str(facts.points)),
        "sigmas": _sigmas(facts.points),
        "mirrored_points": Code(_mirrored(facts.points)),
    }


def has_masks(facts: Facts) -> bool:
    """Whether it learns or gives masks."""
    return "masks" in facts.gives or any(t.name == "gt_masks" for t in facts.takes)


def has_keypoints(facts: Facts) -> bool:
    return facts.points > 0


def kinds(facts: Facts) -> list[str]:
    """What is scored, by the names of the scores."""
    return [kind for kind, output in _SPECS if output in facts.gives]


def best_kind(facts: Facts) -> str:
    """What the best state of a run is chosen by: the most that is asked of the network."""
    return kinds(facts)[-1]


def completed_size(
    facts: Facts, resize: Mapping[str, Any] | None, stated: bool
) -> Mapping[str, Any] | None:
    """`resize` of the recipe: of a network of one size that size, without a recipe the usual."""
    if isinstance(facts.height, int) and isinstance(facts.width, int):
        return {"short": None, "long": None, "size": [facts.height, facts.width]}
    return resize if stated else _USUAL


def resize_option(recipe: Mapping[str, Any]) -> str:
    """The option of train.py that replaces the recipe's size."""
    metavar, text = _resize_words(recipe)
    return f'add("--resize", type=positive, nargs=2, metavar={metavar}, help="{text}")'


def _resize_words(recipe: Mapping[str, Any]) -> tuple[str, str]:
    if (recipe.get("resize") or {}).get("size"):
        return '("H", "W")', "bring all images to a size"
    return '("SHORT", "LONG")', "bounds of the sides"


def recipe_size(recipe: Mapping[str, Any]) -> str:
    """Lines of `settle` in train.py: the recipe's size where the command line names none.

    Drawn scenes are small, and stay so unless the network takes one size alone.
    """
    if (recipe.get("resize") or {}).get("size"):
        return "    args.resize = args.resize or RESIZE"
    return '    if args.data != "synthetic":\n        args.resize = args.resize or RESIZE'


def _input_slots(facts: Facts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    every = [f'"{taken.name}"' for taken in facts.takes]
    test = [f'"{taken.name}"' for taken in facts.takes if not taken.training]
    fixed = isinstance(facts.height, int) and isinstance(facts.width, int)
    metavar, text = _resize_words(recipe)
    option = f'add("--resize", type=int, nargs=2, metavar={metavar}, help="{text}")'
    return {
        "train_inputs": Code(block("INPUTS", every, "of the network in training")),
        "test_inputs": Code(block("TEST_INPUTS", test, "and after it")),
        "resize_constant": Code(_resize_constant(recipe.get("resize") or {})),
        "fixed_size": Code("yes" if (recipe.get("resize") or {}).get("size") else ""),
        "pad": Code("1" if fixed else str(_PADDED)),
        "eval_resize": Code(option),
    }


def _resize_constant(resize: Mapping[str, Any]) -> str:
    """RESIZE of inputs.py, typed where it is None."""
    if resize.get("size"):
        height, width = resize["size"]
        return f"RESIZE = ({height}, {width})  # height and width of all images, pixels"
    if resize:
        about = "the shorter side of images, and the most of the longer, pixels"
        return f"RESIZE = ({resize['short']}, {resize['long']})  # {about}"
    return "RESIZE: tuple[int, int] | None = None  # images keep their size"


def _import_slots(
    facts: Facts, recipe: Mapping[str, Any], asked: Mapping[str, bool]
) -> dict[str, Any]:
    masks, points, rois = (asked[f"with_{name}"] for name in ("masks", "keypoints", "rois"))
    data = ["CHANNELS", "CLASSES", "accepted_size", "own_names", "read_image", "read_labels"]
    precision = ["AREAS", "THRESHOLDS", "Matches", "box_overlap", "coco_ap", "matches", "voc_ap"]
    precision += ["mask_overlap"] if masks else []
    precision += ["MOST_POINTS", "keypoint_overlap"] if points else []
    given = ["Objects", "Split", "nothing", "read_pair", *(["Proposed"] if rois else [])]
    augment = recipe.get("augment") or {}
    return {
        "data_inputs": import_line("inputs", data + (["KEYPOINTS"] if points else [])),
        "precision_imports": import_line("precision", precision),
        "sampling_data": import_line("data", given),
        "sampling_imports": import_line(
            "inputs", ["INPUTS", "TEST_INPUTS", "padded_size", "target_size", "to_input"]
        ),
        "needs_math": Code("yes" if augment.get("blur") else ""),
    }


def _word_slots(facts: Facts) -> dict[str, Any]:
    named = [words for kind, words in _SPECS if kind in kinds(facts)]
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if named[1:] else named[0]
    quoted = ", ".join(f'"{kind}"' for kind in kinds(facts))
    return {
        "kinds_text": Code(listed),
        "kinds_constant": Code(f"KINDS = ({quoted}{',' if not named[1:] else ''})"),
        "eval_about": prose(
            f"On a split of a data set: average precision of {listed}, as COCO and PASCAL VOC "
            "define it."
        ),
        "predict_about": prose(
            f"Writes `<name>_objects.png`, {listed} with classes and scores over the photograph, "
            "beside each image or into the folder --out."
        ),
        "pass_opacity": Code(", args.opacity" if has_masks(facts) else ""),
    }


def _sigmas(points: int) -> Code:
    about = "# Deviations of the keypoints, as shares of the object's size."
    if points != len(_SIGMAS):
        return Code(f"{about}\nSIGMAS = np.full({points}, {_OTHER_SIGMA})")
    return Code(f"{about}\nSIGMAS = np.array([{', '.join(map(str, _SIGMAS))}]) / 1000")


def _mirrored(points: int) -> str:
    order = _MIRRORED if points == len(_MIRRORED) else range(points)
    about = "# Keypoints in the mirror, where left and right exchange their names."
    return f"{about}\nMIRRORED = [{', '.join(map(str, order))}]"
