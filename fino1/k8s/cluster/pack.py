"""Writes runs' results as a tar stream to standard output. Runs in the pod: `python3 -c TEXT WORK all|results`.

A line of standard input says of which runs: an array of their directories in JSON, which may be too long for a URL.

Only the standard library, and no word of the installed fino1: the text of this module is sent along, so that `fetch` and what
it reads are of one version. Files that are being written (names that begin with a dot) stay out, and so do links.
"""

import json
import os
import re
import sys
import tarfile


def main(work: str, what: str) -> int:
    """Pack those `runs/DIRECTORY` that are there, of evaluations their cells too; without checkpoints unless `what` is all."""
    folders = [os.path.join(work, "runs", directory) for directory in json.loads(sys.stdin.readline())]
    there = [folder for folder in folders if os.path.isdir(folder)]
    if not there:
        wanted = "expected the run's directory, got none: it has not started, or not on this volume"
        print(f"{folders[0]}: {wanted}", file=sys.stderr)
        return 2
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", bufsize=1 << 20) as tar:
        for folder in there:
            pack(tar, work, os.path.relpath(folder, work), () if what == "all" else ("checkpoints",))
        for key in dict.fromkeys(key for folder in there for key in cells(folder)):
            pack(tar, work, os.path.join("cells", key), ())
    return 0


def cells(folder: str) -> "list[str]":
    """The cells that an evaluation names; one of version 0.1 does so once it has finished."""
    name = "cells.json" if os.path.isfile(os.path.join(folder, "cells.json")) else "done.json"
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            named = json.load(file).get("cells", [])
    except FileNotFoundError:
        return []
    return [key for key in named if re.fullmatch("[0-9a-f]{8,64}", key)]


def pack(tar: tarfile.TarFile, work: str, place: str, left_out: "tuple[str, ...]") -> None:
    """Add all files below `place`; one that goes away meanwhile was not meant to stay."""
    top = os.path.join(work, place)
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not (folder == top and n in left_out))
        for name in sorted(n for n in names if not n.startswith(".")):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            try:
                file = open(path, "rb")  # noqa: SIM115, closed below; its absence is no error, that of others is
            except FileNotFoundError:
                continue
            with file:
                about = tarfile.TarInfo(os.path.relpath(path, work))
                about.size, about.mtime = os.fstat(file.fileno()).st_size, int(os.fstat(file.fileno()).st_mtime)
                tar.addfile(about, file)  # so many bytes: metrics.jsonl may grow meanwhile


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
