"""Does every line arrive exactly once? Client → real API server → a test's kubelet that breaks connections."""

import itertools
import random
import secrets
import threading
import time
from datetime import UTC, datetime

import pytest

from fino1.errors import SpecError
from fino1.k8s.cluster.client import connect
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.container_log import ContainerLog, Window
from fino1.k8s.state.logs import follow, read

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("instance"),  # they restart it
]


@pytest.fixture
def start(kubelet, namespace):
    """`start(name)`: a running pod, label app=test, in the test's namespace."""
    kubelet.cut, kubelet.status_lag_s = lambda: None, 0.0
    pods = []

    def make(name="pod"):
        pods.append(kubelet.start(namespace, name))
        return pods[-1]

    yield make
    for pod in pods:
        pod.delete()


class Followed(threading.Thread):
    """Follows in the background; `lines()` waits for the end and returns (pod, restart, text) in the order they came."""

    def __init__(self, api, ended=None, **options):
        super().__init__(daemon=True)
        self.got, self.error = [], None
        self.stream = follow(api, "app=test", ended or (lambda: are_over(api)), **options)
        self.start()

    def run(self):
        try:
            self.got += (line for line in self.stream)
        except Exception as error:
            self.error = error

    def wait(self, count):
        deadline = time.monotonic() + 60
        while len(self.got) < count:
            assert time.monotonic() < deadline and self.is_alive(), f"{len(self.got)} of {count} lines"
            time.sleep(0.02)

    def lines(self):
        self.join(60)
        assert not self.is_alive() and self.error is None, self.error
        return [(line.pod, line.restart, line.text) for line in self.got]


def pods(api):
    return api.list("v1", "Pod")


def are_over(api):
    phases = {pod["status"]["phase"] for pod in pods(api)}
    return bool(phases) and phases <= {"Succeeded", "Failed"}


def texts(lines):
    return [line.text for line in lines]


def cuts(generator, share):
    """Breaks the first answer, and this share of the others, after a random number of bytes.

    Two answers in a row that break at the same byte, or between two lines, end the log: with few breaks that is rare.
    """
    shares = itertools.chain([1], itertools.repeat(share))
    return lambda: generator.randrange(1, 1500) if generator.random() < next(shares) else None


def write(pod, generator, count, name="line"):
    """Random lengths; many lines at the same time, within a second, and after more than one."""
    for number in range(count):
        step = generator.choice([0, 0, 1, 10**6, 10**8, 3 * 10**9])
        pod.write(f"{name} {number} {'x' * generator.randrange(90)}", step)
        if generator.random() < 0.2:
            time.sleep(0.01)
    return [text.decode().rstrip("\n") for _, text in pod.starts[-1]["lines"]]


def test_what_is_there_is_read_pod_by_pod(api, start):
    for name, words in (("a", "one two three"), ("b", "four")):
        pod = start(name)
        for word in words.split():
            pod.write(word)
    assert texts(read(api, pods(api))) == ["one", "two", "three", "four"]
    assert texts(read(api, pods(api), window=Window(tail=2))) == ["two", "three", "four"]


def test_only_what_is_new_enough(api, start):
    pod = start()
    pod.write("old")
    pod.write("new", later_ns=10 * 10**9)
    since = datetime.fromtimestamp(pod.clock / 10**9 - 5, UTC)
    (line,) = read(api, pods(api), window=Window(since=since))
    assert line.text == "new"


def test_a_container_that_the_pod_does_not_have(api, start):
    start()
    with pytest.raises(SpecError, match="pod pod: container: expected one of main, got mian"):
        list(read(api, pods(api), "mian"))


def test_the_api_server_hides_that_an_answer_was_cut(api, start, kubelet):
    """The trap that container_log.py is built around: if this fails, an orderly end has come to mean something."""
    pod = start()
    pod.write("one")
    pod.write("two")
    kubelet.cut = lambda: 45
    stream = api.open_log("pod", {"timestamps": "true"})
    assert len(list(stream.lines())) == 1 and stream.rest and not stream.is_broken


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_log_is_read_whole(api, start, kubelet, seed):
    generator = random.Random(seed)
    pod = start()
    expected = write(pod, generator, 60)
    pod.end()
    kubelet.cut, before = cuts(generator, 0.4), kubelet.broken
    assert texts(read(api, pods(api))) == expected
    assert kubelet.broken > before


@pytest.mark.parametrize("seed", range(4))
def test_two_ranks_over_broken_connections(api, start, kubelet, seed):
    generator = random.Random(seed)
    ranks = [start("rank-0"), start("rank-1")]
    kubelet.cut, kubelet.status_lag_s, before = cuts(generator, 0.4), seed % 2 * 0.3, kubelet.broken
    followed = Followed(api)
    expected = {pod.name: write(pod, random.Random(f"{seed} {pod.name}"), 80) for pod in ranks}
    for pod in ranks:
        pod.end()
    got = followed.lines()
    assert {name: [text for pod, _, text in got if pod == name] for name in expected} == expected
    assert kubelet.broken > before


@pytest.mark.parametrize("seed", range(4))
def test_restarted_containers_over_broken_connections(api, start, kubelet, seed):
    generator = random.Random(seed)
    pod = start()
    kubelet.cut, kubelet.status_lag_s = cuts(generator, 0.4), seed % 2 * 0.3
    followed, expected = Followed(api), []
    pod.write("first")
    followed.wait(1)  # of a pod that is there already, the latest start is followed
    for attempt in range(3):
        expected += write(pod, generator, 25, f"attempt {attempt}")
        if attempt < 2:
            pod.restart()
            # A kubelet keeps two starts: nobody can read the first one once the third has begun.
            followed.wait(len(expected))
    pod.end(1, "Failed")
    got = [text for _, _, text in followed.lines()]
    assert sorted(got) == sorted(expected)
    if not seed % 2:  # else the API server names the start after its lines have come
        assert got == expected


