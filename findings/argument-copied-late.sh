#!/usr/bin/env bash
# Eight tasks get the same object, one worker is busy with the first of them,
# and then the caller changes the object.
# Guess: a process pool copies an argument when the task is handed in, so all
# eight tasks see the object as it was.
# Fact: ProcessPoolExecutor and loky copy an argument only when the task comes
# near a worker. The first task sees the object as it was, the last one sees the
# change. multiprocessing.Pool, Pebble and mpire copy at once or nearly so: there
# all eight see it as it was. The script counts the copies and waits for them,
# so no speed of the machine matters.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check loky==3.7.0 Pebble==5.2.3 mpire==2.10.2

cat > "$dir/main.py" <<'PY'
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version

import loky
import mpire
import pebble

TASKS = 8


class Argument:
    """Counts in the sending process how often it is pickled."""

    copies = 0

    def __init__(self):
        self.text = "before"

    def __getstate__(self):
        Argument.copies += 1
        return {"text": self.text}


def wait_for(condition, what):
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            sys.exit(f"waited a minute for {what}")
        time.sleep(0.01)


def task(argument, begun, gate):
    open(begun, "w").close()
    wait_for(lambda: os.path.exists(gate), "the gate")
    return argument.text


def run(name, submit, result, at_once):
    begun, gate = (os.path.join(os.path.dirname(__file__), f"{name}-{end}") for end in ("begun", "gate"))
    Argument.copies, argument = 0, Argument()
    handles = [submit(task, argument, begun, gate) for _ in range(TASKS)]
    wait_for(lambda: os.path.exists(begun), "the first task")
    if at_once:
        wait_for(lambda: Argument.copies == TASKS, "all copies")
    else:
        time.sleep(1)  # room for more copies; that they stay away does not depend on it
    copies, argument.text = Argument.copies, "after"
    open(gate, "w").close()
    seen = [result(handle) for handle in handles]
    right = seen == ["before"] * TASKS if at_once else seen[0] == "before" and seen[-1] == "after" and copies < TASKS
    print(f"{name:22} first task: {seen[0]:6}  last task: {seen[-1]:6}" + ("" if right else "  CHANGED"))
    return right


if __name__ == "__main__":
    print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in ("loky", "pebble", "mpire")))
    same = []
    with ProcessPoolExecutor(1) as pool:
        same.append(run("ProcessPoolExecutor", pool.submit, lambda f: f.result(), False))
    with loky.ProcessPoolExecutor(1) as pool:
        same.append(run("loky", pool.submit, lambda f: f.result(), False))
    with multiprocessing.Pool(1) as pool:
        same.append(run("multiprocessing.Pool", lambda f, *a: pool.apply_async(f, a), lambda r: r.get(), True))
    with pebble.ProcessPool(max_workers=1) as pool:
        same.append(run("Pebble", lambda f, *a: pool.schedule(f, a), lambda f: f.result(), True))
    with mpire.WorkerPool(n_jobs=1) as pool:
        same.append(run("mpire", lambda f, *a: pool.apply_async(f, a), lambda r: r.get(), True))
    sys.exit(0 if all(same) else 1)
PY
"$dir/venv/bin/python" "$dir/main.py"
