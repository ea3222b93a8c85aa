"""An interface that draws 60 frames a second, and long work beside it, in six designs.

python3 lessons/python/10_responsiveness.py [--quick]
"""

import hashlib
import multiprocessing
import queue
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import counterpart

QUICK = counterpart.quick()
SQUARES = 400_000 if QUICK else 20_000_000  # a second or two, as the next two
NUMBERS = 2_000_000 if QUICK else 100_000_000
ITERATIONS = 50_000 if QUICK else 2_000_000
AROUND = 3 if QUICK else 30  # frames before the work and behind its answer
PERIOD = 1 / 60
DRAW = 0.002
SLICE = 20_000  # squares: less than the time that is kept free for them
SLICE_TIME = 0.004


def main():
    print("60 frames a second, and work beside them.")
    show("in the loop", lambda loop: squares(0, SQUARES))
    show("a thread", in_a_thread(lambda: squares(0, SQUARES)))
    show("native, keeps the lock", in_a_thread(lambda: sum(range(NUMBERS))))
    show("native, gives it up", in_a_thread(native))
    show("a process", in_a_thread(in_a_process))
    show("in the loop, in slices", in_slices)


class EventLoop:
    def __init__(self):
        self.start = time.monotonic()
        self.frames = []
        self.answers = queue.Queue()

    def until_next(self):
        return PERIOD - (time.monotonic() - self.start) % PERIOD

    def draw(self):
        begun = time.monotonic()
        self.frames.append(begun)
        while time.monotonic() < begun + DRAW:
            pass

    def frames_only(self, frames):
        for _ in range(frames):
            time.sleep(self.until_next())
            self.draw()

    def frames_until_answer(self):
        while True:
            try:
                return self.answers.get(timeout=self.until_next())
            except queue.Empty:
                self.draw()


def in_a_thread(work):
    def design(loop):
        threading.Thread(target=lambda: loop.answers.put(work())).start()
        return loop.frames_until_answer()

    return design


def in_a_process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(squares, 0, SQUARES).result()


def in_slices(loop):
    total = 0
    next_frame = time.monotonic() + loop.until_next()
    for start in range(0, SQUARES, SLICE):
        total += squares(start, min(start + SLICE, SQUARES))
        if time.monotonic() + SLICE_TIME > next_frame:
            loop.frames_only(1)
            next_frame = time.monotonic() + loop.until_next()
    return total


def squares(start, end):
    return sum(i * i for i in range(start, end))


def native():
    return hashlib.pbkdf2_hmac("sha256", b"word", b"salt", ITERATIONS).hex()[:16]


def show(name, design):
    loop = EventLoop()
    loop.frames_only(AROUND)
    answer = design(loop)
    meanwhile = len(loop.frames) - AROUND
    loop.frames_only(AROUND)
    gaps = sorted(b - a for a, b in zip(loop.frames, loop.frames[1:]))
    print(f"   {name:22}  {answer}")
    p99, worst = gaps[(len(gaps) * 99 + 99) // 100 - 1] * 1000, gaps[-1] * 1000
    told = f"frames meanwhile: {meanwhile}, gap p99 {p99:.1f} ms, worst {worst:.1f} ms"
    print(f"   {name:22}  {told}", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
