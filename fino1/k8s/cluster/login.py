"""Which API server, and as whom? Reads kubeconfig files, or the service account of the pod that this runs in.

Imports `kubernetes` (0.3 s of CPU), as connection.py does: client.py imports both when a verb connects.
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.kube_config import KubeConfigMerger

from fino1.errors import ClusterError, SpecError, first_line

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_POOL = 512  # kept connections: one for each followed log; more would be opened and dropped, with a warning each


@dataclass(frozen=True)
class Login:
    """A user's credentials for one server, as they were when they were read."""

    url: str
    user: str
    source: str  # the context and its file, or the pod's service account
    namespace: str
    configuration: client.Configuration


def log_in(kubeconfig: str | None, context: str | None) -> Login:
    """Read the credentials of `kubeconfig`, else $KUBECONFIG, else ~/.kube/config, else of the pod.

    SpecError where there are none or the files are at fault, ClusterError where a credential plugin is.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG") or ""
    looked_at = [Path(part).expanduser() for part in named.split(os.pathsep) if part] or [Path.home() / ".kube/config"]
    files = [str(path) for path in looked_at if path.exists()]
    if files:
        return _from_files(os.pathsep.join(files), context)
    if not kubeconfig and (_POD / "token").is_file():
        return _from_pod()
    origin = "" if kubeconfig else f" (KUBECONFIG is {'set' if os.environ.get('KUBECONFIG') else 'not set'})"
    raise SpecError(
        f"no kubeconfig: expected one at {' or '.join(map(str, looked_at))}{origin}; set KUBECONFIG to yours"
    )


def _from_pod() -> Login:
    made = client.Configuration()
    with _blaming(str(_POD)):
        config.load_incluster_config(made)
        namespace = (_POD / "namespace").read_text().strip()
    return _login(made, "the pod's service account", str(_POD), namespace)


def _from_files(joined: str, context: str | None) -> Login:
    """Choose the context among all files; the first file that names something has it, as in kubectl."""
    with _blaming(joined, "expected a kubeconfig with lists of named clusters, contexts and users"):
        merger = KubeConfigMerger(joined)
        contexts, users = (
            {item.value["name"]: item.value.get(kind) or {} for item in merger.config.value[f"{kind}s"]}
            for kind in ("context", "user")
        )
        current = [file["current-context"] for file in merger.config_files.values() if file.get("current-context")]
    name = context or next(iter(current), None)  # the library itself takes the last file's
    if not name:
        raise SpecError(f"{joined}: no context is current; choose one with --context: {', '.join(contexts) or 'none'}")
    if name not in contexts:
        raise SpecError(f"{joined}: context: expected one of {', '.join(contexts) or 'none'}, got {name}")
    user, source = contexts[name].get("user") or "anonymous", f"context {name} of {joined}"
    if contexts[name].get("user") and user not in users:
        raise SpecError(f"{source}: user: expected one of {', '.join(users) or 'none'}, got {user}")
    plugin = users.get(user, {}).get("exec")
    if not isinstance(plugin, dict | None):
        raise SpecError(f"{source}: user {user}: exec: expected a map with command, got {plugin!r}")
    made = client.Configuration()
    with _blaming(source), _logged_errors() as errors:
        config.load_kube_config(joined, name, made)
    if plugin and not made.auth_settings() and not made.cert_file:
        why = "; ".join(errors) or "no reason given"
        raise ClusterError(f"{source}: user {user}: {plugin.get('command')} gave no credentials: {why}")
    return _login(made, user, source, contexts[name].get("namespace") or "default")


def _login(made: client.Configuration, user: str, source: str, namespace: str) -> Login:
    _check_server(made, user, source)
    if made.proxy != client.Configuration(host=made.host).proxy:
        made.no_proxy = None  # `proxy-url` holds for every address, as kubectl has it
    elif urllib3.util.parse_url(made.host).hostname in _LOOPBACK:
        made.no_proxy = "*"  # as kubectl has it
    if made.proxy and "://" not in made.proxy:
        made.proxy = f"http://{made.proxy}"
    elif made.proxy:
        made.proxy = made.proxy.replace("socks5://", "socks5h://")  # the proxy looks names up, as for kubectl
    if (made.proxy or "").startswith("socks") and not importlib.util.find_spec("socks"):
        raise SpecError(f"{source}: proxy {made.proxy}: a SOCKS proxy needs `pip install pysocks`")
    made.keep_alive = True  # else a dead peer behind a silent log is never noticed
    made.connection_pool_maxsize = _POOL
    return Login(made.host, user, source, namespace, made)


def _check_server(made: client.Configuration, user: str, source: str) -> None:
    """Raise SpecError for a server, proxy or token that no request can be made of. A token's file may end with a line end."""
    with _blaming(f"{source}: server {made.host}"):
        scheme = urllib3.util.parse_url(made.host).scheme
    if scheme not in ("http", "https"):
        raise SpecError(f"{source}: server: expected https://… or http://…, got {made.host or 'none'}")
    if not isinstance(made.proxy, str | None):
        raise SpecError(f"{source}: proxy-url: expected a URL, got {made.proxy!r}")
    if not all(token.isascii() and token.strip().isprintable() for token in made.api_key.values()):
        raise SpecError(f"{source}: user {user}: token: expected one line of ASCII characters, got others")


@contextlib.contextmanager
def _blaming(source: str, expected: str = "") -> Iterator[None]:
    """Raise what the library cannot read as the fault of `source`: with its own words, or with what was `expected`."""
    try:
        yield
    except OSError as error:
        raise SpecError(f"{source}: {first_line(error)}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise SpecError(f"{mark.name}: line {mark.line + 1}: expected YAML, got: {error.problem}") from error
    except Exception as error:  # noqa: BLE001, what the library and the SDKs of its auth-providers raise is anything
        raise SpecError(f"{source}: {expected or first_line(error)}") from error


@contextlib.contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what the library logs: a credential plugin's failure stands there and nowhere else."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage().strip().replace("\n", " "))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)
