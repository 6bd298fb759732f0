"""Reads each named file in a process of its own under hard limits, and prints what came of it.

    python tests/hostile/run.py [--pure] FILE…

One JSON object per file: status (exit status, negative for a signal), codes, place (of the first),
seconds (CPU), mebibytes (above start-up), output (what a user would see).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback

from segc.diag import Fail, Report, in_order
from segc.diag_format import render
from segc.read.yaml import Parser, PureParser, parse
from segc.source import Source

CPU_SECONDS = 8  # sound cases take a tenth of one; the machine may be slow, a hang is what counts
MEMORY = 200 << 20


def memory(field: str) -> int:
    """A field of this process's memory, in bytes: VmSize, VmRSS (now) or VmHWM (its peak)."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def limit(pure: bool) -> None:
    """Hard limits for this process; the pure-Python parser may take ten times as long."""
    seconds = CPU_SECONDS * (10 if pure else 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    bytes_ = memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(path: str, pure: bool) -> tuple[int, dict[str, object]]:
    """What `check` does first: open, parse, print."""
    report, sources = Report(), {}
    status = 0
    try:
        source = Source.open(path)
        sources[source.file] = source
        parse(source, report, parser=PureParser if pure else Parser)
        status = 1 if report.failed else 0
    except Fail as fail:
        report.diagnostics += fail.diagnostics
        status = fail.exit
    found = in_order(report.diagnostics)
    first = found[0].loc if found else None
    return status, {
        "codes": [d.code for d in found],
        "place": [first.line, first.column] if first else None,
        "output": "".join(
            render(found, sources, fmt) for fmt in ("text", "json", "github", "sarif")
        ),
    }


def child(path: str, pure: bool, out: int) -> int:
    """The body of a process; returns its exit status."""
    limit(pure)
    before = memory("VmRSS")
    try:
        status, found = read(path, pure)
    except BaseException:
        found = {"codes": [], "place": None, "output": traceback.format_exc()}
        status = 70
    found["mebibytes"] = (memory("VmHWM") - before) / (1 << 20)
    with os.fdopen(out, "w", encoding="utf-8") as stream:
        json.dump(found, stream)
    return status


def in_child(path: str, pure: bool) -> dict[str, object]:
    """Fork, read, collect."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        os._exit(child(path, pure, send))
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as stream:
        text = stream.read()
    _, status, usage = os.wait4(pid, 0)
    found = json.loads(text) if text else {"codes": [], "place": None, "output": "", "mebibytes": 0}
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": usage.ru_utime + usage.ru_stime,
        **found,
    }


if __name__ == "__main__":
    pure = "--pure" in sys.argv
    for name in sys.argv[1:]:
        if name != "--pure":
            print(json.dumps({"file": name, **in_child(name, pure)}), flush=True)
