"""Do the shells complete what the command knows? Each script is run by the shell that it is for."""

import argparse
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from fino1.k8s import cli
from fino1.k8s.verbs import completion
from tests.needs import missing

SHELLS = ("bash", "zsh", "fish")


def script(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def needs(shell):
    if shutil.which(shell) is None:
        missing(f"{shell} is not installed")  # `make tools` installs it under CI


@pytest.fixture
def bash(capsys, tmp_path):
    """What bash offers for a line whose last word is being typed."""
    needs("bash")
    text = script(capsys, "bash")

    def offered(*words):
        (tmp_path / "a file.yaml").touch()
        (tmp_path / "folder").mkdir(exist_ok=True)
        typed = " ".join(f"'{word}'" for word in words)
        ask = f'COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _fino1_k8s; printf "%s\\n" "${{COMPREPLY[@]}}"'
        ran = subprocess.run(
            ["bash", "--norc", "-c", f"{text}\n{ask}"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert ran.stderr == ""
        return [line for line in ran.stdout.splitlines() if line]

    return offered


def test_verbs(bash):
    assert bash("fino1-k8s", "") == list(cli._VERBS)
    assert bash("fino1-k8s", "re") == ["render", "resume", "retry", "report"]
    assert bash("fino1-k8s", "fly") == [] == bash("fino1-k8s", "fly", "")


def test_flags_are_those_of_the_verb(bash):
    assert bash("fino1-k8s", "fetch", "--") == ["--help", "--kubeconfig", "--context", "--namespace", "--to", "--all"]
    assert bash("fino1-k8s", "plan", "sft", "--pr") == ["--prices"]
    assert "--prices" not in bash("fino1-k8s", "submit", "sft", "-")


def test_runs_and_files(bash):
    assert {"sft-tiny", "a file.yaml", "folder"} <= set(bash("fino1-k8s", "plan", ""))
    assert "demo" not in bash("fino1-k8s", "plan", "d") and "demo" in bash("fino1-k8s", "run", "d")
    assert bash("fino1-k8s", "submit", "sft", "-f", "a") == ["a file.yaml"]
    assert bash("fino1-k8s", "logs", "") == []  # runs of the cluster are not looked up


def test_values(bash):
    assert bash("fino1-k8s", "plan", "sft", "-o", "") == ["text", "json", "yaml"]
    assert bash("fino1-k8s", "render", "sft", "--output", "j") == ["json"]
    assert bash("fino1-k8s", "completion", "") == list(SHELLS)
    assert bash("fino1-k8s", "plan", "sft", "--hours", "") == []
    assert bash("fino1-k8s", "plan", "sft", "--offline", "--n") == ["--name", "--namespace"]  # it takes no value


def test_bash_binds_it(capsys):
    needs("bash")
    text = script(capsys, "bash")
    ran = subprocess.run(["bash", "--norc", "-c", f"{text}\ncomplete -p fino1-k8s"], capture_output=True, text=True)
    assert ran.stdout == "complete -F _fino1_k8s fino1-k8s\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_the_script(capsys, tmp_path, shell):
    needs(shell)
    path = tmp_path / "script"
    path.write_text(script(capsys, shell))
    ran = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("re", {"render", "report", "resume", "retry"}),
        ("plan sft -o ", {"text", "json", "yaml"}),
        ("run de", {"demo"}),
        ("fetch --a", {"--all"}),
        ("completion ", set(SHELLS)),
        ("plan --hours ", set()),
    ],
)
def test_fish(capsys, tmp_path, line, offered):
    needs("fish")
    text = script(capsys, "fish")
    ask = f"{text}\ncomplete -C 'fino1-k8s {line}'"
    environment = {**os.environ, "HOME": str(tmp_path)}
    ran = subprocess.run(
        ["fish", "--no-config", "-c", ask], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert ran.stderr == ""
    assert {row.partition("\t")[0] for row in ran.stdout.splitlines()} == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [("res", "resume "), ("plan sft -o j", "json "), ("run finqa-t", "finqa-tiny "), ("fetch --al", "--all ")],
)
def test_zsh(capsys, tmp_path, line, offered):
    """In a zsh at a terminal: only there is completion at work. The line is then what it becomes with a tab."""
    needs("zsh")
    (tmp_path / "_fino1-k8s").write_text(script(capsys, "zsh"))
    (tmp_path / ".zshrc").write_text(
        "PS1='> '; fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -D -u\n"
        'show() { print -r -- "<$BUFFER>" }; zle -N show; bindkey "^X" show; print ready\n'
    )
    environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-i"], environment)
    try:
        read_until(terminal, "ready")
        os.write(terminal, f"fino1-k8s {line}\t".encode() + b"\x18")
        assert f"<fino1-k8s {line[: line.rindex(' ') + 1] if ' ' in line else ''}{offered}>" in read_until(
            terminal, ">\r"
        )
    finally:
        os.write(terminal, b"\x03\x04")
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)


def read_until(terminal, wanted, seconds=20):
    seen, deadline = "", time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_nothing_is_forgotten():
    """Every verb and every flag of the parser is in what the scripts are made from."""
    top = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    for verb in completion.verbs():
        assert verb.flags == [flag for action in top.choices[verb.name]._actions for flag in action.option_strings]
    assert [verb.name for verb in completion.verbs()] == list(cli._VERBS)
