"""Processes talk: a queue, a pipe, shared memory, a queue for each task of a pool; when it pays.

python3 lessons/python/04_ipc_queue.py [--quick]
"""

import multiprocessing
import queue
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import counterpart

QUICK = counterpart.quick()
MESSAGES = 100 if QUICK else 1_000
PRODUCERS, CONSUMERS, CAPACITY, WORKERS = 3, 2, 8, 4
NUMBERS = 100_000 if QUICK else 1_000_000
BELOW = 1_000_000 if QUICK else 100_000_000
LENGTHS = [100, 1_000, 10_000, 100_000] + ([] if QUICK else [1_000_000])
ADDITIONS, MOST_TASKS = 2_000_000, 200


def main():
    a_child_greets_through_a_queue()
    a_child_greets_through_a_pipe()
    every_message_arrives_once()
    processes_fill_one_memory()
    every_task_has_a_queue_of_its_own()
    a_pool_pays_for_long_tasks()


def a_child_greets_through_a_queue():
    greetings = multiprocessing.Queue()
    child = start(multiprocessing.Process, greet, greetings)
    child.join()  # only because the greeting is short: a long one would wait for its reader
    print("1. Through a queue:", greetings.get())


def a_child_greets_through_a_pipe():
    ours, theirs = multiprocessing.Pipe()
    child = start(multiprocessing.Process, greet_back, theirs)
    theirs.close()  # else the parent holds the child's end open, and never sees its end of file
    ours.send("parent")
    print("2. Through a pipe:", ours.recv())
    child.join()


def every_message_arrives_once():
    print("3. Producers:", PRODUCERS, "consumers:", CONSUMERS, "messages of each:", MESSAGES)
    in_workers("threads", queue.Queue, threading.Thread)
    in_workers("processes", multiprocessing.Queue, multiprocessing.Process)


def in_workers(name, Queue, Worker):
    begun = time.perf_counter()
    messages, taken = Queue(CAPACITY), Queue()
    producers = [start(Worker, produce, n, messages) for n in range(PRODUCERS)]
    consumers = [start(Worker, consume, messages, taken) for _ in range(CONSUMERS)]
    for producer in producers:
        producer.join()
    for _ in consumers:
        messages.put(None)  # a queue has no end: each consumer must be told
    received = sorted(sum((taken.get() for _ in consumers), []))
    for consumer in consumers:
        consumer.join()
    assert received == list(range(PRODUCERS * MESSAGES))
    print(f"   in {name}: {len(received)} received, sum {sum(received)}, each once")
    microseconds = (time.perf_counter() - begun) / len(received) * 1e6
    print(f"   {microseconds:.1f} us a message", file=sys.stderr)


def processes_fill_one_memory():
    memory = multiprocessing.Array("q", NUMBERS, lock=False)
    bounds = [NUMBERS * n // WORKERS for n in range(WORKERS + 1)]
    parts = zip(bounds, bounds[1:])
    fillers = [start(multiprocessing.Process, fill, memory, *part) for part in parts]
    for filler in fillers:
        filler.join()  # the memory does not say when it is full: the end of a process does
    print("4. In shared memory:", sum(memory))


def every_task_has_a_queue_of_its_own():
    print("5. A pool of", WORKERS, "processes. The answers come in order of submission.")
    with multiprocessing.Manager() as manager, multiprocessing.Pool(WORKERS) as pool:
        queues = [manager.Queue() for _ in range(WORKERS)]
        tasks = [pool.apply_async(report, (BELOW, answer)) for answer in queues]
        pool.close()
        pool.join()
        for task, answer in zip(tasks, queues):
            task.get()  # raises what the task raised
            print("  ", answer.get())


def a_pool_pays_for_long_tasks():
    print("6. Sums, computed here and in a pool of 2 processes:")
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(total, [0, 0]))  # the first tasks start the processes
        for below in LENGTHS:
            tasks = [below] * max(2, min(MOST_TASKS, ADDITIONS // below))
            begun = time.perf_counter()
            here = [total(n) for n in tasks]
            between = time.perf_counter()
            futures = [pool.submit(total, n) for n in tasks]
            assert [future.result() for future in futures] == here
            ended = time.perf_counter()
            print(f"   below {below}: {here[0]}")
            each, speed_up = (between - begun) / len(tasks), (between - begun) / (ended - between)
            print(f"   {each * 1e6:.0f} us a task, speed-up {speed_up:.2f}", file=sys.stderr)


def start(Worker, target, *args):
    worker = Worker(target=target, args=args)
    worker.start()
    return worker


def greet(parent):
    parent.put("hello from a child process")


def greet_back(parent):
    parent.send(f"hello {parent.recv()}, from a child process")


def produce(n, messages):
    for message in range(n * MESSAGES, (n + 1) * MESSAGES):
        messages.put(message)


def consume(messages, taken):
    taken.put(list(iter(messages.get, None)))


def fill(memory, start, stop):
    for place in range(start, stop):
        memory[place] = place


def report(n, answer):
    answer.put(total(n))


def total(n):
    total = 0
    for i in range(n):
        total += i
    return total


if __name__ == "__main__":
    counterpart.run(main)
