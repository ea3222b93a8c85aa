"""One lock, many threads: two that compute, two in native code, one that waits.

python3 lessons/python/02_gil.py [--quick]
"""

import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import counterpart

QUICK = counterpart.quick()
SQUARES = 400_000 if QUICK else 20_000_000
ITERATIONS = 100_000 if QUICK else 4_000_000
DELAY = 0.1 if QUICK else 1.6
TEXT = b"This page took its time. It says the same to everyone who asks.\n"


def main():
    twice_in_a_row()
    two_threads_under_one_gil()
    two_threads_in_native_code()
    one_computes_and_one_waits()


def twice_in_a_row():
    print("1. The CPU task, twice in a row.")
    with measured("twice in a row"):
        sums = [cpu_task(SQUARES), cpu_task(SQUARES)]
    print("  ", *sums)


def two_threads_under_one_gil():
    print("2. The same in two threads.")
    with measured("in two threads"), ThreadPoolExecutor(2) as pool:
        sums = list(pool.map(cpu_task, [SQUARES, SQUARES]))
    print("  ", *sums)
    print("   a thread asks for the lock after", sys.getswitchinterval(), "s")


def two_threads_in_native_code():
    print("3. Native code, which gives the lock up.")
    with measured("twice in a row"):
        expected = [native_task(ITERATIONS), native_task(ITERATIONS)]
    with measured("in two threads"), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(native_task, [ITERATIONS, ITERATIONS])) == expected
    print("   both threads hash to", expected[0][:16])


def one_computes_and_one_waits():
    print("4. The CPU task and an I/O task.")
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with measured("one after another"):
        expected = cpu_task(SQUARES), io_task(server.server_port)
    with measured("in two threads"), ThreadPoolExecutor(2) as pool:
        cpu, io = pool.submit(cpu_task, SQUARES), pool.submit(io_task, server.server_port)
    assert (cpu.result(), io.result()) == expected
    print("   CPU:", cpu.result())
    print("   I/O: a text of", io.result(), "characters")
    server.shutdown()


def cpu_task(n):
    return sum(i * i for i in range(n))


def native_task(iterations):
    return hashlib.pbkdf2_hmac("sha256", b"word", b"salt", iterations).hex()


def io_task(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    return len(connection.getresponse().read().decode())


class SlowPage(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(DELAY)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TEXT)

    def log_message(self, *_):
        pass


@contextmanager
def measured(label):
    start = time.perf_counter()
    yield
    print(f"   {label}: {time.perf_counter() - start:.4f} s", file=sys.stderr)


if __name__ == "__main__":
    counterpart.run(main)
