"""Mixed work, waiting and computing, in four ways: one after another, threads, processes,
threads in processes.

python3 lessons/python/05_hybrid.py [--quick]
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import counterpart

QUICK = counterpart.quick()
TASKS = 32
WORKERS = 4
THREADS = 8
IO = 0.005 if QUICK else 0.050  # seconds
SQUARES = 10_000 if QUICK else 1_000_000  # some tens of milliseconds


def main():
    print(f"{TASKS} tasks. Each waits, then adds up squares.")
    with measured("one after another"):
        check("one after another", [task() for _ in range(TASKS)])
    with measured("threads under one GIL"):
        check("threads under one GIL", share(TASKS, WORKERS * THREADS))
    with measured("processes"):
        check("processes", in_processes(threads=1))
    with measured("threads in processes"):
        check("threads in processes", in_processes(threads=THREADS))


def task():
    time.sleep(IO)  # gives the lock up, as a socket that waits for its answer does
    return sum(i * i for i in range(SQUARES)), os.getpid()


def share(tasks, threads):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda _: task(), range(tasks)))


def in_processes(threads):
    barrier = multiprocessing.Barrier(WORKERS)
    with ProcessPoolExecutor(WORKERS, initializer=keep, initargs=(barrier,)) as pool:
        futures = [pool.submit(meet_and_share, threads) for _ in range(WORKERS)]
        return [answer for future in futures for answer in future.result()]


def keep(barrier):
    global everyone
    everyone = barrier


def meet_and_share(threads):
    everyone.wait()  # else a quick worker could take two shares, and another none
    return share(TASKS // WORKERS, threads)


def check(way, answers):
    known = (SQUARES - 1) * SQUARES * (2 * SQUARES - 1) // 6
    right = sum(answer == known for answer, _ in answers)
    processes = len({process for _, process in answers})
    print(f"   {way:21}  processes: {processes}, right: {right} of {TASKS}")


class measured:
    def __init__(self, label):
        self.label = label

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        took = time.perf_counter() - self.start
        print(f"   {self.label}: {took:.3f} s", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
