"""Two threads that wait, two that compute, one sum in chunks, one list for two threads.

python3 lessons/python/01_threads.py [--quick]
"""

import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import counterpart

QUICK = counterpart.quick()
WAIT = 0.1 if QUICK else 2.0
BELOW = 1_000_000 if QUICK else 10_000_000
CHUNK = 100_000
SHARED = 100_000 if QUICK else 1_000_000


def two_threads_wait():
    print("1. Two threads, A and B. Each waits.")
    both_have_started = threading.Barrier(2)
    said = queue.Queue()

    def nap(name):
        said.put(f"{name} starting")
        both_have_started.wait()  # else A could finish before B starts
        time.sleep(WAIT)
        said.put(f"{name} finished")

    threads = [threading.Thread(target=nap, args=(name,)) for name in "AB"]
    with measured("two waits"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    heard = [said.get() for _ in range(4)]
    print("   first:", *sorted(heard[:2]))
    print("   then: ", *sorted(heard[2:]))


def two_threads_compute():
    print("2. Two threads. Each adds up the numbers below", BELOW)
    work = [range(BELOW), range(BELOW)]
    with measured("one after another"):
        expected = list(map(add_up, work))
    with measured("in two threads"), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(add_up, work)) == expected
    print("  ", *expected)


def a_pool_adds_up_chunks():
    print("3. Two threads add up one sum in chunks of", CHUNK)
    chunks = [range(start, start + CHUNK) for start in range(0, BELOW, CHUNK)]
    with measured("in one piece"):
        expected = add_up(range(BELOW))
    with measured("in chunks"), ThreadPoolExecutor(2) as pool:
        sums = list(pool.map(add_up, chunks))
    assert sum(sums) == expected
    print("   chunks:", len(sums), "together", sum(sums))


def two_threads_share_a_list():
    print("4. Two threads share one list of", SHARED, "numbers.")
    numbers = [0] * SHARED

    def fill(half):
        for i in half:
            numbers[i] = i  # only care keeps a thread in its half

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, [range(SHARED // 2), range(SHARED // 2, SHARED)]))
        print("   each reads it all:", *pool.map(add_up, [numbers, numbers]))


def add_up(numbers):
    total = 0
    for i in numbers:
        total += i
    return total


@contextmanager
def measured(label):
    start = time.perf_counter()
    yield
    print(f"   {label}: {time.perf_counter() - start:.4f} s", file=sys.stderr)


def main():
    two_threads_wait()
    two_threads_compute()
    a_pool_adds_up_chunks()
    two_threads_share_a_list()


if __name__ == "__main__":
    counterpart.run(main)
