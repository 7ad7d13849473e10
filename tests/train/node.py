"""A launcher without ranks: joins its group, says so, and ends with the code that it reads. `python node.py OPTIONS`, JSON."""

import json
import sys
from pathlib import Path

from fino1.errors import AttemptError
from fino1.train.launch import connection, group

options = {
    "attempt": "",
    "run": "run",
    "ranks": 1,
    "wait": 60,
    "done": "/nowhere",
    "times": {},
    **json.loads(sys.argv[1]),
}
for name, value in options["times"].items():
    for module in (connection, group):
        setattr(module, name, value)
identity = connection.Identity(options["attempt"], options["run"], options["nodes"], options["ranks"])
done = Path(options["done"])
place = group.Group(identity, options["node"], "127.0.0.1", options["port"], done.is_file)
try:
    together = place.join(options["wait"])
except AttemptError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
if not together:
    sys.exit(0)
print(place.attempt_id, place.port, flush=True)
sys.exit(place.end(int(sys.stdin.readline())))
