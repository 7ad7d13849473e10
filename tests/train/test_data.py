import json
import random
import re
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fino1.errors import SpecError
from fino1.spec.inputs import DataBlock, InitBlock
from fino1.spec.ppo import PpoBlock
from fino1.tasks import ledger
from fino1.tasks.overlap import leave_out
from fino1.tasks.record import Record, solution, well_formed
from fino1.train import model
from fino1.train.data import examples
from fino1.train.data.chat import Chat
from fino1.train.data.rows import read_rows

SFT = {"Question": "Q", "Complex_CoT": "C", "Response": "R"}
RL = {"Open-ended Verifiable Question": "Q", "Ground-True Answer": "1"}

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ '<|begin|>' }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim"
    " + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\n\n' }}{% endif %}"
)
BARE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"  # noqa: E501, writes no end


@pytest.fixture(scope="session")
def tokenizer():
    texts = [f"Context: the year 2019\nline\nQuestion: what is {i} + {i}?" for i in range(50)]
    return model.train_tokenizer(texts, InitBlock(vocab_size=300))


def with_template(tokenizer, template):
    import copy

    changed = copy.deepcopy(tokenizer)
    if template is not None:
        changed.chat_template = template
        changed.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    return changed


def rows_of(place: Path, rows: list, name: str = "rows.jsonl") -> str:
    path = place / name
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: str, method: str = "sft", seed: int = 1, **block):
    return read_rows(DataBlock(path=path, **{"eval_size": 0} | block), method, seed)


def problems(call, *arguments, **options):
    with pytest.raises(SpecError) as caught:
        call(*arguments, **options)
    return caught.value.problems


# reading


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.parquet"])
def test_kinds_of_file(tmp_path, name):
    rows = [{"q": f"What is {i}?", "c": f"It is {i}.", "Response": str(i), "more": i} for i in range(3)]
    found = read(rows_of(tmp_path, rows, name), columns={"Question": "q", "Complex_CoT": "c"})
    assert [(r.question, r.cot, r.response) for r in found.train] == [(r["q"], r["c"], r["Response"]) for r in rows]
    assert found.render(found.train[1]) == "What is 1?"
    assert found.counts.read == found.counts.train == 3


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rl_rows_may_have_numbers_for_answers(tmp_path, name):
    rows = [RL | {"Ground-True Answer": answer} for answer in ("-3.2%", 5, 0.5, "2020-01-01")]
    found = read(rows_of(tmp_path, rows, name), "ppo")
    assert [r.target for r in found.train] == ["-3.2%", "5", "0.5", "2020-01-01"]


def test_decimals_and_integers_of_any_length(tmp_path):
    rows = [RL | {"Ground-True Answer": Decimal(answer)} for answer in ("1.50", "-2000", "0.1")]
    assert [r.target for r in read(rows_of(tmp_path, rows, "rows.parquet"), "ppo").train] == [
        "1.50",
        "-2000.00",
        "0.10",
    ]
    path = rows_of(tmp_path, [RL | {"Ground-True Answer": 10**399}])
    (problem,) = problems(read, path, "ppo")
    assert problem.startswith(f"{path}:1: Ground-True Answer: expected text, got 1000")


def columns_of(**others):
    return pyarrow.table({**{name: [text] for name, text in SFT.items()}, **others})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (columns_of(when=pyarrow.array([2**60], pyarrow.timestamp("ms"))), "Python int too large"),
        (pyarrow.Table.from_arrays([pyarrow.array(["q"])] * 2, names=["Question"] * 2), "Multiple matches"),
        (None, "a Git LFS pointer; run `git lfs pull` in its repository"),
    ],
)
def test_parquet_that_cannot_be_read(tmp_path, table, said):
    path = tmp_path / "rows.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    if table is not None:
        parquet.write_table(table, path)
    (problem,) = problems(read, str(path))
    assert problem.startswith(f"{path}: expected Parquet, got {said}") and "\n" not in problem


