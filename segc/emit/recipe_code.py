"""Source text for the parts of train.py that a recipe decides: optimizer, groups, constants.

Each function answers formatted Python (a fixed point of `ruff format`, 100 columns) that holds
only what this recipe uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segc.emit import augment_code, schedule_code
from segc.emit.pieces import Code, block, call, lit, number

# --- class weights --------------------------------------------------------------------------

_COUNTED_WEIGHTS = '''\
def class_weights(split: Split, out: Path, rank: int) -> Tensor:
    """Weights by {how}, counted once over the training labels and kept in the run."""
    kept = out / "class_weights.json"
    made_of = {{"files": fingerprint(split), "weighting": "{how}"}}
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if made_of.items() <= found.items():
            return torch.tensor(found["weights"])
    weights = {how}(count_labels(read_pair(split, i)[1] for i in range(len(split))))
    if rank == 0:
        text = json.dumps({{**made_of, "weights": weights.tolist()}})
        temporary = kept.with_suffix(".tmp")
        temporary.write_text(text + "\\n", encoding="utf-8")
        os.replace(temporary, kept)
    return weights'''


def class_weights(how: str) -> Code:
    """`class_weights(split, out, rank)`: by the function `how` of the counted labels."""
    return Code(_COUNTED_WEIGHTS.format(how=how))


# --- batch norm -----------------------------------------------------------------------------

_RECOMPUTE_BN = '''\
@torch.no_grad()
def recompute_batch_norm(
    network: nn.Module, samples: Samples, batch: int, device: torch.device, amp: str
) -> None:
    """Estimate the statistics of batch norm anew, as a plain average over BN_BATCHES batches.

    The running averages of training lag behind weights that change fast. The batches are the same
    every time, and every process takes all of them.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    images = len(samples.split)
    for picks in Picks(images, batch, samples.seed, 0, min(BN_BATCHES, images // batch)):
        sample = samples[picks]
        if isinstance(sample, Stop):
            raise sample
        with autocast(device, amp):
            network(sample[0].to(device{layout}))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum'''


def recompute_bn(layout: str) -> Code:
    """`recompute_batch_norm`; `layout` is the argument of `to` that says how maps are stored."""
    return Code(_RECOMPUTE_BN.format(layout=layout))


# --- optimizer, groups ----------------------------------------------------------------------


def optimizer(recipe: Mapping[str, Any]) -> Code:
    """The constructor call, at the indentation of main()."""
    ((kind, values),) = recipe["optimizer"].items()
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[kind]
    grouped = bool(recipe.get("groups"))
    arguments = ["parameter_groups(network)" if grouped else "network.parameters()", "args.lr"]
    if kind == "sgd":
        arguments += ["momentum=MOMENTUM"] if values["momentum"] else []
        arguments += ["nesterov=True"] if values["nesterov"] else []
    else:
        arguments.append("betas=BETAS")
    arguments += [] if grouped else ["weight_decay=WEIGHT_DECAY"]
    return Code(call(f"optimizer = torch.optim.{name}", arguments).lstrip())


GROUPS = '''\
def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameters by the first line of GROUPS whose pattern matches; the rest train at the base."""
    rows = [*GROUPS, ("*", 1.0, 1.0)]
    groups: list[dict[str, Any]] = [
        {"params": [], "factor": lr, "weight_decay": WEIGHT_DECAY * share} for _, lr, share in rows
    ]
    matched = set()
    for name, parameter in model.named_parameters():
        row = next(i for i, (pattern, _, _) in enumerate(rows) if fnmatchcase(name, pattern))
        matched.add(row)
        if parameter.requires_grad:
            groups[row]["params"].append(parameter)
    for row, (pattern, _, _) in enumerate(GROUPS):
        if row not in matched:
            raise Stop(f"GROUPS: no parameter is left for {pattern!r}")
    return [group for group in groups if group["params"]]'''


def knobs(
    recipe: Mapping[str, Any], weights: Sequence[float] | str | None, windows: int = 0
) -> Code:
    """The constants at the top of train.py, each with its unit or reason.

    windows: how many a patch classifier draws from an image; 0 for other networks.
    """
    lines = _length_knobs(recipe) + _rate_knobs(recipe)
    lines += [f"PATCHES = {windows}  # windows drawn from each image of a batch"] if windows else []
    lines += augment_code.knobs(recipe.get("augment") or {})
    if recipe.get("accumulate", 1) > 1:
        about = "parts a batch is taken in; their gradients are added"
        lines.append(f"ACCUMULATE = {recipe['accumulate']}  # {about}")
    if recipe.get("clip_norm"):
        value = number(recipe["clip_norm"])
        lines.append(f"CLIP_NORM = {value}  # largest norm of all gradients together")
    if recipe.get("recompute_bn"):
        lines.append(f"BN_BATCHES = {recipe['recompute_bn']}  # to estimate batch norm on")
    if recipe.get("groups"):
        lines += _group_rows(recipe["groups"])
    text = "\n".join(lines)
    if isinstance(weights, (list, tuple)):
        text += "\n" + block("CLASS_WEIGHTS", [number(float(w)) for w in weights], "by class id")
    return Code(text)


def _length_knobs(recipe: Mapping[str, Any]) -> list[str]:
    if recipe.get("max_steps"):
        lines = [f"MAX_STEPS = {recipe['max_steps']:_}  # optimizer steps"]
    else:
        lines = [f"EPOCHS = {recipe['epochs']}  # passes over the training set"]
    size = "images a step, all processes together"
    lines.append(f"BATCH_SIZE = {recipe['batch_size']}  # {size}")
    if recipe.get("crop"):
        height, width = recipe["crop"]
        lines.append(f"CROP = ({height}, {width})  # height and width trained on, pixels")
    else:
        lines.append("CROP = None  # whole images")
    return lines


def _rate_knobs(recipe: Mapping[str, Any]) -> list[str]:
    ((kind, values),) = recipe["optimizer"].items()
    lines = [f"LR = {number(values['lr'])}  # base learning rate"]
    if kind == "sgd" and values["momentum"]:
        lines.append(f"MOMENTUM = {number(values['momentum'])}  # share of the last update kept")
    if kind != "sgd":
        first, second = (number(b) for b in values["betas"])
        lines.append(f"BETAS = ({first}, {second})  # decay of the first and second moments")
    lines.append(f"WEIGHT_DECAY = {number(values['weight_decay'])}  # L2 penalty")
    lines += schedule_code.knobs(recipe)
    return lines


def _group_rows(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"    ({lit(g['match'])}, {number(g['lr'])}, {number(g['weight_decay'])})," for g in groups
    ]
    about = "# name pattern, factor of LR, factor of WEIGHT_DECAY; the first that matches counts"
    return ["GROUPS = (", f"    {about}", *rows, ")"]
