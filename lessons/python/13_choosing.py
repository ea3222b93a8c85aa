"""Which model for which work? Asked the way one asks in Python: by trying all three.

python3 lessons/python/13_choosing.py [--quick]
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import counterpart

QUICK = counterpart.quick()
WORKERS = 4
SCALE = 20 if QUICK else 1
# name: tasks, seconds of waiting, numbers to add up, bytes that go along
WORKLOADS = {
    "web server": (96, 0.005, 15_000, 0),
    "downloads": (32, 0.030, 6_000, 0),
    "image batch": (24, 0, 800_000, 1 << 20),
    "map-reduce": (16, 0.005, 1_000_000, 256 << 10),
    "simulation": (8, 0, 2_000_000, 0),
}


def main():
    for name, (tasks, wait, numbers, size) in WORKLOADS.items():
        numbers //= SCALE
        work = [(wait / SCALE, numbers, bytes(size))] * tasks
        took = {}
        for model in one_after_another, threads, processes:
            start = time.perf_counter()
            answers = model(work)
            took[model.__name__] = time.perf_counter() - start
            right = sum(answer == (numbers * (numbers - 1) // 2, size) for answer in answers)
            print(f"{name:12} {model.__name__:18} {right:3} of {tasks} right")
        ranking = sorted(took, key=took.get)
        times = ", ".join(f"{model} {took[model]:.3f} s" for model in ranking)
        print(f"{name}: {times}", file=sys.stderr)


def one_after_another(work):
    return [task(item) for item in work]


def threads(work):
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(task, work))


def processes(work):
    with ProcessPoolExecutor(WORKERS) as pool:
        return list(pool.map(task, work))


def task(item):
    wait, numbers, payload = item
    time.sleep(wait)
    return sum(range(numbers)), len(payload)


if __name__ == "__main__":
    counterpart.run(main)
