"""One function for threads and for processes: futures, time-outs, cancelling, errors.

python3 lessons/python/07_executors.py [--quick]
"""

import multiprocessing
import sys
import time
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)

import counterpart

QUICK = counterpart.quick()
WORKERS = 4
TASKS = 10 if QUICK else 30
BELOW = [10**n for n in range(1, 5 if QUICK else 7)]


def main():
    anew = multiprocessing.get_context("spawn")  # a fork beside running threads may hang
    for executor in ThreadPoolExecutor(WORKERS), ProcessPoolExecutor(WORKERS, anew):
        print(type(executor).__name__)
        with executor:
            answers_as_they_come(executor)
            waits_end(executor)
            only_what_waits_is_taken_back(executor)
            errors_in_the_middle_of_a_batch(executor)
            for below in BELOW:
                a_pool_beside_a_loop(executor, below)


def under_way(executor, count):
    pipes = [multiprocessing.Pipe() for _ in range(count)]
    futures = [executor.submit(stay, theirs) for _, theirs in pipes]
    turns = [ours for ours, _ in pipes]
    for turn in turns[:WORKERS]:
        turn.recv()  # it has begun
    return turns, futures


def answers_as_they_come(executor):
    turns, futures = under_way(executor, 3)
    order, came = iter([2, 0, 1, None]), []
    turns[next(order)].send(None)
    for future in as_completed(futures):
        came.append(futures.index(future) + 1)
        following = next(order)
        if following is not None:
            turns[following].send(None)  # only now may another one end
    print("   as_completed:", *came)


def waits_end(executor):
    turns, futures = under_way(executor, 3)
    turns[1].send(None)
    for patience, until in (None, FIRST_COMPLETED), (0.1, ALL_COMPLETED):
        done, _ = wait(futures, patience, until)
        print(f"   {until}, time-out {patience}:", *(futures.index(f) + 1 for f in done))
    turns[0].send(None)
    turns[2].send(None)
    print("   all told to end:", len(wait(futures).done))


def only_what_waits_is_taken_back(executor):
    # A process pool claims WORKERS + 1 tasks beyond those that run: they cannot be cancelled.
    turns, futures = under_way(executor, 2 * WORKERS + 2)
    print("   cancel the last:", futures[-1].cancel(), "the first:", futures[0].cancel())
    for turn in turns[:-1]:  # nobody has the other end of the last one
        turn.send(None)
    wait(futures)


def errors_in_the_middle_of_a_batch(executor):
    came = []
    try:
        for answer in executor.map(square, range(1, 11)):
            came.append(answer)
    except ValueError as error:
        came.append(f"{type(error).__name__}, and no answer after it")
    print("   map:   ", *came)
    futures = [executor.submit(square, n) for n in range(1, 11)]
    print("   submit:", *("-" if f.exception() else f.result() for f in futures))
    print("   the cause of 3:", type(futures[2].exception().__cause__).__name__)


def a_pool_beside_a_loop(executor, below):
    start = time.perf_counter()
    expected = [add_up(below) for _ in range(TASKS)]
    here = time.perf_counter() - start
    start = time.perf_counter()
    futures = [executor.submit(add_up, below) for _ in range(TASKS)]
    assert [future.result() for future in futures] == expected
    there = time.perf_counter() - start
    task = here / TASKS * 1e6
    print(f"   a task of {task:.1f} us: speed-up {here / there:.2f}", file=sys.stderr)


def stay(parent):
    parent.send("begun")
    parent.recv()


def square(n):
    if n == 3:
        try:
            return {}["three"]
        except KeyError as error:
            raise ValueError("no square today") from error
    return n * n


def add_up(n):
    return sum(range(n))


if __name__ == "__main__":
    counterpart.run(main)
