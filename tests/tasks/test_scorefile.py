"""`fino1 score`: verdicts on answers of anybody's own, or all that is wrong with the file."""

import io
import json
import signal
import subprocess
import sys

import pytest

from fino1.errors import SpecError
from fino1.tasks import scorefile

QUESTION = "what is the net change in net revenue during 2015?"


def line(**fields):
    return json.dumps({"id": "a", "question": QUESTION, "target": 94.0, "completion": "94"} | fields)


def run(path, text, task="finqa", **options):
    path.write_text(text, encoding="utf-8")
    out = io.StringIO()
    scorefile.main(task, path, out, **options)
    return [json.loads(row) for row in out.getvalue().splitlines()]


def test_verdicts(tmp_path):
    rows = run(
        tmp_path / "answers.jsonl",
        "\n".join(
            [
                line(completion="a net change of $94 million in 2015"),
                line(id=2, target="94.0", completion="-94"),
                line(target="yes", completion="Yes, it did."),
                line(target=False, completion="Yes, it did."),
                line(target="true", completion="who knows"),
                line(target=-0.153, question="what is the percentage change?", completion="decreased by 15.3 %"),
            ]
        )
        + "\n",
    )
    assert rows == [
        {"id": "a", "extracted": "$94 million", "value": 94.0, "strict": True, "docmath_compat": True},
        {"id": 2, "extracted": "-94", "value": -94.0, "strict": False, "docmath_compat": True},
        {"id": "a", "extracted": "yes", "value": True, "strict": True, "docmath_compat": None},
        {"id": "a", "extracted": "yes", "value": True, "strict": False, "docmath_compat": None},
        {"id": "a", "extracted": None, "value": None, "strict": None, "docmath_compat": None},
        {"id": "a", "extracted": "15.3 %", "value": -0.153, "strict": True, "docmath_compat": True},
    ]


def test_programs_are_run(tmp_path):
    path, table = tmp_path / "answers.jsonl", [["", "2015", "2014"], ["net revenue", "$ 5829", "5735"]]
    rows = run(
        path,
        "\n".join(
            [
                line(completion="## Final Response\n\nsubtract(5829, 5735)", program="subtract(5829, 5735)"),
                line(completion="5829 - 5734", program="subtract(5829, 5735)"),
                line(completion="table_max(net revenue, none) - 5735", table=table),
                line(completion="The answer is 94."),
            ]
        ),
        answer="program",
    )
    assert [(row["extracted"], row["value"], row["strict"], row["same_program"]) for row in rows] == [
        ("subtract(5829, 5735)", 94.0, True, True),
        ("5829 - 5734", 95.0, False, False),
        ("table_max(net revenue, none) - 5735", 94.0, True, None),
        (None, None, None, None),
    ]
    path.write_text(line(table=[["a", 5]], program=5))
    with pytest.raises(SpecError) as caught:
        scorefile.main("finqa", path, io.StringIO(), "program")
    assert [problem.partition(":1: ")[2].split(",")[0] for problem in caught.value.problems] == [
        "table: expected rows of texts",
        "program: expected text",
    ]


def test_half_a_surrogate_pair_and_integers_of_any_length(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(line(id="\ud83d é", completion="\ud83d 94") + "\n" + line(completion=str(10**399)) + "\n")
    with (tmp_path / "out").open("w", encoding="utf-8") as out:
        scorefile.main("finqa", path, out)
    rows = [json.loads(row) for row in (tmp_path / "out").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["strict"]) for row in rows] == [("\ud83d é", True), ("a", None)]
    path.write_text(line(target=10**399))
    with pytest.raises(SpecError, match=":1: target: expected a number or yes/no, got 1000"):
        scorefile.main("finqa", path, io.StringIO())


def test_a_reader_that_has_seen_enough(tmp_path):
    """As `fino1 score … | head`: no traceback."""
    path = tmp_path / "answers.jsonl"
    path.write_text((line() + "\n") * 1000)
    command = [sys.executable, "-m", "fino1", "score", "--task", "finqa", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 128 + signal.SIGPIPE)


def test_all_problems_at_once_and_nothing_written(tmp_path):
    path = tmp_path / "answers.jsonl"
    bad = [
        line(),
        "{",
        "5",
        '{"id": "x"}',
        line(target="soon"),
        line(target=None),
        line(completion=5),
        line(target=float("nan")),
        line(id=None),
    ]
    path.write_text("\n".join(bad))
    out = io.StringIO()
    with pytest.raises(SpecError) as error:
        scorefile.main("fin", path, out)
    found = [problem.removeprefix(f"{path}:") for problem in error.value.problems]
    assert out.getvalue() == ""
    assert found[0].startswith("task: expected one of finqa, ")
    assert found[1].startswith("2: line: expected a JSON object, got")
    assert found[2:] == [
        "3: line: expected a JSON object, got 5",
        "4: question: expected text, got nothing",
        "4: completion: expected text, got nothing",
        "4: target: expected a number or yes/no, got nothing",
        '5: target: expected a number or yes/no, got "soon"',
        "6: target: expected a number or yes/no, got null",
        "7: completion: expected text, got 5",
        "8: target: expected a number or yes/no, got NaN",
        "9: id: expected text or a whole number, got null",
    ]


@pytest.mark.parametrize(
    ("name", "said"), [("loop", "symbolic links"), ("file/x", "Not a directory"), ("x" * 300, "too long")]
)
def test_paths_that_lead_to_no_file(tmp_path, name, said):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=f"expected a data file that can be read, got .*{said}"):
        scorefile.main("finqa", tmp_path / name, io.StringIO())


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe{"])
def test_unreadable_files(tmp_path, content):
    path = tmp_path / "answers.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=r"answers\.jsonl"):
        scorefile.main("finqa", path, io.StringIO())
