"""Do the shells complete what the command knows? Each script is run by the shell that it is for."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fino1.k8s import cli
from tests.needs import missing


@pytest.fixture
def environment(tmp_path):
    """In which `fino1-k8s` is a command, and files are at hand."""
    (tmp_path / "a file.yaml").touch()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "dumb"}


@pytest.fixture
def script(capsys):
    """`script(shell)`, where that shell is installed."""

    def printed(shell):
        if shutil.which(shell) is None:
            missing(f"{shell} is not installed")  # `make tools` installs it under CI
        assert cli.main(["completion", shell]) == 0
        return capsys.readouterr().out

    return printed


def bash(script, line, environment, folder):
    ask = f'COMP_LINE="fino1-k8s {line}"; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; _python_argcomplete fino1-k8s'
    text = f'{script}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    ran = subprocess.run(["bash", "--norc", "-c", text], env=environment, cwd=folder, capture_output=True, text=True)
    assert ran.stderr == ""
    return {word.strip() for word in ran.stdout.splitlines()} - {""}


def fish(script, line, environment, folder):
    text = f"{script}\ncomplete -C 'fino1-k8s {line}'"
    command = ["fish", "--no-config", "-c", text]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert ran.stderr == ""
    return {row.partition("\t")[0] for row in ran.stdout.splitlines()}


CASES = [
    ("re", {"render", "report", "resume", "retry"}),
    ("plan sft-t", {"sft-tiny"}),
    ("plan demo", set()),  # a recipe
    ("run de", {"demo"}),
    ("plan --pr", {"--prices"}),
    ("plan sft -o ", {"text", "json", "yaml"}),
    ("logs ", set()),  # runs of the cluster are not looked up
]


@pytest.mark.parametrize("ask", [bash, fish], ids=["bash", "fish"])
def test_a_line_that_is_being_typed(script, environment, tmp_path, ask):
    text = script(ask.__name__)
    assert {line: ask(text, line, environment, tmp_path) for line, _ in CASES} == dict(CASES)
    assert any("file.yaml" in word for word in ask(text, "submit sft -f a", environment, tmp_path))


def test_zsh_at_a_terminal(script, environment, tmp_path):
    """Only there is its completion at work. The line is then what it becomes with a tab."""
    (tmp_path / "_fino1-k8s").write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(
        "PS1='> '; fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -D -u\n"
        'show() { print -r -- "<$BUFFER>" }; zle -N show; bindkey "^X" show; print ready\n'
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-i"], environment)
    try:
        read_until(terminal, "ready")
        for line, becomes in (("res", "resume "), ("plan sft-t", "plan sft-tiny ")):
            os.write(terminal, f"\x15fino1-k8s {line}\t".encode() + b"\x18")
            assert re.search(r"<fino1-k8s (.*)>\r", read_until(terminal, ">\r"))[1] == becomes
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def read_until(terminal, wanted, seconds=20):
    seen, deadline = "", time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen
