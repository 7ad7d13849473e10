"""What did a search for reasoning paths find, and at which cost? Its counts as tables, and chains to read side by side.

Read from what a run of method `paths` leaves (docs/paths.md): `paths.jsonl`, of which every line is a question, and `done.json`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fino1 import jsonlines
from fino1.errors import SpecError
from fino1.report.curves import format_number
from fino1.report.leaderboard import format_percent

SHOWN_SOLVED, SHOWN_FAILED = 12, 6  # questions whose chains are on the page
TEXT_CHARS = 6_000  # of each text of a chain
CAUSES = {
    "wrong": "no chain had the right conclusion",
    "form": "a reply was still malformed after it was sent back",
    "response": "the chain was right and the response was not",
    "budget": "the next call might have passed what one question may take",
}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "task", "question", "complaint", "reasoning", "response"), (str,)),
    "target": (str, int, float, bool),
    "failure": (str, type(None)),
    "shows_gold": (bool,),
    "calls": (int,),
}


class Table(NamedTuple):
    """A table of counts; the first column names the row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chain:
    """A chain: what it was written as, its verdict, and its steps as (heading, text)."""

    title: str
    strategy: str
    depth: int
    right: bool
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Searched:
    """A question with its chains; `failure` is None where it has a row."""

    line: Mapping[str, Any]
    chains: tuple[Chain, ...]

    @property
    def failure(self) -> str | None:
        """Why it has no row; None where it has one."""
        return self.line["failure"]

    @property
    def beside(self) -> tuple[Chain, ...]:
        """The first chain and the last: they are read beside each other. One where there is no other."""
        return self.chains[:1] + self.chains[1:][-1:]


@dataclass(frozen=True)
class Search:
    """A finished run of method `paths`."""

    name: str
    searched: tuple[Searched, ...]
    cost: Mapping[str, Any]

    @property
    def rows(self) -> list[Searched]:
        """The questions that have a row."""
        return [each for each in self.searched if each.failure is None]

    @property
    def calls(self) -> int:
        """Replies that the questions took."""
        return sum(each.line["calls"] for each in self.searched)

    @property
    def summary(self) -> str:
        """What came out and what it cost, in a sentence or two."""
        rows, tokens, dollars = len(self.rows), self.cost.get("tokens", 0), self.cost.get("dollars")
        asked = len(self.searched)
        text = (
            f"{rows:,} rows of {asked:,} questions ({format_percent(rows / max(asked, 1))} %), {self.calls:,} calls, "
        )
        text += f"{tokens:,} tokens" + (f" ({format_number(tokens / rows)} a row)" if rows else "")
        text += f", {format_number(dollars)} dollars" if dollars is not None else ""
        return f"{text}. {_explain(self.cost)}".strip()

    @property
    def tables(self) -> list[Table]:
        """Its counts: chains by number of further steps and by strategy, questions by outcome, lengths."""
        chains = [chain for each in self.searched for chain in each.chains]
        drawn = [chain for chain in chains if chain.depth > 0]
        return [
            _share("Chains by number of further steps", "Further steps", [(_depth(chain), chain) for chain in chains]),
            _share(
                "Chains by strategy", "Strategy", sorted(((c.strategy, c) for c in drawn), key=lambda pair: pair[0])
            ),
            self._count_outcomes(),
            self._measure(),
        ]

    @property
    def shown(self) -> list[Searched]:
        """Questions whose chains can be read: solved after a wrong chain, then without a row; the first of each."""
        solved = [each for each in self.rows if len(each.chains) > 1]
        failed = [each for each in self.searched if each.failure is not None and each.chains]
        return solved[:SHOWN_SOLVED] + failed[:SHOWN_FAILED]

    def _count_outcomes(self) -> Table:
        of = {"a row": self.rows, "a row, the gold shown": [each for each in self.rows if each.line["shows_gold"]]}
        of |= {f"{name}: {text}": [s for s in self.searched if s.failure == name] for name, text in CAUSES.items()}
        rows = [
            (name, f"{len(found):,}", _percent(len(found), len(self.searched))) for name, found in of.items() if found
        ]
        return Table("Questions by outcome", ("Outcome", "Questions", "Share, %"), rows)

    def _measure(self) -> Table:
        of = {
            "reasoning of a row, characters": [len(each.line["reasoning"]) for each in self.rows],
            "response of a row, characters": [len(each.line["response"]) for each in self.rows],
            "chain of a row, steps": [len(each.chains[-1].steps) for each in self.rows if each.chains],
            "question, calls": [each.line["calls"] for each in self.searched],
        }
        rows = [(name, *map("{:,}".format, _quantiles(sizes))) for name, sizes in of.items() if sizes]
        return Table("Lengths", ("Of a", "Least", "Median", "90 % have at most", "Most"), rows)


def read_search(name: str, directory: Path) -> Search:
    """Read a finished run of method `paths`. Raises SpecError for what is missing or broken."""
    done = jsonlines.read_object(directory / "done.json")
    file = directory / "paths.jsonl"
    lines = jsonlines.read_lines(file, lambda line: jsonlines.find_faults(line, _TYPES))
    searched = []
    for number, line in enumerate(lines, 1):
        try:
            searched.append(Searched(line, tuple(_read_chains(line["turns"]))))
        except (KeyError, TypeError) as error:
            raise SpecError(
                f"{file}:{number}: turns: expected chains as method paths writes them, got {error!r}"
            ) from error
    return Search(name, tuple(searched), done.get("cost", {}))


def _read_chains(turns: Iterable[Mapping[str, Any]]) -> Iterable[Chain]:
    """Yield a question's chains. The depth of one in which the gold was shown is −1."""
    depth = {0: 0}
    for turn in turns:
        strategy, attempt = str(turn["strategy"]), int(turn["attempt"])
        if attempt:
            depth[attempt] = depth.get(attempt, 0) + 1
        steps = tuple((": ".join(filter(None, (s["action"], s["title"]))), str(s["content"])) for s in turn["steps"])
        of = depth[attempt] if strategy != "Gold shown" else -1
        title = {"Initial": "First chain", "Gold shown": "The gold shown"}.get(strategy)
        yield Chain(title or f"Further step {of}, {strategy}", strategy, of, bool(turn["right"]), steps)


def _depth(chain: Chain) -> str:
    return "the gold shown" if chain.depth < 0 else f"{chain.depth or 'none: the first chain'}"


def _share(title: str, head: str, named: Sequence[tuple[str, Chain]]) -> Table:
    """Count chains by name, in the order of the names, and those with the right conclusion."""
    rows = []
    for name in dict.fromkeys(name for name, _ in named):
        right = [chain.right for other, chain in named if other == name]
        rows.append((name, f"{len(right):,}", f"{sum(right):,}", _percent(sum(right), len(right))))
    return Table(title, (head, "Chains", "Right", "Right, %"), rows)


def _percent(part: int, whole: int) -> str:
    return format_percent(part / whole) if whole else "–"


def _quantiles(sizes: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the least, the median, what nine of ten have at most, and the most."""
    ordered = sorted(sizes)
    return ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-(-9 * len(ordered) // 10) - 1], ordered[-1]


def _explain(cost: Mapping[str, Any]) -> str:
    """Say what of the cost is an estimate; "" where nothing is."""
    parts = [(cost.get("estimated"), "calls came without usage"), (cost.get("unheard"), "requests had no reply")]
    found = " and ".join(f"{number:,} {text}" for number, text in parts if number)
    return f"{found[:1].upper()}{found[1:]}: their tokens are estimated." if found else ""
