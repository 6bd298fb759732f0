"""Source text for the parts of train.py that a recipe decides: losses, schedule, optimizer, groups.

Each function answers formatted Python (a fixed point of `ruff format`, 100 columns) that holds
only what this recipe uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segc.emit.pieces import Code, block, call, joined, lit, number

Losses = Mapping[str, Mapping[str, Any]]


# --- losses ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """An output a loss reads: `strided` when it must be enlarged to the label map first."""

    name: str
    strided: bool


def loss_functions(losses: Losses, heads: Mapping[str, Head], single: bool) -> Code:
    """One function per loss, one for all if they are alike, and `total_loss` over the outputs."""
    weighted = any(v.get("class_weights") for v in losses.values())
    names = {name: f"{name}_loss" for name in losses}
    alike = {_KINDS[v["kind"]]("", v, heads[v["output"]]) for v in losses.values()}
    if len(alike) == 1 and len(losses) > 1:
        names = {name: str(v["kind"]) for name, v in losses.items()}
    parts = [_KINDS[v["kind"]](names[name], v, heads[v["output"]]) for name, v in losses.items()]
    return Code("\n\n\n".join([*dict.fromkeys(parts), _total(losses, names, weighted, single)]))


def _total(losses: Losses, names: Mapping[str, str], weighted: bool, single: bool) -> str:
    terms = []
    for name, v in losses.items():
        output = "output" if single else f'output["{v["output"]}"]'
        extra = ", weights" if v.get("class_weights") else ""
        factor = "" if v["weight"] == 1 else f"{number(v['weight'])} * "
        terms.append(f"{factor}{names[name]}({output}, mask{extra})")
    kind = "Tensor" if single else "dict[str, Tensor]"
    head = f"def total_loss(output: {kind}, mask: Tensor"
    head += ", weights: Tensor) -> Tensor:" if weighted else ") -> Tensor:"
    return f"{head}\n{joined('return', terms, ' + ')}"


def _cross_entropy(name: str, v: Mapping[str, Any], head: Head) -> str:
    weighted = bool(v["class_weights"])
    what = "Cross entropy of the pixels that are not IGNORE"
    first = f"{what}, each weighted by its class" if weighted else what
    arguments = "logits, mask, weights" if weighted else "logits, mask"
    total = f'F.cross_entropy({arguments}, ignore_index=IGNORE, reduction="sum")'
    lines = [
        f'    """{first}.\n\n    {_divided(v)}\n    """',
        *_enlarged(head),
        f"    total = {total}",
        *_reduced(v["reduction"], weighted),
    ]
    return "\n".join([_signature(name, weighted), *lines])


def _binary(name: str, v: Mapping[str, Any], head: Head) -> str:
    lines = [
        f'    """Binary cross entropy of the pixels that are not IGNORE.\n\n'
        f'    {_divided(v)}\n    """',
        *_enlarged(head),
        "    valid = mask != IGNORE",
        "    truth = (mask == 1).float()",
        '    each = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")',
        "    total = (each * valid).sum()",
        *_reduced(v["reduction"], False),
    ]
    return "\n".join([_signature(name, False), *lines])


_KINDS: dict[str, Callable[[str, Mapping[str, Any], Head], str]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary,
}
_DIVIDED = {
    "mean": "Their sum divided by the sum of their weights.",
    "valid_pixels": "Their sum divided by their number, whatever the weights (as Caffe does).",
    "unweighted": "Their sum divided by their number.",
    "batch": "Their sum divided by the number of images (so a sum over pixels).",
    "sum": "Their sum, divided by nothing.",
}


def _divided(v: Mapping[str, Any]) -> str:
    by_number = v["reduction"] in ("mean", "valid_pixels") and not v.get("class_weights")
    return _DIVIDED["unweighted" if by_number else v["reduction"]]