def test_a_name_that_is_too_long():
    assert problems(read, "x" * 300)[0].endswith(": expected a JSON, JSONL or Parquet file, got none")


def test_half_a_surrogate_pair(tmp_path):
    whole = {**SFT, "Question": "\U0001f600"}
    path = rows_of(tmp_path, [SFT, whole, {**SFT, "Response": "\ud83d"}])
    (problem,) = problems(read, path)
    assert problem.startswith(f"{path}:3: row: expected Unicode text, got ")
    assert read(rows_of(tmp_path, [whole])).train[0].question == "\U0001f600"


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"instruction": "i", "input": "n"}, "input, instruction"),
        ({"prompt": "q", "completion": "r"}, "completion, prompt"),
        ({"Question": "q", "Response": "r"}, "Question, Response"),  # its reasoning may have another name
        ({"question": "q", "QUESTION": "q", "cot": "c", "response": "r"}, "QUESTION, cot, question, response"),
    ],
)
def test_rows_of_another_format_are_said_once(tmp_path, row, columns):
    path = rows_of(tmp_path, [row] * 3)
    (problem,) = problems(read, path)
    assert re.fullmatch(
        re.escape(path) + r": expected columns (Question, Complex_CoT, (R|r)esponse), got "
        f"{columns}; data.columns maps other names, data.task reads a benchmark's own format",
        problem,
    )
    (problem,) = problems(read, rows_of(tmp_path, [{"messages": TURNS}], "ppo.jsonl"), "ppo")
    assert "expected columns Open-ended Verifiable Question, Ground-True Answer, got messages" in problem


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nc\n</think>\n\nr"}]
SHARED = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]


@pytest.mark.parametrize(
    ("row", "read_as"),
    [
        ({"instruction": "q", "input": "n", "output": "<reasoning>c</reasoning>r"}, ("q\n\nn", "c", "r")),
        ({"instruction": "q", "input": None, "output": "r", "history": []}, ("q", "", "r")),
        ({"messages": TURNS}, ("q", "c", "r")),
        ({"messages": [TURNS[0], {"role": "assistant", "content": "r", "reasoning_content": "c"}]}, ("q", "c", "r")),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": "c</think>r"}]},
            ("q", "c", "r"),
        ),  # R1's prompt opens it
        ({"messages": [TURNS[0], {"role": "assistant", "content": solution("c", "r")}]}, ("q", "c", "r")),
        ({"conversations": SHARED}, ("s\n\nq", "", "r")),
        ({"system": "s", "conversations": SHARED[1:]}, ("s\n\nq", "", "r")),
        ({"question": "q", "complex_cot": "c", "response": "r"}, ("q", "c", "r")),
        ({"Question ": "q", "Complex CoT": "c", "response": "r"}, ("q", "c", "r")),
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_sft_reads_rows_of_other_formats(tmp_path, row, read_as, name):
    (record,) = read(rows_of(tmp_path, [row], name)).train
    assert (record.question, record.cot, record.response) == read_as
    assert solution(record.cot, record.response) == (WORDS_OF[read_as[1]])


WORDS_OF = {"c": "## Thinking\n\nc\n\n## Final Response\n\nr", "": "r"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"messages": TURNS * 2},
            "messages: expected a user's and an assistant's turn, got user, assistant, user, assis",
        ),
        ({"messages": TURNS[:1]}, "messages: expected a user's and an assistant's turn, got user"),
        ({"messages": "q"}, "messages: expected a list of turns, got 'q'"),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": ["r"]}]},
            "messages.content: expected text, got ['r']",
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": "<think>c"}]},
            "messages: expected reasoning in one pair",
        ),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "Response: expected text, got an empty one"),
        (
            {"conversations": [{"from": "tool", "value": "q"}]},
            "conversations: expected a user's and an assistant's turn, got",
        ),
        ({"instruction": "q", "output": "r", "history": [["a", "b"]]}, "history: expected none, got some"),
        ({"instruction": "q", "output": 5}, "output: expected text, got 5"),
    ],
)
def test_rows_of_other_formats_that_cannot_be_read(tmp_path, row, problem):
    path = rows_of(tmp_path, [row])
    (line,) = problems(read, path)
    assert line.startswith(f"{path}:1: {problem}")


