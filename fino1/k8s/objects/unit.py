"""Which numbers and names follow from a run, before anything is rendered? (docs/design.md C3)

A *unit* is what one object trains or evaluates: the whole run, or one model of an evaluation, so that a model more or less
leaves the others' objects as they are. `charts/fino1/templates/_units.tpl` says the same in Helm's language.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.run import RunSpec

NAME = r"[a-z]([-a-z0-9]{0,32}[a-z0-9])?"  # DNS-1035, which PyTorchJob wants; with the hash 45 characters
PORT = 29500  # of torch's rendezvous; charts/fino1/templates/_launch.tpl has it too
SERVER_PORT = 8000  # of the model server beside an evaluation
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
    def model(self) -> Mapping[str, Any] | None:
        """The evaluated model; None for training."""
        return self.document["eval"]["models"][0] if self.document["method"] == "eval" else None

    @property
    def is_served(self) -> bool:
        """Whether the evaluated model runs in the pod."""
        return self.model is not None and "base_url" not in self.model

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
    found = []
    for model in spec.eval.models:
        full = f"{name}-{model.name.replace('.', '-')}"[:34].rstrip("-")
        alone = spec.model_copy(update={"eval": spec.eval.model_copy(update={"models": [model]})})
        found.append(Unit(name, full, alone))
    return found


def _complaints(document: Mapping[str, Any], name: str) -> list[str]:
    found = []
    if not re.fullmatch(NAME, name):
        found.append(
            "name of the run (--name, or that of its file): expected a letter and at most 33 lower-case letters, digits and -, "
            f"the last no -, got {name!r}"
        )
    if document["method"] == "paths":
        found.append(
            "method: expected sft, verifier, ppo or eval in a cluster (paths runs on this machine only), got paths"
        )
    data, evaluation, ppo = document["data"], document["eval"], document["ppo"]
    places = {
        "model": document["model"],
        "ppo.value_model": ppo["value_model"],
        "ppo.reward.model": ppo["reward"]["model"],
        "ppo.reward.judge": ppo["reward"].get("judge", {}),
    }
    places |= {f"eval.models.{i}": model for i, model in enumerate(evaluation["models"])}
    if document["method"] == "eval":
        places |= {f"eval.tasks.{i}": rows for i, rows in enumerate(evaluation["tasks"])}
        for i, model in enumerate(evaluation["models"]):
            key = model.get("api_key_env")
            if key and key not in document["secretEnv"]:
                found.append(f"eval.models.{i}.api_key_env: expected a variable of secretEnv, got {key}")
    else:
        key = places["ppo.reward.judge"].get("api_key_env")
        if document["method"] == "ppo" and key and key not in document["secretEnv"]:
            found.append(f"ppo.reward.judge.api_key_env: expected a variable of secretEnv, got {key}")
        places |= {"data": data} | {f"data.exclude.{i}": rows for i, rows in enumerate(data["exclude"])}
    expected = "expected an absolute path on a volume (/work, /models)"
    paths = {place: block["path"] for place, block in places.items() if "path" in block}
    return found + [f"{place}.path: {expected}, got {path}" for place, path in paths.items() if path[:1] != "/"]


def ports(unit: Unit) -> list[int]:
    """TCP ports that the unit must reach outside the cluster: HTTPS for a hub, those of endpoints and of trackers' servers."""
    found = set()
    if not unit.document["offline"] and _has_hub(unit):
        found.add(443)
    urls, reward = [], unit.document["ppo"]["reward"]
    if unit.model and "base_url" in unit.model:
        urls.append(unit.model["base_url"])
    elif unit.document["method"] == "ppo" and reward["source"] in ("judge", "mix"):
        urls.append(reward["judge"]["base_url"])
    for url in urls + _tracker_servers(unit.document):
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
    document = unit.document
    if document["method"] == "eval":
        return "hub" in (unit.model or {}) or any("hub" in task for task in document["eval"]["tasks"])
    blocks = [document["data"], *document["data"]["exclude"]]
    models = [document["model"]]
    if document["method"] == "ppo":
        reward = document["ppo"]["reward"]
        models += [document["ppo"]["value_model"]] + ([reward["model"]] if reward["source"] == "model" else [])
    has_default = any(not model.keys() & {"path", "run", "init"} for model in models)
    return has_default or not document["data"].keys() & {"task", "path"} or any("hub" in b for b in blocks + models)