def _signature(name: str, weighted: bool) -> str:
    extra = ", weights: Tensor" if weighted else ""
    return f"def {name}(logits: Tensor, mask: Tensor{extra}) -> Tensor:"


def _enlarged(head: Head) -> list[str]:
    """Half-precision logits become float32, small maps as large as the labels."""
    if not head.strided:
        return ["    logits = logits.float()"]
    resized = call(
        "logits = F.interpolate",
        ["logits.float()", "mask.shape[-2:]", 'mode="bilinear"', "align_corners=False"],
    )
    return [resized]


def _reduced(reduction: str, weighted: bool) -> list[str]:
    if reduction == "sum":
        return ["    return total"]
    if reduction == "batch":
        return ["    return total / mask.shape[0]"]
    if reduction == "mean" and weighted:
        return [
            "    valid = mask != IGNORE",
            "    share = (weights[mask.where(valid, 0)] * valid).sum()",
            "    return total / share.clamp(min=1e-12)",
        ]
    return ["    return total / (mask != IGNORE).sum().clamp(min=1)"]


# --- class weights --------------------------------------------------------------------------

COUNTED_WEIGHTS = '''\
def class_weights(split: Split, out: Path, rank: int) -> Tensor:
    """Median-frequency weights, counted once over the training labels and kept in the run."""
    kept, files = out / "class_weights.json", fingerprint(split)
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["files"] == files:
            return torch.tensor(found["weights"])
    weights = median_frequency(count_labels(read_pair(split, i)[1] for i in range(len(split))))
    if rank == 0:
        text = json.dumps({"files": files, "weights": weights.tolist()})
        temporary = kept.with_suffix(".tmp")
        temporary.write_text(text + "\\n", encoding="utf-8")
        os.replace(temporary, kept)
    return weights'''


# --- batch norm -----------------------------------------------------------------------------

RECOMPUTE_BN = '''\
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
            network(sample[0].to(device, memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum'''


# --- schedule, optimizer, groups ------------------------------------------------------------


def schedule(recipe: Mapping[str, Any]) -> Code:
    """`decay(step, steps)`: the factor of the base learning rate."""
    ((kind, _),) = recipe["schedule"].items()
    text, result = {
        "constant": ("constant", "1.0"),
        "poly": ("polynomial to zero", "(1 - step / steps) ** POWER"),
        "step": ("dropped by GAMMA every DROP_EVERY steps", "GAMMA ** (step // DROP_EVERY)"),
        "cosine": ("half a cosine to zero", "0.5 * (1 + math.cos(math.pi * step / steps))"),
    }[kind]
    doc = f'    """Factor of the learning rate at a step: {text}."""'
    return Code(f"def decay(step: int, steps: int) -> float:\n{doc}\n    return {result}")


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


def knobs(recipe: Mapping[str, Any], weights: Sequence[float] | str | None) -> Code:
    """The constants at the top of train.py, each with its unit or reason."""
    lines = _length_knobs(recipe) + _rate_knobs(recipe)
    augment = recipe.get("augment") or {}
    if augment.get("scale"):
        low, high = augment["scale"]
        lines.append(f"SCALE = ({number(low)}, {number(high)})  # range of the random resize")
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
        text += "\n" + block("CLASS_WEIGHTS", [number(w) for w in weights], "by class id")
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
    ((kind, values),) = recipe["schedule"].items()
    if kind == "poly":
        lines.append(f"POWER = {number(values['power'])}  # of the decay to zero")
    if kind == "step":
        lines.append(f"DROP_EVERY = {values['size']:_}  # steps")
        lines.append(f"GAMMA = {number(values['gamma'])}  # factor of a drop")
    return lines


def _group_rows(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"    ({lit(g['match'])}, {number(g['lr'])}, {number(g['weight_decay'])})," for g in groups
    ]
    about = "# name pattern, factor of LR, factor of WEIGHT_DECAY; the first that matches counts"
    return ["GROUPS = (", f"    {about}", *rows, ")"]
