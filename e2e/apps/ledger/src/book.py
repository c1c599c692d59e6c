"""The book: an append-only file of entries behind a line protocol. It greets, then answers each line:

    PING               +pong
    ADD NAME AMOUNT    +N entries
    SUM NAME           +AMOUNT
    MIGRATE VERSION    +schema VERSION (again and again the same)
"""
import fcntl
import os
import re
import signal
import socketserver
import sys
import threading

MAX_LINE = 512


class Book:
    """The file is locked: a second process on it is a fault, and says so."""

    def __init__(self, path):
        self.file = open(path, "a+", encoding="utf-8")
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.lock = threading.Lock()
        self.sums, self.entries, self.schema = {}, 0, 1
        self.file.seek(0)
        for line in self.file:
            self.apply(line.split())

    def apply(self, words):
        if words[:1] == ["schema"]:
            self.schema = int(words[1])
        elif len(words) == 3 and words[0] == "add":
            self.sums[words[1]] = self.sums.get(words[1], 0) + int(words[2])
            self.entries += 1

    def append(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.apply(line.split())

    def answer(self, line):
        with self.lock:
            if line == "PING":
                return "+pong"
            if match := re.fullmatch(r"ADD (\w{1,40}) (-?\d{1,12})", line):
                self.append(f"add {match[1]} {match[2]}")
                return f"+{self.entries} entries"
            if match := re.fullmatch(r"SUM (\w{1,40})", line):
                return f"+{self.sums.get(match[1], 0)}"
            if match := re.fullmatch(r"MIGRATE (\d{1,4})", line):
                if int(match[1]) > self.schema:
                    self.append(f"schema {match[1]}")
                return f"+schema {self.schema}"
            return "-expected PING, ADD, SUM or MIGRATE"


class Line(socketserver.StreamRequestHandler):
    timeout = 60

    def handle(self):
        self.wfile.write(f"book {self.server.book.schema}\n".encode())
        while line := self.rfile.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                return
            self.wfile.write((self.server.book.answer(line.decode(errors="replace").strip()) + "\n").encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main():
    path = sys.argv[1]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with Server(("", int(sys.argv[2]) if len(sys.argv) > 2 else 7070), Line) as server:
        server.book = Book(path)
        print("book open,", server.book.entries, "entries")
        server.serve_forever()


if __name__ == "__main__":
    main()
