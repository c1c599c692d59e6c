"""Redis' protocol, RESP2, over a plain socket: as much of it as the cart needs."""
import socket


class RedisError(Exception):
    pass


def encode(*words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(out)


def decode(stream):
    """Reads one reply from a binary file object."""
    line = stream.readline(64 * 1024)
    if not line.endswith(b"\r\n"):
        raise ConnectionError("redis closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RedisError(rest.decode(errors="replace"))
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        if size < 0:
            return None
        data = stream.read(size + 2)
        if len(data) != size + 2:
            raise ConnectionError("redis closed the connection")
        return data[:-2]
    if kind == b"*":
        return None if int(rest) < 0 else [decode(stream) for _ in range(int(rest))]
    raise ConnectionError("redis answered %r" % line[:20])


class Redis:
    """One connection, for one thread. A broken one is opened anew, once per call: redis may have been restarted."""

    def __init__(self, address, timeout=2.0):
        host, _, port = address.partition(":")
        self.address = (host, int(port or 6379))
        self.timeout = timeout
        self.stream = None

    def close(self):
        if self.stream:
            self.stream.close()
        self.stream = None

    def call(self, *words):
        for last in (False, True):
            try:
                if self.stream is None:
                    with socket.create_connection(self.address, self.timeout) as sock:
                        self.stream = sock.makefile("rwb")
                self.stream.write(encode(*words))
                self.stream.flush()
                return decode(self.stream)
            except (OSError, ConnectionError):
                self.close()
                if last:
                    raise
        return None
