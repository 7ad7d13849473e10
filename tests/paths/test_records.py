import json

import pytest

from fino1.paths.records import BadReply, Chain, Opinion, Response, parse

THINK = {"action": "think", "title": "Rows", "content": "I read both rows."}
CONCLUDE = {"action": "conclude", "content": "The answer is 94."}
CHECK = {"action": "check", "content": "About a hundred, so it fits."}


def chain(*steps, **more):
    return json.dumps({"steps": list(steps), **more})


@pytest.mark.parametrize("text", ["{}", "```json\n{}\n```", "```\n{}\n```", "\n {}\n"])
def test_a_chain(text):
    steps = parse(text.replace("{}", chain(THINK, THINK, CONCLUDE, CHECK)), Chain).steps
    assert [step.action for step in steps] == ["think", "think", "conclude", "check"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected one JSON object and nothing else"),
        ("Here it is: " + chain(THINK, CONCLUDE, CHECK), "expected one JSON object and nothing else"),
        (chain(THINK, CONCLUDE, CHECK) + "!", "expected one JSON object and nothing else"),
        (chain(THINK, CONCLUDE, CHECK)[:-9], "expected one JSON object and nothing else"),
        ('{"steps": NaN}', "expected one JSON object and nothing else"),
        ("[" * 100_000, "expected one JSON object and nothing else"),
        ("[]", "expected an object"),
        (chain(THINK, CONCLUDE, CHECK, more=1), "more: a key that is not asked for"),
        (chain(THINK, CONCLUDE | {"content": 94}, CHECK), "steps.1.content: expected text"),
        (chain(THINK, CONCLUDE | {"content": " "}, CHECK), "steps.1.content: expected text, got an empty one"),
        (chain(THINK | {"content": "\ud83d"}, CONCLUDE, CHECK), "expected whole characters, got half a surrogate pair"),
        (
            chain(THINK, CHECK),
            "expected steps, then one of action conclude, then one of action check, got think, check",
        ),
        (chain(CONCLUDE, CHECK), "expected steps, then one of action conclude"),
        (chain(THINK, CONCLUDE, CONCLUDE, CHECK), "expected steps, then one of action conclude"),
        (chain(THINK, CONCLUDE, CHECK, THINK), "expected steps, then one of action conclude"),
        (chain(), "got none"),
    ],
)
def test_what_is_no_chain(text, complaint):
    with pytest.raises(BadReply) as caught:
        parse(text, Chain)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("heading", ["## Thinking", "## Final Response"])
def test_no_reply_holds_a_heading_of_the_row(heading):
    with pytest.raises(BadReply, match="response: expected no heading"):
        parse(json.dumps({"response": f"{heading}\n\nThe answer is 94."}), Response)


@pytest.mark.parametrize("verdict", ["not right", "Right", "true", True, "right."])
def test_only_the_exact_word_is_a_verdict(verdict):
    assert parse('{"verdict": "right"}', Opinion).verdict == "right"
    with pytest.raises(BadReply, match="verdict: expected 'right' or 'wrong'"):
        parse(json.dumps({"verdict": verdict}), Opinion)
