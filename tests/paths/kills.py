"""Does a search killed 20 times at random end in the bytes of one that was not? By hand: `python -m tests.paths.kills`.

test_kills.py has the same with a few chosen moments. Last column: calls asked again though they were on disk.
"""

import random
import signal
import tempfile
import threading
from pathlib import Path

from tests.evaluate.conftest import Faulty
from tests.paths.conftest import Writer, spec_of
from tests.paths.test_kills import header_of, kill_after, sent, start
from tests.paths.test_main import journal, results

QUESTIONS, CONCURRENCY, KILLS = 30, 3, 20


def main() -> None:
    """Print the table."""
    server = Faulty()
    server.reply, server.delay_s = Writer(malformed=10, wrong=70), 0.03
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("| shards | SIGKILLs | calls | kept twice | same bytes | asked again | though on disk |")
    print("| --: | --: | --: | --: | :-- | --: | --: |")
    with tempfile.TemporaryDirectory() as folder:
        for shards in (1, 2):
            print(f"| {shards} | {KILLS} | {_search(server, Path(folder), shards)} |", flush=True)
    server.shutdown()


def _search(server, folder, shards):
    """Search undisturbed and killed; returns the table's cells."""
    spec = spec_of(server, QUESTIONS, concurrency=CONCURRENCY, attempts=2, shards=shards)
    works = [folder / f"{name}-{shards}" for name in ("sound", "killed")]
    for work in works:
        work.mkdir()
    _finish(spec, works[0], shards)
    server.headers_seen.clear()
    rng, kept = random.Random(shards), {}
    for _ in range(KILLS // shards):
        processes = [start(spec, works[1], index) for index in _indices(shards)]
        for process in processes:
            assert kill_after(server, process, rng.randint(0, 7)) == -signal.SIGKILL
        asked = sent(server)
        kept = {header_of(call): asked[header_of(call)] for call in journal(works[1])} | kept
    _finish(spec, works[1], shards)
    asked, keys = sent(server), [call["key"] for call in journal(works[1])]
    again = sum(asked[header] - count for header, count in kept.items())
    is_same = "yes" if results(spec, works[0]) == results(spec, works[1]) else "no"
    return f"{len(keys)} | {len(keys) - len(set(keys))} | {is_same} | {asked.total() - len(asked)} | {again}"


def _finish(spec, work, shards):
    processes = [start(spec, work, index) for index in _indices(shards)]
    assert [process.wait(120) for process in processes] == [0] * shards


def _indices(shards):
    return range(shards) if shards > 1 else [None]


if __name__ == "__main__":
    main()
