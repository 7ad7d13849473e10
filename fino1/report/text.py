"""How does the leaderboard look as Markdown? leaderboard.md."""

from collections.abc import Iterable, Sequence
from typing import Any

from fino1.report.leaderboard import PAIRS_LEGEND, Leaderboard, Table, format_interval, format_p, format_percent
from fino1.report.markdown import escape, write_table
from fino1.report.searches import Search

_ROW_HEAD = ("Model", "Task", "k/n", "Accuracy, %", "95 % interval, %", "Unparsed", "Truncated", "Cut")
_ROW_HEAD += ("DocMath-compatible, %",)
_PAIR_HEAD = ("Task", "a", "b", "Reading", "Questions", "Only a right", "Only b right", "p", "p (Holm)")


def write_markdown(
    board: Leaderboard, title: str, note: str, skipped: Sequence[str], found: Sequence[Search] = ()
) -> str:
    """Write leaderboard.md."""
    parts = [f"# {escape(title)}"]
    if note:
        parts.append(note.strip().replace("<", "&lt;"))
    parts += _write_rows(board) if board.rows else ["No finished evaluation."]
    parts += _write_pairs(board)
    if found:
        parts += ["## Reasoning paths", "\n".join(f"- {escape(f'{each.name}: {each.summary}')}" for each in found)]
    if skipped:
        parts += ["## Not run", "\n".join(f"- {escape(line)}" for line in skipped)]
    return "\n\n".join(parts) + "\n"


def _write_rows(board: Leaderboard) -> list[str]:
    parts = ["## Accuracy"]
    for table in board.tables:
        facts = " · ".join(f"{escape(label)} {escape(text)}" for label, text in table.facts.items())
        parts += [f"### {escape(table.name)}", facts, write_table(*_tabulate(table), text_columns=2 + table.is_mixed)]
    parts += board.legends
    if lines := [*board.apart, *board.golds]:
        parts.append("\n".join(f"- {escape(line)}" for line in lines))
    return parts


def _tabulate(table: Table) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return a table's head and rows; a mixed one has a column for what differs, and some have those of `shares`."""
    head = _ROW_HEAD[:2] + ("Differs in",) * table.is_mixed + _ROW_HEAD[2:]
    if table.k:
        head = tuple(name.replace("Accuracy", f"avg@{table.k}") for name in head)
    at = head.index("95 % interval, %") + 1
    head = (*head[:at], *table.shares.values(), *head[at:])
    if table.has_programs:
        head = (*head, "Program accuracy, %")
    return head, [
        (escape(row["model"]), escape(row["task"]))
        + (escape(row["differs"]),) * table.is_mixed
        + tuple(_list_figures(row, table))
        for row in table.rows
    ]


def _list_figures(row: dict[str, Any], table: Table) -> Iterable[str]:
    yield f"{row['k']:,}/{row['n']:,}"
    yield format_percent(row["accuracy"])
    yield format_interval(row)
    for name in table.shares:
        yield f"{format_percent(row[name])} ({format_interval(row, f'{name}_')})" if name in row else ""
    yield from (f"{row[count]:,}" for count in ("unparsed", "truncated", "cut"))
    yield format_percent(row["docmath_compat"])
    if table.has_programs:
        yield format_percent(row["same_program"]) if "same_program" in row else ""


def _write_pairs(board: Leaderboard) -> list[str]:
    if not board.pairs and not board.disjoint:
        return []
    parts = ["## Paired tests"]
    rows = [
        (
            *map(escape, (pair.table, pair.a, pair.b, pair.reading)),
            pair.questions,
            f"{pair.only_a:,}",
            f"{pair.only_b:,}",
            escape(format_p(pair.p)),
            escape(format_p(pair.p_holm)),
        )
        for pair in board.pairs
    ]
    if rows:
        parts += [write_table(_PAIR_HEAD, rows, text_columns=4), PAIRS_LEGEND]
    if board.disjoint:
        parts.append("\n".join(f"- {escape(line)}" for line in board.disjoint))
    return parts