def test_sft_learns_an_answer_without_reasoning_as_it_stands(tmp_path, tokenizer):
    """Held-out rows too."""
    changed = with_template(tokenizer, CHATML)
    turns = [[TURNS[0] | {"content": f"{i}?"}, TURNS[1] | {"content": "r"}] for i in range(20)]
    rows = read(rows_of(tmp_path, [{"messages": each} for each in turns]), eval_size=2)
    train, held_out = examples.make_sft_examples(rows, Chat(changed), 64, [changed.eos_token_id])
    assert (len(train), len(held_out)) == (18, 2)
    for each in train + held_out:
        assert changed.decode([token for token in each["labels"] if token >= 0]) == "r<|im_end|>"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000])
def test_rows_nested_too_deep_and_files_that_were_not_fetched(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    assert len(problems(read, str(path))) == 1
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert problems(read, str(path)) == [
        f"{path}: expected a data file, got a Git LFS pointer; run `git lfs pull` in its repository"
    ]


def test_no_cache_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/proc/none")
    before = sorted(Path.home().glob(".cache/huggingface/datasets/*"))
    for name in ("rows.json", "rows.jsonl", "rows.parquet"):
        read(rows_of(tmp_path, [SFT], name))
    assert sorted(Path.home().glob(".cache/huggingface/datasets/*")) == before


BAD = [
    SFT,
    {**SFT, "Question": None},
    {"Complex_CoT": "C", "Response": "R"},
    {**SFT, "Response": "  "},
    {**SFT, "Complex_CoT": "## Thinking\n\nC"},
    {**SFT, "Response": "## Final Response\n\n1"},
    {**SFT, "Question": 5, "Complex_CoT": ["C"]},
]
FAULTS = [
    (1, "Question: expected text, got none"),
    (2, "Question: expected text, got none"),
    (3, "Response: expected text, got an empty one"),
    (4, "Complex_CoT: expected no heading '## Thinking' or '## Final Response', got one"),
    (5, "Response: expected no heading '## Thinking' or '## Final Response', got one"),
    (6, "Question: expected text, got 5"),
    (6, "Complex_CoT: expected text, got ['C']"),
]


@pytest.mark.parametrize(("name", "first"), [("rows.json", 0), ("rows.jsonl", 1)])
def test_every_bad_row_is_named(tmp_path, name, first):
    path = rows_of(tmp_path, BAD, name)
    assert problems(read, path) == [f"{path}:{row + first}: {fault}" for row, fault in FAULTS]


def test_bad_rows_of_parquet(tmp_path):
    path = rows_of(tmp_path, [SFT, {**SFT, "Question": ""}, {**SFT, "Response": None}], "rows.parquet")
    assert problems(read, path) == [
        f"{path}:1: Question: expected text, got an empty one",
        f"{path}:2: Response: expected text, got none",
    ]


@pytest.mark.parametrize("answer", ["", " ", None, True, [], float("nan")], ids=repr)
def test_bad_answers(tmp_path, answer):
    (problem,) = problems(read, rows_of(tmp_path, [RL, RL | {"Ground-True Answer": answer}]), "ppo")
    assert re.search(r"rows\.jsonl:2: Ground-True Answer: expected text, got ", problem)


def test_lines_are_counted_with_blank_ones(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SFT) + "\n\n" + json.dumps({**SFT, "Response": ""}) + "\n{broken\n[1]\n")
    assert [problem.partition(": expected")[0] for problem in problems(read, str(path))] == [
        f"{path}:4: line",
        f"{path}:5: row",
        f"{path}:3: Response",
    ]


