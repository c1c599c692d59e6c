import io
import unittest

import cart
import resp


class Resp(unittest.TestCase):
    def test_writes_commands_as_arrays_of_bulk_strings(self):
        self.assertEqual(resp.encode("SET", "k", 1), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n")

    def test_reads_every_kind_of_reply(self):
        self.assertEqual(resp.decode(io.BytesIO(b"*4\r\n+OK\r\n:7\r\n$3\r\na\r\n\r\n$-1\r\n")), [b"OK", 7, b"a\r\n", None])

    def test_raises_on_errors_and_on_a_cut_reply(self):
        with self.assertRaises(resp.RedisError):
            resp.decode(io.BytesIO(b"-ERR no\r\n"))
        for cut in (b"", b"$5\r\nab", b"+OK", b"!x\r\n"):
            with self.assertRaises(ConnectionError):
                resp.decode(io.BytesIO(cut))


class Items(unittest.TestCase):
    def test_reads_an_item(self):
        self.assertEqual(cart.parse_item(b'{"product": 3}'), (3, 1))

    def test_refuses_garbage(self):
        for body in (b"", b"[]", b"{}", b'{"product": "3"}', b'{"product": true}', b'{"product": 3, "quantity": 0}', b'{"product": 3, "quantity": 1000}'):
            with self.assertRaises(ValueError):
                cart.parse_item(body)

    def test_leaves_out_what_is_not_there_any_more(self):
        self.assertEqual(cart.items_of([b"3", b"2", b"4", b"0"]), {"3": 2})

    def test_carries_baggage_and_trace(self):
        headers = {"baggage": "a=b", "traceparent": "00-1", "cookie": "secret"}
        self.assertEqual(cart.carried(headers), {"baggage": "a=b", "traceparent": "00-1"})


if __name__ == "__main__":
    unittest.main()
