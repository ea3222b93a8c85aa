"""Six faults against three ways to run four tasks: who goes on, and what is reported.

python3 lessons/python/08_isolation.py [--quick]
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import counterpart

TIME_OUT = 0.1 if counterpart.quick() else 1.0
OTHERS = 3


def main():
    print(f"Of {OTHERS} others so many go on; and what is reported of the one.")
    print_row("", [model.__name__ for model in MODELS])
    for fault in FAULTS:
        start = time.perf_counter()
        print_row(fault, [model(fault) for model in MODELS])
        print(f"   took {time.perf_counter() - start:.2f} s", file=sys.stderr)


def print_row(fault, cells):
    print(f"   {fault:14}" + "".join(f"{cell:21}" for cell in cells).rstrip())


def threads(fault):
    """In a process made for it, which may die."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=threads_here, args=(fault, theirs))
    process.start()
    theirs.close()  # else the death of the process is no end of file
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return f"0, {ended(process)}"


def threads_here(fault, parent):
    keep_quiet()
    gates = [threading.Semaphore(0) for _ in range(3)]
    with ThreadPoolExecutor(1 + OTHERS, initializer=enter, initargs=(gates,)) as pool:
        parent.send(watched(pool, fault, *gates))
        os._exit(0)  # the end of `with` would wait for a thread that loops


def processes(fault):
    gates = [multiprocessing.Semaphore(0) for _ in range(3)]
    kinds = [fault] + [None] * OTHERS
    started = [multiprocessing.Process(target=alone, args=(kind, gates)) for kind in kinds]
    for process in started:
        process.start()
    let_the_fault_come(*gates[:2])
    started[0].join(time_out(fault))
    report = "killed" if started[0].is_alive() else ended(started[0])
    started[0].kill()
    let_the_others_go_on(gates[2])
    for process in started:
        process.join()
    return f"{sum(process.exitcode == 0 for process in started)}, {report}"


def alone(fault, gates):
    keep_quiet()
    enter(gates)
    task(fault)


def executor(fault):
    gates = [multiprocessing.Semaphore(0) for _ in range(3)]
    with ProcessPoolExecutor(1 + OTHERS, initializer=enter, initargs=(gates,)) as pool:
        report = watched(pool, fault, *gates)
        for process in multiprocessing.active_children():
            process.kill()  # the end of `with` would wait for a process that loops
    return report


def watched(pool, fault, here, turn, go_on):
    faulty, *others = [pool.submit(task, kind) for kind in [fault] + [None] * OTHERS]
    let_the_fault_come(here, turn)
    try:
        error = faulty.exception(time_out(fault))
    except Exception as timed_out:
        error = timed_out
    let_the_others_go_on(go_on)
    done = sum(other.exception() is None for other in others)
    return f"{done}, {type(error).__name__}"


def let_the_fault_come(here, turn):
    for _ in range(1 + OTHERS):
        here.acquire()  # all have begun
    turn.release()


def let_the_others_go_on(go_on):
    for _ in range(OTHERS):
        go_on.release()


def enter(all_gates):
    global gates
    gates = all_gates


def task(fault):
    here, turn, go_on = gates
    here.release()
    if fault:
        turn.acquire()
        FAULTS[fault]()
    go_on.acquire()
    return sum(range(1000))


def exception():
    raise ValueError("no seat for task 1")


def recursion():
    recursion()


def memory():
    bytearray(1 << 62)  # more than any machine has


def kill():
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def loop():
    while True:
        pass


def time_out(fault):
    return TIME_OUT if fault == "endless loop" else None


def ended(process):
    code = process.exitcode
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def keep_quiet():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


MODELS = [threads, processes, executor]
FAULTS = {
    "exception": exception,
    "recursion": recursion,
    "memory": memory,
    "abort": os.abort,
    "kill": kill,
    "endless loop": loop,
}

if __name__ == "__main__":
    counterpart.run(main)
