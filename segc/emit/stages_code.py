"""The stages of a training as emitted Python: the table, what freezes, parts of a batch.

Only what some stage says becomes a field of `Stage`; the recipe's constants are the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segc.emit import schedule_code
from segc.emit.pieces import WIDTH, Code, lit, number
from segc.ir import Graph
from segc.stages import modules
from segc.training import divisors

Recipe = Mapping[str, Any]
Stage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the emitted `Stage`: its annotation, default, and the comment beside it."""

    name: str
    type: str
    default: str
    comment: str = ""


def stages_slots(graph: Graph, recipe: Recipe, losses: Mapping[str, Any]) -> dict[str, Any]:
    """What train.py.j2 prints or asks of stages, accumulation and clipping."""
    stages: Sequence[Stage] = recipe.get("stages") or ()
    own = _own(stages)
    freezes = bool(own & {"freeze", "freeze_bn"})
    return {
        "stages": _table(graph, recipe, stages, own) if stages else "",
        "stage_modules": _imports(graph),
        "schedule_first": Code("yes" if "schedule" in own else ""),
        "before_file": Code('f"{stage.starts_from}.pt"' if "starts_from" in own else '"best.pt"'),
        "own_length": Code("yes" if "length" in own else ""),
        "own_lr": Code("yes" if "lr" in own else ""),
        "default_crop": Code("stage.crop" if "crop" in own else "CROP"),
        "default_batch": Code("stage.batch_size" if "batch_size" in own else "BATCH_SIZE"),
        "decay": Code("job.stage.decay" if "schedule" in own else "decay"),
        "freezes": Code(_freeze(own)) if freezes else "",
        "freezes_bn": Code("yes" if "freeze_bn" in own else ""),
        "clip": Code("yes" if recipe.get("clip_norm") else ""),
        **_accumulate(recipe, losses),
    }


# --- the table of stages --------------------------------------------------------------------


def _own(stages: Sequence[Stage]) -> set[str]:
    """The keys some stage has a value of its own for."""
    found = {key for stage in stages for key, value in stage.items() if value not in (None, False)}
    if found & {"max_steps", "epochs"}:
        found.add("length")
    if all(stage["starts_from"] == "best" for stage in stages):
        found.discard("starts_from")
    return found


def _table(graph: Graph, recipe: Recipe, stages: Sequence[Stage], own: set[str]) -> Code:
    fields = _fields(graph.name, recipe, own)
    lines = [
        "@dataclass(frozen=True)",
        "class Stage:",
        '    """A part of the training; what it does not say is the recipe\'s, as stated above."""',
        "",
        "    name: str",
    ]
    for f in fields:
        comment = f"  # {f.comment}" if f.comment else ""
        lines.append(f"    {f.name}: {f.type} = {f.default}{comment}")
    rows = [_row(graph, stage, recipe) for stage in stages]
    lines += ["", "", "# One after the other, each from the weights of the one before."]
    lines += ["STAGES = (", *rows, ")"]
    epochs = schedule_code.by_epoch(recipe)
    schedules = [_schedule(stage, epochs) for stage in stages if stage["schedule"]]
    whole = schedule_code.decay(recipe, epochs)
    first = "\n\n\n".join([whole, *schedules, ""]) if schedules else ""
    return Code(first + "\n".join(lines))


def _fields(model: str, recipe: Recipe, own: set[str]) -> list[Field]:
    fields = [Field("network", "type[nn.Module]", model)]
    if "length" in own:
        steps = "MAX_STEPS" if recipe.get("max_steps") else "None"
        epochs = "None" if recipe.get("max_steps") else "EPOCHS"
        fields.append(Field("max_steps", "int | None", steps))
        fields.append(Field("epochs", "int | None", epochs))
    ints = "int, int, int" if schedule_code.by_epoch(recipe) else "int, int"
    known = {
        "lr": Field("lr", "float", "LR"),
        "schedule": Field("decay", f"Callable[[{ints}], float]", "decay"),
        "batch_size": Field("batch_size", "int", "BATCH_SIZE"),
        "crop": Field("crop", "tuple[int, int] | None", "CROP"),
        "freeze": Field(
            "freeze", "tuple[str, ...]", "()", "patterns of parameters that are not trained"
        ),
        "freeze_bn": Field("freeze_bn", "bool", "False", "batch norms keep statistics and weights"),
        "starts_from": Field("starts_from", "str", '"best"', "weights of the stage before"),
    }
    return fields + [f for key, f in known.items() if key in own]


