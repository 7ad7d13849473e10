"""Put FinQA's rows at hand into one file of rows with facts, for the recipe finqa-programs.

    python ci/finqa_rows.py ../shared/data/finqa out/finqa-programs.jsonl

The dev rows with retrieved facts come as they are. Rows with whole pages (100 of train, 250 of test) get two sentences as facts:
those that hold a number of the gold program, else those that share the most words with the question. Rows with long tables are
left out, for speed. The recipe answers a part of the dev rows, and trains on no row of their tables.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

_FACTS = 2
_MAX_PIECES = 300  # words, digits and signs: a prompt of at most 440 tokens of SmolLM2
_PIECE = re.compile(r"[a-z]+|\S", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def main() -> None:
    """Write the rows."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    rows = [json.loads(line) for line in (source / "finqa_dev_facts.jsonl").read_text().splitlines()]
    rows += [make_row(row) for row in json.loads((source / "finqa_test_250_simplified.json").read_text())]
    rows += [make_row({**row, **row["qa"]}) for row in json.loads((source / "finqa_train_100_raw.json").read_text())]
    rows = [row for row in rows if count_pieces(row) <= _MAX_PIECES]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    print(f"{target}: {len(rows)} rows")


def make_row(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row with facts of one with a page."""
    facts = find_facts(row["question"], row["program"], [*row["pre_text"], *row["post_text"]])
    gold = row.get("exe_ans", row["answer"])
    return {
        "id": row["id"],
        "question": row["question"],
        "facts": facts,
        "table": row["table"],
        "program": row["program"],
        "exe_ans": gold,
    }


def count_pieces(row: dict[str, Any]) -> int:
    """Count the words, digits and signs of a row's prompt, without the facts that restate the table."""
    facts = [fact for fact in row["facts"] if not fact.endswith(";")]
    cells = [str(cell) for line in row["table"] for cell in line]
    return len(_PIECE.findall("|".join([row["question"], *facts, *cells])))


def find_facts(question: str, program: str, sentences: list[str]) -> list[str]:
    """Take `_FACTS` sentences: those with a number of the program first, then those nearest the question."""
    wanted = {each.replace(",", "") for each in _NUMBER.findall(re.sub(r"#\d+|const_\w+", "", program))}
    asked = set(re.findall(r"[a-z]{4,}|\d+", question.lower()))

    def rank(sentence: str) -> tuple[int, int]:
        numbers = {each.replace(",", "").rstrip(".") for each in _NUMBER.findall(sentence)}
        return len(numbers & wanted), len(asked & set(re.findall(r"[a-z]{4,}|\d+", sentence.lower())))

    chosen = sorted(sentences, key=rank, reverse=True)[:_FACTS]
    return [sentence for sentence in sentences if sentence in chosen]


if __name__ == "__main__":
    main()
