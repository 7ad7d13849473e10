"""metrics.jsonl says each step once, whatever a kill left in it."""

import json

from fino1.progress import Metrics


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path, "step", 0)
    for step in range(1, 6):
        first.write({"step": step, "loss": step / 10})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote
    second = Metrics(path, "step", 3)
    second.write({"step": 4, "loss": 0.4})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": step, "loss": step / 10} for step in (1, 2, 3, 4)
    ]


def test_without_a_checkpoint_nothing_is_kept(tmp_path):
    path = tmp_path / "generations.jsonl"
    Metrics(path, "update", -1).write({"update": 0, "response": "½ ≠ ⅓"})
    assert "½ ≠ ⅓" in path.read_text(encoding="utf-8")
    Metrics(path, "update", -1)
    assert path.read_text() == ""


def test_lines_up_to_the_checkpoint_are_left_as_they_are(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1,  "loss": 1e-05}\n')
    before = path.stat().st_ino
    Metrics(path, "step", 1)
    assert path.read_text() == '{"step": 1,  "loss": 1e-05}\n' and path.stat().st_ino == before