def _row(graph: Graph, stage: Stage, recipe: Recipe) -> str:
    arguments: list[str] = [lit(stage["name"])]
    net = graph.stages.get(stage["name"])
    if net is not None:
        arguments.append(f"{modules(graph.stages)[stage['name']]}.{net.graph.name}")
    if stage["max_steps"]:
        arguments.append(f"max_steps={stage['max_steps']:_}")
    if stage["epochs"]:
        arguments += ["max_steps=None"] if recipe.get("max_steps") else []
        arguments.append(f"epochs={stage['epochs']}")
    if stage["lr"]:
        arguments.append(f"lr={number(stage['lr'])}")
    if stage["schedule"]:
        arguments.append(f"decay=decay_{stage['name']}")
    if stage["batch_size"]:
        arguments.append(f"batch_size={stage['batch_size']}")
    if stage["crop"]:
        arguments.append(f"crop=({stage['crop'][0]}, {stage['crop'][1]})")
    if stage["freeze"]:
        patterns = ", ".join(lit(p) for p in stage["freeze"])
        arguments.append(f"freeze=({patterns}{',' if len(stage['freeze']) == 1 else ''})")
    if stage["freeze_bn"]:
        arguments.append("freeze_bn=True")
    if stage["starts_from"] != "best":
        arguments.append(f"starts_from={lit(stage['starts_from'])}")
    line = f"    Stage({', '.join(arguments)}),"
    if len(line) <= WIDTH:
        return line
    inner = f"        {', '.join(arguments)}"
    if len(inner) <= WIDTH:
        return f"    Stage(\n{inner}\n    ),"
    return "    Stage(\n" + "".join(f"        {a},\n" for a in arguments) + "    ),"


def _schedule(stage: Stage, epochs: bool) -> str:
    """`decay_NAME`: as the recipe's would be, its constants written out."""
    ((_, values),) = stage["schedule"].items()
    text = schedule_code.decay({"schedule": stage["schedule"]}, epochs)
    written = schedule_code.constants(values)
    if stage["lr"]:
        written["LR"] = number(stage["lr"])
    for constant, value in written.items():
        text = Code(re.sub(rf"\b{constant}\b", value, text))
    return text.replace("def decay(", f"def decay_{stage['name']}(")


def _imports(graph: Graph) -> list[Code]:
    return [Code(f"import {module}") for module in sorted(set(modules(graph.stages).values()))]


# --- frozen parameters ----------------------------------------------------------------------


def _freeze(own: set[str]) -> str:
    lines = [
        "def freeze(network: nn.Module, stage: Stage) -> None:",
        '    """Training mode, but for what the stage leaves as it is."""',
        "    network.train()",
    ]
    if "freeze" in own:
        lines += [
            "    for name, parameter in network.named_parameters():",
            "        if any(fnmatchcase(name, pattern) for pattern in stage.freeze):",
            "            parameter.requires_grad_(False)",
        ]
    if "freeze_bn" in own:
        lines += [
            "    for module in network.modules():",
            "        if stage.freeze_bn and isinstance(module, nn.modules.batchnorm._BatchNorm):",
            "            module.eval().requires_grad_(False)",
        ]
    return "\n".join(lines)


# --- parts of a batch -----------------------------------------------------------------------

PARTS = '''\
@dataclass
class Parts(torch.utils.data.Sampler[list[tuple[int, int]]]):
    """The picks of each step, in so many equal parts."""

    picks: Picks
    parts: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for whole in self.picks:
            size = len(whole) // self.parts
            for start in range(0, len(whole), size):
                yield whole[start : start + size]

    def __len__(self) -> int:
        return len(self.picks) * self.parts'''

SHARES = '''


def {name}({arguments}) -> Tensor:
    """What each part of a batch counts: its share of {what}.

    With it the parts' mean losses add up to the mean loss of the batch.
    """
    counts = torch.stack([{count} for mask in masks])
    return counts / counts.sum().clamp(min={least})'''


def _accumulate(recipe: Recipe, losses: Mapping[str, Any]) -> dict[str, Any]:
    """Parts whose gradients add up to the batch's: see `divisors` for what a loss is divided by."""
    if recipe.get("accumulate", 1) == 1:
        return dict.fromkeys(("accumulate", "shares", "times_share"), Code(""))
    found = divisors(losses)
    if found == {"sum"}:
        return {"accumulate": Code(PARTS), "shares": Code(""), "times_share": Code("")}
    if found == {"pixels"}:
        text = SHARES.format(
            name="shares",
            arguments="masks: list[Tensor]",
            what="the labelled pixels",
            count="(mask != IGNORE).sum()",
            least="1",
        )
        return _shared(text, "shares([part[1] for part in parts])")
    if found == {"weights"}:
        text = SHARES.format(
            name="shares",
            arguments="masks: list[Tensor], weights: Tensor",
            what="the class weights of the labelled pixels",
            count="weights[mask[mask != IGNORE]].sum()",
            least="1e-12",
        )
        return _shared(text, "shares([part[1] for part in parts], job.weights)")
    return {
        "accumulate": Code(PARTS),
        "shares": Code(""),
        "times_share": Code(" / args.accumulate"),
    }


def _shared(text: str, call: str) -> dict[str, Any]:
    return {
        "accumulate": Code(PARTS + text),
        "shares": Code(call),
        "times_share": Code(" * count"),
    }
