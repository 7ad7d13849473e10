"""What does the server in the same pod serve? `--server`: a container with vLLM or `fino1 serve` (docs/design.md C4, C9).

The server's engine and the name of its model are read from GET /v1/models. The server may start long after the evaluation. If
it ends while it is asked, the endpoint (endpoint.py) reports that.
"""

import http.client
import json
import threading
import time
import urllib.request
from functools import cached_property
from typing import Literal, cast, get_args

from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled, EndpointLost
from fino1.evaluate.models import Source

WAIT_S = 1800.0  # a 70B model from a cold volume
PAUSE_S = 0.5

Engine = Literal["vllm", "transformers"]  # as each of them says in `owned_by`


class Sidecar:
    """A model server that this process neither starts nor ends. Raises SpecError for a malformed URL."""

    def __init__(self, url: str, halt: threading.Event) -> None:
        if not url.startswith(("http://", "https://")):
            raise SpecError(f"--server: expected http://… or https://…, got {url}")
        self.base_url = url.rstrip("/")
        self._halt = halt

    @cached_property
    def _owners(self) -> dict[str, str]:
        """The names of the models it serves → `owned_by`. Waits until it answers; raises EndpointLost, or Cancelled on `halt`."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + WAIT_S
        problem: Exception | None = None
        while time.monotonic() < deadline:
            try:
                with opener.open(f"{self.base_url}/models", timeout=5) as reply:
                    return {str(each["id"]): str(each.get("owned_by")) for each in json.load(reply)["data"]}
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
                problem = error
            if self._halt.wait(PAUSE_S):
                raise Cancelled
        raise EndpointLost(f"--server: {self.base_url}: no list of models after {WAIT_S:.0f} s: {problem}") from problem

    @property
    def engine(self) -> Engine:
        """The program that serves. Raises SpecError for one that is neither vLLM nor `fino1 serve`."""
        owners = set(self._owners.values())
        if len(owners) == 1 and owners <= set(get_args(Engine)):
            return cast(Engine, owners.pop())
        got = ", ".join(sorted(owners)) or "no model"
        raise SpecError(f"--server: {self.base_url}: expected a server of vllm or `fino1 serve`, got owned_by {got}")

    def find_model(self, source: Source) -> str:
        """Return the server's name for the source's model. Raises SpecError for none, or several under other names."""
        if self.engine != source.engine:
            raise SpecError(f"--server: {self.base_url}: expected {source.engine} (server.engine), got {self.engine}")
        ours = [name for name in (source.name, source.model_id, source.served) if name in self._owners]
        if len(self._owners) == 1 or ours:
            return ours[0] if ours else next(iter(self._owners))
        got = ", ".join(sorted(self._owners))
        raise SpecError(f"--server: {self.base_url}: expected one model, or one named {source.name}, got {got}")
