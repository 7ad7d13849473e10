import os
import subprocess
import sys

import pytest

from fino1 import exits
from fino1.errors import SpecError, ToolError
from fino1.rows import output, push
from tests.rows import hub
from tests.rows.conftest import path, question, write_run


@pytest.fixture
def server():
    with hub.serve("me") as running:
        yield running


@pytest.fixture
def data(make, tmp_path):
    record = question(1)
    return make(write_run(tmp_path, [(record, path(record))]))


@pytest.fixture
def use(monkeypatch):
    def point(address, token=hub.TOKEN):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", token)

    return point


def test_the_command_uploads_what_may_be_published(server, data, tmp_path):
    (run,) = (tmp_path / "runs").iterdir()
    words = [sys.executable, "-m", "fino1", "rows", str(run), "--output", str(data), "--push", "me/rows"]
    environment = os.environ | {"HF_ENDPOINT": server.address, "HF_TOKEN": hub.TOKEN, "HF_HOME": str(tmp_path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"rows: {server.address}/datasets/me/rows"
    ((name, repository),) = server.repositories.items()
    assert (name, repository["private"]) == ("me/rows", True)
    assert repository["files"] == {name: (data / name).read_bytes() for name in output.PUBLISHED}


def test_a_public_repository_is_asked_for(server, data, use):
    use(server.address)
    push.push(data, "me/rows", public=True)
    assert server.repositories["me/rows"]["private"] is False
    uploaded = dict(server.repositories["me/rows"]["files"])
    with pytest.raises(SpecError, match="expected a private repository, or --public, got a public one"):
        push.push(data, "me/rows", public=False)
    assert server.repositories["me/rows"]["files"] == uploaded
    push.push(data, "me/rows", public=True)


@pytest.mark.parametrize(
    ("repository", "token", "said"),
    [
        ("me/rows", "hf_wrong", "got 401 Invalid credentials in Authorization header; HF_TOKEN needs a valid token"),
        ("you/rows", hub.TOKEN, "got 403 You don't have the rights .*; HF_TOKEN needs the right to write there"),
        ("a/b/c", hub.TOKEN, "expected ORG/NAME"),
    ],
)
def test_a_refusal_is_one_line(server, data, use, repository, token, said):
    use(server.address, token)
    with pytest.raises(SpecError, match=said) as error:
        push.push(data, repository, public=False)
    assert str(error.value).startswith(f"--push: {repository}: ") and "\n" not in str(error.value)
    assert server.repositories == {}


def test_a_hub_that_is_not_there(data, use):
    use("http://127.0.0.1:9")
    with pytest.raises(ToolError, match="--push: me/rows: http://127.0.0.1:9: .*refused") as error:
        push.push(data, "me/rows", public=False)
    assert "\n" not in str(error.value) and error.value.exit_code == exits.BUG
