"""How long does a large report take to open in a browser? 30 models × 1,617 answers, in headless Chromium.

    python -m benchmarks.page [--models 30] [--keep DIR]

The answers are drawn, of the size of those that 1,024 tokens allow. The last line is JSON: megabytes of the page, seconds until
it is written, until it has loaded (median of five), and until a sample is open.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fino1 import cells, report
from fino1.cells import Cell, Sample, Summary
from tests.report.browser import chromium

TASKS = {"finqa": 1127, "docmath_simplong": 100, "docmath_complong": 300, "xbrl_math": 90}
WORDS = 4000  # of the vocabulary
OPENED = """(async () => { const start = performance.now();
  document.querySelector('#list h3 button').click();
  while (!document.querySelector('.answer pre')) await new Promise((done) => setTimeout(done, 5));
  return (performance.now() - start) / 1000; })()"""


def main() -> None:
    """Write the cells and the report, open it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the report stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directories = list(_write_cells(Path(folder), arguments.models))
        out = arguments.keep or Path(folder) / "report"
        start = time.monotonic()
        report.write(directories, {}, out, "A large report")
        written = time.monotonic() - start
        with chromium(Path(folder) / "profile") as tab:
            tab.look(1280, 900)
            loads = [tab.open(out / "index.html") for _ in range(5)]
            opened, faults = tab.run(OPENED), tab.faults
        size = (out / "index.html").stat().st_size
    found = {"megabytes": size / 1e6, "write_s": written, "load_s": statistics.median(loads), "open_s": opened}
    print(f"loads: {', '.join(f'{load:.2f}' for load in loads)} s; faults: {faults or 'none'}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


def _write_cells(folder: Path, models: int) -> Iterator[Path]:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(WORDS)]
    for task, n in TASKS.items():
        prompts = [" ".join(draw.choices(words, k=draw.randint(300, 1000))) for _ in range(n)]
        for model in range(models):
            skill = 0.3 + 0.5 * model / models
            samples = [_draw_sample(draw, words, i, prompts[i], skill) for i in range(n)]
            yield _write_cell(folder, f"model-{model:02}", task, samples)


def _draw_sample(draw: random.Random, words: list[str], number: int, prompt: str, skill: float) -> Sample:
    strict = draw.choices([True, False, None], [skill, 0.95 - skill, 0.05])[0]
    said = " ".join(draw.choices(words, k=draw.randint(100, 700)))
    return Sample(
        id=f"row-{number}",
        prompt_sha256=f"{number:064}",
        question=f"what was the {' '.join(prompt.split()[:12])} ?",
        prompt=prompt,
        completion=f"## Thinking\n\n{said}\n\n## Final Response\n\nThe answer is {number}.",
        extracted=str(number),
        value=float(number),
        target=float(number),
        strict=strict,
        docmath_compat=strict,
        sign_from_question=False,
        prompt_tokens=len(prompt) // 4,
        completion_tokens=len(said) // 4,
        seconds=round(draw.uniform(1, 30), 2),
        finish_reason=draw.choices(["stop", "length"], [0.9, 0.1])[0],
        cut=False,
        answered_by=None,
    )


def _write_cell(folder: Path, model: str, task: str, samples: list[Sample]) -> Path:
    directory = folder / f"{task}-{model}"
    directory.mkdir()
    (directory / cells.SAMPLES_FILE).write_bytes(b"".join(sample.to_line() for sample in samples))
    price = {"dollars": 0.002 * len(samples) * (1 + int(model[-2:]))}
    settings = {"task": task, "temperature": 0, "max_tokens": 1024, "prompt": "p", "model": {"hub": f"made/{model}"}}
    about = (directory.name, model, task, settings, {"preset": "paper"})
    cells.write_cell(directory, Cell(*about, summary=Summary.count(samples), cost=price))
    return directory


if __name__ == "__main__":
    main()
