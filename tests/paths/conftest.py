"""A writer on a real HTTP server, whose replies follow from the prompt alone."""

import hashlib
import json
import re

import pytest

from fino1.spec import load
from fino1.tasks import ledger
from tests.evaluate.conftest import faulty, server  # noqa: F401, fixtures

SEED = 42
PROBLEM = re.compile(r"<problem>\n(.*?)\n</problem>", re.DOTALL)


def rows(n):
    """The rows that `paths` generates."""
    return ledger.generate("sft", n=n, seed=SEED)


def chance(prompt, what):
    """A number from 0 to 99 that follows from the prompt."""
    return int.from_bytes(hashlib.sha256(f"{what} {prompt}".encode()).digest()) % 100


def stage(prompt):
    """Which of the templates this is; of a repair that of what is repaired."""
    marks = {
        "Turn the notes into": "rewrite",
        "Write the answer to the person": "respond",
        "You mark answers": "judge",
        "The result of this problem is known": "gold",
        "Carry the work on": "rethink",
        "put down how you get there": "initial",
    }
    return next(name for mark, name in marks.items() if mark in prompt)


def chain(answer):
    steps = [{"action": "think", "title": "Work", "content": "I take both years."}]
    steps += [{"action": "conclude", "content": f"The answer is {answer}."}]
    return json.dumps({"steps": [*steps, {"action": "check", "content": "The size fits."}]})


class Writer:
    """Replies to a prompt. Of 100 prompts `malformed` get no JSON, and of 100 chains `wrong` another conclusion."""

    def __init__(self, malformed=0, wrong=0):
        self.malformed, self.wrong = malformed, wrong
        self.known = {ledger.TASK.prompt(record): record for record in rows(200)}
        self.verdict = "right"

    def __call__(self, prompt):
        if chance(prompt, "form") < self.malformed:
            return "Sure! Here is the JSON you asked for: {"
        record = self.known[PROBLEM.search(prompt)[1]]
        match stage(prompt):
            case "rewrite":
                return json.dumps({"reasoning": f"Let me see.\nI get {record.response}."})
            case "respond":
                return json.dumps({"response": f"The answer is {record.response}. It is taken from both years."})
            case "judge":
                return json.dumps({"verdict": self.verdict})
            case "gold":
                return chain(record.response)
        return chain("987654321" if chance(prompt, "right") < self.wrong else record.response)


@pytest.fixture
def writer(server):  # noqa: F811
    """A server that writes; set its `reply` for another writer."""
    server.reply = Writer()
    return server


def spec_of(server, /, n=6, **block):  # noqa: F811
    """A run of method paths, whose writer is this server; None: the one that `block` names."""
    url = {"base_url": server.base_url} if server else {}
    settings = {
        "writer": {**url, "model_id": "w", "max_tokens": 64, "temperature": 0.5},
        "tasks": [{"task": "ledger", "size": n}],
        "max_retries": 2,
        "timeout_s": 5,
    }
    return load.build({"method": "paths", "gpus_per_node": 0, "seed": SEED, "paths": load.merge(settings, block)}, "F")
