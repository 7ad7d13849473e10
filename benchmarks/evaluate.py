"""How near does an evaluation come to what its endpoint allows, next to lm-evaluation-harness? By hand.

    python3 -m venv .venv-lm-eval && .venv-lm-eval/bin/pip install 'lm_eval[api]==0.4.13'
    python -m benchmarks.evaluate [FINQA_JSON]

A server in a process of its own, on the last core, answers each request LATENCY_S after it came. Both programs ask it 1,127 FinQA
questions (of the file, or made ones of the same length) with CONCURRENCY requests at once, TURNS times in turn; the best turn of
each counts, since other work on the machine only slows. Time is from the first request to the last reply by the server's clock,
so that neither program pays for its imports. Ideal is a full round of CONCURRENCY requests every LATENCY_S, the last not full.
`run_share_of_ideal` is over all of `fino1 evaluate` but its imports: rows read, prompts made, answers judged and on disk.
`score_100k_s`: CPU seconds of 100,000 verdicts (benchmarks/score.py). The last line is JSON.
"""

import asyncio
import contextlib
import gc
import io
import json
import math
import multiprocessing
import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import score
from fino1.evaluate.main import main as evaluate
from fino1.spec import load
from fino1.tasks import finqa, task

LATENCY_S, CONCURRENCY, ROWS, TURNS, MAX_TOKENS = 0.05, 64, 1127, 5, 512
LM_EVAL = Path(".venv-lm-eval/bin/python")
IDEAL_S = math.ceil(ROWS / CONCURRENCY) * LATENCY_S
WORDS = (
    "the company recorded net revenue of million in fiscal year compared with prior operating income decreased due to"
)
ANSWER = f"## Thinking\n\n{'We take the two amounts. ' * 12}\n\n## Final Response\n\nThe answer is 42."
TASK = """task: asked
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: [], max_gen_toks: {max_tokens}, temperature: 0.0, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def main(file: Path | None = None) -> None:
    """Measure both programs, print a line for each turn, then JSON."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    seconds: dict[str, list[float]] = {"fino1": [], "whole": [], "lm_eval": []}
    gc.freeze()  # as the command does once its modules are there
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = file or _write_rows(folder / "rows.json")
        for turn in range(TURNS):
            seconds["whole"].append(_run_ours(url, rows, folder / str(turn)))
            seconds["fino1"].append(_ask_clock(ours, "fino1"))
            if LM_EVAL.exists():
                _run_lm_eval(url, rows, folder)
                seconds["lm_eval"].append(_ask_clock(ours, "lm_eval"))
    server.terminate()
    best = {name: min(all_turns, default=math.nan) for name, all_turns in seconds.items()}
    print(f"ideal {IDEAL_S:.3f} s, best {best}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    found = {"share_of_ideal": IDEAL_S / best["fino1"], "run_share_of_ideal": IDEAL_S / best["whole"]}
    found |= {"vs_lm_eval": best["lm_eval"] / best["fino1"], "score_100k_s": _time_verdicts()}
    print(json.dumps({key: None if math.isnan(value) else round(value, 4) for key, value in found.items()}))


def _run_ours(url: str, rows: Path, work: Path) -> float:
    """Evaluate, and return the seconds of all of it."""
    block = {"models": [{"name": "m", "base_url": url}], "tasks": [{"task": "finqa", "path": str(rows)}]}
    block |= {"concurrency": CONCURRENCY, "max_tokens": MAX_TOKENS}
    spec = load.build({"method": "eval", "gpus_per_node": 0, "eval": block}, "benchmark")
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.monotonic()
        assert evaluate(spec, "eval", work) == 0
        return time.monotonic() - started


def _run_lm_eval(url: str, rows: Path, folder: Path) -> None:
    """Ask the same prompts by local-chat-completions; its answers are judged and written as ours are."""
    records = finqa.read(rows)
    lines = [{"prompt": task("finqa").prompt(record), "target": str(record.target)} for record in records]
    (folder / "asked.json").write_text(json.dumps(lines))
    (folder / "asked.yaml").write_text(TASK.format(rows=folder / "asked.json", max_tokens=MAX_TOKENS))
    model = f"model=m,base_url={url}/chat/completions,num_concurrent={CONCURRENCY}"
    model += ",max_retries=3,tokenized_requests=False"
    command = [LM_EVAL.absolute(), "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args", model]
    command += ["--tasks", "asked", "--include_path", folder, "--apply_chat_template"]
    command += ["--output_path", folder / "lm", "--log_samples"]
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _ask_clock(server: Connection, who: str) -> float:
    """Seconds from the first request to the last reply since this was asked last."""
    server.send(None)
    count, seconds, latency = server.recv()
    share = f"{IDEAL_S / seconds:.1%} of the ideal"
    print(f"{who}: {count} requests in {seconds:.3f} s, {share}; each took {latency:.5f} s")
    assert count == ROWS, count
    return seconds


def _time_verdicts() -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.process_time()
        score.main()
        return time.process_time() - started


def _write_rows(path: Path) -> Path:
    """Write made rows with pages as long as FinQA's, 4,000 characters on average."""
    rng, rows = random.Random(1), []
    for i in range(ROWS):
        text = [" ".join(rng.choices(WORDS.split(), k=25)) for _ in range(rng.randint(10, 40))]
        table = [["", "2019", "2018"]]
        table += ([f"item {j}", str(rng.randint(1, 9999)), str(rng.randint(1, 9999))] for j in range(6))
        qa = {"question": f"what was the change in item {i % 6} ?", "exe_ans": float(rng.randint(1, 99))}
        rows.append({"id": f"made-{i}", "pre_text": text, "post_text": [], "table": table, "qa": qa})
    path.write_text(json.dumps(rows))
    return path


def _serve(pipe: Connection) -> None:
    """Answer each request LATENCY_S after it came; report to the pipe, when asked there, and begin to count again."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # schedulers like to put both ends of a connection on one
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 90, "total_tokens": 1090}
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    data = json.dumps(reply).encode()
    data = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
    spans: list[tuple[float, float]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                came = time.monotonic()
                json.loads(await reader.readexactly(int(length.split(b":")[1])))["messages"]
                await asyncio.sleep(came + LATENCY_S - time.monotonic())
                writer.write(data)
                spans.append((came, time.monotonic()))

    def report() -> None:
        try:
            pipe.recv()
        except EOFError:  # the benchmark was ended
            sys.exit()
        seconds = max(left for _, left in spans) - min(came for came, _ in spans)
        pipe.send((len(spans), seconds, sum(left - came for came, left in spans) / len(spans)))
        spans.clear()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
        asyncio.get_running_loop().add_reader(pipe.fileno(), report)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    # epoll would wait whole milliseconds, 2 % of the latency.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
