"""How do tables look, on a terminal and elsewhere?"""

import sys

from fino1.k8s.text import print_table

ROWS = [{"name": "sft", "phase": "Failed"}, {"name": "evaluation", "phase": "Running"}]


def test_a_table_for_another_program(capsys):
    print_table(ROWS, ("name", "phase"), styles={"Failed": "red"})
    assert capsys.readouterr().out == "NAME        PHASE\nsft         Failed\nevaluation  Running\n"


def test_a_table_on_a_terminal_has_colours_and_the_same_columns(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(ROWS, ("phase", "name"), styles={"Failed": "red"})
    assert capsys.readouterr().out.splitlines() == [
        "\x1b[1mPHASE  \x1b[0m  \x1b[1mNAME\x1b[0m",
        "\x1b[31mFailed \x1b[0m  sft",
        "Running  evaluation",
    ]


def test_a_table_without_rows(capsys):
    print_table([], ("name", "phase"))
    assert capsys.readouterr().out == "NAME  PHASE\n"
