"""What do the pages show: fenced blocks, the commands in them, and commands in the text?"""

import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in (
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        ROOT / "manifests/README.md",
        ROOT / "charts/fino1/README.md",
    )
    if page.is_file() and page.name not in ("cli.md", "lints.md")  # generated from the parser and from the rules
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:fino1|fino1-k8s|make|helm) [^`\n]+)`")
_PLACEHOLDER = re.compile(r"^(?:[A-Z][A-Z-]*|.*…)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str | None:
        """The file name in the first line's comment (`# my-sft.yaml`), if there is one."""
        match = re.match(r"# ([\w.-]+\.(?:yaml|json))\n", self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command line of a page, as a shell splits it."""

    place: str
    page: Path
    words: tuple[str, ...]

    @property
    def has_placeholder(self) -> bool:
        """Does it name something that the reader fills in (NAME, `…`)?"""
        return any(_PLACEHOLDER.match(word) for word in self.words[1:])

    def __str__(self) -> str:
        return f"{self.place}: {shlex.join(self.words)}"


@functools.cache
def blocks() -> tuple[Block, ...]:
    """Every fenced block of every page."""
    return tuple(
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for page, text in ((page, page.read_text()) for page in PAGES)
        for match in _FENCE.finditer(text)
    )


def unfenced(page: Path) -> list[str]:
    """Lines of code blocks that are indented instead of fenced, so that nothing would look at them."""
    text = _FENCE.sub("", page.read_text())
    return re.findall(r"(?<=\n\n) {4,}\S.*", text)


def commands() -> Iterator[Command]:
    """Every command of the bash blocks: one a line, `\\` joins lines, comments go."""
    for block in blocks():
        if block.language == "bash":
            for number, line in enumerate(re.sub(r"\\\n\s*", " ", block.text).splitlines(), block.line + 1):
                yield from _command(f"{block.page.relative_to(ROOT)}:{number}", block.page, line)


def mentioned() -> Iterator[Command]:
    """Every command of ours that stands in a page's text (`fino1-k8s plan RUN`)."""
    for page in PAGES:
        text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text())
        for match in _INLINE.finditer(text):
            yield from _command(f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}", page, match[1])


def _command(place: str, page: Path, line: str) -> Iterator[Command]:
    if match := re.match(r'eval "\$\((.*)\)"', line):
        line = match[1]
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"\w+=\S*", words[0]):  # a variable for this command only
        words = words[1:]
    if words:
        yield Command(place, page, tuple(words))
