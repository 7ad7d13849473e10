"""Which faults have a writer and a judge, and what comes of each? test_faults.py, or this as a program, prints the table.

Every scenario is a server or two and one or two runs of `fino1 paths` against them; tests/evaluate/faults.py has the servers.
"""

import itertools
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fino1 import exits, runs
from tests.evaluate.faults import SECRET, Shop
from tests.evaluate.forks import Fork
from tests.paths.conftest import Writer, chance, spec_of
from tests.paths.test_main import FILES, NO_DIGITS, lines

ITEMS, CONCURRENCY = 12, 4


def some(fault, percent=15):
    """This fault at the first request for so many of 100 prompts."""
    return lambda prompt, number: fault if number == 1 and chance(prompt, "fault") < percent else None


def mixed(prompt, number):
    """One fault or another at the first request for half of the prompts."""
    kinds = [(503, {}), "reset", (429, {"retry-after": "0.2"}), "empty", "truncated", "html", (500, {})]
    return kinds[len(prompt) % len(kinds)] if number == 1 and chance(prompt, "fault") < 50 else None


def after(count, fault):
    """This fault to all requests after so many that were charged."""
    return lambda shop: lambda prompt, number: fault if shop.charged.total() >= count else None


@dataclass
class Scenario:
    """A fault, and the codes that the runs end with; the second meets servers without it.

    `same`: the result is that of servers without faults. `judged`: no answer has a number, and the judge decides; the fault is
    then the judge's. `by_hand`: no test plays it, others of its kind are tested.
    """

    name: str
    fault: Callable = field(default=lambda prompt, number: None)
    codes: tuple[int, ...] = (exits.DONE,)
    same: bool = True
    judged: bool = False
    verdicts: tuple[str, ...] = ("right",)
    from_shop: Callable | None = None
    kill: int | None = None
    budget: dict | None = None
    by_hand: bool = False


SCENARIOS = [
    Scenario("none", by_hand=True),
    Scenario("429, 5xx, reset, truncated, HTML, no choices", mixed),
    Scenario(
        "another role", lambda prompt, number: ("role", ("user", "tool", "boss", None)[len(prompt) % 4]), by_hand=True
    ),
    Scenario("replies of 10 MB", some(("says", "x" * 10**7)), same=False),
    Scenario("invalid JSON inside a 200", some(("says", '{"steps": [{"action": "think"')), same=False),
    Scenario(
        "JSON of another form inside a 200",
        some(("says", '{"steps": 3, "verdict": "not right"}')),
        same=False,
        by_hand=True,
    ),
    Scenario("a judge that contradicts itself", judged=True, verdicts=("right", "wrong"), same=False),
    Scenario("a judge whose word is no word", some(("says", '{"verdict": "not right"}'), 99), judged=True, same=False),
    Scenario("a judge with faults", mixed, judged=True, by_hand=True),
    Scenario("a judge that goes away", from_shop=after(9, (503, {})), judged=True, codes=(exits.ENDPOINT_LOST, 0)),
    Scenario("a key that expires", from_shop=after(15, (401, {})), codes=(exits.USER, exits.DONE)),
    Scenario("an account without credit", from_shop=after(15, (402, {})), codes=(exits.USER, exits.DONE), by_hand=True),
    Scenario(
        "503 for ever after some answers", from_shop=after(15, (503, {})), codes=(exits.ENDPOINT_LOST, 0), by_hand=True
    ),
    Scenario("budget of tokens spent", mixed, codes=(exits.USER, exits.DONE), budget={"tokens": 6000}),
    Scenario("SIGTERM among faults", mixed, codes=(exits.TERMINATED, exits.DONE), kill=signal.SIGTERM, by_hand=True),
    Scenario("SIGKILL among faults", mixed, codes=(exits.KILLED, exits.DONE), kill=signal.SIGKILL),
]


@dataclass
class Outcome:
    """What became of a scenario, in figures. `twice` counts calls that were charged or kept twice."""

    codes: list[int]
    rows: int
    failed: dict
    requests: int
    charged: int
    calls: int
    lost: int
    twice: int
    same: bool
    text: str
    secret: bool


class Replies(Writer):
    """A writer some of whose conclusions are wrong, or, for a judge, none of whose has a number."""

    def __init__(self, has_numbers):
        super().__init__(malformed=5, wrong=70)
        self.has_numbers = has_numbers

    def __call__(self, prompt):
        text = super().__call__(prompt)
        return text if self.has_numbers else text.replace("The answer is", "It is as one sees").translate(NO_DIGITS)


def find_sound(judged: bool, folder: Path) -> dict[str, bytes]:
    """The results of a run without faults."""
    shops = _open(judged, itertools.repeat("right"))
    spec = _spec(shops, None)
    assert _start(spec, folder).wait(300) == 0
    for shop in shops:
        shop.end()
    return _results(spec, folder)


