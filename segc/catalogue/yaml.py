"""YAML and files (SEG0xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {
    "SEG001": Entry(
        "The file holds no document",
        "It is empty, or has comments only. A spec is a mapping that starts with the version of "
        "the language.",
        bad="# to be written\n",
        good="segc: 1\nmodel: Net\n",
    ),
    "SEG002": Entry(
        "The top level is not a mapping",
        "A spec is `key: value` lines; this file is a list or a single value.",
        bad="- segc: 1\n- model: Net\n",
        good="segc: 1\nmodel: Net\n",
    ),
    "SEG003": Entry(
        "The file is too large",
        "A spec may have 1 MiB. The limit is checked before anything is read, so that a file "
        "given by mistake costs nothing. Large specs are split into block files (`use`) or "
        "repeat their blocks (`repeat`).",
    ),
    "SEG004": Entry(
        "The file is not UTF-8",
        "Specs are UTF-8, with or without a byte order mark. UTF-16 and Latin-1 are not guessed "
        "at: a wrong guess changes names. Save the file as UTF-8.",
    ),
    "SEG005": Entry(
        "A character that is not allowed",
        "Control characters, characters without width, direction overrides and line separators "
        "make text look different from what it is, in the spec and in the code made from it. "
        "They are refused everywhere, comments and escapes included. Delete the character, or "
        "retype the word.",
        bad='segc: 1\ntitle: "U-\\u200bNet"\n',
        good='segc: 1\ntitle: "U-Net"\n',
    ),
    "SEG006": Entry(
        "A second document",
        "`---` starts another YAML document, and only one of them could be meant. Keep one "
        "network per file.",
        bad="segc: 1\n---\nsegc: 1\n",
        good="segc: 1\n",
    ),
    "SEG007": Entry(
        "Not YAML",
        "The text cannot be read as YAML. The message says what was expected where; if "
        "something was left open, a note names the place it began. Usual causes: a missing "
        "space after `:`, an unclosed bracket or quote, a line that is indented like none above "
        "it, a value that contains `: ` or starts with `@` or a backtick and is not quoted.",
        bad="layers:\n  conv: {op: conv2d, out_channels: 8\n  relu: relu\n",
        good="layers:\n  conv: {op: conv2d, out_channels: 8}\n  relu: relu\n",
    ),
    "SEG008": Entry(
        "A key is given twice",
        "Most YAML readers keep the last one silently, so one of the two lines would do "
        'nothing. Quoting makes no difference: "stride" and stride are the same key.',
        bad="layers:\n  conv: {op: conv2d, stride: 1, out_channels: 8, stride: 2}\n",
        good="layers:\n  conv: {op: conv2d, stride: 2, out_channels: 8}\n",
    ),
    "SEG009": Entry(
        "Anchors, aliases and merge keys",
        "`&name`, `*name` and `<<` copy parts of a file. What they copy cannot be told from the "
        "line they stand on, a few lines can expand to gigabytes, and a diff does not show what "
        "changed. The language has its own means: `blocks` with parameters, `use` and "
        "`extends`.",
        bad="layers:\n  a: &conv {op: conv2d, out_channels: 8}\n  b: *conv\n",
        good="blocks:\n"
        "  conv: {inputs: [x], layers: {c: {op: conv2d, out_channels: 8}}}\n"
        "layers:\n"
        "  a: {block: conv}\n"
        "  b: {block: conv}\n",
    ),
    "SEG010": Entry(
        "Tags and directives",
        "`!name` asks a YAML reader to build an object of some class, `%` gives it orders. A "
        "spec is plain data. If the value really starts with one of these characters, quote it.",
        bad="segc: 1\ntitle: !!python/name:os.system\n",
        good='segc: 1\ntitle: "!!python/name:os.system"\n',
    ),
    "SEG011": Entry(
        "Nested too deep",
        "More than 32 levels of mappings and lists. Give the inner layers a name under `blocks`.",
        bad="a: " + "[" * 33 + "]" * 33 + "\n",
        good="a: [[1]]\n",
    ),
    "SEG012": Entry(
        "Too much for one spec",
        "One file may have 50,000 values, 10,000 keys in one mapping and 4,096 characters in "
        "one text. Larger networks repeat something: use `repeat`, blocks, or several files.",
    ),
    "SEG013": Entry(
        "A word that is a boolean to some readers",
        "YAML 1.1 reads `yes`, `no`, `on`, `off` as booleans (and, by the letter, `y` and `n`), "
        "YAML 1.2 reads them as text, so two tools would disagree about this file. Write `true` "
        "or `false`, or quote the word. A lone `y` or `n` is refused only as the value of a "
        "key, where a boolean could stand: lists such as `[N, C, H, W]` and keys are not "
        "affected.",
        bad="layers:\n  conv: {op: conv2d, out_channels: 8, bias: no}\n",
        good="layers:\n  conv: {op: conv2d, out_channels: 8, bias: false}\n",
    ),
    "SEG014": Entry(
        "A number that readers disagree about",
        "`010` is 8 or 10, `1:30` is 90 or text, `1_000` is a number or text, `1e-4` is text to "
        "PyYAML and a number to others, `2024-01-02` is a date or text. Write numbers in plain "
        "decimal; an exponent needs a point before it and a sign in it: `1.0e-4`. Quote what is "
        "text.",
        bad="recipe:\n  lr: 1e-4\n",
        good="recipe:\n  lr: 1.0e-4\n",
    ),
    "SEG015": Entry(
        "A number out of range",
        "Integers must lie below 2^53 in size, where every tool still tells neighbours apart; "
        "fractions must fit a 64-bit float; infinity and NaN are no sizes.",
        bad="layers:\n  conv: {op: conv2d, out_channels: 9007199254740993}\n",
        good="layers:\n  conv: {op: conv2d, out_channels: 64}\n",
    ),
    "SEG016": Entry(
        "A key that is not text",
        "Keys are names. Plain decimal numbers are accepted, because repeated layers are "
        "numbered, and mean their text; `true`, `null`, `1.5`, lists and mappings are not.",
        bad="layers:\n  true: relu\n",
        good="layers:\n  act: relu\n",
    ),
    "SEG017": Entry(
        "A tab character",
        "YAML does not allow tabs in indentation, and elsewhere they look like spaces but are "
        'not. Use spaces; in double quotes a tab is written "\\t".',
        bad="layers:\n	conv: relu\n",
        good="layers:\n  conv: relu\n",
    ),
    "SEG020": Entry(
        "No such file",
        "The name leads to no file, or cannot be one. Names are relative to the working "
        "directory; names under `use` are relative to the spec's own.",
    ),
    "SEG021": Entry(
        "Not a regular file",
        "A directory, a pipe or a device was named where a file of text is needed. To read from "
        "a pipe, give `-`.",
    ),
    "SEG022": Entry(
        "Outside the spec's directory",
        "A spec may only include files that lie in its own directory or below: no absolute "
        "name, no `..`, no symbolic or hard link. So that checking somebody's spec cannot read "
        "other files.",
    ),
    "SEG023": Entry(
        "The machine refused to read",
        "No permission, a failing disk, a vanished network. The spec is not at fault, and the "
        "exit status is 3.",
    ),
    "SEG025": Entry(
        "Not in git",
        "`REV:path` names a file as it was in a version of the repository you are in, such as "
        "`HEAD~1:specs/unet.yaml`. The version or the file does not exist, or git is not there.",
    ),
}
