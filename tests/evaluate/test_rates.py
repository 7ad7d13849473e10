"""Requests and tokens a minute, on a clock of numbers, and once on the real one."""

import random
import threading
import time

import pytest

from fino1.evaluate import rates
from fino1.evaluate.endpoint import Endpoint
from fino1.evaluate.loop import wait
from fino1.evaluate.rates import MINUTE_S, Rates, Turn
from fino1.paths.main import main
from tests.paths.conftest import spec_of, writer  # noqa: F401, a fixture


def play(limits, sizes, seconds):
    """When requests of these sizes are sent one after the other, each answered after `seconds` with half its tokens."""
    now, under_way, sent = 0.0, [], []
    for size in sizes:
        turn = Turn(size)
        while left := limits.take(turn, now):
            assert left > 0
            now += min(left, 1.0)
            for other in [each for each in under_way if each.at + seconds <= now]:
                other.tokens //= 2
                under_way.remove(other)
        under_way.append(turn)
        sent.append(turn)
    return sent


def busiest(sent, of=lambda turn: 1):
    """The most that any 60 seconds see."""
    return max(sum(of(other) for other in sent if turn.at <= other.at < turn.at + MINUTE_S) for turn in sent)


def test_requests_are_evenly_spaced():
    sent = play(Rates(requests_per_minute=30), [1] * 100, 5)
    assert [turn.at for turn in sent] == [2.0 * i for i in range(100)]
    assert busiest(sent) == 30


@pytest.mark.parametrize("seed", range(3))
def test_no_minute_sees_more_tokens_than_the_limit(seed):
    draw = random.Random(seed)
    sizes = [draw.randint(1, 3000) for _ in range(300)]
    sent = play(Rates(tokens_per_minute=10_000), sizes, 7)
    assert 9_000 < busiest(sent, lambda turn: turn.tokens) <= 10_000
    assert sum(sizes) / 2 / sent[-1].at * MINUTE_S > 8_000  # and the limit is used, by what answers leave of it


def test_a_request_above_the_limit_is_sent_alone():
    sent = play(Rates(tokens_per_minute=100), [10, 5000, 10], 1)
    assert [round(turn.at) for turn in sent] == [0, 60, 120]


def test_without_limits_nothing_waits():
    assert {turn.at for turn in play(Rates(), [10**9] * 50, 1)} == {0.0}


def test_all_threads_share_the_limit(server, monkeypatch):
    """Six requests a second, from four threads; attempts that are answered with an error count too."""
    monkeypatch.setattr(rates, "MINUTE_S", 1.0)
    server.fault = lambda prompt, number: (503, {}, {"message": "no"}) if number == 1 and prompt == "3" else None
    asked = Endpoint(server.base_url, "m", rates=Rates(requests_per_minute=6))
    asks = [asked.ask(str(i), 16, 0.0, threading.Event()) for i in range(6)]
    threads = [threading.Thread(target=wait, args=(each,)) for each in asks]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(time for each in server.times.values() for time in each)
    assert len(times) == 7
    assert times[-1] - started >= 6 / 6 - 0.01
    assert min(after - before for before, after in zip(times, times[1:], strict=False)) > 0.05


def test_a_run_s_limits_are_divided_by_its_shards_and_change_no_call(writer, tmp_path, monkeypatch):  # noqa: F811
    made = []
    monkeypatch.setattr("fino1.evaluate.main.Rates", lambda *limits: made.append(limits) or Rates())
    assert main(spec_of(writer, 2), "paths", tmp_path) == 0
    asked = writer.asked.total()
    limits = {"requests_per_minute": 600, "tokens_per_minute": 10**6}
    assert main(spec_of(writer, 2, writer=limits, shards=4, depth=1), "paths", tmp_path) == 0
    assert writer.asked.total() == asked  # nothing left to ask: no endpoint is opened
    assert main(spec_of(writer, 3, writer=limits, shards=4), "paths", tmp_path) == 0
    assert made == [(None, None), (150, 250_000)]
