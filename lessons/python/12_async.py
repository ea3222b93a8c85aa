"""Many waits on one thread, and what a blocking call does to them.

python3 lessons/python/12_async.py [--quick]
"""

import asyncio
import queue
import sys
import threading
import time
from contextlib import contextmanager

import counterpart

QUICK = counterpart.quick()
WAITS = 1_000 if QUICK else 10_000
THREADS = 250 if QUICK else 1_000  # at once; not every system gives ten times as many
WAIT = 0.1
BLOCKING = 0.2
TICK = 0.01
TICKS = 5
STEPS = 20


def main():
    print(f"1. {WAITS} waits of {WAIT} s.")
    with measured("each a task"):
        asyncio.run(each_a_task())
    with measured("each a thread"):
        each_a_thread()
    print(f"   one after another: {WAITS * WAIT:g} s, predicted, not run")
    print(f"2. A call that blocks for {BLOCKING} s, beside a task that ticks.")
    asyncio.run(a_blocking_call())
    print(f"3. The steps of tasks a and b, {STEPS} of each.")
    print("   neither gives way:", asyncio.run(order(False, False)))
    print("   only a gives way: ", asyncio.run(order(True, False)))
    print("   both give way:    ", asyncio.run(order(True, True)))


async def each_a_task():
    all_are_here = asyncio.Event()
    here = 0

    async def one_wait():
        nonlocal here
        here += 1
        if here == WAITS:
            all_are_here.set()
        await all_are_here.wait()
        await asyncio.sleep(WAIT)
        return threading.get_ident()

    threads = await asyncio.gather(*[one_wait() for _ in range(WAITS)])
    print(f"   each a task:   done: {len(threads)}; at once: {here}; threads: {len(set(threads))}")


def each_a_thread():
    done = []
    for _ in range(WAITS // THREADS):
        all_are_here = threading.Event()
        args = all_are_here, done
        threads = [threading.Thread(target=one_wait, args=args) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        all_are_here.set()
        for thread in threads:
            thread.join()
    most, threads = f"{THREADS} or less", len(set(done))
    print(f"   each a thread: done: {len(done)}; at once: {most}; threads: {threads}")


def one_wait(all_are_here, done):
    all_are_here.wait()
    time.sleep(WAIT)
    done.append(threading.current_thread())


async def a_blocking_call():
    gaps = queue.SimpleQueue()
    ticking = asyncio.create_task(ticker(gaps))
    await asyncio.sleep(TICK)
    print("   in a task:     ticks meanwhile:", in_a_task(gaps))
    await asyncio.sleep(TICK)
    print("   in a thread:   ticks meanwhile:", await asyncio.to_thread(in_a_thread, gaps))
    ticking.cancel()


def in_a_task(gaps):
    before = gaps.qsize()
    time.sleep(BLOCKING)  # The thread of all tasks sleeps.
    return gaps.qsize() - before


def in_a_thread(gaps):
    stale = gaps.qsize()
    longest = max(gaps.get() for _ in range(stale))
    time.sleep(BLOCKING)
    forced = [gaps.get() for _ in range(TICKS)]  # In a task this would wait for ever.
    print(f"   longest gap: {longest:.4f} s, then {max(forced):.4f} s", file=sys.stderr)
    return len(forced)


async def ticker(gaps):
    last = time.perf_counter()
    while True:
        gaps.put(time.perf_counter() - last)
        last = time.perf_counter()
        await asyncio.sleep(TICK)


async def order(*gives_way):
    steps = []

    async def task(name, gives_way):
        for _ in range(STEPS):
            steps.append(name)
            if gives_way:
                await asyncio.sleep(0)

    await asyncio.gather(*map(task, "ab", gives_way))
    return "".join(steps)


@contextmanager
def measured(label):
    start = time.perf_counter()
    yield
    print(f"   {label}: {time.perf_counter() - start:.4f} s", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
