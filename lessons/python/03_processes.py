"""Processes share nothing: two that wait, two that compute, a pool, a killed worker.

python3 lessons/python/03_processes.py [--quick]
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import counterpart

QUICK = counterpart.quick()
WAIT = 0.1 if QUICK else 2.0
SQUARES = 200_000 if QUICK else 20_000_000
BELOW = 1_000_000 if QUICK else 100_000_000
WORKERS = 4


def main():
    two_processes_wait()
    two_processes_compute()
    a_pool_uses_every_core()
    a_killed_worker_breaks_the_pool()
    a_process_costs_more_than_a_thread()


def two_processes_wait():
    print("1. Two processes, A and B. Each waits.")
    both = multiprocessing.Barrier(2)
    said = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=nap, args=(n, both, said)) for n in "AB"]
    with measured("two waits"):
        for process in processes:
            process.start()
        heard = [said.get() for _ in range(4)]  # before join: the queue must be empty by then
        for process in processes:
            process.join()
    print("   first:", *sorted(heard[:2]))
    print("   then: ", *sorted(heard[2:]))


def two_processes_compute():
    print("2. Two processes. Each adds up squares.")
    with measured("one after another"):
        expected = [squares(SQUARES), squares(SQUARES)]
    with measured("in a pool of 2"), multiprocessing.Pool(2) as pool:
        assert pool.map(squares, [SQUARES, SQUARES]) == expected
    print("  ", *expected)


def a_pool_uses_every_core():
    print("3. A pool of", WORKERS, "processes. The answers come in order of submission.")
    with measured(f"in a pool of {WORKERS}"), multiprocessing.Pool(WORKERS) as pool:
        results = [pool.apply_async(add_up, (BELOW,)) for _ in range(4)]
        pool.close()
        pool.join()
    print("  ", *(result.get() for result in results))


def a_killed_worker_breaks_the_pool():
    print("4. A task kills its worker.")
    with ProcessPoolExecutor(WORKERS) as pool:
        try:
            pool.submit(die).result()
        except BrokenProcessPool:
            print("   the task fails")
        try:
            pool.submit(add_up, 10).result()
        except BrokenProcessPool:
            print("   and so does every task after it")


def a_process_costs_more_than_a_thread():
    for kind in (threading.Thread, multiprocessing.Process):
        with measured(f"start and join of a {kind.__name__}"):
            worker = kind(target=nothing)
            worker.start()
            worker.join()


def nap(name, both, said):
    said.put(f"{name} starting")
    both.wait()
    time.sleep(WAIT)
    both.wait()  # else a slow start of B could come after A's end
    said.put(f"{name} finished")


def squares(n):
    return sum(i * i for i in range(n))


def add_up(n):
    total = 0
    for i in range(n):
        total += i
    return total


def die():
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def nothing():
    pass


class measured:
    def __init__(self, label):
        self.label = label

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        took = time.perf_counter() - self.start
        print(f"   {self.label}: {took:.4f} s", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
