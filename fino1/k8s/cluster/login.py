"""Which API server, as whom, and how do bytes get there and back? Knows nothing of objects.

The only module that imports `kubernetes` (0.3 s of CPU), and of it only what reads kubeconfig files, signs requests and
opens TLS: api.py imports it when a verb connects.
"""

import contextlib
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config

from fino1.errors import ClusterError, SpecError, first_line
from fino1.k8s.cluster.errors import Identity, Lost

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CONNECT_S = 10.0
_POOL = 512  # kept connections: one for each followed log; more would be opened and dropped, with a warning each


@dataclass(frozen=True)
class Account:
    """Whose credentials for which cluster? One context of kubeconfig files, or (no files) the pod's service account."""

    files: tuple[Path, ...] = ()
    context: str = ""
    user: str = "the pod's service account"
    namespace: str = "default"
    plugin: str = ""  # the command that hands out credentials, if one does

    @property
    def source(self) -> str:
        """Where do the credentials come from, in words?"""
        return f"context {self.context} of {os.pathsep.join(map(str, self.files))}" if self.files else str(_ACCOUNT)

    def configuration(self) -> client.Configuration:
        """Read the credentials as they are now; SpecError where the files are at fault, ClusterError where a plugin is."""
        made = client.Configuration()
        with _logged() as complaints:
            try:
                if self.files:
                    joined = os.pathsep.join(map(str, self.files))
                    config.load_kube_config(joined, context=self.context, client_configuration=made)
                else:
                    config.load_incluster_config(made)
            except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
                raise SpecError(f"{self.source}: {first_line(error)}") from error
        if self.plugin and not made.auth_settings() and not made.cert_file:
            why = "; ".join(complaints) or "no reason given"
            raise ClusterError(f"{self.source}: user {self.user}: {self.plugin} gave no credentials: {why}")
        if urllib3.util.parse_url(made.host).hostname in _LOOPBACK:
            made.no_proxy = "*"  # as kubectl has it
        made.keep_alive = True  # else a dead peer behind a silent watch is never noticed
        made.connection_pool_maxsize = _POOL
        return made


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect what the client logs: a credential plugin's failure is told there and nowhere else."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage().strip().replace("\n", " "))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)


def account(kubeconfig: str | None, context: str | None) -> Account:
    """Which credentials are meant? `kubeconfig`, else $KUBECONFIG, else ~/.kube/config, else the pod's; or SpecError."""
    named = kubeconfig or os.environ.get("KUBECONFIG") or ""
    looked_at = [Path(part).expanduser() for part in named.split(os.pathsep) if part] or [Path.home() / ".kube/config"]
    files = tuple(path for path in looked_at if path.exists())
    if files:
        return _chosen(files, context)
    if not kubeconfig and (_ACCOUNT / "token").is_file():
        return Account(namespace=(_ACCOUNT / "namespace").read_text().strip())
    origin = "" if kubeconfig else f" (KUBECONFIG is {'set' if os.environ.get('KUBECONFIG') else 'not set'})"
    raise SpecError(
        f"no kubeconfig: expected one at {' or '.join(map(str, looked_at))}{origin}; set KUBECONFIG to yours"
    )


def _chosen(files: tuple[Path, ...], context: str | None) -> Account:
    """Find the context among all files; the first file that names something wins, as in kubectl."""
    merged: dict[str, dict[str, Any]] = {"contexts": {}, "users": {}}
    current = ""
    for path in files:
        content = _read(path)
        current = current or content.get("current-context") or ""
        for section, names in merged.items():
            for item in content.get(section) or []:
                names.setdefault(str(item.get("name")), item.get(section[:-1]) or {})
    source = os.pathsep.join(map(str, files))
    contexts = ", ".join(merged["contexts"]) or "none"
    name = context or current
    if not name:
        raise SpecError(f"{source}: no context is current; choose one with --context: {contexts}")
    if name not in merged["contexts"]:
        raise SpecError(f"{source}: context: expected one of {contexts}, got {name}")
    chosen = merged["contexts"][name]
    user = str(chosen.get("user") or "")
    plugin = (merged["users"].get(user) or {}).get("exec") or {}
    return Account(files, name, user or "anonymous", chosen.get("namespace") or "default", plugin.get("command", ""))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SpecError(f"{path}: {where}expected YAML, got: {getattr(error, 'problem', error)}") from error
    lists = ("clusters", "contexts", "users")
    if not isinstance(content, dict) or not all(_is_list_of_names(content.get(section)) for section in lists):
        raise SpecError(f"{path}: expected a kubeconfig with lists of named clusters, contexts and users")
    return content


def _is_list_of_names(section: Any) -> bool:
    return section is None or (
        isinstance(section, list) and all(isinstance(item, dict) and "name" in item for item in section)
    )


@dataclass
class Connection:
    """Open connections to one API server, with credentials that are read again when they go stale."""

    account: Account
    _configuration: client.Configuration = field(init=False)
    _pool: urllib3.PoolManager = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Read the credentials again: after a 401, a token file or a plugin may have newer ones."""
        configuration = self.account.configuration()
        with self._lock:
            self._configuration = configuration
            self._pool = client.ApiClient(configuration).rest_client.pool_manager

    @property
    def who(self) -> Identity:
        """Who asks whom?"""
        return Identity(self._configuration.host, self.account.user, self.account.source)

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        read_timeout_s: float | None,
        stream: bool,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request once. Raises Lost where there was no answer, ClusterError where TLS or the address is at fault."""
        with self._lock:  # the hooks that refresh a token are not made for threads
            pool, url = self._pool, self._configuration.host + target
            signed = {setting["key"]: setting["value"] for setting in self._configuration.auth_settings().values()}
        try:
            return pool.request(
                method,
                url,
                body=body,
                headers={"User-Agent": "fino1", **headers, **signed},
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_timeout_s),
                retries=False,  # api.py knows which requests may be repeated
                preload_content=not stream,
            )
        except urllib3.exceptions.SSLError as error:
            if isinstance(error.args[0], ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it went away in the handshake
                raise Lost(f"{url}: the connection broke in the TLS handshake", unsent=True) from error
            raise ClusterError(f"{self.who.url}: TLS: {first_line(error)} ({self.account.source})") from error
        except (urllib3.exceptions.LocationValueError, urllib3.exceptions.ProxySchemeUnknown) as error:
            raise SpecError(f"{self.account.source}: server: {first_line(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            unsent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
            raise Lost(f"{self.who.url} cannot be reached: {_cause(error)} ({self.account.source})", unsent) from error


def _cause(error: Exception) -> str:
    """What does urllib3 mean, without its object addresses?"""
    text = first_line(error)
    return (
        text.partition(": ")[2] if text.startswith("HTTPSConnection(") or text.startswith("HTTPConnection(") else text
    )


class Stream:
    """An answer that goes on for as long as the server has something to say, read in lines."""

    def __init__(self, response: urllib3.BaseHTTPResponse, on_break: Callable[[], None]) -> None:
        self._response, self._on_break = response, on_break
        self.rest = b""  # what came after the last line end
        self.date = parsedate_to_datetime(response.headers["Date"]).timestamp()  # when it began, by the server's clock

    def lines(self) -> Iterator[list[bytes]]:
        """Which lines have come? As they come, several at once; ends with the answer, or when the connection breaks."""
        try:
            for chunk in self._response.stream(1 << 16):
                *lines, self.rest = (self.rest + chunk).split(b"\n")
                if lines:
                    yield lines
        except (urllib3.exceptions.HTTPError, OSError, ValueError):  # ValueError: cut() closed it under us
            self._on_break()
        finally:
            self._response.close()

    def cut(self) -> None:
        """End `lines` from another thread."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()
