#!/usr/bin/env bash
# Eight numbers go through imap of a pool; the function raises for number 2.
# Guess: `chunksize` is a matter of speed. After the error, next() goes on with
# the other numbers, as it does with chunks of one; at worst the rest of the
# chunk is lost.
# Fact: with chunks of two or more the error ends the iterator for good. The
# later chunks are computed, and nobody can get their answers; the answers in
# front of the error in its own chunk are gone too. billiard and multiprocess do
# the same. Pebble's map gives all seven answers with every size of chunk.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check billiard==4.3.2 multiprocess==0.70.19 Pebble==5.2.3

cat > "$dir/main.py" <<'PY'
import multiprocessing
import platform
import sys
from importlib.metadata import version
from multiprocessing.pool import ThreadPool

import billiard
import multiprocess
import pebble

called = []


def work(number):
    called.append(number)
    if number == 2:
        raise ValueError(number)
    return number


def drain(iterator):
    """All that next() gives until the end, an error as the word `error`."""
    out = []
    while len(out) < 20:
        try:
            out.append(next(iterator))
        except StopIteration:
            return out
        except ValueError:
            out.append("error")
    raise RuntimeError("the iterator has no end")


def imap(pool, size):
    out = drain(iter(pool.imap(work, range(8), chunksize=size)))
    pool.close()
    pool.join()
    return out


def pebble_map(size):
    with pebble.ProcessPool(max_workers=1) as pool:
        return drain(pool.map(work, range(8), chunksize=size).result())


if __name__ == "__main__":
    print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in ("billiard", "multiprocess", "pebble")))
    all_seven = [0, 1, "error", 3, 4, 5, 6, 7]
    imaps = {1: all_seven, 2: [0, 1, "error"], 4: ["error"]}
    pools = [
        ("multiprocessing.Pool.imap", lambda size: imap(multiprocessing.Pool(1), size), imaps),
        ("billiard.Pool.imap", lambda size: imap(billiard.Pool(1), size), imaps),
        ("multiprocess.Pool.imap", lambda size: imap(multiprocess.Pool(1), size), imaps),
        ("pebble.ProcessPool.map", pebble_map, dict.fromkeys(imaps, all_seven)),
    ]
    same = True

    def line(name, got, expected):
        global same
        print(f"{name:38} {got}" + ("" if got == expected else f"  CHANGED, it was {expected}"))
        same = same and got == expected

    for name, run, expected in pools:
        for size in imaps:
            line(f"{name}, chunks of {size}", run(size), expected[size])
    called.clear()
    imap(ThreadPool(1), 2)
    line("ThreadPool, chunks of 2: called for", called, [0, 1, 2, 4, 5, 6, 7])
    sys.exit(0 if same else 1)
PY
"$dir/venv/bin/python" "$dir/main.py"
