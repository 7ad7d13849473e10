"""In which order are questions asked and answers kept?"""

import asyncio
import threading

import pytest

from fino1.evaluate import batches
from fino1.evaluate.batches import answer_all
from fino1.evaluate.endpoint import Cancelled, EndpointLost
from fino1.evaluate.loop import wait


class Played:
    """What happened, in order: (asked or kept, question). Every question of a round is answered at once."""

    def __init__(self, concurrency, questions=20, fault=None, **options):
        self.events, self.stop = [], threading.Event()
        self.fault = fault or (lambda question: None)
        work = answer_all(self.ask, range(questions), concurrency, self.stop, self.keep, self.keep_up, **options)
        try:
            wait(work)
        except Exception as error:
            self.error = error
        else:
            self.error = None

    async def ask(self, question, halt):
        self.events.append(("asked", question))
        await asyncio.sleep(0.01)
        if problem := self.fault(question):
            raise problem
        return question * 2

    def keep(self, question, answer):
        assert answer == question * 2
        self.events.append(("kept", question))

    async def keep_up(self):
        pass

    def of(self, what):
        return [question for event, question in self.events if event == what]

    def find_most_unkept(self, concurrency):
        """The most answers that were not kept when a question was sent: those asked but not under way or kept."""
        asked = kept = most = 0
        for event, _ in self.events:
            asked, kept = asked + (event == "asked"), kept + (event == "kept")
            most = max(most, asked - concurrency - kept)
        return most


@pytest.mark.parametrize(("unkept", "most"), [(0, 0), (3, 3), (8, 8)])
def test_so_many_answers_wait_to_be_kept_and_no_more(unkept, most):
    played = Played(8, 40, most_unkept=unkept)
    assert played.error is None
    assert played.of("asked") == list(range(40))
    assert sorted(played.of("kept")) == list(range(40))
    assert played.find_most_unkept(8) <= most
    if unkept == 8:  # requests first
        assert played.find_most_unkept(8) > 0


@pytest.mark.parametrize("unkept", [0, 8])
def test_after_an_error_nothing_is_asked_and_what_came_is_kept(unkept):
    played = Played(8, 40, lambda question: EndpointLost("gone") if question == 10 else None, most_unkept=unkept)
    assert isinstance(played.error, EndpointLost)
    assert len(played.of("asked")) <= 24
    assert set(played.of("kept")) == set(played.of("asked")) - {10}


@pytest.mark.parametrize("unkept", [0, 8])
def test_an_answer_that_cannot_be_kept_ends_it(unkept, monkeypatch):
    def keep(self, question, answer):
        self.events.append(("kept", question))
        raise OSError("no disk")

    monkeypatch.setattr(Played, "keep", keep)
    played = Played(8, 40, most_unkept=unkept)
    assert isinstance(played.error, OSError)
    assert len(played.of("asked")) <= 24


@pytest.mark.parametrize("unkept", [0, 8])
def test_a_stop_keeps_what_is_answered_in_time(unkept, monkeypatch):
    monkeypatch.setattr(batches, "GRACE_S", 0.3)

    async def ask(self, question, halt):
        self.events.append(("asked", question))
        if question == 12:
            self.stop.set()
        await asyncio.sleep(60 if question == 13 else 0.01)
        return question * 2

    monkeypatch.setattr(Played, "ask", ask)
    played = Played(8, 10**6, most_unkept=unkept)
    assert isinstance(played.error, Cancelled)
    assert set(played.of("kept")) == set(played.of("asked")) - {13}
