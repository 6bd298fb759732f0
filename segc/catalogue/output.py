"""Written files and limits asked for on the command line (SEG08x)."""

from __future__ import annotations

from segc.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {
    "SEG031": Entry(
        "PyTorch is not installed",
        "`segc verify` builds the emitted network and runs it, which the light core cannot do. "
        "Everything else works without PyTorch. `pip install 'segc[torch]'` adds it. The exit "
        "status is 3.",
    ),
    "SEG080": Entry(
        "What is on disk is not what a build writes",
        "`segc build --check` compiled the spec and compared: a file is missing, differs, or "
        "is a leftover of an earlier build. Generated files are committed so that a reviewer "
        "sees what a change of the spec does; this keeps them true. Run `segc build` and "
        "commit the result.",
    ),
    "SEG081": Entry(
        "The output directory holds files that a build would lose",
        "segc keeps the checksum of every file it wrote in `.segc.json`. A file that is not "
        "listed there, or that was edited since, is somebody's work, so the build stops before "
        "it changes anything. Put changes into the spec, or copy the file elsewhere and edit "
        "the copy; `--force` replaces edited files and leaves the others where they are.",
    ),
    "SEG082": Entry(
        "The output directory is not a directory",
        "The files of a network are replaced together, by exchanging directories, so the place "
        "they go to must be a directory of its own: not a file, and not a link to somewhere "
        "else.",
    ),
    "SEG083": Entry(
        "The machine refused to write",
        "No space, no permission, a read-only file system. The new files are complete on disk "
        "before they take the place of the old ones, so the old ones are still there, "
        "untouched. The exit status is 3.",
    ),
    "SEG084": Entry(
        "Another build is writing the same directory",
        "Two builds of one network at a time would race for its directory, so the second stops "
        "with exit status 3. The lock belongs to a running process: one that was killed leaves "
        "none.",
    ),
    "SEG085": Entry(
        "The spec is not in the canonical layout",
        "`segc fmt --check` found something `segc fmt` would change: spacing, the order of the "
        "sections or of a layer's keys, blank lines. Comments and values are never changed.",
        bad="layers:\n  conv: {kernel_size: 3,op: conv2d,   out_channels: 8}\n",
        good="layers:\n  conv: {op: conv2d, kernel_size: 3, out_channels: 8}\n",
    ),
    "SEG086": Entry(
        "The spec cannot be laid out safely",
        "`segc fmt` reads back what it would write, and refuses unless values, keys and "
        "comments are the same. It then leaves the file as it is. Rewriting the marked value "
        "on one line helps.",
    ),
    "SEG087": Entry(
        "A budget is exceeded",
        "`segc summary --budget 'params<40M,macs<200G'` compares the totals with limits, so "
        "that a change that makes a network too large fails in CI. K, M, G and T are powers of "
        "1000.",
    ),
    "SEG088": Entry(
        "The file to create exists already",
        "`segc new` starts a spec; it never replaces one. Choose another name, or move the "
        "file away.",
    ),
    "SEG089": Entry(
        "There is no such network to start from",
        "`segc new NAME --like SPEC` copies one of the networks that come with segc.",
    ),
}
