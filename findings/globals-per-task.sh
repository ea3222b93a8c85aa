#!/usr/bin/env bash
# A function of the main script counts its calls in a global variable and is
# run in a pool of one process.
# Guess: one process has one set of globals, so five tasks return 1 2 3 4 5.
# Fact: the pools of loky and joblib return 1 1 1 1 1. They send the function
# by value, and every sending brings new globals; tasks that travel together in
# one batch share them. A cache in a global never hits, and a random generator
# there gives every task the same number, without an error.
# A function that the worker can import keeps its globals: 1 2 3 4 5.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check loky==3.7.0 joblib==1.6.0 cloudpickle==3.1.3

cat > "$dir/counting.py" <<'PY'
calls = 0


def imported():
    global calls
    calls += 1
    return calls
PY

cat > "$dir/main.py" <<'PY'
import platform
import random
import sys
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import joblib
import loky
from counting import imported

calls = 0


def own():
    global calls
    calls += 1
    return calls


generator = random.Random(1)


def draw():
    return generator.random()


def five(pool, function):
    with pool:
        return [pool.submit(function).result() for _ in range(5)]


def batches(function):
    """Six tasks, three in a batch; the two workers share the two batches."""
    run = joblib.Parallel(n_jobs=2, batch_size=3, pre_dispatch="all")
    return run(joblib.delayed(function)() for _ in range(6))


if __name__ == "__main__":
    print("Python", platform.python_version(), "| loky", loky.__version__,
          "| joblib", joblib.__version__, "| cloudpickle", cloudpickle.__version__)
    seen = [
        ("ProcessPoolExecutor, own function", five(ProcessPoolExecutor(1), own), [1, 2, 3, 4, 5]),
        ("loky, own function", five(loky.ProcessPoolExecutor(1), own), [1, 1, 1, 1, 1]),
        ("loky, imported function", five(loky.ProcessPoolExecutor(1), imported), [1, 2, 3, 4, 5]),
        ("joblib, own function, batches of 3", batches(own), [1, 2, 3, 1, 2, 3]),
    ]
    for name, pool, different in [("ProcessPoolExecutor", ProcessPoolExecutor(1), 5), ("loky", loky.ProcessPoolExecutor(1), 1)]:
        seen.append((f"{name}, different random numbers", len(set(five(pool, draw))), different))
    same = True
    for name, got, expected in seen:
        print(f"{name:45} {got}" + ("" if got == expected else f"  CHANGED, it was {expected}"))
        same = same and got == expected
    sys.exit(0 if same else 1)
PY
cd "$dir" && venv/bin/python main.py
