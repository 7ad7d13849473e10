"""What is said of models that the hub does not give, before a run starts? Asked of an HTTP server on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from fino1 import hub
from fino1.errors import SpecError
from fino1.local import run
from fino1.spec import load

TRAIN = {"gpus_per_node": 0, "data": {"task": "ledger"}}
TOKENIZER = "/tokenizer.json"
FILES = {  # what the hub has: path → header X-Error-Code of a refusal with its status, or nothing
    "/o/whole/resolve/main/config.json": (200, ""),
    "/o/whole/resolve/main/tokenizer.json": (200, ""),
    "/o/gguf/resolve/main/tokenizer.json": (404, "EntryNotFound"),
    "/o/bare/resolve/main/config.json": (200, ""),
    "/o/gated/resolve/main/config.json": (403, "GatedRepo"),
    "/o/whole/resolve/v9/config.json": (404, "RevisionNotFound"),
    "/o/ill/resolve/main/config.json": (500, ""),
}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the hub was asked for."""
    found = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802
            found.append(self.path)
            repository = self.path.split("/")[2]
            known = any(f"/{repository}/" in path for path in FILES)
            status, code = FILES.get(self.path, (404, "EntryNotFound" if known else "RepoNotFound"))
            self.send_response(status)
            for name, value in {
                "X-Error-Code": code,
                "ETag": '"e"',
                "X-Repo-Commit": "c" * 40,
                "Content-Length": "2",
            }.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        where = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", where + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        yield found
        server.shutdown()


def missing(**document):
    return hub.missing(load.build({"method": "sft", **TRAIN, **document}, "F", 1))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"hub": "o/whole"}, None),
        ({"hub": "o/nowhere"}, "model: o/nowhere: expected a model on the hub, got 404 Client Error"),
        ({"hub": "o/gated"}, "model: o/gated: expected a model on the hub, got 403 Client Error"),
        ({"hub": "o/whole", "revision": "v9"}, "model: o/whole: expected a model on the hub, got 404 Client Error"),
        ({"hub": "o/gguf"}, "model: o/gguf: expected config.json and a tokenizer on the hub, got none"),
        ({"hub": "o/bare"}, "model: o/bare: expected a tokenizer on the hub, got none"),
        ({"hub": "a b"}, "model: a b: expected a model on the hub, got Repo id must"),
        ({"hub": "o/ill"}, None),  # it may be well when it is needed
        ({"run": "x"}, None),
    ],
)
def test_a_model_of_the_hub(asked, model, said):
    problems = missing(model=model)
    assert [problem[: len(said or "")] for problem in problems] == ([said] if said else [])
    assert not any("\n" in problem or len(problem) > 450 for problem in problems)


def test_which_models_are_asked_for(asked):
    reward = {"source": "model", "model": {"hub": "o/c"}}
    assert [
        line.partition(": e")[0] for line in missing(method="ppo", model={"hub": "o/a"}, ppo={"reward": reward})
    ] == [
        "model: o/a",
        "ppo.value_model: meta-llama/Llama-3.2-3B-Instruct",
        "ppo.reward.model: o/c",
    ]
    models = [
        {"name": "a", "hub": "o/a"},
        {"name": "b", "hub": "o/b", "base_url": "https://x/v1"},
        {"name": "c", "run": "c"},
    ]
    evaluation = {"models": models, "tasks": [{"task": "ledger"}]}
    assert [line.partition(": e")[0] for line in missing(method="eval", eval=evaluation)] == ["eval.models.0: o/a"]
    asked.clear()
    assert not missing(model={"hub": "o/nowhere"}, offline=True) and not asked


def test_nothing_is_said_where_the_hub_does_not_answer(monkeypatch):
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert not missing(model={"hub": "o/nowhere"})


def test_fino1_run_asks_before_anything_starts(asked):
    with pytest.raises(SpecError, match="^F: model: o/nowhere: expected a model on the hub, got 404"):
        run.check(load.build({"method": "sft", **TRAIN, "model": {"hub": "o/nowhere"}}, "F", 1), "F")
