"""What the lock of this Python costs, and who waits for it how long: the scenarios of `just compare`.

python3 lessons/python/scenarios.py [about] [SCENARIO ...]

Prints a JSON object per scenario: its series of samples by name, times in seconds. The loops are
those of crates/compare/src/live.rs, statement by statement, so that the figures compare.
"""

import hashlib
import json
import os
import platform
import sys
import threading
from functools import partial
from itertools import groupby
from operator import itemgetter
from time import perf_counter, sleep

INTERVALS = {"0.5 ms": 0.0005, "5 ms": 0.005, "50 ms": 0.05}
# How long to watch at each interval.
WINDOWS = {"0.5 ms": 0.3, "5 ms": 0.6, "50 ms": 1.0}

# A task that computes takes about so long here, one that waits WAITS times WAIT.
TASK = 0.15
WAITS, WAIT = 4, 0.06

BUFFER = bytes(1 << 20)

# Of different lengths, so that they do not keep step with the turns of others.
NAPS = (0.007, 0.010, 0.013, 0.016)
# A loop that looks at the clock all the time and misses so much of it was interrupted.
GAP = 0.00005

# A call without a check point inside; to add them up takes about 0.2 ms.
NUMBERS = range(15_000)

COUNTING_THREADS = 4
INCREMENTS = 500_000


def main():
    for name in sys.argv[1:] or SCENARIOS:
        if name == "about":
            print(json.dumps(about()))
        elif name in SCENARIOS:
            print(json.dumps({"scenario": name, "series": SCENARIOS[name]()}), flush=True)
        else:
            sys.exit(f"no scenario {name!r}: there are about, {', '.join(SCENARIOS)}")


def about():
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    version = platform.python_version() + ("" if gil else "t")
    return {
        "name": f"{platform.python_implementation()} {version}",
        "version": sys.version_info[:2],
        "executable": os.path.realpath(sys.executable),
    }


def cpu_cpu():
    task = sized(cpu_task, 200_000)
    return in_a_row_and_in_threads(task, task)


def cpu_io():
    return in_a_row_and_in_threads(io_task, sized(cpu_task, 200_000))


def native():
    task = sized(native_task, 10)
    return in_a_row_and_in_threads(task, task)


def cpu_task(n):
    return sum(i * i for i in range(n))


def native_task(n):
    for _ in range(n):
        hashlib.sha256(BUFFER)


def io_task():
    for _ in range(WAITS):
        sleep(WAIT)


def sized(task, n):
    """The task with as many rounds as take TASK seconds here."""
    quickest = min(timed(partial(task, n)) for _ in range(3))
    return partial(task, round(n * TASK / quickest))


def in_a_row_and_in_threads(*tasks):
    each = [timed(task) for task in tasks]
    threads = [threading.Thread(target=task) for task in tasks]
    together = timed(partial(start_and_join, threads))
    return {
        "in a row": [sum(each)],
        "in threads": [together],
        "ratio": [together / sum(each)],
        "beyond the longer": [together - max(each)],
    }


def turns():
    return {name: turns_at(name) for name in INTERVALS}


def turns_at(interval):
    end = perf_counter() + WINDOWS[interval]
    starts = []
    at_once(interval, [partial(watch_the_clock, me, end, starts) for me in range(2)])
    # Interrupted, but not by the other one: still the same turn.
    begun = [next(turn)[0] for _, turn in groupby(sorted(starts), key=itemgetter(1))]
    # The first turn began before the other thread was there.
    return [after - start for start, after in zip(begun[1:], begun[2:])]


def watch_the_clock(me, end, starts):
    """Notes when it begins to run, and when it goes on behind a gap."""
    last = perf_counter()
    starts.append((last, me))
    while last < end:
        now = perf_counter()
        if now - last > GAP and now < end:
            starts.append((now, me))
        last = now


def wake_ups():
    return {
        f"{cpu_threads} at {interval}": wake_ups_beside(cpu_threads, interval)
        for cpu_threads in (0, 1, 2, 4)
        for interval in INTERVALS
    }


def check_points():
    return {
        f"{cpu_threads}, {name}": wake_ups_beside(cpu_threads, "5 ms", name == "apart")
        for cpu_threads in (2, 4)
        for name in ("close", "apart")
    }


def wake_ups_beside(cpu_threads, interval, apart=False):
    latencies, done = [], []

    def nap_and_wake():
        end = perf_counter() + WINDOWS[interval]
        while perf_counter() < end:
            nap = NAPS[len(latencies) % len(NAPS)]
            start = perf_counter()
            sleep(nap)
            latencies.append(perf_counter() - start - nap)
        done.append(True)

    def compute():
        while not done:
            pass

    def compute_in_calls():
        while not done:
            sum(NUMBERS)

    at_once(interval, [nap_and_wake] + cpu_threads * [compute_in_calls if apart else compute])
    return latencies


def lost_updates():
    return {"counter += 1": lost_by(count), "with a call": lost_by(count_with_a_call)}


def lost_by(program):
    """The fraction of all increments that is missing in the end."""
    global counter
    counter = 0
    at_once("0.5 ms", COUNTING_THREADS * [program])
    return [1 - counter / (COUNTING_THREADS * INCREMENTS)]


def count():
    global counter
    for _ in range(INCREMENTS):
        counter += 1


def count_with_a_call():
    global counter
    for _ in range(INCREMENTS):
        counter = same(counter) + 1


def same(value):
    return value


def at_once(interval, tasks):
    """Runs each task in a thread of its own, all let go at once."""
    gate = threading.Event()

    def behind_the_gate(task):
        gate.wait()
        task()

    threads = [threading.Thread(target=behind_the_gate, args=[task]) for task in tasks]
    for thread in threads:
        thread.start()
    sys.setswitchinterval(INTERVALS[interval])
    gate.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(INTERVALS["5 ms"])


def start_and_join(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def timed(task):
    start = perf_counter()
    task()
    return perf_counter() - start


SCENARIOS = {
    "cpu-cpu": cpu_cpu,
    "cpu-io": cpu_io,
    "native": native,
    "turns": turns,
    "wake-ups": wake_ups,
    "check-points": check_points,
    "lost-updates": lost_updates,
}

if __name__ == "__main__":
    main()
