"""The road of a change: git push, build, canary, verdict, back; with an application of three services that is no shop."""
import unittest

import naru


class Road(naru.Case):
    """The tests follow one application through its releases, in the order of their names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port, cls.book_port = naru.free_port(), naru.free_port()
        try:
            cls.app = naru.App.copy(cls.platform, naru.ROOT / "e2e/apps/ledger", "ledger",
                                    [('"9400:9400"', f'"{cls.port}:9400"'), ('"7070:7070/tcp"', f'"{cls.book_port}:7070/tcp"')])
            cls.pushed = cls.app.push()
            cls.status = cls.app.wait_live(1)
        except BaseException:
            print(cls.platform.logs_text())
            cls.platform.destroy(check=False)
            raise

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def test_01_a_push_streams_its_progress_and_ends_with_a_release_and_its_addresses(self):
        self.assert_says(self.pushed.stdout, r"remote: .*python3", r"remote: release v1 of ledger is made", rf"remote: .*localhost:{self.port}")

    def test_02_the_release_answers_on_its_host_port(self):
        status, _, body = naru.fetch(self.url)
        self.assertEqual((status, body), (200, b"hello\n"))
        name = f"http://teller.production.ledger.localhost:{self.platform.gateway_port}/"
        self.assertEqual(naru.fetch(name)[2], b"hello\n")

    def test_03_a_tcp_service_that_speaks_first_answers_through_the_gateway(self):
        self.assertEqual(naru.tcp_lines(self.book_port, "PING", "ADD anna 5", "SUM anna"), ["book 2", "+pong", "+1 entries", "+5"])
        status, _, body = naru.fetch(self.url + "anna/3", "POST")
        self.assertEqual((status, body), (200, b"+2 entries\n"))


if __name__ == "__main__":
    unittest.main()
