"""Pairs of response and reference answer: whose labels they have, what is left out, and that no question is on both sides."""

import json

import pytest

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import InitBlock
from fino1.tasks import ledger
from fino1.tasks.record import Record, solution
from fino1.tasks.scoring.answer import score
from fino1.train import model
from fino1.train.verifier import classifier, evaluation, pairs
from tests.tasks.test_goldpairs import rows as goldrows
from tests.train.conftest import VERIFIER

QUESTION, GOLD = "Open-ended Verifiable Question", "Ground-True Answer"


def spec(path=None, **block):
    data = {"task": "ledger" if path is None else None, "path": path, "eval_size": 0} | block
    return load.build(load.merge(VERIFIER, {"data": data}), "F")


def written(place, rows, name="rows.jsonl"):
    path = place / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(question, response, gold=5, **more):
    return {QUESTION: question, "Response": response, GOLD: gold} | more


def labels(found):
    return [(pair.record.response, pair.label) for pair in found]


def test_a_row_s_own_label_wins_and_the_rule_judges_the_others(tmp_path):
    rows = [
        row("a?", "5"),
        row("b?", "It is 6."),
        row("c?", "no idea"),  # the rule cannot tell
        row("d?", "", label=None),  # nor here
        row("e?", "6", label=True),  # whoever labelled it knew better
        row("f?", "no idea", label=0),
        row("g?", "Paris", "Paris", label=1),
        row("h?", "London", "Paris", label=False),
        row("i?", solution("2 + 3", "yes"), True),
        row("j?", "no", True),
    ]
    found = pairs.read(spec(written(tmp_path, rows)))
    expected = [True, False, True, False, True, False, True, False]
    assert [label for _, label in labels(found.train)] == expected
    counts = found.counts
    assert (counts.read, counts.by_rule, counts.unjudged, counts.surplus, counts.train) == (10, 4, 2, 0, 8)


def test_classes_are_balanced_by_seed_and_counted(tmp_path):
    path = written(tmp_path, [row(f"{i}?", "5" if i % 4 else f"{i + 6}") for i in range(40)])
    found = pairs.read(spec(path))
    assert sum(pair.label for pair in found.train) == 10
    assert (found.counts.train, found.counts.surplus) == (20, 20)
    assert labels(pairs.read(spec(path)).train) == labels(found.train)
    other = load.build(load.merge(VERIFIER, {"seed": 2, "data": {"task": None, "path": path, "eval_size": 0}}), "F")
    assert [p.record.id for p in pairs.read(other).train] != [p.record.id for p in found.train]


@pytest.mark.parametrize("eval_size", [8, 1000])
def test_no_question_is_on_both_sides(tmp_path, eval_size):
    rows = [row(f"How much is item {i // 4} ?", "5" if i % 2 else "6") for i in range(200)]
    rows += [row(f"HOW much is  item {i}?", "7") for i in range(50)]  # the same questions
    found = pairs.read(spec(written(tmp_path, rows), eval_size=eval_size))
    sides = [
        {pair.record.question.lower().replace(" ", "") for pair in side} for side in (found.train, found.evaluation)
    ]
    assert sides[0].isdisjoint(sides[1])
    assert found.counts.evaluation == sum(pair.label for pair in found.evaluation) * 2 > 0
    assert found.counts.evaluation <= min(eval_size, 25)


def test_evaluated_questions_are_left_out(tmp_path):
    rows = [row(f"{i}?", "5" if i % 2 else "6") for i in range(20)]
    tested = written(tmp_path, [{QUESTION: f"{i} ?", GOLD: 1} for i in range(4)], "test.jsonl")
    found = pairs.read(spec(written(tmp_path, rows), exclude=[{"path": tested}]))
    assert {pair.record.question for pair in found.train} == {f"{i}?" for i in range(4, 20)}
    assert found.counts.excluded == 4


def test_samples_of_an_evaluation_are_pairs(tmp_path):
    samples = [
        {"question": f"{i}?", "prompt": "…", "completion": text, "target": 5.0, "strict": strict}
        for i, (text, strict) in enumerate([("5", True), ("6", False), ("hm", None)])
    ]
    names = {QUESTION: "question", "Response": "completion", GOLD: "target", "label": "strict"}
    found = pairs.read(spec(written(tmp_path, samples, "samples.jsonl"), columns=names))
    assert labels(found.train) == [("5", True), ("6", False)]
    assert (found.counts.unjudged, found.train[0].record.target) == (1, "5.0")


def test_bad_rows_are_named(tmp_path):
    rows = [
        row("a?", "5"),
        row("b?", None),
        row("c?", "5", label="maybe"),
        row("d?", "5", label=2),
        row("e?", "5", None),
    ]
    path = written(tmp_path, rows)
    with pytest.raises(SpecError) as caught:
        pairs.read(spec(path))
    assert caught.value.problems == [
        f"{path}:2: Response: expected text, got none",
        f"{path}:3: label: expected true, false or none, got 'maybe'",
        f"{path}:4: label: expected true, false or none, got 2",
        f"{path}:5: Ground-True Answer: expected text, got none",
    ]


def test_one_class_is_not_enough(tmp_path):
    path = written(tmp_path, [row("a?", "5"), row("b?", "5"), row("c?", "hm")])
    with pytest.raises(SpecError) as caught:
        pairs.read(spec(path))
    assert str(caught.value) == (
        f"data: {path}: expected right and wrong responses to train on, got 2 right and 0 wrong of 3 read, "
        "1 without a verdict"
    )


