"""Which objects does a JSON or JSON Lines file that fino1 wrote hold, and what is wrong with it?"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fino1.errors import SpecError

SHOWN_PROBLEMS = 10  # per file; a file of another kind would otherwise fill the screen
_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    type(None): "null",
}


def read_object(file: Path) -> dict[str, Any]:
    """Read a file that holds one object; raises SpecError where it does not."""
    return parse(_read(file), str(file))


def read_lines(file: Path, check: Callable[[dict[str, Any]], list[str]] = lambda line: []) -> list[dict[str, Any]]:
    """Read a file of one object a line. Raises SpecError with file and line of what is broken or what `check` finds."""
    texts = _read(file).split(b"\n")
    if texts[-1] == b"":
        texts.pop()
    lines, problems = [], []
    for number, text in enumerate(texts, 1):
        try:
            line = parse(text, f"{file}:{number}")
        except SpecError as error:
            problems += error.problems
            continue
        problems += [f"{file}:{number}: {problem}" for problem in check(line)]
        lines.append(line)
    if len(problems) > SHOWN_PROBLEMS:
        problems[SHOWN_PROBLEMS:] = [f"{file}: and {len(problems) - SHOWN_PROBLEMS} more like these"]
    if problems:
        raise SpecError(problems)
    return lines


def parse(text: bytes, where: str) -> dict[str, Any]:
    """Read one object; raises SpecError naming `where`."""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are both ValueErrors
        raise SpecError(f"{where}: expected a JSON object, got {_shorten(text)} ({error})") from error
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected a JSON object, got {_shorten(text)}")
    return value


def find_faults(found: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> list[str]:
    """List the fields that are missing or of another type than `types` allows; true is no number here."""
    problems = []
    for name, allowed in types.items():
        if name not in found or type(found[name]) not in allowed:
            expected = " or ".join(dict.fromkeys(_WORDS[each] for each in allowed))
            got = _shorten(json.dumps(found[name]).encode()) if name in found else "nothing"
            problems.append(f"{name}: expected {expected}, got {got}")
    return problems


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise SpecError(f"{file}: expected a file, got {error.strerror.lower()}") from error


def _shorten(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "replace")
    return repr(shown + ("…" if len(text) > 60 else "")) if text else "an empty line"
