"""Which script completes `fino1-k8s` in a shell? Made from `cli.parser()`, so that it knows all that the command knows."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fino1 import exits
from fino1.k8s import cli
from fino1.spec import recipe

PROGRAM = "fino1-k8s"


@dataclass(frozen=True)
class Option:
    """One option of a verb, or one of its arguments (no flags)."""

    flags: tuple[str, ...]
    about: str
    takes_value: bool
    words: tuple[str, ...]
    """What the value may be."""
    is_file: bool
    """May the value be a path?"""


@dataclass(frozen=True)
class Verb:
    """One verb, with what can stand after it."""

    name: str
    about: str
    options: tuple[Option, ...]
    argument: Option | None

    @property
    def flags(self) -> list[str]:
        """Of all its options."""
        return [flag for option in self.options for flag in option.flags]


def main(arguments: argparse.Namespace) -> int:
    """Verb `completion`."""
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](verbs())
    print("\n".join(lines))
    return exits.DONE


def verbs() -> list[Verb]:
    """All verbs of the command line."""
    top = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [_verb(name, command) for name, command in top.choices.items()]


def _verb(name: str, command: argparse.ArgumentParser) -> Verb:
    found = [_option(name, action) for action in command._actions]
    arguments = [option for option in found if not option.flags]
    options = tuple(option for option in found if option.flags)
    return Verb(name, command.description or "", options, arguments[0] if arguments else None)


def _option(verb: str, action: argparse.Action) -> Option:
    metavar = str(action.metavar or "")
    is_run = action.dest == "run"
    words = _runs(verb) if is_run else tuple(action.choices or ())
    is_file = is_run or metavar in ("FILE", "DIR")
    return Option(tuple(action.option_strings), action.help or "", action.nargs != 0, words, is_file)


def _runs(verb: str) -> tuple[str, ...]:
    """Built-in names; recipes are for `run` alone."""
    return tuple(path.stem for path in recipe.built_in() if verb == "run" or path.parent.name != "recipes")


def _bash(found: Sequence[Verb]) -> Iterator[str]:
    """COMPREPLY from words and files; lines are split at line ends only, for paths with spaces."""
    yield f"# bash completion of {PROGRAM}:  source <({PROGRAM} completion bash)"
    yield "_fino1_k8s() {"
    yield "    local IFS=$'\\n' verb=${COMP_WORDS[1]} current=${COMP_WORDS[COMP_CWORD]}"
    yield "    local before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    COMPREPLY=()"
    yield f"    if ((COMP_CWORD == 1)); then {_compgen([verb.name for verb in found], False)}; return; fi"
    yield '    case "$verb $before" in'
    for verb in found:
        for option in verb.options:
            if option.takes_value:
                cases = "|".join(shlex.quote(f"{verb.name} {flag}") for flag in option.flags)
                yield f"        {cases}) {_compgen(option.words, option.is_file)}; return ;;"
    yield "    esac"
    yield '    case "$verb:$current" in'
    for verb in found:
        yield f"        {verb.name}:-*) {_compgen(verb.flags, False)} ;;"
        if verb.argument:
            yield f"        {verb.name}:*) {_compgen(verb.argument.words, verb.argument.is_file)} ;;"
    yield "    esac"
    yield "}"
    yield f"complete -F _fino1_k8s {PROGRAM}"


def _compgen(words: Sequence[str], is_file: bool) -> str:
    """The command that offers these words, and files."""
    if not words and not is_file:
        return ":"
    offered = ["-W $'" + "\\n".join(words) + "'"] if words else []
    sources = " ".join([*offered, *(["-f"] if is_file else [])])
    command = f'COMPREPLY=($(compgen {sources} -- "$current"))'
    return f"{command}; compopt -o filenames 2>/dev/null" if is_file else command


def _zsh(found: Sequence[Verb]) -> Iterator[str]:
    """Works in a file on $fpath (`_fino1-k8s`) and when it is sourced."""
    yield f"#compdef {PROGRAM}"
    yield f"# zsh completion of {PROGRAM}:  source <({PROGRAM} completion zsh)"
    yield "_fino1_k8s() {"
    yield "    local -a verbs"
    yield f"    verbs=({' '.join(shlex.quote(f'{verb.name}:{verb.about}') for verb in found)})"
    yield "    if (( CURRENT == 2 )); then _describe verb verbs; return; fi"
    yield "    local verb=$words[2]"
    yield "    shift words; (( CURRENT-- ))"
    yield "    case $verb in"
    for verb in found:
        specs = [_zsh_option(option, flag) for option in verb.options for flag in option.flags]
        if verb.argument and (verb.argument.words or verb.argument.is_file):
            specs.append(f"*:name:{_zsh_values(verb.argument)}")
        yield f"        {verb.name}) _arguments {' '.join(map(shlex.quote, specs))} ;;"
    yield "    esac"
    yield "}"
    yield 'if [[ "$funcstack[1]" == _fino1-k8s ]]; then _fino1_k8s "$@"; else compdef _fino1_k8s ' + PROGRAM + "; fi"


def _zsh_option(option: Option, flag: str) -> str:
    about = "".join(f"\\{c}" if c in "[]:\\" else c for c in option.about)
    value = f":value:{_zsh_values(option)}" if option.takes_value else ""
    return f"*{flag}[{about}]{value}"


def _zsh_values(option: Option) -> str:
    """Files, words, or both; a blank offers nothing."""
    words = " ".join(option.words)
    if option.is_file:
        return f"{{ compadd -- {words}; _files }}" if words else "_files"
    return f"({words})" if words else " "


def _fish(found: Sequence[Verb]) -> Iterator[str]:
    """One `complete` for each verb and option."""
    yield f"# fish completion of {PROGRAM}:  {PROGRAM} completion fish | source"
    yield f"complete -c {PROGRAM} -f"
    for verb in found:
        yield f"complete -c {PROGRAM} -n __fish_use_subcommand -a {verb.name} -d {_fish_quoted(verb.about)}"
        seen = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {verb.name}'"
        for option in verb.options:
            names = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
            about = f" -d {_fish_quoted(option.about)}" if option.about else ""
            yield f"{seen} {' '.join(names)}{_fish_values(option) if option.takes_value else ''}{about}"
        if verb.argument and (verb.argument.words or verb.argument.is_file):
            yield f"{seen}{' -F' if verb.argument.is_file else ''} -a {_fish_quoted(' '.join(verb.argument.words))}"


def _fish_values(option: Option) -> str:
    """A value is required: files, these words, or anything."""
    words = f" -a {_fish_quoted(' '.join(option.words))}" if option.words else ""
    return f" -r{' -F' if option.is_file else ' -f'}{words}"


def _fish_quoted(text: str) -> str:
    """Fish escapes inside single quotes, as no other shell does."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