def test_a_search_s_conclusions_are_pairs_with_their_verdicts(tmp_path):
    def turn(conclusion, right, judged_by="rule"):
        steps = [{"action": "conclude", "content": conclusion}, {"action": "check", "content": "It fits."}]
        return {"right": right, "judged_by": judged_by, "steps": steps}

    about = {"question": "a?", "target": 5.0, "response": "", "failure": "wrong"}
    lines = [
        about | {"turns": [turn("It is 6.", False), turn("It is 5.", True)], "response": "five", "failure": None},
        about | {"question": "b?", "turns": [turn("about five or so", False, "judge"), turn("hm", False, "nobody")]},
        about | {"question": "c?", "turns": [turn("5", True)], "response": "seven", "failure": "response"},
    ]
    found = pairs.read(spec(written(tmp_path, lines, "paths.jsonl")))
    expected = [("It is 6.", False), ("It is 5.", True), ("five", True), ("about five or so", False)]
    assert labels(found.train) == [*expected, ("5", True), ("seven", False)]
    assert found.counts.unjudged == 1
    found = pairs.read(spec(written(tmp_path, [*lines[::2], lines[2] | {"response": "It is 7."}], "no_judge.jsonl")))
    assert ("It is 7.", False) in labels(found.train) and found.counts.unjudged == 1  # "seven": the rule reads none
    path = written(tmp_path, [lines[0], about | {"turns": [{"right": True}]}], "paths.jsonl")
    with pytest.raises(SpecError) as caught:
        pairs.read(spec(path))
    assert caught.value.problems == [f"{path}:2: turns: expected those of a search, got [{{'right': True}}]"]


def test_pairs_of_golds_share_no_table_with_held_out_ones(tmp_path):
    path = written(tmp_path, goldrows(40))
    found = pairs.read(spec(path, task="finqa", eval_size=25))
    sides = [{pair.record.fields["table_hash"] for pair in side} for side in (found.train, found.evaluation)]
    assert sides[0].isdisjoint(sides[1]) and len(sides[1]) > 1
    assert 10 <= found.counts.evaluation <= 25
    assert found.counts.train > 300
    assert pairs.read(spec(path, task="finqa")).counts.evaluation == 0


def test_verifier_and_rule_are_compared_by_kind():
    def pair(response, label, **fields):
        return pairs.Pair(Record("a", "how much?", 5.0, response=response, fields=fields), label)

    judged = [
        (pair("5", True, error="none", form="digits"), 0.9),
        (pair("50", False, error="scale", form="digits"), 0.7),
        (pair("five", True, error="none", form="words"), 0.8),
        (pair("six", False, error="cell", form="words"), 0.1),
        (pair("5", False), 0.2),  # whoever labelled it knew better than the rule
    ]
    report = evaluation.compare(*zip(*judged, strict=True), score, 0.4)
    assert {key: report["all"][key] for key in ("n", "rule")} == {
        "n": 5,
        "rule": {"correct": 2, "wrong": 1, "unparsed": 2},
    }
    assert report["all"]["verifier"]["correct"] == 4
    assert report["all"]["rule_first"]["correct"] == 4
    assert (report["rule_cannot_read"]["n"], report["rule_cannot_read"]["verifier"]["accuracy"]) == (2, 1.0)
    assert report["rule_reads"]["verifier"]["correct"] == 2
    assert {kind: found["n"] for kind, found in report["by_error"].items()} == {"none": 2, "scale": 1, "cell": 1}
    assert report["by_form"]["words"]["verifier"]["brier"] == pytest.approx((0.2**2 + 0.1**2) / 2)


@pytest.mark.parametrize("slip_rate", [0.0, 0.5, 1.0])
def test_the_ledger_s_labels_are_the_rule_s(slip_rate):
    made = ledger.generate_pairs("ppo", 400, seed=3, slip_rate=slip_rate)
    assert made == ledger.generate_pairs("ppo", 400, seed=3, slip_rate=slip_rate)
    assert [label for _, label in made] == [True, False] * 200
    for record, label in made:
        assert score(record.response, record.question, record.target).strict is label
    slips = {r.id: r.response for r in ledger.generate("ppo", 200, 3, slip_rate=1.0) if r.fields["kind"] != "sum"}
    share = sum(slips.get(record.id) == record.response for record, label in made if not label) / len(slips)
    assert share == pytest.approx(slip_rate, abs=0.12)


def test_generated_pairs_share_no_operands_with_held_out_ones_or_the_test():
    found = pairs.read(spec(size=200, eval_size=50, exclude=[{"task": "ledger", "size": 100}]))
    assert (found.counts.train, found.counts.evaluation) == (200, 50)
    assert not {p.record.page for p in found.train} & {p.record.page for p in found.evaluation}


def test_what_the_verifier_reads():
    whole = solution("I think.", "It is 5.")
    assert classifier.text(whole, 5.0) == classifier.text("It is 5.", "5.0")
    assert classifier.text(whole, 5.0).startswith(
        "<Model Response>\nIt is 5.\n</Model Response>\n\n<Reference Answer>\n5.0\n</Reference Answer>\n\n"
    )


def test_a_long_pair_loses_the_beginning_of_its_response():
    texts = [classifier.text("1 " * 50, 5.0), classifier.text("1", 5.0)]
    init = InitBlock(vocab_size=300, max_position_embeddings=150)
    tokenizer = model.train_tokenizer(texts, init)
    config = model.init_config(init, tokenizer)
    whole, cut = classifier.ids(tokenizer, texts, 10_000, config)
    assert (cut, len(whole[0])) == (1, 150)  # the model's own length is a limit too
    shorter, cut = classifier.ids(tokenizer, texts, len(whole[1]), config)
    assert cut == 1
    assert [len(each) for each in shorter] == [len(whole[1])] * 2
    assert shorter[0][-30:] == shorter[1][-30:] == whole[1][-30:]
    assert shorter[0][-1] == tokenizer.eos_token_id
