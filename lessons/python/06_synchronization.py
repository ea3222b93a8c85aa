"""A race that loses updates in every run, its cures, and a deadlock that is found.

python3 lessons/python/06_synchronization.py [--quick]
"""

import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import counterpart

QUICK = counterpart.quick()
ROUNDS = 100 if QUICK else 1_000
THREADS = 4
PERMITS = 2
PATIENCE = 0.05 if QUICK else 0.1


def a_race():
    print("1. Two threads count: both read, meet, and write.")
    counter = 0
    meeting = threading.Barrier(2)

    def count(_):
        nonlocal counter
        for _ in range(ROUNDS):
            seen = counter
            meeting.wait()  # both have read
            counter = seen + 1
            meeting.wait()  # both have written

    in_threads(2, count)
    print("   counter", counter, "lost", 2 * ROUNDS - counter)


def a_lock():
    print("2. The same with a lock.")
    counter = 0
    lock, meeting = threading.Lock(), threading.Barrier(2)

    def count(_):
        nonlocal counter
        for _ in range(ROUNDS):
            if lock.acquire(blocking=False):
                seen = counter
                meeting.wait()
                counter = seen + 1
                lock.release()
            else:
                meeting.wait()
                with lock:
                    counter += 1
            meeting.wait()

    in_threads(2, count)
    print("   counter", counter, "lost", 2 * ROUNDS - counter)
    print("   a Lock twice in one thread:", twice(threading.Lock()))
    print("   an RLock twice in one thread:", twice(threading.RLock()))


def a_queue():
    print("3. The same with a queue and one owner.")
    additions = queue.Queue()
    in_threads(2, lambda _: [additions.put(1) for _ in range(ROUNDS)])
    print("   counter", sum(additions.get() for _ in range(2 * ROUNDS)))


def order():
    print("4.", THREADS, "threads: semaphore, event, barrier, condition.")
    permits, full = threading.Semaphore(PERMITS), threading.Barrier(PERMITS)
    inside, peaks = [], []

    def enter(me):
        with permits:
            inside.append(me)
            full.wait()  # nobody leaves before it is full
            peaks.append(len(inside))
            full.wait()
            inside.remove(me)

    in_threads(THREADS, enter)
    print("   inside at once:", max(peaks))

    event, passed = threading.Event(), []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(THREADS):
            pool.submit(lambda: event.wait() and passed.append(1))
        print("   passed before the event:", len(passed))
        event.set()
    print("   passed behind it:", len(passed))

    barrier, come = threading.Barrier(THREADS), []
    seen = in_threads(THREADS, lambda me: (come.append(me), barrier.wait(), len(come))[-1])
    print("   behind the barrier each sees", min(seen))

    changed, went = threading.Condition(), []

    def go(me):
        with changed:
            changed.wait_for(lambda: len(went) == THREADS - 1 - me)
            went.append(me + 1)
            changed.notify_all()

    in_threads(THREADS, go)
    print("   they went", *went)


def a_deadlock():
    print("5. A and B lock one each, meet, and want the other's.")
    locks, meeting = [threading.Lock(), threading.Lock()], threading.Barrier(2)

    def own_first(me):
        with locks[me]:
            meeting.wait()
            got = locks[1 - me].acquire(timeout=PATIENCE)
            meeting.wait()  # nobody lets go before both have given up
        return "got both" if got else f"has lock {me + 1}, wants lock {2 - me}"

    start = time.perf_counter()
    print("   own first: A {}; B {}".format(*in_threads(2, own_first)))
    print(f"   both gave up after {time.perf_counter() - start:.4f} s", file=sys.stderr)

    def lower_first(_):
        with locks[0], locks[1]:
            return "got both"

    print("   lower first: A {}; B {}".format(*in_threads(2, lower_first)))


def twice(lock):
    with lock:
        second = lock.acquire(blocking=False)
        if second:
            lock.release()
        return second


def in_threads(n, work):
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, range(n)))


def main():
    a_race()
    a_lock()
    a_queue()
    order()
    a_deadlock()


if __name__ == "__main__":
    counterpart.run(main)
