"""One question to the book: ask.py HOST:PORT QUESTION. The book speaks first."""
import socket
import sys


def ask(address, question, timeout=5.0):
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout) as sock, sock.makefile("rw", newline="\n") as stream:
        if not stream.readline().startswith("book "):
            raise ConnectionError("this is no book")
        stream.write(question + "\n")
        stream.flush()
        answer = stream.readline()
        if not answer.endswith("\n"):
            raise ConnectionError("the book closed the connection")
        return answer.rstrip("\n")


if __name__ == "__main__":
    try:
        reply = ask(sys.argv[1], sys.argv[2])
    except OSError as error:
        sys.exit(f"ask: {error}")
    print(reply)
    sys.exit(0 if reply.startswith("+") else 1)