def test_many_problems_are_not_all_listed(tmp_path):
    path = rows_of(tmp_path, [{**SFT, "Response": ""}] * 50)
    found = problems(read, path)
    assert (len(found), found[-1]) == (21, f"{path}: and 30 more problems")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "expected a JSON, JSONL or Parquet file, got none"),
        ("rows.csv", "a,b", "expected a name that ends in .json, .jsonl, .parquet, got .csv"),
        ("rows.json", "", "expected rows, got an empty file"),
        ("rows.json", "[]", "expected rows, got an empty file"),
        ("rows.json", "[1", "expected a JSON array, got "),
        ("rows.parquet", "x", "expected Parquet, got "),
    ],
)
def test_files_that_hold_no_rows(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    (problem,) = problems(read, str(path))
    assert message in problem
    assert str(path) in problem


# leaving out


def evaluated(place, rows):
    return {"path": rows_of(place, rows, "eval.jsonl")}


def test_evaluated_questions_are_left_out(tmp_path):
    asked = "Context: other words\nQuestion: What is the net change?\nAnswer:"
    exclude = [evaluated(tmp_path, [{"Open-ended Verifiable Question": asked, "Ground-True Answer": "1"}])]
    rows = [
        {**SFT, "Question": "Context: some words\nQuestion: what is  the Net change\nAnswer:"},
        {**SFT, "Question": "What is the net change?"},
        {**SFT, "Question": "What is the gross change?"},
    ]
    found = read(rows_of(tmp_path, rows), exclude=exclude)
    assert [r.question for r in found.train] == ["What is the gross change?"]
    assert (found.counts.read, found.counts.excluded, found.counts.train) == (3, 2, 1)


def test_evaluated_pages_are_left_out():
    def record(name, page):
        return Record(id=name, question=name, target=1.0, page=page)

    trained = [record("a", "p1"), record("b", "p2"), record("c", ""), record("d", "p1")]
    kept = leave_out("finqa", trained, [record("x", "p1"), record("y", "")])
    assert [r.id for r in kept] == ["b", "c"]


def test_nothing_left_is_an_error(tmp_path):
    path = rows_of(tmp_path, [SFT])
    exclude = [evaluated(tmp_path, [{"Open-ended Verifiable Question": "q?", "Ground-True Answer": "1"}])]
    (problem,) = problems(read, path, exclude=exclude)
    assert problem == f"data: {path}: expected rows to train on, got none of 1 read"


def test_ledger_holds_out_what_is_evaluated(monkeypatch):
    block = DataBlock(task="ledger", size=300, eval_size=20, exclude=[{"task": "ledger", "size": 50}])
    rows = read_rows(block, "sft", 1)
    assert (len(rows.train), len(rows.evaluation)) == (300, 20)
    generate = ledger.generate
    leaky = {"test": "sft"}  # the evaluation would be asked what is trained on
    monkeypatch.setattr(ledger, "generate", lambda split, **o: generate(leaky.get(split, split), **o))
    assert "expected a pair that is in no training row" in problems(read_rows, block, "sft", 1)[0]


def test_ledger_s_limit():
    rows = read_rows(DataBlock(task="ledger", size=300, limit=7, eval_size=5), "ppo", 1)
    assert len(rows.train) == 7
    assert rows.train == read_rows(DataBlock(task="ledger", size=300, eval_size=5), "ppo", 1).train[:7]


def test_the_split_is_the_seed_s_alone(tmp_path):
    path = rows_of(tmp_path, [{**SFT, "Question": f"What is {i}?"} for i in range(100)])
    first = read(path, eval_size=7)
    random.seed(99)
    assert first.evaluation == read(path, eval_size=7).evaluation
    assert [r.id for r in first.evaluation] == ["5", "21", "38", "39", "52", "54", "66"]
    assert first.evaluation != read(path, eval_size=7, seed=2).evaluation
    assert {r.id for r in first.train} | {r.id for r in first.evaluation} == {str(i) for i in range(1, 101)}
    assert len(first.train) == 93
    assert len(read(path, eval_size=50).evaluation) == 10  # a tenth at most
    assert read(path, eval_size=0).evaluation == []


# tokens

QUESTION = "Use the page.\nContext: {document}Question: What is 2019 + 1?\nAnswer:"
WORDS = solution("It is 2020.", "2020")


def chat(tokenizer, **variables):
    return Chat(tokenizer, variables)


def ends(tokenizer):
    return [tokenizer.eos_token_id]


@pytest.mark.parametrize("template", [None, CHATML, LLAMA3, BARE], ids=["ours", "chatml", "llama3", "no end"])
def test_an_answer_ends_with_one_eos(tokenizer, template):
    changed = with_template(tokenizer, template)
    prompt = chat(changed).prompt_ids("How much?")
    answer = chat(changed).completion_ids("How much?", WORDS, ends(changed))
    assert answer[-1] == changed.eos_token_id
    assert answer.count(changed.eos_token_id) == 1
    assert changed.decode(answer[:-1]).strip() == WORDS
    messages = [{"role": "user", "content": "How much?"}]
    assert changed.decode(prompt) == changed.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    whole = changed.apply_chat_template([*messages, {"role": "assistant", "content": WORDS}], tokenize=False)
    assert whole.startswith(changed.decode(prompt) + WORDS)


def test_an_answer_ends_with_the_token_that_ends_a_turn(tokenizer):
    """Gemma's template never writes the end of sequence; its generation config lists both."""
    turn = tokenizer.convert_tokens_to_ids("<|user|>")
    changed = with_template(tokenizer, CHATML.replace("<|im_end|>", "<|user|>"))
    for listed in ([turn, changed.eos_token_id], [changed.eos_token_id, turn]):
        answer = chat(changed).completion_ids("How much?", WORDS, listed)
        assert answer[-1] == turn and changed.eos_token_id not in answer
        assert changed.decode(answer[:-1]).strip() == WORDS


R1 = (  # of DeepSeek-R1: drops what stands before </think>, and opens a block that the conversation does not have
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>' + m['content'].split('</think>')[-1] }}"
    "{{ '<|im_end|>' }}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|><think>\n' }}{% endif %}"
)
QWEN3 = (  # of Qwen3: writes an empty block where an answer has none, and in the prompt where thinking is off
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% set c = m['content'] %}"
    "{% set thought = '' %}{% if '</think>' in c %}{% set thought = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<think>\n' + thought + '\n</think>\n\n' + c }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}"
)
THOUGHT = solution("<think>\nIt is 2020.\n</think>", "2020")


