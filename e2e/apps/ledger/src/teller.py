"""The teller: GET /NAME answers a balance, POST /NAME/AMOUNT books an amount, GET /up."""
import argparse
import os
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ask import ask

BOOK = os.environ.get("BOOK", "book:7070")


class Teller(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def say(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self):
        if self.path == "/up":
            return self.say(200, "up")
        if os.environ.get("BROKEN") == "1":
            return self.say(500, "broken")
        if self.path == "/":
            return self.say(200, os.environ.get("GREETING", "hello"))
        if self.command == "POST" and (match := re.fullmatch(r"/(\w{1,40})/(-?\d{1,12})", self.path)):
            return self.say(200, ask(BOOK, f"ADD {match[1]} {match[2]}"))
        if self.command == "GET" and (match := re.fullmatch(r"/(\w{1,40})", self.path)):
            return self.say(200, ask(BOOK, f"SUM {match[1]}"))
        return self.say(404, "no such thing")

    def answer_safely(self):
        try:
            self.answer()
        except OSError as error:
            print("teller:", error, file=sys.stderr)
            self.say(503, "the book does not answer")

    do_GET = do_POST = answer_safely

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9400)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("", parser.parse_args().port), Teller).serve_forever()