def test_lines_say_which_start_wrote_them(api, start):
    pod = start()
    followed = Followed(api)
    for attempt in range(3):
        pod.write(f"attempt {attempt}")
        followed.wait(attempt + 1)
        if attempt < 2:
            pod.restart()
    pod.end()
    assert followed.lines() == [("pod", attempt, f"attempt {attempt}") for attempt in range(3)]


def test_lines_alike_at_the_same_time_are_counted(api, start, kubelet):
    pod = start()
    budgets = itertools.chain([90, 130, 170, 210], itertools.repeat(None))
    kubelet.cut = lambda: next(budgets)
    for _ in range(7):
        pod.write("the same", later_ns=0)
    followed = Followed(api)
    followed.wait(7)
    pod.end()
    assert [text for *_, text in followed.lines()] == ["the same"] * 7


def test_a_last_line_without_an_end(api, start, kubelet):
    pod = start()
    followed = Followed(api)
    pod.write("whole")
    pod.write("half", end="")
    followed.wait(1)
    pod.end()
    assert [text for *_, text in followed.lines()] == ["whole", "half"]


def test_the_last_lines_and_what_follows(api, start, kubelet):
    pod = start()
    for number in range(20):
        pod.write(f"{number}", later_ns=1000)  # all within the seconds that are asked for again
    budgets = itertools.chain([60, 100], itertools.repeat(None))
    kubelet.cut = lambda: next(budgets)
    followed = Followed(api, window=Window(tail=3))
    followed.wait(3)
    pod.write("20")
    pod.end()
    assert [text for *_, text in followed.lines()] == ["17", "18", "19", "20"]


def test_a_new_pod_under_the_old_name(api, start):
    pod = start("rank-0")
    over = threading.Event()
    followed = Followed(api, ended=over.is_set)
    pod.write("old")
    followed.wait(1)
    pod.end(143, "Failed")
    pod.delete()
    again = start("rank-0")
    again.write("new")
    followed.wait(2)
    again.end()
    over.set()
    assert [text for *_, text in followed.lines()] == ["old", "new"]


def test_the_log_of_another_pod_of_the_name_is_not_taken_for_this_ones(api, start):
    old = start("rank-0")
    (pod,) = pods(api)
    old.delete()
    start("rank-0").write("new")
    assert list(ContainerLog(api, pod, None, Window()).read_on(pod)) == []


def test_a_silent_container_is_asked_once_after_a_restart(api, start, kubelet):
    pod = start()
    followed = Followed(api)
    pod.write("one")
    followed.wait(1)
    pod.restart()
    pod.write("two")
    followed.wait(2)
    before = kubelet.answers
    time.sleep(2)
    assert kubelet.answers - before <= 1
    pod.end()
    assert [text for *_, text in followed.lines()] == ["one", "two"]


def test_it_ends_when_told_with_all_that_was_written(api, start):
    pod = start()
    over = threading.Event()
    followed = Followed(api, ended=over.is_set)
    pod.write("one")
    followed.wait(1)
    pod.write("two")
    over.set()  # the container runs on
    assert [text for *_, text in followed.lines()] == ["one", "two"]


def test_closing_it_leaves_no_thread(api, namespace, start):
    pod = start()
    before = set(threading.enumerate())
    stream = follow(api, "app=test", lambda: False)
    pod.write("one")
    assert next(stream).text == "one"
    stream.close()
    deadline = time.monotonic() + 10
    while left := [thread for thread in set(threading.enumerate()) - before if "process_request" not in thread.name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("signal", [9, 15])
def test_a_restart_of_the_api_server(api, start, kubelet, instance, signal):
    generator = random.Random(signal)
    ranks = [start("rank-0"), start("rank-1")]
    followed = Followed(api)
    expected = {pod.name: write(pod, generator, 20, "before") for pod in ranks}
    followed.wait(10)
    instance.stop_apiserver(signal)
    for pod in ranks:
        write(pod, generator, 20, "while it is away")
    instance.start_apiserver()
    expected = {pod.name: write(pod, generator, 20, "after") for pod in ranks}
    for pod in ranks:
        pod.end()
    got = followed.lines()
    assert {name: [text for pod, _, text in got if pod == name] for name in expected} == expected


def test_a_restart_of_the_kubelet(api, start, kubelet):
    pod = start()
    followed = Followed(api)
    pod.write("before")
    followed.wait(1)
    kubelet.is_down = True
    pod.write("while it is away")
    time.sleep(1)
    kubelet.is_down = False
    pod.write("after")
    followed.wait(3)
    pod.end()
    assert [text for *_, text in followed.lines()] == ["before", "while it is away", "after"]


def test_a_kubelet_that_cannot_be_reached(admin, api, namespace, kubelet):
    node = f"dead-{secrets.token_hex(4)}"
    admin.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    endpoint = {"kubeletEndpoint": {"Port": 9}}
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoint}
    admin.patch("v1", "Node", node, {"status": status}, subresource="status")
    alive, kubelet.node = kubelet.node, node
    try:
        pod = kubelet.start(namespace, "pod")
    finally:
        kubelet.node = alive
    with pytest.raises(ApiError, match=r"Pod .*/pod \(log\): .* answered 500: .*connection refused"):
        list(read(api, pods(api)))
    pod.delete()
    admin.delete("v1", "Node", node)


def test_without_the_right_to_read_logs(namespace, start, account):
    start()
    api = connect(str(account(namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}])))
    followed = Followed(api)
    followed.join(30)
    assert isinstance(followed.error, ApiError) and followed.error.status == 403
    assert "may not get pods/log in namespace" in str(followed.error)
