#!/usr/bin/env bash
# The same callbacks are given to asyncio's own event loop and to two faster
# ones that replace it, uvloop and rloop.
# Guess: a faster loop runs the same callbacks in the same order.
# Fact: (1) call_later(0) in front of call_soon: asyncio runs call_soon's
# callback first, uvloop and rloop the other one. (2) Two times that lie 0.4 ms
# apart, the later one handed in first: asyncio keeps the order of the times;
# uvloop counts whole milliseconds and runs the later time first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0 rloop==0.5.0

cat > "$dir/main.py" <<'PY'
import asyncio
import platform
import sys
from importlib.metadata import version

import rloop
import uvloop

TRIES = 20


async def zero_beside_soon():
    loop, order = asyncio.get_running_loop(), []
    loop.call_later(0, order.append, "call_later(0)")
    loop.call_soon(order.append, "call_soon")
    while len(order) < 2:
        await asyncio.sleep(0.01)
    return order


async def close_times():
    """How often of TRIES the later of two times came first."""
    loop, swapped = asyncio.get_running_loop(), 0
    for _ in range(TRIES):
        order, start = [], loop.time() + 0.02
        loop.call_at(start + 0.0004, order.append, "later")
        loop.call_at(start, order.append, "sooner")
        while len(order) < 2:
            await asyncio.sleep(0.01)
        swapped += order[0] == "later"
    return swapped


def run(factory, main):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in ("uvloop", "rloop")))
same = True
loops = [("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop), ("rloop", rloop.new_event_loop)]
for name, factory in loops:
    order = run(factory, zero_beside_soon)
    right = (order[0] == "call_soon") == (name == "asyncio")
    same = same and right
    print(f"{name:8} first {order[0]}, then {order[1]}" + ("" if right else "  CHANGED"))
for name, factory in loops[:2]:
    swapped = run(factory, close_times)
    # A stop of the program at a wrong place can only take a swap away from a try of uvloop.
    right = (swapped > 0) == (name == "uvloop")
    same = same and right
    word = "happens" if swapped else "never"
    print(f"{name:8} the later of two times comes first: {word}" + ("" if right else "  CHANGED"))
sys.exit(0 if same else 1)
PY
"$dir/venv/bin/python" "$dir/main.py"
