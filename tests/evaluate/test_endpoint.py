import socket
import sys
import threading
import time
from email.utils import formatdate

import pytest

from fino1 import exits
from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled, Endpoint, EndpointLost
from fino1.evaluate.loop import wait
from fino1.exits import ENDPOINT_LOST


def ask(server, prompt="hi", halt=None, **options):
    asked = Endpoint(server.base_url, "m", **{"timeout_s": 5.0, "max_retries": 3} | options)
    try:
        return wait(asked.ask(prompt, 16, 0.0, halt or threading.Event()))
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


def test_an_endpoint_that_does_not_take_the_request_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        asked = Endpoint(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", "m", timeout_s=0.2, max_retries=0)
        with pytest.raises(EndpointLost, match="timed out"):
            wait(asked.ask("x" * 20_000_000, 16, 0.0, threading.Event()))
        asked.close()


def test_retries_end(server):
    server.fault = lambda prompt, number: (503, {}, {"message": "overloaded"})
    with pytest.raises(EndpointLost, match="no answer after 4 attempts.*503.*overloaded") as caught:
        ask(server)
    assert server.asked["hi"] == 4
    assert exits.is_retryable(caught.value.exit_code)
    assert caught.value.exit_code == ENDPOINT_LOST


DOCUMENTS = [None, [], "hi", 3, {"error": "x"}, {"choices": "abc"}]
DOCUMENTS += [{"choices": [choice]} for choice in ("a", {}, {"message": "hi"}, {"message": {"content": 42}})]
BODIES = ["html", "notjson", "deep", "nochoice", *({"json": document} for document in DOCUMENTS)]


@pytest.mark.parametrize("fault", BODIES, ids=str)
def test_a_base_url_that_never_answers_with_a_chat_completion_ends(server, fault):
    """Not for another attempt of the run; once it has answered, such a body is a fault that may pass."""
    server.fault = lambda prompt, number: fault
    wanted = "expected a base_url that answers with chat completions .* got 4 times (no chat completion|a body that is no JSON): "
    with pytest.raises(SpecError, match=wanted) as caught:
        ask(server)
    assert server.asked["hi"] == 4
    assert len(str(caught.value).splitlines()) == 1
    asked = Endpoint(server.base_url, "m", max_retries=1)
    server.fault = lambda prompt, number: fault if prompt == "bad" else None
    assert wait(asked.ask("good", 16, 0.0, threading.Event())).text == "42"
    with pytest.raises(EndpointLost, match="no answer after 2 attempts"):
        wait(asked.ask("bad", 16, 0.0, threading.Event()))


PARTS = [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]


@pytest.mark.parametrize("content", [PARTS, ["4", "2"], "42"])
def test_content_in_parts_and_odd_fields(server, content):
    odd = {"finish_reason": 5, "message": {"role": "assistant", "content": content}}
    server.fault = lambda prompt, number: {"json": {"model": 7, "choices": [odd], "usage": {"prompt_tokens": "1"}}}
    answer = ask(server)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.model) == ("42", None, None, None)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_alone_and_a_negative_count(server, name):
    """A count below 0 would give a budget tokens back."""
    message = {"role": "assistant", "content": None, name: "so"}
    usage = {"prompt_tokens": -5, "completion_tokens": 9}
    server.fault = lambda prompt, number: {"json": {"choices": [{"message": message}], "usage": usage}}
    answer = ask(server)
    assert (answer.text, answer.reasoning, answer.prompt_tokens, answer.completion_tokens) == ("", "so", None, 9)


def test_nobody_listens():
    nobody = Endpoint("http://127.0.0.1:9/v1", "m", max_retries=1)
    with pytest.raises(EndpointLost, match="127.0.0.1:9/v1 .m.: no answer after 2 attempts"):
        wait(nobody.ask("hi", 1, 0.0, threading.Event()))


