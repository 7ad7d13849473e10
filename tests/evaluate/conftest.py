"""A real HTTP server that speaks Chat Completions and goes wrong on demand."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fino1.evaluate import endpoint
from fino1.tasks import ledger

FINAL = "## Thinking\n\nso\n\n## Final Response\n\n"


class Faulty(ThreadingHTTPServer):
    """`fault(prompt, number)` says how request `number` (from 1) of a prompt goes wrong, None: it is answered."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port=0, host="127.0.0.1"):
        super().__init__((host, port), Handler)
        self.base_url = f"http://{host}:{self.server_port}/v1"
        self.lock = threading.Lock()
        self.connections = []
        self.asked, self.answered, self.times, self.bodies = Counter(), Counter(), {}, []
        self.headers_seen = []
        self.fault = lambda prompt, number: None
        self.reply = lambda prompt: "42"
        self.finish_reason = lambda prompt: "stop"
        self.delay_s = 0.0
        self.busy = self.busiest = 0
        self.models = [{"id": "m", "object": "model", "owned_by": "vllm"}]

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def cut(self):
        """Close every connection, as a server does with those that are idle."""
        while self.connections:
            with contextlib.suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet a reply: no waiting for delayed acknowledgements

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.path == "/v1/models":
            self.send(200, json.dumps({"object": "list", "data": self.server.models}).encode())
        else:
            self.send(404, b"")

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        with server.lock:
            server.asked[prompt] += 1
            number = server.asked[prompt]
            server.times.setdefault(prompt, []).append(time.monotonic())
            server.bodies.append(body)
            server.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            server.busy += 1
            server.busiest = max(server.busy, server.busiest)
        try:
            time.sleep(server.delay_s)
            self.answer(body, prompt, server.fault(prompt, number))
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, body, prompt, fault):
        server = self.server
        match fault:
            case None:
                self.complete(server, body, prompt)
            case "drop":
                self.close_connection = True
                self.connection.close()
            case "half":  # promises more than it sends
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b'{"id": ')
                self.close_connection = True
            case "hang":
                time.sleep(2)
                self.close_connection = True
            case "html":
                self.send(200, b"<html>busy</html>", {"content-type": "text/html"})
            case "notjson":
                self.send(200, b"{oops")
            case "deep":
                self.send(200, b"[" * 100_000)
            case "detail":
                self.send(400, b'{"detail": "Server is pinned to x"}')
            case "nochoice":
                self.send(200, json.dumps({"id": "x", "error": {"message": "upstream"}}).encode())
            case {"json": body}:
                self.send(200, json.dumps(body).encode())
            case (status, headers, error):
                self.send(status, json.dumps({"error": error}).encode(), headers)

    def complete(self, server, body, prompt):
        with server.lock:
            server.answered[prompt] += 1
        message = {"role": "assistant", "content": server.reply(prompt)}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        choice = {"index": 0, "message": message, "finish_reason": server.finish_reason(prompt)}
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}
        self.send(200, json.dumps(reply | {"choices": [choice], "usage": usage}).encode())

    def send(self, status, data, headers=None):
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def faulty(monkeypatch):
    """Starts servers, on a port of their own or on one that is given."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.01)
    started = []

    def start(port=0):
        started.append(Faulty(port))
        options = {"target": started[-1].serve_forever, "kwargs": {"poll_interval": 0.02}}
        threading.Thread(**options, daemon=True).start()
        return started[-1]

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


@pytest.fixture
def server(faulty):
    return faulty()


@pytest.fixture
def right(server):
    """The server knows the answers."""
    known = {ledger.TASK.prompt(record): record for record in ledger.generate("test", n=200, seed=42)}
    server.reply = lambda prompt: FINAL + (known[prompt].response if prompt in known else "0")
    return server


def tiny_tokenizer(folder, template="{% for m in messages %}{{ m['content'] }}\n{% endfor %}"):
    """A tokenizer of single characters, and a config that says how many of them the model reads."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    inner = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = template
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 100}))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return tokenizer


@pytest.fixture
def folder(tmp_path):
    """Everything of a model but its weights."""
    tiny_tokenizer(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """A random Llama that can be served; `@` and `:` in its path mean something to `transformers serve`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny@1:x"
    tokenizer = tiny_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        eos_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
