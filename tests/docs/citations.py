"""What does a text cite, and does it lead anywhere?

Contracts are cited as `docs/design.md C5`, sections as `docs/scoring.md §6` (or `§6` alone, once a page with numbered sections
was named), headings as `docs/plan.md#doctor`, files by their path. A section of something outside stands behind its public name.
"""

import fnmatch
import functools
import itertools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRIVATE = re.compile(  # notes that are not in this repository, and words that only they explain
    r"\b(?:DESIGN|STYLE|HOUSE)(?:\.md)?(?= ?§| C[0-9]|\.md)|\bDESIGN\b|(?<![/\w])reference/"
    r"|\breference (?:fino1|kubernetes|cluster|training)\.md|\b[Ss]eed's\b|\bthe seed(?= (?:is|takes|starts|decays|never)\b)"
)
CONTRACT = re.compile(r"(?<![\w./#-])C([1-9][0-9]?)(?![\w%-])")
CONTRACT_LIST = re.compile(r"design\.md (?:C[0-9]+(?:, | and |\b))+$")
SECTION = re.compile(r"§ ?([0-9]+(?:\.[0-9]+)*)")
OUTSIDE = re.compile(r"(?:RFC [0-9]+|arXiv [0-9]{4}\.[0-9]{5}(?:v[0-9])?),? $")
PAGE = re.compile(r"\bdocs/([a-z0-9-]+\.md)(#[a-z0-9-]+)?")
LINK = re.compile(r"\]\(([^()\s]+)\)")
FOLDERS = "fino1|tests|charts|manifests|docs|ci|images|benchmarks|tools"
FILE = re.compile(
    rf"(?<![\w./~:@{{$-])(?:\.\./)*((?:{FOLDERS})/[\w./*{{}},<>-]*[\w*}}]\.(?:py|md|ya?ml|tpl|json|css|js|j2|txt|svg|png|sh))\b"
)
TEST = re.compile(r"(?<![\w/*{,-])test_\w+\.py\b")
PLACEHOLDER = re.compile(r"[<>]|\b[A-Z]{3,}\b")
BINARY = {".png", ".sum", ".gz", ".whl"}


@dataclass(frozen=True)
class Broken:
    """A citation that leads nowhere: where it stands, what it says and why it fails."""

    file: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}: {self.why}"


@functools.cache
def tracked() -> tuple[str, ...]:
    """Every file of the repository that git knows or would add, links to folders left out."""
    out = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(name for name in out.split("\n") if name and (ROOT / name).is_file())


@functools.cache
def headings(page: Path) -> tuple[str, ...]:
    """The headings of a Markdown page, in order; none of those inside fenced blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return tuple(re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE))


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading: lower case, punctuation gone, spaces to hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@functools.cache
def sections(page: str) -> frozenset[str]:
    """Numbers of a page's sections ("## 6. Scale words" → "6"); empty where it has none, or is not there."""
    path = ROOT / "docs" / page
    there = headings(path) if path.is_file() else ()
    numbers = (re.match(r"([0-9]+(?:\.[0-9]+)*)\.? ", heading) for heading in there)
    return frozenset(match[1] for match in numbers if match)


@functools.cache
def contracts() -> frozenset[str]:
    """Numbers of the contracts in docs/design.md ("## C5 Exit codes" → "5")."""
    found = (re.match(r"C([0-9]+) ", heading) for heading in headings(ROOT / "docs/design.md"))
    return frozenset(match[1] for match in found if match)


def broken(file: str, text: str) -> Iterator[Broken]:
    """Every citation in `text`, the content of `file`, that leads nowhere."""
    finders = [_private, _contracts, _sections, _pages, _files] + ([_links] if file.endswith(".md") else [])
    for match, why in itertools.chain.from_iterable(find(file, text) for find in finders):
        yield Broken(file, text.count("\n", 0, match.start()) + 1, match[0], why)


Findings = Iterator[tuple[re.Match[str], str]]


def _private(file: str, text: str) -> Findings:
    for match in PRIVATE.finditer(text):
        yield match, "not of this repository"


def _contracts(file: str, text: str) -> Findings:
    for match in CONTRACT.finditer(text):
        before = re.sub(r"\s*\n[\s#|*]*", " ", text[max(0, match.start() - 80) : match.start()])
        named = file == "docs/design.md" or CONTRACT_LIST.search(before + match[0])
        if not named:
            yield match, "expected docs/design.md before a contract's number"
        elif match[1] not in contracts():
            yield match, "docs/design.md has no such contract"


def _sections(file: str, text: str) -> Findings:
    own = Path(file).name if file.startswith("docs/") else ""
    for match in SECTION.finditer(text):
        if OUTSIDE.search(text[max(0, match.start() - 40) : match.start()].replace("\n", " ")):
            continue
        named = [page[1] for page in PAGE.finditer(text, 0, match.start()) if sections(page[1])]
        page = own if own and sections(own) else named[-1] if named else ""
        if not page:
            yield match, "expected a page of docs/ with numbered sections before it, or an RFC's or arXiv's number"
        elif match[1] not in sections(page):
            yield match, f"docs/{page} has no such section"


def _pages(file: str, text: str) -> Findings:
    for match in PAGE.finditer(text):
        path = ROOT / "docs" / match[1]
        if not path.is_file():
            yield match, "no such page"
        elif match[2] and match[2][1:] not in map(anchor, headings(path)):
            yield match, "no such heading"


def _files(file: str, text: str) -> Findings:
    for match in FILE.finditer(text):
        # A path that the code itself opens
        is_code = file.endswith((".py", ".toml")) and text[match.start() - 1] in "\"'"
        if not is_code and not PLACEHOLDER.search(match[1]) and not all(map(_is_there, _expanded(match[1]))):
            yield match, "no such file"
    for match in TEST.finditer(text):
        if not _is_there(match[0]):
            yield match, "no such test"


def _links(file: str, text: str) -> Findings:
    for match in LINK.finditer(text):
        target, _, heading = match[1].partition("#")
        if re.match(r"[a-z]+:", match[1]):
            continue
        path = (ROOT / file).parent / target if target else ROOT / file
        if not path.exists():
            yield match, "no such file"
        elif heading and heading not in map(anchor, headings(path)):
            yield match, "no such heading"


@functools.cache
def _is_there(path: str) -> bool:
    """Is there a file of that path, or of one that ends with it? A chart's templates are named from the chart's folder."""
    return any(fnmatch.fnmatch(name, path) or fnmatch.fnmatch(name, f"*/{path}") for name in tracked())


def _expanded(path: str) -> list[str]:
    """`a/{b,c}.py` as a shell reads it."""
    if (braces := re.search(r"\{([^{}]*)\}", path)) is None:
        return [path]
    return [
        name
        for part in braces[1].split(",")
        for name in _expanded(path[: braces.start()] + part + path[braces.end() :])
    ]
