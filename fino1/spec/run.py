"""What is a whole run file? One `method`, its settings, and where it runs.

It is also the values file of the Helm chart (docs/design.md C1).
"""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fino1.spec.evaluation import EvalBlock, EvalModel, ServedModel, evaluation_complaints
from fino1.spec.fields import integer
from fino1.spec.inputs import ChatModelRef, DataBlock, data_complaints
from fino1.spec.paths import PathsBlock, paths_complaints
from fino1.spec.placement import Placement
from fino1.spec.pods import pod_complaints
from fino1.spec.ppo import PpoBlock, reward_complaints
from fino1.spec.train import LaunchBlock, SftBlock, TrainerBlock, VerifierBlock, batch_complaints, launch_complaints

READ = {
    "sft": ("method", "seed", "model", "data", "sft", "launch"),
    "verifier": ("method", "seed", "model", "data", "verifier", "launch", "ppo.reward.threshold"),
    "ppo": ("method", "seed", "model", "data", "ppo", "launch"),
    "eval": ("method", "seed", "eval"),
    "paths": ("method", "seed", "paths"),
}
"""What each method reads of a run file, besides placement. A verifier is judged at the threshold that PPO will use."""
ASKING = ("eval", "paths")
"""Methods that train nothing: they ask models over HTTP, and their pods share the questions."""


class RunSpec(Placement):
    """One run: what a run file says, complete with its defaults."""

    method: Literal["sft", "verifier", "ppo", "eval", "paths"]
    """What the run does."""
    seed: Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(integer)] = 42
    """Seed of every random number."""
    model: ChatModelRef = ChatModelRef()
    """Where SFT or the verifier starts, or PPO's policy; null means Llama-3.1-8B-Instruct, for the verifier
    Llama-3.2-3B-Instruct."""
    data: DataBlock = DataBlock()
    """Null rows mean TheFinAI/Fino1_Reasoning_Path_FinQA for SFT and PPO."""
    sft: SftBlock = SftBlock()
    verifier: VerifierBlock = VerifierBlock()
    ppo: PpoBlock = PpoBlock()
    eval: EvalBlock = EvalBlock()
    paths: PathsBlock = PathsBlock()
    launch: LaunchBlock = LaunchBlock()

    @property
    def trained(self) -> TrainerBlock | PpoBlock:
        """The method's own block. For methods that train."""
        return getattr(self, self.method)

    @property
    def trains(self) -> bool:
        """False for a run that asks models over HTTP."""
        return self.method not in ASKING

    @property
    def asked(self) -> dict[str, EvalModel]:
        """The models that the run asks over HTTP, by their keys in the run file; none for one that trains."""
        if self.method == "eval":
            return self.eval.asked
        roles = {"paths.writer": self.paths.writer, "paths.judge": self.paths.judge}
        return {key: model for key, model in roles.items() if model and self.method == "paths"}

    @property
    def alone(self) -> list["RunSpec"]:
        """An evaluation as runs of one model each, whose GPUs are `gpus_per_node`."""
        return [
            self.model_copy(
                update={
                    "gpus_per_node": self.count_gpus(model),
                    "eval": self.eval.model_copy(update={"models": [model.model_copy(update={"gpus": None})]}),
                }
            )
            for model in self.eval.models
        ]

    def count_gpus(self, model: EvalModel) -> int:
        """Count the GPUs of the server of one of the models `asked`."""
        own = model.gpus if isinstance(model, ServedModel) else None
        return self.gpus_per_node if own is None else own

    def list_server_args(self, model: EvalModel) -> list[str]:
        """List the further arguments of the server of one of the models `asked`."""
        return [*self.asking.server.args, *(model.server_args if isinstance(model, ServedModel) else [])]

    @property
    def asking(self) -> EvalBlock | PathsBlock:
        """The method's own block. For methods that ask models."""
        return getattr(self, self.method)

    @property
    def pods(self) -> int:
        """Number of its pods in a cluster. Each shard is one, of each model of an evaluation."""
        if self.method == "eval":
            return len(self.eval.models) * self.eval.shards
        return self.paths.shards if self.method == "paths" else self.nodes

    @property
    def pod_gpus(self) -> list[int]:
        """GPUs of each of its pods in a cluster, without the pods that ask endpoints alone and have none."""
        if self.trains:
            return [self.gpus_per_node] * self.pods
        served = [model for model in self.asked.values() if not model.base_url]
        return [self.count_gpus(model) for model in served] * self.asking.shards

    @property
    def store_servers(self) -> list[str]:
        """The URL of the server of its object store, if it has one. One in a Secret is not seen."""
        store = self.eval.store if self.method == "eval" else None
        if store is None:
            return []
        if not re.match("s3a?:", store):
            return [re.sub("^[a-z0-9]+:", "https:", store)]
        return [self.env.get("AWS_ENDPOINT_URL_S3") or self.env.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"]

    def complaints(self, world_size: int) -> list[tuple[str, str]]:
        """Problems that single fields do not show, as (path, problem): the batch arithmetic, and what a method needs."""
        found = pod_complaints(self, trains=self.trains)
        if not self.trains:
            if self.report_to:
                found.append(("report_to", f"expected none with method {self.method}, got {', '.join(self.report_to)}"))
            return found + (evaluation_complaints(self.eval) if self.method == "eval" else paths_complaints(self.paths))
        found += batch_complaints(self.method, self.trained, world_size)
        found += data_complaints(self.method, self.data)
        found += launch_complaints(self.method, self.launch, world_size)
        if self.method == "verifier" and self.model.chat_template_kwargs:
            text = "expected none with method verifier, which reads no chat template, got some"
            found.append(("model.chat_template_kwargs", text))
        if self.method == "ppo":
            if self.model.init is not None:
                found.append(("model.init", "expected a trained policy (hub, path or run), got random weights"))
            found += reward_complaints(self.ppo.reward)
            if self.data.answer == "program" and self.ppo.reward.source != "rule":
                got = self.ppo.reward.source
                found.append(("ppo.reward.source", f"expected rule with data.answer: program, got {got}"))
        return found
