"""Does `logs` print what pods write, and whose it is, on a real API server with a kubelet of the test's?"""

import json
import random
import time

import pytest

from tests.cluster.stage import Asked

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


def test_logs_of_one_pod_have_no_prefix(stage, fino1, start):
    (run,) = stage.submit()
    pod = start(run)
    pod.write("one")
    pod.write("two", later_ns=10 * 10**9)
    assert fino1("logs", "run")[1] == "one\ntwo\n"
    assert fino1("logs", "run", "--tail", "1")[1] == "two\n"
    _, out, _ = fino1("logs", "run", "-o", "json", "--tail", "1")
    line = json.loads(out)
    assert (line["run"], line["rank"], line["text"], line["restart"]) == (run.full, 0, "two", 0)


def test_logs_say_the_rank_and_of_an_evaluation_the_model(stage, fino1, start):
    (run,) = stage.submit(nodes=2)
    for rank in (1, 0):
        start(run, rank).write(f"I am {rank}")
    assert fino1("logs", "run")[1] == "[0] I am 0\n[1] I am 1\n"
    assert fino1("logs", "run", "--rank", "1")[1] == "I am 1\n"
    assert fino1("logs", "run", "--rank", "2")[::2] == (2, "--rank: expected 0 to 1, got 2\n")
    assert fino1("logs", "run", "-c", "server")[0] == 2
    for run in stage.submit("eval", "marks", eval={"shards": 2}):
        for shard in (0, 1):
            start(run, shard).write("hello")
    assert fino1("logs", "marks")[1] == "[one/0] hello\n[one/1] hello\n[two/0] hello\n[two/1] hello\n"


def test_following_a_run_that_is_over(stage, fino1, start):
    (run,) = stage.submit()
    pod = start(run)
    pod.write("one")
    pod.write("two")
    pod.end()
    stage.conditions(run, "Created", "Succeeded")
    assert fino1("logs", "run", "-f") == (0, "one\ntwo\n", "")


@pytest.mark.parametrize(("given", "said"), [("5 minutes", "--since: expected seconds ago"), ("tomorrow", "--since")])
def test_a_time_that_is_none(fino1, given, said):
    code, _, err = fino1("logs", "run", "--since", given)
    assert code == 2 and err.startswith(said)


def test_following_loses_no_line_when_the_api_server_restarts(cluster, instance, namespace, stage, start, capsys):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Running")
    ranks = [start(run, 0), start(run, 1)]
    following = Asked(cluster, namespace, "logs", "run", "-f")
    expected = []

    def write(phase):
        for number in range(30):
            for rank, pod in enumerate(ranks):
                pod.write(f"{phase} {number}", random.choice([0, 10**6, 10**9]))
                expected.append(f"[{rank}] {phase} {number}")

    write("before")
    time.sleep(1)
    instance.stop_apiserver(9)
    write("while it is away")
    instance.start_apiserver()
    write("after")
    for pod in ranks:
        pod.end()
    stage.conditions(run, "Created", "Succeeded")
    assert following.end() == 0
    out = capsys.readouterr().out.splitlines()
    for rank in (0, 1):
        mine = f"[{rank}]"
        assert [line for line in out if line.startswith(mine)] == [e for e in expected if e.startswith(mine)]
