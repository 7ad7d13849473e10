"""How near does method `paths` come to what its endpoint allows? By hand: `python -m benchmarks.paths`.

A server in a process of its own answers each request after a fixed time, so that the ideal is calls × latency / concurrency.
Wall-clock seconds from the start of the run to its rows on disk, without imports; beside them those of as many bare loops as
there may be requests, without client, prompts and journal, which a loaded machine slows as well. The last line is JSON.
"""

import asyncio
import contextlib
import http.client
import io
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from fino1.paths.main import main as search
from fino1.spec import load
from fino1.tasks import ledger
from tests.paths.conftest import SEED, Writer, rows

LATENCY_S, CONCURRENCY, QUESTIONS, WRONG = 0.2, 4, 192, 40


def main() -> None:
    """Measure, print two lines, then JSON."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    port = ours.recv()
    writer = {"base_url": f"http://127.0.0.1:{port}/v1", "model_id": "w", "max_tokens": 64}
    block = {"writer": writer, "tasks": [{"task": "ledger", "size": QUESTIONS}], "concurrency": CONCURRENCY}
    spec = load.build({"method": "paths", "gpus_per_node": 0, "seed": SEED, "paths": block}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            started, cpu = time.monotonic(), time.process_time()
            assert search(spec, "paths", Path(folder)) == 0
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        calls = sum(len(path.read_text().splitlines()) for path in Path(folder).glob("paths/*/calls.jsonl"))
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        bare = sum(pool.map(_ask_barely, [port] * CONCURRENCY)) / CONCURRENCY
    server.terminate()
    ideal = calls * LATENCY_S / CONCURRENCY
    print(
        f"{calls} calls of {LATENCY_S} s, {CONCURRENCY} at once: {seconds:.2f} s, {cpu:.2f} s of CPU; ideal {ideal:.2f} s"
    )
    print(f"a bare loop takes {bare:.4f} s a call; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    shares = {"share_of_ideal": ideal / seconds, "bare_share_of_ideal": LATENCY_S / bare}
    print(json.dumps({"calls": calls, **{key: round(share, 4) for key, share in shares.items()}}))


def _ask_barely(port: int) -> float:
    """Mean seconds of a call."""
    connection, count, started = http.client.HTTPConnection("127.0.0.1", port), 40, time.monotonic()
    prompt = f"put down how you get there\n<problem>\n{ledger.TASK.prompt(rows(1)[0])}\n</problem>"
    body = json.dumps({"messages": [{"role": "user", "content": prompt}]})
    for _ in range(count):
        connection.request("POST", "/v1/chat/completions", body)
        json.loads(connection.getresponse().read())
    return (time.monotonic() - started) / count


def _serve(pipe: Connection) -> None:
    """Answer as the tests' writer does, each request LATENCY_S after it came."""
    reply = Writer(wrong=WRONG)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body, due = await reader.readexactly(int(length.split(b":")[1])), time.monotonic() + LATENCY_S
                data = _complete(reply(json.loads(body)["messages"][-1]["content"]))
                await asyncio.sleep(due - time.monotonic())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%b" % (len(data), data))
                await writer.drain()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def _complete(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "w", "choices": [choice], "usage": usage}
    return json.dumps(reply).encode()


if __name__ == "__main__":
    main()