@pytest.mark.parametrize(
    ("template", "variables", "prompt", "between"),
    [
        (R1, {}, "Q<|im_start|><think>\n", "\n</think>\n\n"),
        (R1.replace("<think>\n", "", 1), {}, "Q<|im_start|>", ""),
        (QWEN3, {}, "<|im_start|>assistant\n", "<think>\n\n</think>\n\n"),
        (QWEN3, {"enable_thinking": False}, "<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
    ],
    ids=["r1", "r1 of before", "qwen3", "qwen3 without thinking"],
)
@pytest.mark.parametrize("words", [WORDS, THOUGHT], ids=["plain", "with </think> of its own"])
def test_reasoning_templates_keep_the_whole_answer(tokenizer, template, variables, prompt, between, words):
    """The response after the prompt, which PPO and evaluations ask with too, has both headings and all between them."""
    changed = with_template(tokenizer, template)
    rendered = chat(changed, **variables)
    assert rendered.prompt("Q").endswith(prompt)
    answer = rendered.completion_ids("Q", words, ends(changed))
    assert changed.decode(answer[:-1]) == between + words
    assert well_formed(changed.decode(answer))


@pytest.mark.parametrize(
    ("template", "mistake"),
    [
        (
            CHATML.replace("assistant\n", "assistant\nSo: "),
            "a chat template whose conversation begins with its generation prompt, got another; put one that does into the "
            "model's folder (chat_template.jinja)",
        ),
        (
            "{{ messages[0]['content'] }}",
            "a chat template that writes the assistant's message, got one that leaves it out",
        ),
        ("{{ raise_exception('no user') }}", "a chat template for one user message, got no user"),
        ("{% if %}", "a chat template for one user message, got Expected an expression, got 'end of statement block'"),
        ("{{ 1 / 0 }}", "a chat template for one user message, got division by zero"),
        ({"rag": "{{ 1 }}", "tool_use": ""}, "a chat template named default, got rag, tool_use"),
    ],
)
def test_templates_that_cannot_be_used_are_said_once(tokenizer, tmp_path, template, mistake):
    rows = read(rows_of(tmp_path, [SFT] * 3))
    changed = with_template(tokenizer, template)
    changed.name_or_path = "some/model"
    said = [f"model: some/model: expected {mistake}"]
    assert problems(examples.make_sft_examples, rows, chat(changed), 256, ends(changed)) == said
    if "one user message" in mistake or "default" in mistake:  # the others have a prompt
        assert problems(examples.make_ppo_prompts, rows, chat(changed), 256, 0) == said


def test_an_answer_that_spells_the_end(tokenizer, tmp_path):
    rows = read(rows_of(tmp_path, [SFT, {**SFT, "Response": "1<|end|>2"}]))
    assert problems(examples.make_sft_examples, rows, chat(tokenizer), 256, ends(tokenizer)) == [
        "data: row 2: expected an answer without the end-of-sequence token <|end|>, got one with it"
    ]


def long_rows(place, lines):
    document = "".join(f"line {i} of the page.\n" for i in range(lines))
    row = {"Question": QUESTION.format(document=document), "Complex_CoT": "It is 2020.", "Response": "2020"}
    return read(rows_of(place, [row, {**row, "Question": QUESTION.format(document="short.\n")}]))


@pytest.mark.parametrize("template", [None, CHATML, LLAMA3], ids=["ours", "chatml", "llama3"])
def test_long_rows_lose_document_text_only(tokenizer, tmp_path, template):
    changed = with_template(tokenizer, template)
    rows = long_rows(tmp_path, 100)
    whole, short = examples.make_sft_examples(rows, chat(changed), 10_000, ends(changed))[0]
    assert rows.counts.cut == 0
    rows = long_rows(tmp_path, 100)
    budget = len(short["input_ids"]) + 60
    cut, untouched = examples.make_sft_examples(rows, chat(changed), budget, ends(changed))[0]
    assert untouched == short
    assert rows.counts.cut == 1
    assert len(cut["input_ids"]) <= budget < len(whole["input_ids"])
    answers = [[i for i in e["labels"] if i != -100] for e in (whole, cut)]
    assert answers[0] == answers[1] == chat(changed).completion_ids("x", WORDS, ends(changed))
    for e in (whole, cut):
        assert e["input_ids"][-len(answers[0]) :] == answers[0]
        assert len(e["labels"]) == len(e["input_ids"])
    prompts = [changed.decode(e["input_ids"][: -len(answers[0])]) for e in (whole, cut)]
    for prompt in prompts:
        assert "Use the page.\nContext:" in prompt
        assert "Question: What is 2019 + 1?\nAnswer:" in prompt
    kept = re.findall(r"line (\d+) of the page\.\n", prompts[1])
    assert 0 < len(kept) < 100
    assert kept == [str(i) for i in range(100)][-len(kept) :]  # whole lines, those next to the question


def test_rows_that_do_not_fit_without_their_document(tokenizer, tmp_path):
    rows = long_rows(tmp_path, 3)
    found = problems(examples.make_sft_examples, rows, chat(tokenizer), 20, ends(tokenizer))
    assert [text.partition(", got")[0] for text in found] == [
        "data: row 1: expected a question and answer that fit",
        "data: row 2: expected a question and answer that fit",
    ]
    record = rows.train[0]
    (problem,) = problems(examples.fitted_prompt, rows, record, chat(tokenizer), -5)
    assert problem.startswith("data: row 1: expected a question and answer that fit, got ")


def test_a_row_without_document_is_never_cut(tokenizer, tmp_path):
    rows = read(rows_of(tmp_path, [{**SFT, "Question": "word " * 300}]))
    assert len(problems(examples.make_sft_examples, rows, chat(tokenizer), 100, ends(tokenizer))) == 1
    assert examples.make_sft_examples(rows, chat(tokenizer), 2000, ends(tokenizer))[0][0]["input_ids"]
    assert rows.counts.cut == 0


def test_held_out_rows_are_not_counted_as_cut(tokenizer, tmp_path):
    document = "".join(f"line {i} of the page.\n" for i in range(50))
    rows = [{**SFT, "Question": QUESTION.format(document=document).replace("2019", str(2000 + i))} for i in range(20)]
    found = read(rows_of(tmp_path, rows), eval_size=2)
    assert len(examples.make_sft_examples(found, chat(tokenizer), 200, ends(tokenizer))[1]) == 2
    assert found.counts.cut == found.counts.train == 18


# the tokenizer of small models


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example("a\r\nb\x85c\u2028 \t  d  '  ,  .")
@example("## Thinking\n\n2019 12019 <|end|> é 😀 \x00")
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_trained_tokenizer_gives_any_text_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


def test_the_trained_tokenizer(tokenizer):
    assert len(tokenizer) <= 300
    assert len(tokenizer.encode("12345", add_special_tokens=False)) == 5
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id}) == 2
    again = model.train_tokenizer(
        [f"Context: the year 2019\nline\nQuestion: what is {i} + {i}?" for i in range(50)], InitBlock(vocab_size=300)
    )
    assert again.get_vocab() == tokenizer.get_vocab()  # every rank trains its own


