"""Does SmolLM2 calculate better when its reasoning works digit by digit, as the ledger's does? By hand, an hour and a half.

    make out/models/smollm2-135m/config.json && python benchmarks/digits.py [ROWS]

The SFT of the recipe finqa-smollm2 twice, on the same rows (all 732, or the first ROWS), in the same order, from the same
seed: only what follows an operation differs. Sums and differences go column by column as in tasks/ledger.py, quotients by long
division to five decimals; multiplications stay, most are by a power of ten. Both models answer the recipe's 100 FinQA
questions within 384 tokens. Prints the table of results.py and how many columns are right; the leaderboard lies in
out/finqa-digits/report.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import results
import yaml

from fino1 import cells
from fino1.spec import recipe, yamlfile
from fino1.spec.inputs import DataBlock
from fino1.tasks.record import fit
from fino1.train.data.chat import Chat
from fino1.train.data.rows import read_rows

WORK = Path("out/finqa-digits")
MAX_LENGTH, MAX_TOKENS = 1024, 384  # tokens of a row; of an answer
LONGEST = 600  # characters of a step's work; a longer one is left out
STEP = re.compile(
    r"(-?[0-9.]+(?:e-?[0-9]+)?)(%?) ([-+/]) \(?(-?[0-9.]+(?:e-?[0-9]+)?)(%?)\)? = (-?[0-9.e-]+[0-9])\.(?= |$)"
)
COLUMN = re.compile(r"(?<=[ |])([0-9]+(?:[-+][0-9]+)+)=(-?[0-9]+)(?=[ |])")


def main(count: int | None) -> None:
    """Write the rows of both, run the recipe, print what came of it."""
    path = recipe.find(results.WORK.name)
    document = yamlfile.read_yaml(path)
    sft, evaluation = (next(s for s in document["stages"] if s["name"] == name) for name in ("sft", "eval"))
    WORK.mkdir(parents=True, exist_ok=True)
    rows = _rows(sft)[:count]
    evaluation["set"]["eval"] |= {
        "models": [{"name": name, "run": name} for name in ("plain", "digits")],
        "tasks": [task for task in evaluation["set"]["eval"]["tasks"] if task["task"] == "finqa"],
        "max_tokens": MAX_TOKENS,
    }
    stages = [
        _stage(sft, "plain", rows),
        _stage(sft, "digits", [{**row, "Complex_CoT": STEP.sub(worked, row["Complex_CoT"])} for row in rows]),
        evaluation,
    ]
    title = f"Digit by digit, {len(rows)} rows"
    (WORK / "recipe.yaml").write_text(yaml.safe_dump({"title": title, "stages": stages}, sort_keys=False))
    fino1 = Path(sys.executable).with_name("fino1-k8s")
    subprocess.run([fino1, "run", WORK / "recipe.yaml", "--work", WORK], check=True)
    results.answers(WORK)
    columns = list(_columns())
    print(f"columns: {sum(columns)} of {len(columns)} right")


def _stage(sft: dict[str, Any], name: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    """The recipe's SFT, on these rows."""
    file = WORK / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = sft["set"] | {"data": {"task": None, "path": str(file), "eval_size": 0}}
    settings["sft"] = sft["set"]["sft"] | {"max_length": MAX_LENGTH, "eval_strategy": "no"}
    return {"name": name, "run": sft["run"], "needs": sft["needs"], "set": settings}


def _rows(sft: dict[str, Any]) -> list[dict[str, str]]:
    """The rows that the recipe trains on, in their order; of the tables as much as leaves room for either's work."""
    from transformers import AutoTokenizer

    chat = Chat(AutoTokenizer.from_pretrained(sft["set"]["model"]["path"]))
    read = read_rows(DataBlock.model_validate(sft["set"]["data"]), "sft", seed=1)
    made = []
    for record in read.train:
        longest = f"{STEP.sub(worked, record.cot)} {record.response}"
        spent = len(chat.tokenizer.encode(longest)) + 24  # headings and the template's own
        shorter, _ = fit(record, MAX_LENGTH - spent, lambda some: len(chat.prompt_ids(read.render(some))))
        made.append({"Question": read.render(shorter), "Complex_CoT": record.cot, "Response": record.response})
    return made


def _columns() -> Iterator[bool]:
    """Is each column that an answer works out, "5+8=13" or "12-2-1=9", right?"""
    for file in WORK.glob("cells/*/cell.json"):
        for sample in cells.read_cell(file.parent).samples:
            for numbers, printed in COLUMN.findall(sample.completion):
                yield sum(int(number) for number in re.findall(r"-?[0-9]+", numbers)) == int(printed)


def worked(match: re.Match) -> str:
    """The step "a op b = c." with its work between: "a op b: work = c."."""
    left, left_percent, sign, right, right_percent, result = match.groups()
    a = Decimal(left) / (100 if left_percent else 1)
    b = Decimal(right) / (100 if right_percent else 1)
    work = _quotient(a, b) if sign == "/" else _total(a, b if sign == "+" else -b)
    asked = match[0].rpartition(" = ")[0]
    return match[0] if len(work) > LONGEST else f"{asked}: {work} = {result}."


def _total(a: Decimal, b: Decimal) -> str:
    """Columns from the right: "5+8=13|1+2+1=4"; where the signs differ, the smaller amount from the larger."""
    places = max(0, *(-number.normalize().as_tuple().exponent for number in (a, b)))
    high, low = sorted((int(abs(number).scaleb(places)) for number in (a, b)), reverse=True)
    is_sum, carry, columns = (a < 0) == (b < 0), 0, []
    for at in range(len(str(high))):
        top, bottom = high // 10**at % 10, low // 10**at % 10
        if is_sum:
            columns.append(f"{top}+{bottom}{f'+{carry}' if carry else ''}={top + bottom + carry}")
            carry = (top + bottom + carry) // 10
        else:
            borrowed = 10 if top < bottom + carry else 0
            columns.append(f"{top + borrowed}-{bottom}{f'-{carry}' if carry else ''}={top + borrowed - bottom - carry}")
            carry = borrowed // 10
    return "|".join(columns)


def _quotient(a: Decimal, b: Decimal) -> str:
    """Long division of whole numbers, a digit and what is left, to five decimals: "60/243|0 60|2 600-486=114|…"."""
    places = max(0, *(-number.normalize().as_tuple().exponent for number in (a, b)))
    top, bottom = (int(abs(number).scaleb(places)) for number in (a, b))
    digit, left = divmod(top, bottom)
    lines = [f"{top}/{bottom}", f"{digit} {top}-{digit * bottom}={left}" if digit else f"0 {left}"]
    for _ in range(5):
        if not left:
            break
        digit, rest = divmod(left * 10, bottom)
        lines.append(f"{digit} {left * 10}-{digit * bottom}={rest}" if digit else f"0 {left * 10}")
        left = rest
    return "|".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
