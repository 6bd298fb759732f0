"""`segc completion`: a completion script for a shell, from the verbs' own parsers."""

from __future__ import annotations

import argparse

from segc.cli import common
from segc.cli.parser import Parser
from segc.cli.verbs import VERBS

SHELLS = ("bash", "zsh", "fish")


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
    parser.output()
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]
    common.deliver(script(), args)
    return 0


def options(verb: str) -> list[argparse.Action]:
    """The options of a verb."""
    from segc.cli.frame import parser_of

    return [a for a in parser_of(verb)._actions if a.option_strings]


def _words(verb: str) -> list[str]:
    return [word for action in options(verb) for word in action.option_strings]


def _choices(verb: str) -> list[tuple[str, list[str]]]:
    found = [(a.option_strings, [str(c) for c in a.choices or ()]) for a in options(verb)]
    return [(word, choices) for words, choices in found for word in words if choices]


def _values(verb: str) -> list[str]:
    """Words that may stand where a verb takes something else than a file."""
    if verb == "completion":
        return list(SHELLS)
    if verb == "explain":
        from segc.manual import names

        return names()
    return []


def _bash() -> str:
    lines = [
        "# segc completion bash > ~/.local/share/bash-completion/completions/segc",
        "_segc() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        "    COMPREPLY=()",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        COMPREPLY=($(compgen -W "{" ".join(VERBS)} --help --version" -- "$word"))',
        "        return",
        "    fi",
        '    case "${COMP_WORDS[1]} $before" in',
    ]
    for verb in VERBS:
        for word, choices in _choices(verb):
            reply = f'COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word"))'
            lines.append(f'        "{verb} {word}") {reply}; return ;;')
    lines += ["    esac", '    case "${COMP_WORDS[1]}" in']
    for verb in VERBS:
        words = " ".join([*_words(verb), *_values(verb)])
        lines.append(f'        {verb}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;')
    lines += ["    esac", "}", "complete -o bashdefault -o default -F _segc segc"]
    return "\n".join(lines) + "\n"


def _zsh() -> str:
    lines = ["#compdef segc", "_segc() {", "    local -a verbs=("]
    lines += [f"        '{verb}:{_zsh_text(entry.help)}'" for verb, entry in VERBS.items()]
    lines += [
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe verb verbs",
        "        return",
        "    fi",
        "    local verb=$words[2]",
        "    shift words; (( CURRENT-- ))",
        "    case $verb in",
    ]
    for verb in VERBS:
        specs = [_zsh_option(a, w) for a in options(verb) for w in a.option_strings]
        values = _values(verb)
        rest = f"'*:value:({' '.join(values)})'" if values else "'*:file:_files'"
        lines.append(f"        {verb}) _arguments {' '.join([*specs, rest])} ;;")
    lines += [
        "    esac",
        "}",
        'if [ "$funcstack[1]" = "_segc" ]; then _segc "$@"; else compdef _segc segc; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_option(action: argparse.Action, word: str) -> str:
    text = f"{word}[{_zsh_text(action.help or '')}]"
    if action.nargs == 0:
        return f"'{text}'"
    values = f"({' '.join(map(str, action.choices))})" if action.choices else "_files"
    return f"'{text}:value:{values}'"


def _zsh_text(text: str) -> str:
    for char in "'[]:":
        text = text.replace(char, " " if char == "'" else f"\\{char}")
    return text.replace("%%", "%")


def _fish() -> str:
    none = "not __fish_seen_subcommand_from " + " ".join(VERBS)
    lines = []
    for verb, entry in VERBS.items():
        lines.append(f"complete -c segc -n '{none}' -f -a {verb} -d '{_fish_text(entry.help)}'")
        seen = f"-n '__fish_seen_subcommand_from {verb}'"
        for action in options(verb):
            lines.append(f"complete -c segc {seen} {_fish_option(action)}")
        if values := _values(verb):
            lines.append(f"complete -c segc {seen} -f -a '{' '.join(values)}'")
    return "\n".join(lines) + "\n"


def _fish_option(action: argparse.Action) -> str:
    words = [
        f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
        for word in action.option_strings
    ]
    if action.nargs != 0:
        words.append("-r")
    if action.choices:
        words.append(f"-f -a '{' '.join(map(str, action.choices))}'")
    return " ".join([*words, f"-d '{_fish_text(action.help or '')}'"])


def _fish_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%")
