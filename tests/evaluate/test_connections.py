"""How an answer is framed, by a server that sends just these bytes."""

import json
import socket
import threading

import openai
import pytest

from fino1.evaluate.connections import Connections

BODY = b'{"a": "\xc3\xa9"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"content-length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
def answering():
    """`answering(answer)`: connections to a server that sends it, each time it is asked, and the requests that came."""
    opened = []

    def start(answer, then_close=False, **headers):
        listener = socket.create_server(("127.0.0.1", 0))
        requests, accepted = [], []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(connection)
                with connection, connection.makefile("rb") as reader:
                    while lines := _read_head(reader):
                        length = next(int(value) for name, value in lines[1:] if name.lower() == "content-length")
                        requests.append((lines, json.loads(reader.read(length))))
                        connection.sendall(answer)
                        if then_close:
                            break

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        client = openai.OpenAI(base_url=url, api_key="k", timeout=2, max_retries=0, default_headers=headers)
        opened.extend((listener, Connections(client, is_local=True)))
        return opened[-1], requests, accepted

    yield start
    for each in opened:
        each.close()


def _read_head(reader):
    lines = []
    while line := reader.readline().strip().decode():
        lines.append(line.split(" " if not lines else ": ", 1))
    return lines


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (HEAD + LENGTH + BODY, True),
        (HEAD + b"CONTENT-LENGTH:%d\r\n\r\n" % len(BODY) + BODY, True),
        (HEAD + b"Connection: close\r\n" + LENGTH + BODY, False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + LENGTH + BODY, True),
        (
            HEAD
            + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n"
            + BODY[:3]
            + b"\r\n8\r\n"
            + BODY[3:]
            + b"\r\n0\r\nT: t\r\n\r\n",
            True,
        ),
        (b"HTTP/1.0 200 OK\n" + LENGTH.replace(b"\r", b"") + BODY, False),
    ],
)
def test_an_answer(answering, answer, is_kept):
    connections, requests, accepted = answering(answer, **{"X-Mine": "x"})
    for number in (1, 2):
        assert connections.post({"n": number}, {"Idempotency-Key": f"key-{number}"}) == {"a": "é"}
    assert len(accepted) == (1 if is_kept else 2)
    head, body = requests[1]
    assert head[0] == ["POST", "/v1/chat/completions HTTP/1.1"] and body == {"n": 2}
    headers = {name.lower(): value for name, value in head[1:]}
    assert len(headers) == len(head) - 1  # none twice
    wanted = {"x-mine": "x", "authorization": "Bearer k", "idempotency-key": "key-2", "accept-encoding": "identity"}
    assert headers | wanted == headers
    assert headers["host"].startswith("127.0.0.1:") and headers["content-type"] == "application/json"


def test_a_body_that_ends_with_the_connection(answering):
    connections, _, _ = answering(HEAD + b"\r\n" + BODY, then_close=True)
    assert connections.post({}, {}) == {"a": "é"}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        HEAD,
        HEAD + LENGTH + BODY[:-1],
        HEAD + b"content-length: x\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nx\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n9\r\n123",
        HEAD + b"a: b\r\n" * 300 + LENGTH + BODY,
        b"HTTP/1.1 200 " + b"x" * 70_000,
    ],
)
def test_what_is_no_answer(answering, answer):
    connections, _, accepted = answering(answer, then_close=True)
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError):
            connections.post({}, {})
    assert len(accepted) == 2  # a connection that went wrong is not used again


def test_a_header_of_two_lines_is_not_sent(answering):
    connections, requests, _ = answering(HEAD + LENGTH + BODY)
    with pytest.raises(ValueError, match="one line"):
        connections.post({}, {"Idempotency-Key": "a\r\nb: c"})
    assert requests == []
