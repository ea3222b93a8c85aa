"""Threads that answer requests: each waits, then adds up squares. And a stop that loses none.

python3 lessons/python/11_web_server.py [--quick]
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn

import counterpart

QUICK = counterpart.quick()
THREADS = [1, 2, 4, 8, 16, 32, 64]
EACH = 2 if QUICK else 10  # requests of a client
WAIT = 0.001 if QUICK else 0.005  # seconds
SQUARES = 500 if QUICK else 5_000  # some tenths of a millisecond


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.begins()
        time.sleep(WAIT)  # gives the lock up, as a socket of a database does
        answer = str(sum(i * i for i in range(int(self.path[1:])))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, TCPServer):
    """So many threads answer; a further connection waits until one of them is free."""

    request_queue_size = 128

    def __init__(self, threads, begins):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pool = ThreadPoolExecutor(threads)
        self.begins = begins
        self.loop = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.loop.start()

    def process_request(self, request, client_address):
        self.pool.submit(self.process_request_thread, request, client_address)

    def stop(self):
        self.shutdown()  # no more connections
        self.server_close()
        self.pool.shutdown()  # what was accepted is answered


def threads_answer(threads):
    server = Server(threads, begins=lambda: None)
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as clients:
        answers = list(clients.map(lambda _: ask_often(server), range(threads)))
    took = time.perf_counter() - start
    server.stop()
    times = sorted(seconds for client in answers for seconds, _ in client)
    right = sum(right for client in answers for _, right in client)
    print(f"   {threads:7}{right:7} of {len(times)}")
    p50, p99 = (f"{1000 * times[len(times) * p // 100]:.1f} ms" for p in (50, 99))
    print(f"   {len(times) / took:.0f} requests/s, p50 {p50}, p99 {p99}", file=sys.stderr)


def ask_often(server):
    return [ask(server) for _ in range(EACH)]


def ask(server):
    start = time.perf_counter()
    client = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    client.request("GET", f"/{SQUARES}")
    answer = int(client.getresponse().read())
    client.close()
    known = (SQUARES - 1) * SQUARES * (2 * SQUARES - 1) // 6
    return time.perf_counter() - start, answer == known


def a_server_stops_gracefully(threads):
    under_way = threading.Semaphore(0)
    gate = threading.Event()

    def begins():
        under_way.release()
        gate.wait(60)

    server = Server(threads, begins)
    with ThreadPoolExecutor(threads) as clients:
        answers = [clients.submit(ask, server) for _ in range(threads)]
        for _ in range(threads):
            under_way.acquire()
        server.shutdown()  # answers are still held
        gate.set()
        server.stop()
        right = sum(answer.result()[1] for answer in answers)
        print(f"   under way: {threads}, right: {right}, lost: {threads - right}")


def main():
    print("1. Threads answer. As many clients as threads ask.")
    print("   threads  right")
    for threads in THREADS:
        threads_answer(threads)
    print("2. A server of 8 threads is told to stop.")
    a_server_stops_gracefully(8)


if __name__ == "__main__":
    counterpart.run(main)