def test_a_context_that_a_response_alone_fills():
    block = PpoBlock(response_length=100, max_prompt_length=50)
    assert [examples.prompt_budget(block, context) for context in (101, 150, 1000)] == [1, 50, 50]
    for context in (99, 100):
        assert problems(examples.prompt_budget, block, context) == [
            f"ppo.response_length: expected fewer than the {context} tokens of the model's context, got 100"
        ]


def test_ppo_prompts_are_the_same_whatever_the_threads():
    records = read_rows(DataBlock(task="ledger", size=40, eval_size=5), "ppo", 1)
    tokenizer = model.train_tokenizer([records.render(r) for r in records.train], InitBlock(vocab_size=300))
    one = examples.make_ppo_prompts(records, chat(tokenizer), 100, 0)
    assert one == examples.make_ppo_prompts(records, chat(tokenizer), 100, 3)
    assert [len(part) for part in one] == [40, 5]
    (line,) = problems(examples.make_ppo_prompts, records, chat(tokenizer), 3, 2)
    assert line.startswith("data: expected rows to train on, got none of 40; the first: ")


@pytest.mark.parametrize(
    ("row", "method"),
    [
        (
            {"Open-ended Verifiable Question": "q", "Ground-True Answer": "1", "Complex_CoT": "c", "Response": "r"},
            "sft",
        ),
        ({"Question": "q", "Reasoning_process": "c", "Final_response": "r", "Negative_response": ""}, "sft"),
        ({"Question": "q", "Answer": "1", "Reasoning_process": "c", "Final_response": "r"}, "ppo"),
    ],
)
def test_published_paths_are_read_as_they_are(tmp_path, row, method):
    (record,) = read(rows_of(tmp_path, [row]), method).train
    assert (record.question, record.cot, record.response) == ("q", *(("c", "r") if method == "sft" else ("", "")))
    assert record.target == ("1" if method == "ppo" else "")


def test_published_paths_without_a_gold_are_none_for_ppo(tmp_path):
    path = rows_of(tmp_path, [{"Question": "q", "Reasoning_process": "c", "Final_response": "r"}])
    (problem,) = problems(read, path, "ppo")
    assert problem.startswith(
        f"{path}: expected columns Open-ended Verifiable Question, Ground-True Answer, got Final_response, "
    )
