"""The parameters' values of one reading: defaults, overridden by the caller or `--set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.read import expr
from segc.read.spec import ParamDecl, check_param


def parameter_values(
    declared: Mapping[str, ParamDecl], given: Mapping[str, Any], report: Report
) -> dict[str, Any] | None:
    """Name -> value in the order of declaration, or None after a report."""
    before = report.failed
    report.failed = False
    for name in given:
        if name not in declared:
            hint = report.suggest(name, declared, "its parameters:")
            report.error("SEG114", f"the spec has no parameter `{name}`", hint=hint)
    values: dict[str, Any] = {}
    for name, decl in declared.items():
        value = from_text(decl, given[name]) if name in given else decl.default
        if value is None:
            hint = f"give a default in the spec or --set {name}=VALUE"
            report.error("SEG114", f"parameter `{name}` has no value", decl.loc, hint=hint)
        elif name not in given or check_param(decl, value, decl.loc, report):
            values[name] = value
    bad, report.failed = report.failed, report.failed or before
    return None if bad else values


def from_text(decl: ParamDecl, value: Any) -> Any:
    """A value as typed on a command line, read for the parameter's type."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str) or decl.type == "str":
        return value
    try:
        return expr.evaluate(value, {})
    except expr.ExprError:
        return value
