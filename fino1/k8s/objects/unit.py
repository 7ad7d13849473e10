"""Which numbers and names follow from a run, before anything is rendered? (docs/design.md C3)

A *unit* is what one object runs: the whole run, or one model of an evaluation, so that a model more or less leaves the
others' objects as they are. `charts/fino1/templates/_unit.tpl` says the same in Helm's language.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import names_file, reads_hub
from fino1.spec.run import ASKING, RunSpec

NAME = r"[a-z]([-a-z0-9]{0,32}[a-z0-9])?"  # DNS-1035, which PyTorchJob wants; with the hash 45 characters
PORT = 29500  # where node 0's launcher listens; charts/fino1/templates/_launch.tpl has it too
SERVER_PORT = 8000  # of the model server beside the container that asks
VLLM_IMAGE = "vllm/vllm-openai:v0.29.0"


def given(**keys: Any) -> dict[str, Any]:
    """Only those keys that have a value: optional ones are omitted, never empty."""
    return {key: value for key, value in keys.items() if value not in (None, {}, [], "")}


@dataclass(frozen=True)
class Unit:
    """One run object and what belongs to it.

    `spec` is the run, of an evaluation with one model; `name` its run's name. `full`, the name of its objects, is `name` and the
    hash of what its pods are made of: another version of fino1 gives the same name, and leaves the object that is there as it is.
    """

    instance: str
    name: str
    spec: RunSpec

    @functools.cached_property
    def document(self) -> Mapping[str, Any]:
        """The effective document."""
        return load.effective(self.spec)

    @functools.cached_property
    def full(self) -> str:
        """Name of the unit's objects."""
        return f"{self.name}-{load.object_hash(self.spec)}"

    @property
    def directory(self) -> str:
        """Name of the run's directory (docs/design.md C13)."""
        return f"{self.name}-{load.run_hash(self.spec)}"

    @property
    def verb(self) -> str:
        """The verb of `fino1` that its pods run."""
        return {"eval": "evaluate", "paths": "paths"}.get(self.spec.method, "train")

    @property
    def backend(self) -> str:
        """Which row of `BACKENDS` makes its run object: a Job where nothing is trained."""
        return self.document["backend"] if self.spec.trains else "job"

    @property
    def asked(self) -> list[Mapping[str, Any]]:
        """The models that its pods ask over HTTP; none for training."""
        return [] if self.spec.trains else list(_find_asked(self.document).values())

    @property
    def served(self) -> Mapping[str, Any]:
        """The one of them that runs in the pod; empty without one."""
        return next((model for model in self.asked if "base_url" not in model), {})

    @property
    def block(self) -> Mapping[str, Any]:
        """Its method's own block."""
        return self.document[self.spec.method]

    @property
    def ranks(self) -> int:
        """Processes of each pod."""
        return self.document.get("processes_per_node") or max(self.document["gpus_per_node"], 1)


def units(spec: RunSpec, name: str) -> list[Unit]:
    """The run's units. Raises SpecError for what would do on this machine and not in a pod: a name that Kubernetes' kinds
    refuse, a relative path, an API key that no Secret brings.
    """
    document = load.effective(spec)
    if problems := _complaints(document, name):
        raise SpecError(problems)
    if spec.method != "eval":
        return [Unit(name, name, spec)]
    names = [f"{name}-{model.name.replace('.', '-')}"[:34].rstrip("-") for model in spec.eval.models]
    return [Unit(name, *each) for each in zip(names, spec.alone, strict=True)]


def _models(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The models that any method asks, by their places in the run file."""
    found = {f"eval.models.{i}": model for i, model in enumerate(document["eval"]["models"])}
    blocks = {"eval": document["eval"], "paths": document["paths"], "ppo.reward": document["ppo"]["reward"]}
    roles = ("extraction", "writer", "judge")
    return found | {f"{at}.{role}": of[role] for at, of in blocks.items() for role in roles if role in of}


def _find_asked(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Those of them that the run's own method asks."""
    return {place: model for place, model in _models(document).items() if place.startswith(f"{document['method']}.")}


def _rows(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The rows that the run's method reads, by their places in the run file."""
    method = document["method"]
    lists = {"eval": ("tasks",), "paths": ("tasks", "exclude")}.get(method, ("exclude",))
    block, found = ("data", {"data": document["data"]}) if method not in ASKING else (method, {})
    return found | {f"{block}.{key}.{i}": rows for key in lists for i, rows in enumerate(document[block][key])}


def _complaints(document: Mapping[str, Any], name: str) -> list[str]:
    found = []
    if not re.fullmatch(NAME, name):
        found.append(
            "name of the run (--name, or that of its file): expected a letter and at most 33 lower-case letters, digits and -, "
            f"the last no -, got {name!r}"
        )
    models, ppo = _models(document), document["ppo"]
    mine = _find_asked(document)
    for place, model in mine.items():
        key = model.get("api_key_env")
        if key and key not in document["secretEnv"]:
            found.append(f"{place}.api_key_env: expected a variable of secretEnv, got {key}")
    if document["method"] == "paths" and sum("base_url" not in model for model in mine.values()) > 1:
        found.append("paths.judge.base_url: expected one where the pod serves the writer, got none")
    places = {
        "model": document["model"],
        "ppo.value_model": ppo["value_model"],
        "ppo.reward.model": ppo["reward"]["model"],
    }
    places |= models | _rows(document)
    expected = "expected an absolute path on a volume (/work, /models)"
    named = [(f"{at}.{key}", text) for at, of in places.items() for key, text in of.items() if names_file(key, text)]
    return found + [f"{key}: {expected}, got {path}" for key, path in named if path[:1] != "/"]


def ports(unit: Unit) -> list[int]:
    """TCP ports that the unit must reach outside the cluster: HTTPS for a hub, endpoints, trackers' servers and a store."""
    found = set()
    if not unit.document["offline"] and _has_hub(unit):
        found.add(443)
    is_judged = unit.spec.ppo.reward.asks_judge
    asked = unit.asked if not unit.spec.trains else _find_asked(unit.document).values() if is_judged else []
    urls = [model["base_url"] for model in asked if "base_url" in model]
    for url in urls + _tracker_servers(unit.document) + unit.spec.store_servers:
        if server := re.match(r"http(s?)://[^/?#]*", url):
            port = re.search(r":([0-9]{1,5})$", server[0])
            found.add(int(port[1]) if port else 443 if server[1] else 80)
    return sorted(found)


def _tracker_servers(document: Mapping[str, Any]) -> list[str]:
    """URLs of the trackers' servers. One in a Secret is not seen: it needs a rule in `networkPolicy.egress`."""
    env, found = document["env"], []
    has_key = "WANDB_API_KEY" in (env.keys() | document["secretEnv"].keys())
    if "wandb" in document["report_to"] and has_key and not document["offline"]:
        found.append(env.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if "mlflow" in document["report_to"] and "MLFLOW_TRACKING_URI" in env:
        found.append(env["MLFLOW_TRACKING_URI"])
    return found


def _has_hub(unit: Unit) -> bool:
    """Whether the unit reads anything from the hub."""
    document, models = unit.document, unit.asked
    if unit.spec.trains:
        models = [document["model"]]
        if document["method"] == "ppo":
            reward = document["ppo"]["reward"]
            models += [document["ppo"]["value_model"]] + ([reward["model"]] if reward["source"] == "model" else [])
        has_default = any(not model.keys() & {"path", "run", "init"} for model in models)
        if has_default or not document["data"].keys() & {"task", "path", "run"}:
            return True
    return any(reads_hub(block) for block in [*_rows(document).values(), *models])
