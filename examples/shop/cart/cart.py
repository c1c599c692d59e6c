"""The cart: GET /carts/ID, POST /carts/ID/items {"product": 3, "quantity": 1}, DELETE /carts/ID, GET /healthz.

State lives in redis, a hash per cart; a product is looked up in the catalog before it goes in.
"""
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from resp import Redis

FAIL_PERCENT = int(os.environ.get("FAIL_PERCENT") or 0)
SLOW_MS = int(os.environ.get("SLOW_MS") or 0)
MAX_BODY = 4096
MAX_QUANTITY = 99
KEPT_SECONDS = 7 * 24 * 3600
# What goes along with every inner call: who the user is to the gateway, and the trace.
CARRIED = ("baggage", "traceparent", "tracestate")

local = threading.local()


def redis():
    if not hasattr(local, "redis"):
        local.redis = Redis(os.environ.get("REDIS", "redis:6379"))
    return local.redis


def carried(headers):
    return {name: headers[name] for name in CARRIED if headers.get(name)}


def product_exists(number, headers):
    url = urlsplit(os.environ.get("CATALOG_URL", "http://catalog:8080"))
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=3)
    try:
        connection.request("GET", f"/products/{number}", headers=carried(headers))
        response = connection.getresponse()
        response.read()
        if response.status >= 500:
            raise ConnectionError("the catalog answered %d" % response.status)
        return response.status == 200
    finally:
        connection.close()


def parse_item(body):
    """(product, quantity) of a request's body; ValueError says what is wrong."""
    item = json.loads(body)
    if not isinstance(item, dict):
        raise ValueError("expected an object")
    product, quantity = item.get("product"), item.get("quantity", 1)
    if not isinstance(product, int) or isinstance(product, bool) or not 0 < product < 10000:
        raise ValueError("expected a product's number")
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not -MAX_QUANTITY <= quantity <= MAX_QUANTITY or quantity == 0:
        raise ValueError("expected a quantity from -%d to %d" % (MAX_QUANTITY, MAX_QUANTITY))
    return product, quantity


def items_of(reply):
    """What HGETALL answers, as {"product": quantity}."""
    pairs = zip(reply[0::2], reply[1::2])
    return {name.decode(): int(count) for name, count in pairs if int(count) > 0}


class Cart(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = -1  # one write for head and body

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Service", "cart")
        self.send_header("X-Release", os.environ.get("RELEASE", "?"))
        self.send_header("X-Instance", socket.gethostname())
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def body(self):
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 <= size <= MAX_BODY:
            self.close_connection = True
            raise ValueError("a body of at most %d bytes" % MAX_BODY)
        return self.rfile.read(size)

    def handle_one(self):
        if self.path == "/healthz":  # only this process: restarting it would not bring redis back
            return self.answer(200, {"ok": True})
        if SLOW_MS:
            time.sleep(SLOW_MS / 1000)
        if random.randrange(100) < FAIL_PERCENT:
            return self.answer(500, {"error": "the cart lost a wheel"})
        match = re.fullmatch(r"/carts/([A-Za-z0-9-]{8,64})(/items)?", self.path)
        if not match:
            return self.answer(404, {"error": "no such thing"})
        key = "cart:" + match[1]
        if self.command == "DELETE" and not match[2]:
            redis().call("DEL", key)
            return self.answer(200, {"items": {}})
        if self.command == "POST" and match[2]:
            product, quantity = parse_item(self.body())
            if not product_exists(product, self.headers):
                return self.answer(404, {"error": "no such product"})
            if redis().call("HINCRBY", key, product, quantity) <= 0:
                redis().call("HDEL", key, product)
            redis().call("EXPIRE", key, KEPT_SECONDS)
        elif self.command != "GET":
            return self.answer(405, {"error": "not this way"})
        return self.answer(200, {"items": items_of(redis().call("HGETALL", key))})

    def handle_safely(self):
        try:
            self.handle_one()
        except ValueError as error:
            self.answer(400, {"error": str(error)})
        except Exception as error:  # redis or the catalog is away
            print(f"cart: {self.command} {self.path}: {error}", file=sys.stderr)
            self.answer(503, {"error": "something the cart needs does not answer"})

    do_GET = do_POST = do_DELETE = handle_safely

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main():
    if os.environ.get("CRASH_AT_START") not in (None, "", "0"):
        sys.exit("cart: CRASH_AT_START is set, so this release dies here")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(("", int(os.environ.get("PORT") or 8080)), Cart)
    print("cart release", os.environ.get("RELEASE", "?"), "listens")
    server.serve_forever()


if __name__ == "__main__":
    main()
