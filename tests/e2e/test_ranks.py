"""Do two pods train what two processes in one pod train? PyTorchJob, gloo, between network namespaces."""

from tests.e2e.shell import SHORT_PPO, Shell

PLAIN = "launch.zero_stage=0"
IN_ONE_POD = ["nodes=1", "processes_per_node=2", PLAIN]
IN_TWO_PODS = ["nodes=2", "processes_per_node=1", PLAIN]
SFT = ["data.size=480", "sft.per_device_train_batch_size=8"]  # 30 steps
PPO = ["model.run=one", "ppo.per_device_train_batch_size=16", *SHORT_PPO]


def test_two_pods_end_with_the_hash_of_two_ranks_in_one_pod(shell: Shell) -> None:
    shell.submit("sft-tiny", "one", *SFT, *IN_ONE_POD)
    run = shell.submit(
        "sft-tiny", "two", *SFT, *IN_TWO_PODS, 'volumes={"work": {"create": false}, "models": {"create": false}}'
    )
    assert len(shell.pods(run)) == 2
    assert shell.artefact("two") == shell.artefact("one")
    shell.submit("ppo-tiny", "ppo-one", *PPO, *IN_ONE_POD)
    run = shell.submit("ppo-tiny", "ppo-two", *PPO, *IN_TWO_PODS)
    assert len(shell.pods(run)) == 2
    assert shell.artefact("ppo-two") == shell.artefact("ppo-one")
