"""Reference counts: what changes them, when an object is freed, what threads do to them.

python3 lessons/python/09_reference_counts.py [--quick]
"""

import sys
import threading
import time
import weakref
from contextlib import contextmanager

import counterpart

QUICK = counterpart.quick()
PAIRS = 100_000 if QUICK else 5_000_000
THREADS = 4


class Thing:
    """Not a number or a string: some of those live for ever, and their counts say nothing."""


def main():
    what_changes_a_count()
    the_last_reference_frees()
    threads_take_and_drop()


def what_changes_a_count():
    print("1. What each line does to the count of an object.")
    thing = Thing()
    first = sys.getrefcount(thing)
    other = thing
    print("   other = thing:", sys.getrefcount(thing) - first)
    things = [thing] * 10
    print("   things = [thing] * 10:", sys.getrefcount(thing) - first)
    del other
    print("   del other:", sys.getrefcount(thing) - first)
    things.clear()
    print("   things.clear():", sys.getrefcount(thing) - first)


def the_last_reference_frees():
    print("2. The object is freed where the last reference goes, not later.")
    thing = Thing()
    weakref.finalize(thing, print, "   freed")
    other = thing
    del thing
    print("   one reference is left")
    del other
    print("   none is left")


def threads_take_and_drop():
    print(f"3. {THREADS} threads take a reference and drop it, {PAIRS} times each.")
    thing = Thing()
    freed = []
    weakref.finalize(thing, freed.append, True)
    first = sys.getrefcount(thing)
    with measured("one thread, all of it"):
        take_and_drop(thing, THREADS * PAIRS)
    threads = [
        threading.Thread(target=take_and_drop, args=(thing, PAIRS)) for _ in range(THREADS)
    ]
    with measured(f"{THREADS} threads"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    del threads, thread
    print("   the count has changed by", sys.getrefcount(thing) - first)
    print("   freed:", len(freed), "times")
    del thing
    print("   the last one dropped; freed:", len(freed), "times")


def take_and_drop(thing, pairs):
    for _ in range(pairs):
        other = thing
        del other


@contextmanager
def measured(label):
    start = time.perf_counter()
    yield
    print(f"   {label}: {time.perf_counter() - start:.4f} s", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
