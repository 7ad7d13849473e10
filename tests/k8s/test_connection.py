"""What is said of an address that is no Kubernetes, and of a proxy? Asked of a real HTTP server on this machine."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fino1.errors import ClusterError, SpecError
from fino1.k8s import cli
from fino1.k8s.cluster.client import connect
from fino1.k8s.cluster.exec import read_output

PAGE = (200, "text/html", b"<html><body>It works!</body></html>")
MISSING = (404, "text/html", b"<html><body>Not Found</body></html>")
VERSION = (200, "application/json", b'{"gitVersion": "v1.33.0"}')
EMPTY_LIST = (200, "application/json", b'{"metadata": {"resourceVersion": "1"}, "items": []}')


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """`serve(answers)`: the path of a kubeconfig for a server with these answers by path (`*`: any), and what it was asked."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    servers = []

    def make(answers, server="", proxy=""):
        asked = []

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                asked.append(self.path)
                status, content_type, body = answers.get(self.path) or answers["*"]
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        address = f"127.0.0.1:{servers[-1].server_port}"
        cluster = {"server": server or f"http://{address}", **({"proxy-url": proxy.format(address)} if proxy else {})}
        content = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(content))
        return str(path), address, asked

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("verb", [["ps"], ["cancel", "foo"], ["doctor"], ["status", "foo"]])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (PAGE, "<html><body>It works!</body></html>"),
        (MISSING, "<html><body>Not Found</body></html>"),
        ((200, "application/json", b'{"status": "ok"}'), "{'status': 'ok'}"),
        ((302, "text/html", b""), "an empty body (302)"),
    ],
)
def test_an_address_that_is_no_kubernetes(serve, capsys, verb, answer, said):
    path, address, asked = serve({"*": answer})
    assert cli.main([*verb, "--kubeconfig", path]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"http://{address}" in err and said in err
    assert asked == ["/version"]


@pytest.mark.parametrize("verb", [["ps"], ["cancel", "foo"], ["status", "foo"], ["why", "foo"]])
def test_a_server_that_has_only_a_version(serve, capsys, verb):
    path, address, _ = serve({"/version": VERSION, "*": MISSING})
    assert cli.main([*verb, "--kubeconfig", path]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and f"http://{address} is no Kubernetes API server" in err


def test_a_server_that_keeps_its_version_to_itself(serve):
    refused = json.dumps({"kind": "Status", "code": 403, "message": "no"}).encode()
    resources = json.dumps({"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]}).encode()
    path, _, _ = serve(
        {
            "/version": (403, "application/json", refused),
            "/api/v1": (200, "application/json", resources),
            "*": EMPTY_LIST,
        }
    )
    assert connect(path).list("v1", "Pod") == []


def test_a_list_that_is_no_json(serve):
    resources = json.dumps({"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]}).encode()
    path, address, _ = serve({"/version": VERSION, "/api/v1": (200, "application/json", resources), "*": PAGE})
    with pytest.raises(
        ClusterError, match=f"^http://{address}/api/v1/namespaces/default/pods: expected JSON from Kube"
    ):
        connect(path).list("v1", "Pod")


@pytest.mark.parametrize("proxy", ["{}", "http://{}"])
@pytest.mark.parametrize("server", ["http://api.example", "http://127.0.0.1:9"])
def test_a_proxy(serve, server, proxy):
    path, _, asked = serve({"*": VERSION}, server, proxy)
    assert connect(path).version == "v1.33.0"
    assert asked == [f"{server}/version"]


def test_a_proxy_from_the_environment_without_a_scheme(serve, monkeypatch):
    path, address, asked = serve({"*": VERSION}, "http://api.example")
    monkeypatch.setenv("HTTP_PROXY", address)
    assert connect(path).version == "v1.33.0" and asked == ["http://api.example/version"]


def changed(path, **keys):
    """The kubeconfig with other keys of its cluster or its user, or other keys of its own."""
    content = json.loads(Path(path).read_text())
    for key, value in keys.items():
        if key in ("cluster", "user"):
            content[f"{key}s"][0][key] = value
        else:
            content[key] = value
    Path(path).write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cluster": {}}, "context x of .*: server: expected https://… or http://…, got none"),
        (
            {"cluster": {"server": "10.0.0.1:6443"}},
            "context x of .*: server: expected https://… or http://…, got 10.0.0.1:6443",
        ),
        ({"cluster": {"server": "https://h:99999"}}, "context x of .*: server https://h:99999: Failed to parse"),
        ({"cluster": {"server": "https://h", "proxy-url": 5}}, "context x of .*: proxy-url: expected a URL, got 5"),
        (
            {"user": {"token": "a\nb"}},
            "context x of .*: user u: token: expected one line of ASCII characters, got others",
        ),
        ({"user": {"exec": "aws"}}, "context x of .*: user u: exec: expected a map with command, got 'aws'"),
        ({"users": [{"name": "v", "user": {}}]}, "context x of .*: user: expected one of v, got u"),
        ({"current-context": None}, ".*: no context is current; choose one with --context: x"),
    ],
)
def test_a_kubeconfig_that_no_request_can_be_made_of(serve, keys, said):
    path = changed(serve({"*": VERSION})[0], **keys)
    with pytest.raises(SpecError, match=f"^{said}"):
        connect(path)


def test_a_token_file_that_ends_with_a_line_end(serve, tmp_path):
    (tmp_path / "token").write_text("t\n")
    api = connect(changed(serve({"*": VERSION})[0], user={"tokenFile": str(tmp_path / "token")}))
    assert api.connection.credentials() == {"authorization": "Bearer t"} and api.version == "v1.33.0"


def test_files_are_not_copied_through_a_socks_proxy(serve):
    """The library would send such a proxy the words of HTTP and wait."""
    api = connect(serve({"*": VERSION})[0])
    api.who.configuration.proxy = "socks5h://127.0.0.1:9"
    with pytest.raises(
        SpecError, match="^context x of .*: proxy socks5h://127.0.0.1:9: expected an HTTP proxy or none"
    ):
        next(read_output(api, "pod", "c", ["true"], ""))


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://{}", r"context x of .*: proxy socks5h://127.0.0.1:\d+: a SOCKS proxy needs `pip install pysocks`"),
        ("ftp://{}", r"context x of .*: proxy ftp://127.0.0.1:\d+: .*scheme"),
    ],
)
def test_a_proxy_that_cannot_be_used(serve, monkeypatch, proxy, said):
    monkeypatch.setitem(sys.modules, "socks", None)  # as where PySocks is not installed
    path, _, _ = serve({"*": VERSION}, "http://api.example", proxy)
    with pytest.raises(SpecError, match=f"^{said}"):
        connect(path)
