import threading
import time
from email.utils import formatdate

import pytest

from fino1 import exits
from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled, Endpoint, EndpointLost
from fino1.exits import ENDPOINT_LOST


def ask(server, prompt="hi", halt=None, **options):
    asked = Endpoint(server.base_url, "m", **{"timeout_s": 5.0, "max_retries": 3} | options)
    try:
        return asked.ask(prompt, 16, 0.0, halt or threading.Event())
    finally:
        asked.close()


def test_answer(server):
    answer = ask(server)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("42", "stop", 11, 3)
    assert 0 < answer.seconds < 5
    assert server.bodies == [
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16, "temperature": 0.0}
    ]


@pytest.mark.parametrize(
    "fault",
    ["drop", "half", "html", "notjson", "nochoice"] + [(s, {}, {"message": "no"}) for s in (408, 429, 500, 502, 503)],
)
def test_retried(server, fault):
    server.fault = lambda prompt, number: fault if number <= 3 else None
    assert ask(server).text == "42"
    assert server.asked["hi"] == 4
    assert server.answered["hi"] == 1


def test_time_out_is_retried(server):
    server.fault = lambda prompt, number: "hang" if number == 1 else None
    assert ask(server, timeout_s=0.3).text == "42"


def test_retries_end(server):
    server.fault = lambda prompt, number: (503, {}, {"message": "overloaded"})
    with pytest.raises(EndpointLost, match="no answer after 4 attempts.*503.*overloaded") as caught:
        ask(server)
    assert server.asked["hi"] == 4
    assert exits.is_retryable(caught.value.exit_code)
    assert caught.value.exit_code == ENDPOINT_LOST


def test_nobody_listens():
    nobody = Endpoint("http://127.0.0.1:9/v1", "m", max_retries=1)
    with pytest.raises(EndpointLost, match="127.0.0.1:9/v1 .m.: no answer after 2 attempts"):
        nobody.ask("hi", 1, 0.0, threading.Event())


@pytest.mark.parametrize(
    ("header", "value", "pause"),
    [
        ("retry-after", "0.4", 0.4),
        ("retry-after-ms", "400", 0.4),
        ("retry-after", formatdate(time.time() + 2, usegmt=True), 0.5),
        ("retry-after", "soon", 0.0),
    ],
)
def test_retry_after(server, header, value, pause):
    if "GMT" in value:  # dates have whole seconds
        value = formatdate(time.time() + 2, usegmt=True)
    server.fault = lambda prompt, number: (429, {header: value}, {"message": "slow"}) if number == 1 else None
    ask(server)
    first, second = server.times["hi"]
    assert pause <= second - first < pause + 2


def test_errors_of_another_form_are_shown(server):
    server.fault = lambda prompt, number: "detail"
    with pytest.raises(SpecError, match="Server is pinned to"):
        ask(server)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, {"message": "bad key"}, "expected a valid API key .api_key_env., got 401: bad key"),
        (402, {"message": "Insufficient Balance"}, "an account with credit"),
        (403, {"message": "no"}, "permission"),
        (404, {"message": "no such model"}, "a base_url ending in /v1 and a model named 'm'"),
        (400, {"message": "This model's maximum context length is 10 tokens."}, "fits its context"),
        (400, {"message": "x", "code": "context_length_exceeded"}, "fits its context"),
        (422, {"message": "odd"}, "a request it can answer"),
        (429, {"message": "pay", "code": "insufficient_quota"}, "quota left"),
    ],
)
def test_not_retried(server, status, error, message):
    server.fault = lambda prompt, number: (status, {}, error)
    with pytest.raises(SpecError, match=message):
        ask(server)
    assert server.asked["hi"] == 1


def test_reasoning_models_take_other_parameters(server):
    def fault(prompt, number):
        body = server.bodies[-1]
        for name, code in (("max_tokens", "unsupported_parameter"), ("temperature", "unsupported_value")):
            if name in body:
                return 400, {}, {"message": "no", "param": name, "code": code}
        return None

    server.fault = fault
    asked = Endpoint(server.base_url, "o3-mini")
    for prompt in ("a", "b"):
        assert asked.ask(prompt, 16, 0.0, threading.Event()).text == "42"
    assert (server.asked["a"], server.asked["b"]) == (3, 1)
    assert "max_completion_tokens" in server.bodies[-1]
    assert sorted(asked.unsupported) == ["max_tokens", "temperature"]


def test_a_parameter_refused_for_ever_is_an_error(server):
    refusal = {"message": "no", "param": "temperature", "code": "unsupported_value"}
    server.fault = lambda prompt, number: (400, {}, refusal)
    with pytest.raises(SpecError):
        ask(server)
    assert server.asked["hi"] == 2


def test_content_filter_is_an_answer(server):
    server.fault = lambda prompt, number: (400, {}, {"message": "filtered", "code": "content_filter"})
    answer = ask(server)
    assert (answer.text, answer.finish_reason) == ("", "content_filter")


def test_halt_ends_a_pause(server):
    server.fault = lambda prompt, number: (429, {"retry-after": "60"}, {"message": "slow"})
    halt = threading.Event()
    threading.Timer(0.2, halt.set).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        ask(server, halt=halt)
    assert time.monotonic() - start < 2


def test_check_ends_the_retries(server):
    def check():
        raise RuntimeError("the server died")

    server.fault = lambda prompt, number: "drop"
    with pytest.raises(RuntimeError, match="died"):
        ask(server, check=check)
    assert server.asked["hi"] == 1


def test_the_key_of_another_service_is_not_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    ask(server)
    ask(server, api_key="ours")
    sent = [{k.lower(): v for k, v in headers.items()}["authorization"] for headers in server.headers_seen]
    assert sent == ["Bearer none", "Bearer ours"]


def test_a_server_of_ours_is_asked_without_proxies(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(server, is_local=True).text == "42"
