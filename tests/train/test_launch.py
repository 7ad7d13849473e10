"""With which code do the ranks end? (DESIGN C5)"""

from types import SimpleNamespace

import pytest

from fino1.train import launch


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([(5, 2)], 2),
        ([(5, -9)], 137),
        ([(5, -15)], 143),
        ([(5, 74), (6, 145)], 74),
        ([(6, 145), (5, 74)], 74),
        ([(5, 145), (6, -9)], 137),  # who lost a peer was noticed before the peer
        ([(5, 145), (5, 2)], 2),
        ([(5, 1), (6, 2)], 1),  # the first by time
        ([(6, 2), (5, 1)], 1),
        ([(5, 2), (6, -15)], 2),  # the launcher ended the other
        ([(5, 145), (6, 145)], 145),  # the rank that failed was another node's
        ([(5, 134)], 134),
    ],
)
def test_the_rank_that_failed_first_says_it(failures, code):
    ranks = {rank: SimpleNamespace(timestamp=t, exitcode=c) for rank, (t, c) in enumerate(failures)}
    assert launch._first_code(ranks) == code


def test_a_rank_that_could_say_nothing_is_named(capsys):
    launch._first_code({0: SimpleNamespace(timestamp=2, exitcode=145), 1: SimpleNamespace(timestamp=2, exitcode=-11)})
    assert capsys.readouterr().err == "fino1: rank 1 ended with 139: ended by signal 11: tried again\n"
    launch._first_code({0: SimpleNamespace(timestamp=2, exitcode=2)})
    assert capsys.readouterr().err == ""