@pytest.mark.parametrize(
    ("header", "value", "pause"),
    [
        ("retry-after", "0.4", 0.4),
        ("retry-after-ms", "400", 0.4),
        ("retry-after", formatdate(time.time() + 2, usegmt=True), 0.5),
        ("retry-after", "soon", 0.0),
        ("retry-after", "nan", 0.0),
    ],
    ids=["seconds", "milliseconds", "date", "nonsense", "nan"],  # the same in every worker, whenever it collects
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
        assert wait(asked.ask(prompt, 16, 0.0, threading.Event())).text == "42"
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
    sent = [headers["authorization"] for headers in server.headers_seen]
    assert sent == ["Bearer none", "Bearer ours"]


def test_a_server_of_ours_is_asked_without_proxies(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(server, is_local=True).text == "42"


def test_another_endpoint_is_asked_through_the_proxy(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    elsewhere = Endpoint("http://elsewhere.invalid/v1", "m", max_retries=0)
    assert wait(elsewhere.ask("hi", 16, 0.0, threading.Event())).text == "42"
    elsewhere.close()
    assert server.headers_seen[0]["host"] == "elsewhere.invalid"


def test_a_redirect_is_followed_and_takes_the_key_to_no_other_host(server, faulty):
    other = faulty()
    moved = {"location": other.base_url.replace("127.0.0.1", "localhost") + "/chat/completions"}
    server.fault = lambda prompt, number: (307, moved, {})
    assert ask(server, api_key="sk-0123456789", max_retries=0).text == "42"
    assert (other.asked["hi"], "authorization" in other.headers_seen[0]) == (1, False)


def test_a_connection_that_the_endpoint_closed_meanwhile_is_not_used(server):
    asked = Endpoint(server.base_url, "m", max_retries=0)
    for prompt in "ab":
        assert wait(asked.ask(prompt, 16, 0.0, threading.Event())).text == "42"
        server.cut()
        time.sleep(0.1)
    asked.close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "ftp://127.0.0.1:9", "http://[::1"])
def test_a_proxy_that_cannot_be_used(monkeypatch, proxy):
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where httpx's extra is not installed
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(
        SpecError, match=r"^http://h/v1 \(m\): expected a usable proxy in HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
    ):
        Endpoint("http://h/v1", "m")


def ask_many(asked, prompts, **options):
    threads = [
        threading.Thread(target=lambda p=prompt: wait(asked.ask(p, 16, 0.0, threading.Event(), **options)), daemon=True)
        for prompt in prompts
    ]
    for thread in threads:
        thread.start()
    return threads


def test_a_429_holds_for_every_thread(server):
    """It tells the account, not the request."""
    slow = (429, {"retry-after": "2"}, {"message": "slow"})
    server.fault = lambda prompt, number: slow if (prompt, number) == ("first", 1) else None
    asked = Endpoint(server.base_url, "m", max_retries=1)
    (first,) = ask_many(asked, ["first"])
    time.sleep(0.7)  # it has the 429 by now
    others = ask_many(asked, [f"{i}" for i in range(4)])
    for thread in others:
        thread.join(20)
    first.join(20)
    assert all(server.times[f"{i}"][0] - server.times["first"][0] > 1.9 for i in range(4))


def test_a_500_holds_for_its_own_request_only(server, monkeypatch):
    monkeypatch.setattr("fino1.evaluate.endpoint.FIRST_PAUSE_S", 2.0)  # and a quarter less at times
    server.fault = lambda prompt, number: (500, {}, {"message": "no"}) if (prompt, number) == ("a", 1) else None
    asked = Endpoint(server.base_url, "m", max_retries=1)
    (thread,) = ask_many(asked, ["a"])
    time.sleep(0.5)  # it has the 500 by now
    wait(asked.ask("b", 16, 0.0, threading.Event()))
    thread.join(20)
    assert server.times["a"][1] - server.times["b"][0] > 0.5


def test_a_longer_retry_after_than_the_cap_is_cut(server, monkeypatch):
    monkeypatch.setattr("fino1.evaluate.endpoint.LONGEST_RETRY_AFTER_S", 0.2)
    server.fault = lambda prompt, number: (429, {"retry-after": "86400"}, {"message": "no"}) if number == 1 else None
    assert ask(server).text == "42"


def keys_of(server):
    return [headers.get("idempotency-key") for headers in server.headers_seen]


def test_all_attempts_of_a_request_carry_one_key_and_other_requests_another(server):
    server.fault = lambda prompt, number: "drop" if number < 3 else None
    asked = Endpoint(server.base_url, "m", max_retries=3)
    for prompt, label in (("a", "cell 1"), ("a", "cell 2"), ("b", "cell 2")):
        wait(asked.ask(prompt, 16, 0.0, threading.Event(), label=label))
    keys = keys_of(server)
    assert len(keys) == 3 + 1 + 3  # the server drops the first two for `a`, and the first two for `b`
    assert [keys.index(key) for key in keys] == [0, 0, 0, 3, 4, 4, 4]


def test_a_server_of_ours_gets_no_idempotency_key(server):
    asked = Endpoint(server.base_url, "m", is_local=True)
    wait(asked.ask("a", 16, 0.0, threading.Event(), label="cell 1"))
    assert keys_of(server) == [None]


@pytest.mark.parametrize(
    ("fault", "charged"),
    [("drop", 2), ("half", 2), ("html", 2), ("nochoice", 2), ((500, {}, {}), 0), ((429, {}, {}), 0)],
)
def test_attempts_that_may_be_charged_are_told(server, fault, charged):
    server.fault = lambda prompt, number: fault if number < 3 else None
    told = []

    async def tell():
        told.append(1)

    asked = Endpoint(server.base_url, "m", max_retries=3)
    assert wait(asked.ask("a", 16, 0.0, threading.Event(), on_unanswered=tell)).unanswered == charged
    assert len(told) == charged


def test_a_request_that_reached_nobody_is_not_charged():
    told = []

    async def tell():
        told.append(1)

    nobody = Endpoint("http://127.0.0.1:9/v1", "m", max_retries=0)
    with pytest.raises(EndpointLost):
        wait(nobody.ask("hi", 1, 0.0, threading.Event(), on_unanswered=tell))
    assert told == []


@pytest.mark.parametrize("status", [401, 503])
def test_a_key_that_the_server_quotes_is_not_repeated(server, status):
    key = "sk-0123456789"
    server.fault = lambda prompt, number: (status, {}, {"message": f"{'x' * 285} bad {key}, {key}"})
    with pytest.raises((SpecError, EndpointLost)) as caught:
        ask(server, api_key=key, max_retries=0)
    assert "sk-01" not in str(caught.value)
    server.fault, server.reply = (lambda prompt, number: None), (lambda prompt: f"your key is {key}")
    assert ask(server, api_key=key).text == "your key is <key>"