def play(scenario: Scenario, folder: Path, sound: dict[str, bytes]) -> Outcome:
    """Run the scenario to its end, and count."""
    shops, codes = _open(scenario.judged, itertools.cycle(scenario.verdicts)), []
    faulty = shops[-1]
    faulty.fault = scenario.from_shop(faulty) if scenario.from_shop else scenario.fault
    for attempt, expected in enumerate(scenario.codes):
        if attempt and scenario.kill is None:
            faulty.fault = lambda prompt, number: None
        spec = _spec(shops, None if attempt else scenario.budget)
        process = _start(spec, folder)
        if scenario.kill and not attempt:
            faulty.wait(12)
            process.send_signal(scenario.kill)
        code = process.wait(300)
        codes.append(code if code >= 0 else 128 - code)
        if codes[-1] != expected:
            break
    for shop in shops:
        shop.end()
    found = _results(spec, folder) if codes[-1] == 0 else {}
    return _count(shops, codes, found, folder, found == sound)


def _open(judged, verdicts):
    """The writer's server and, where there is one, the judge's."""
    replies = [Replies(has_numbers=not judged)]
    if judged:
        replies.append(lambda prompt: json.dumps({"verdict": next(verdicts)}))
    return [Shop(lambda prompt, number: None, reply=reply) for reply in replies]


def _spec(shops, budget):
    urls = [f"http://127.0.0.1:{shop.server_port}/v1" for shop in shops]
    models = [{"base_url": url, "model_id": "m", "api_key_env": "FAULT_KEY", "max_tokens": 64} for url in urls]
    roles = dict(zip(("writer", "judge"), models, strict=False))
    return spec_of(None, ITEMS, concurrency=CONCURRENCY, max_retries=2, budget=budget, **roles)


def _start(spec, folder):
    folder.mkdir(exist_ok=True)
    config = folder / "config.json"
    runs.write_config(config, spec)
    arguments = ["paths", "--config", config, "--name", "paths", "--work", folder]
    return Fork(arguments, {"FAULT_KEY": SECRET}, folder / "printed")


def _results(spec, work):
    return {name: (runs.directory(work, "paths", spec) / name).read_bytes() for name in FILES}


def _count(shops, codes, found, folder, is_same):
    paths = [json.loads(line) for line in found.get("paths.jsonl", b"").splitlines()]
    kept = Counter(call["key"] for path in folder.glob("paths/*/calls*.jsonl") for call in lines(path))
    charged = sum((shop.charged for shop in shops), Counter())
    return Outcome(
        codes=codes,
        rows=len(found.get("rows.jsonl", b"").splitlines()),
        failed=json.loads(found.get("summary.json", b"{}")).get("failed", {}),
        requests=sum(shop.asked.total() for shop in shops),
        charged=charged.total(),
        calls=len(kept),
        lost=ITEMS - len({path["id"] for path in paths}),
        twice=kept.total() - len(kept) + charged.total() - len(kept),
        same=is_same,
        text=(folder / "printed").read_text(),
        secret=any(SECRET in path.read_text() for path in folder.rglob("*") if path.is_file()),
    )


def rows(scenarios: list[Scenario], folder: Path, at_once: int = 4) -> Iterator[tuple[str, Future]]:
    """Play scenarios beside each other; print the table as they end."""
    print(
        "\n| fault | items | requests | charged | calls kept | lost | twice | rows | failed | as without | exit codes |"
    )
    print("| :-- | --: | --: | --: | --: | --: | --: | --: | :-- | :-- | :-- |", flush=True)
    sound = {judged: find_sound(judged, folder / str(judged)) for judged in {s.judged for s in scenarios}}
    with ThreadPoolExecutor(at_once) as pool:
        plays = [
            (scenario.name, pool.submit(play, scenario, folder / str(i), sound[scenario.judged]))
            for i, scenario in enumerate(scenarios)
        ]
        for name, future in plays:
            if future.exception() is None:
                print(row(name, future.result()), flush=True)
            yield name, future


def row(name: str, o: Outcome) -> str:
    codes, failed = ", then ".join(map(str, o.codes)), ", ".join(f"{key} {n}" for key, n in o.failed.items())
    counts = f"{ITEMS} | {o.requests} | {o.charged} | {o.calls} | {o.lost} | {o.twice} | {o.rows}"
    return f"| {name} | {counts} | {failed or '–'} | {'yes' if o.same else 'no'} | {codes} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        failed = [name for name, future in rows(SCENARIOS, Path(temporary)) if future.exception() is not None]
    sys.exit(f"did not end: {', '.join(failed)}" if failed else 0)
