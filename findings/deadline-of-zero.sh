#!/usr/bin/env bash
# A queue holds one item, so nobody has to wait. It is read with a time-out of
# zero, as happens when a deadline has just passed or "do not wait" is meant.
# Guess: a time-out ends waiting, and here is nothing to wait for: every call
# gives the item, as queue.Queue does.
# Fact: asyncio.timeout(0) gives the item; asyncio.wait_for(..., 0) raises and
# never begins to run the coroutine, but gives the result of a future that is
# done; anyio (on asyncio and on trio) and trio raise, and leave the item in the
# channel, unless the code inside never awaits anything that can be cancelled.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check anyio==4.16.0 trio==0.35.0

cat > "$dir/main.py" <<'PY'
import asyncio
import platform
import queue
import sys
from importlib.metadata import version

import anyio
import trio


def thread_queue():
    q = queue.Queue()
    q.put("item")
    return q.get(timeout=0), q.qsize()


def asyncio_queue():
    q = asyncio.Queue()
    q.put_nowait("item")
    return q


async def wait_for():
    q = asyncio_queue()
    try:
        return await asyncio.wait_for(q.get(), 0), q.qsize()
    except asyncio.TimeoutError:
        return "time-out", q.qsize()


async def wait_for_begins():
    begun = []

    async def answer():
        begun.append(True)
        return "item"

    try:
        return await asyncio.wait_for(answer(), 0), len(begun)
    except asyncio.TimeoutError:
        return "time-out", len(begun)


async def wait_for_future():
    future = asyncio.get_running_loop().create_future()
    future.set_result("item")
    return await asyncio.wait_for(future, 0), None


async def timeout():
    q = asyncio_queue()
    try:
        async with asyncio.timeout(0):
            return await q.get(), q.qsize()
    except TimeoutError:
        return "time-out", q.qsize()


async def anyio_receive():
    send, receive = anyio.create_memory_object_stream(1)
    send.send_nowait("item")
    try:
        with anyio.fail_after(0):
            return await receive.receive(), receive.statistics().current_buffer_used
    except TimeoutError:
        return "time-out", receive.statistics().current_buffer_used
    finally:
        send.close()
        receive.close()


async def anyio_at_once():
    async def answer():
        return "item"

    with anyio.fail_after(0):
        return await answer(), None


async def trio_receive():
    send, receive = trio.open_memory_channel(1)
    send.send_nowait("item")
    try:
        with trio.fail_after(0):
            return await receive.receive(), receive.statistics().current_buffer_used
    except trio.TooSlowError:
        return "time-out", receive.statistics().current_buffer_used


print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in ("anyio", "trio")))
same = True
for name, (answer, number), expected, meaning in [
    ("queue.Queue.get(timeout=0)", thread_queue(), ("item", 0), "left in the queue"),
    ("asyncio.timeout(0), get", asyncio.run(timeout()), ("item", 0), "left in the queue"),
    ("asyncio.wait_for(get, 0)", asyncio.run(wait_for()), ("time-out", 1), "left in the queue"),
    ("asyncio.wait_for(coroutine, 0)", asyncio.run(wait_for_begins()), ("time-out", 0), "times begun"),
    ("asyncio.wait_for(done future, 0)", asyncio.run(wait_for_future()), ("item", None), ""),
    ("anyio.fail_after(0) on asyncio", anyio.run(anyio_receive, backend="asyncio"), ("time-out", 1), "left in the stream"),
    ("anyio.fail_after(0) on trio", anyio.run(anyio_receive, backend="trio"), ("time-out", 1), "left in the stream"),
    ("anyio.fail_after(0), no checkpoint", anyio.run(anyio_at_once), ("item", None), ""),
    ("trio.fail_after(0)", trio.run(trio_receive), ("time-out", 1), "left in the channel"),
]:
    right = (answer, number) == expected
    same = same and right
    detail = "" if number is None else f"{number} {meaning}"
    print(f"{name:36} {answer:9} {detail}" + ("" if right else f"  CHANGED, it was {expected}"))
sys.exit(0 if same else 1)
PY
"$dir/venv/bin/python" "$dir/main.py"
