"""The pipeline: from a spec to every file of its network. Read this page first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from segc.check import Checked, verify
from segc.diag import Fail, Report
from segc.ir import Graph
from segc.optimise import Options, optimise
from segc.read import read
from segc.rewrite import Optimised
from segc.rules import RULES
from segc.source import Source
from segc.stages import check_stages, modules
from segc.training import check_training


@dataclass(frozen=True)
class Built:
    """A sound network, its optimised form, and the files a build writes (name -> text)."""

    checked: Checked
    deploy: Optimised
    files: dict[str, str]


def check_source(source: Source, params: Mapping[str, Any], stages: bool = True) -> Checked:
    """Read and check a spec, the networks of its stages too if asked; Fail with every problem."""
    report = Report()
    graph = read(source, params, report, stages=stages)
    checked = verify(graph, report) if graph is not None else None
    if checked is not None and not report.failed:
        check_training(checked, report)
        check_stages(checked, report)
    report.raise_if_failed()
    if checked is None:
        raise Fail(*report.diagnostics)
    return checked


class Maker:
    """A spec with the parameters of one build: makes it again with some of them changed.

    The emitter calls it a few times to see what each parameter does; files are read once.
    """

    def __init__(
        self,
        source: Source,
        params: Mapping[str, Any],
        options: Options | None = None,
        stages: bool = True,
    ) -> None:
        self.source, self.params, self.stages = source, dict(params), stages
        self.options = options or Options()
        self._made = lru_cache(maxsize=64)(self._make)

    def __call__(self, changes: Mapping[str, Any]) -> Checked:
        return self._made(tuple(changes.items()))

    def _make(self, changes: tuple[tuple[str, Any], ...]) -> Checked:
        stages = self.stages and not changes  # they do not vary with the parameters tried
        checked = check_source(self.source, {**self.params, **dict(changes)}, stages)
        return replace(checked, graph=_named(checked.graph))

    def deploy(self, changes: Mapping[str, Any]) -> Checked:
        """The optimised network with some parameters changed.

        Fail if its weights would be converted in another way: `from_model` is written once.
        """
        optimised = self.optimised(changes)
        if optimised.moves != self._optimised.moves:
            raise Fail()  # no fault of the spec: this parameter is fixed in deploy.py
        return optimised.checked

    def optimised(self, changes: Mapping[str, Any]) -> Optimised:
        """The optimised network; the rules fire where they do without the changes."""
        if not changes:
            return self._optimised
        return optimise(self(changes), RULES, self.options, self._optimised)

    @cached_property
    def _optimised(self) -> Optimised:
        return optimise(self({}), RULES, self.options)

    @property
    def command(self) -> str:
        """The build that makes it again."""
        sets = "".join(f" --set {n}={_shown(v)}" for n, v in self.params.items())
        return f"segc build {_file(self.source)}{sets}{self.options.command}"


def _named(graph: Graph) -> Graph:
    """Without the folders its file was reached by: the same spec gives the same bytes."""
    return replace(graph, file=graph.file.rpartition("/")[2])


def _file(source: Source) -> str:
    name = source.file.rpartition(":")[2].rpartition("/")[2]
    return f"specs/{name}" if name.endswith((".yaml", ".yml")) else name


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def build(
    source: Source, params: Mapping[str, Any] | None = None, options: Options | None = None
) -> Built:
    """Check a spec and make all its files; Fail if it is not sound.

    params: values of the spec's parameters, as `--set` gives them. options: what may be done to
    the deploy module.
    """
    make = Maker(source, params or {}, options)
    checked = make({})  # every problem at once, with its place
    deploy = make.optimised({})  # what changes nothing but the cost
    return Built(checked, deploy, emit(make, checked, deploy))


def emit(make: Maker, checked: Checked, deploy: Optimised) -> dict[str, str]:
    """Every file of the network, by name."""
    from segc.draw import draw
    from segc.emit.beside import files_beside
    from segc.emit.deploy import deploy_source
    from segc.emit.deploy_report import deploy_report
    from segc.emit.harness import harness_files
    from segc.emit.module import model_source
    from segc.emit.report import report

    drawing = draw(checked)
    scripts = harness_files(checked) if checked.graph.losses else {}
    return {
        "model.py": model_source(make, digest=checked.graph.digest),
        "deploy.py": deploy_source(make.deploy, deploy, checked.graph.digest),
        **files_beside(checked.graph, deploy.checked.graph),
        **scripts,
        **(stage_files(checked.graph) if "train.py" in scripts else {}),
        "diagram.svg": drawing.svg(),
        "diagram.dot": drawing.dot(),
        "report.md": report(checked, make.command, deploy_report(checked, deploy)),
    }


def stage_files(graph: Graph) -> dict[str, str]:
    """The modules of the networks that stages of the training have instead of this one."""
    from segc.emit.beside import files_beside
    from segc.emit.module import model_source

    found = {}
    for name, module in modules(graph.stages).items():
        net = graph.stages[name]
        make = Maker(net.source, net.params, stages=False)
        found[f"{module}.py"] = model_source(make, digest=net.graph.digest)
        found |= files_beside(net.graph)
    return found


def build_files(spec: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The files of the spec at a path (or REV:path, or -)."""
    return build(Source.open(spec), params).files
