#!/usr/bin/env bash
# A threading.Lock is passed to a task of a process pool by mistake.
# Guess: an error, as the standard library gives: a lock cannot be pickled.
# Fact: multiprocess, the standard pool with dill instead of pickle, and mpire
# with use_dill=True accept it. Every task gets a copy of the lock in the state
# that it had, and two workers are inside `with lock` at the same time. A
# queue.Queue is copied in the same way, and what a worker puts into it never
# arrives. Nothing is reported.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check multiprocess==0.70.19 dill==0.4.1 mpire==2.10.2

cat > "$dir/main.py" <<'PY'
import multiprocessing
import os
import platform
import queue
import sys
import threading
import time
from importlib.metadata import version

import mpire
import multiprocess

HERE = os.path.dirname(__file__)


def meet(lock, me, other):
    """True if the other task is inside the lock while this one is."""
    with lock:
        open(me, "w").close()
        limit = time.monotonic() + 20
        while not os.path.exists(other):
            if time.monotonic() > limit:
                return False
            time.sleep(0.01)
        return True


def two_inside(name, submit, result):
    """Two tasks with one lock, or the name of the error."""
    a, b = (os.path.join(HERE, f"{name}-{end}") for end in "ab")
    lock = threading.Lock()
    try:
        handles = [submit(meet, (lock, *paths)) for paths in ((a, b), (b, a))]
        return all([result(handle) for handle in handles])
    except TypeError:
        return "TypeError"


def put(q):
    q.put("answer")
    return q.qsize()


def copied_queue(pool):
    q = queue.Queue()
    return pool.apply(put, (q,)), q.qsize()


if __name__ == "__main__":
    print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in ("multiprocess", "dill", "mpire")))
    same = True

    def line(name, got, expected):
        global same
        print(f"{name:52} {got}" + ("" if got == expected else f"  CHANGED, it was {expected}"))
        same = same and got == expected

    with multiprocessing.Pool(2) as pool:
        line("multiprocessing: two tasks inside one lock", two_inside("standard", pool.apply_async, lambda r: r.get()), "TypeError")
    with multiprocess.Pool(2) as pool:
        line("multiprocess: two tasks inside one lock", two_inside("dill", pool.apply_async, lambda r: r.get()), True)
        line("multiprocess: items in the worker's and our queue", copied_queue(pool), (1, 0))
    with mpire.WorkerPool(n_jobs=2, use_dill=True) as pool:
        line("mpire, use_dill: two tasks inside one lock", two_inside("mpire", pool.apply_async, lambda r: r.get()), True)
    sys.exit(0 if same else 1)
PY
"$dir/venv/bin/python" "$dir/main.py"
