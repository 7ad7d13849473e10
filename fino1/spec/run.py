"""What is a whole run file? One `method`, its settings, and where it runs.

It is also the values file of the Helm chart (docs/design.md C1).
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fino1.spec.evaluation import EvalBlock, evaluation_complaints
from fino1.spec.fields import integer
from fino1.spec.inputs import ChatModelRef, DataBlock, rows_complaints
from fino1.spec.paths import PathsBlock, paths_complaints
from fino1.spec.placement import Placement
from fino1.spec.pods import pod_complaints
from fino1.spec.train import (
    LaunchBlock,
    PpoBlock,
    SftBlock,
    TrainerBlock,
    VerifierBlock,
    batch_complaints,
    launch_complaints,
    reward_complaints,
)

READ = {
    "sft": ("method", "seed", "model", "data", "sft", "launch"),
    "verifier": ("method", "seed", "model", "data", "verifier", "launch", "ppo.reward.threshold"),
    "ppo": ("method", "seed", "model", "data", "ppo", "launch"),
    "eval": ("method", "seed", "eval"),
    "paths": ("method", "seed", "paths"),
}
"""What each method reads of a run file, besides placement. A verifier is judged at the threshold that PPO will use."""


class RunSpec(Placement):
    """One run: what a run file says, complete with its defaults."""

    method: Literal["sft", "verifier", "ppo", "eval", "paths"]
    """What the run does. `paths` runs on this machine only yet."""
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

    def complaints(self, world_size: int) -> list[tuple[str, str]]:
        """Problems that single fields do not show, as (path, problem): the batch arithmetic, and what a method needs."""
        found = pod_complaints(self, trains=self.method not in ("eval", "paths"))
        if self.method in ("eval", "paths"):
            if self.report_to:
                found.append(("report_to", f"expected none with method {self.method}, got {', '.join(self.report_to)}"))
            return found + (evaluation_complaints(self.eval) if self.method == "eval" else paths_complaints(self.paths))
        found += batch_complaints(self.method, self.trained, world_size)
        if self.method == "verifier" or not self.data.is_default:
            found += rows_complaints("data", self.data)
        found += launch_complaints(self.method, self.launch, world_size)
        for i, block in enumerate(self.data.exclude):
            found += rows_complaints(f"data.exclude.{i}", block)
        if self.method == "verifier" and self.model.chat_template_kwargs:
            text = "expected none with method verifier, which reads no chat template, got some"
            found.append(("model.chat_template_kwargs", text))
        if self.method == "ppo":
            if self.model.init is not None:
                found.append(("model.init", "expected a trained policy (hub, path or run), got random weights"))
            found += reward_complaints(self.ppo.reward)
        return found
