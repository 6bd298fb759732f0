"""The layer table of a network as text, Markdown, JSON or CSV, and limits on its totals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from segc.analyse import Row, Table, Totals
from segc.check import Checked
from segc.diag import Diagnostic


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its text for a row, and for numbers the raw value (CSV)."""

    title: str
    text: Callable[[Row], str]
    raw: Callable[[Row], object]
    left: bool = False


def si(value: int | None) -> str:
    """A count in three figures: 31,031,810 -> "31.0M"."""
    if value is None:
        return "-"
    number, unit = float(value), ""
    for larger in "KMGTP":
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g}{unit}" if unit and number < 99.95 else f"{number:.0f}{unit}"


def mib(value: int | None) -> str:
    """Bytes in MiB: "12.5"."""
    return "-" if value is None else f"{value / 2**20:,.1f}"


def fraction(value: Fraction) -> str:
    """A step in input pixels: "16", "1/2"."""
    return str(value)


def _pair(values: tuple[object, object] | None) -> str:
    if values is None:
        return "-"
    texts = ["all" if v is None else str(v) for v in values]
    return texts[0] if texts[0] == texts[1] else "x".join(texts)


def _product(shape: Iterable[object]) -> str:
    return " x ".join(str(d) for d in shape)


_ALWAYS = (
    Column("layer", lambda r: r.node.name, lambda r: r.node.name, True),
    Column("op", lambda r: r.node.op.name, lambda r: r.node.op.name, True),
    Column("output", lambda r: _product(r.shape[1:]), lambda r: _product(r.shape), True),
    Column("params", lambda r: f"{r.params:,}" if r.params else "", lambda r: r.params),
)
_SIZED = (
    Column(
        "size",
        lambda r: "x".join(map(str, r.size[1:])) if r.size else "-",
        lambda r: "x".join(map(str, r.size)) if r.size else "",
        True,
    ),
    Column("MACs", lambda r: si(r.macs) if r.macs else "", lambda r: r.macs),
    Column(
        "MiB",
        lambda r: mib(r.activation_bytes) if r.activation_bytes else "",
        lambda r: r.activation_bytes,
    ),
    Column("field", lambda r: _pair(r.receptive_field), lambda r: _pair(r.receptive_field)),
    Column("stride", lambda r: _pair(r.stride), lambda r: _pair(r.stride)),
)


def _columns(table: Table) -> tuple[Column, ...]:
    return (
        _ALWAYS if table.totals.macs is None else (*_ALWAYS[:2], _SIZED[0], _ALWAYS[3], *_SIZED[1:])
    )


def _rows(table: Table) -> list[Row]:
    return [row for row in table.rows if not row.node.absent]


def as_text(checked: Checked, table: Table) -> str:
    """A table for the terminal, totals and accepted sizes below it."""
    columns = _columns(table)
    cells = [[c.title for c in columns]] + [[c.text(r) for c in columns] for r in _rows(table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(_pad(cell, w, c.left) for cell, w, c in zip(row, widths, columns, strict=True))
        for row in cells
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line.rstrip() for line in lines]
    body = [_title(checked), "", lines[0], rule, *lines[1:], rule, *facts(checked, table)]
    return "\n".join(body) + "\n"


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)


def as_markdown(checked: Checked, table: Table) -> str:
    """The same as a Markdown table."""
    lines = [f"## {_title(checked)}", "", *(f"- {f.strip()}" for f in facts(checked, table)), ""]
    return "\n".join(lines) + "\n" + layers_markdown(table)


def layers_markdown(table: Table) -> str:
    """The layers alone, as a Markdown table."""
    columns = _columns(table)
    lines = [
        "| " + " | ".join(c.title for c in columns) + " |",
        "|" + "|".join("---" if c.left else "---:" for c in columns) + "|",
    ]
    lines += ["| " + " | ".join(_cell(c.text(r)) for c in columns) + " |" for r in _rows(table)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_csv(table: Table) -> str:
    """One line per layer, numbers in full."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = _columns(table)
    writer.writerow([c.title for c in columns])
    writer.writerows([[c.raw(r) for c in columns] for r in _rows(table)])
    return out.getvalue()


def _title(checked: Checked) -> str:
    graph = checked.graph
    return f"{graph.name}: {graph.title}" if graph.title not in ("", graph.name) else graph.name


def facts(checked: Checked, table: Table) -> list[str]:
    """Totals and accepted input sizes, a line each."""
    totals, rows = table.totals, _rows(table)
    frozen = totals.params - totals.trainable
    parameters = f"{totals.params:,} parameters"
    lines = [f"{len(rows)} layers, {parameters}" + (f" ({frozen:,} frozen)" if frozen else "")]
    if totals.macs is not None:
        lines.append(
            f"{totals.macs:,} MACs; activations {mib(totals.activation_bytes)} MiB in all, "
            f"{mib(totals.peak_bytes)} MiB at most at once (float32)"
        )
    return lines + list(_accepted(checked))


def _accepted(checked: Checked) -> Iterator[str]:
    for name, declared in checked.graph.inputs.items():
        yield f"input {name}: {_product(declared.shape)}"
    limits = checked.domain.constraints()
    if limits:
        yield f"accepts {', '.join(limits)}"
        symbols = {d: None for i in checked.graph.inputs.values() for d in i.shape}
        for symbol in symbols:
            if isinstance(symbol, str) and any(symbol in limit for limit in limits):
                yield f"  {checked.domain.describe(symbol)}"
    else:
        yield "accepts every size"


# --- budgets --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of --budget: `quantity` must stay below (or at) `most`."""

    quantity: str
    most: int
    strict: bool
    text: str


QUANTITIES = ("params", "trainable", "macs", "activation_bytes", "peak_bytes", "layers")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_LIMIT = re.compile(r"\s*([a-z_]+)\s*(<=?)\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]i?)?B?\s*\Z")


def budget(text: str) -> tuple[Limit, ...]:
    """`params<40M,macs<=200G` as limits. Raises ValueError with what is wrong."""
    return tuple(_limit(part) for part in text.split(","))


def _limit(part: str) -> Limit:
    match = _LIMIT.match(part)
    if match is None or (match[4] or "") not in _UNITS:
        raise ValueError(f"`{part.strip()}` is not a limit such as params<40M")
    quantity, sign, number, unit = match.groups()
    if quantity not in QUANTITIES:
        from segc.diag import did_you_mean

        hint = did_you_mean(quantity, QUANTITIES) or f"there are {', '.join(QUANTITIES)}"
        raise ValueError(f"`{quantity}` cannot be limited; {hint}")
    most = int(Fraction(number) * _UNITS[unit or ""])
    return Limit(quantity, most, sign == "<", part.strip())


def needs_sizes(limits: Iterable[Limit]) -> bool:
    """True if a limit is on something that depends on the input size."""
    return any(limit.quantity in ("macs", "activation_bytes", "peak_bytes") for limit in limits)


def exceeded(limits: Iterable[Limit], totals: Totals) -> list[Diagnostic]:
    """The limits that do not hold (SEG087)."""
    found = []
    for limit in limits:
        value = getattr(totals, limit.quantity)
        if value >= limit.most if limit.strict else value > limit.most:
            over = value - limit.most
            message = f"over budget: {limit.quantity} is {value:,}, asked was {limit.text}"
            found.append(Diagnostic("SEG087", message, hint=f"{over:,} too many" if over else None))
    return found
