"""`naru exec`: a terminal that follows its window, and programs that keep nobody else waiting."""
import fcntl
import os
import pty
import struct
import subprocess
import termios
import time
import unittest

import naru
import small


class Window:
    """A person's terminal with one program in it."""

    def __init__(self, argv, env, rows, columns):
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.said = ""
        self.process = subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        os.set_blocking(self.ours, False)

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_says(self, text):
        def says():
            try:
                self.said += os.read(self.ours, 4096).decode()
            except (BlockingIOError, OSError):
                pass
            return text in self.said
        naru.wait_until(says, f"{text!r} in the terminal")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)


class Exec(naru.Case):
    @classmethod
    def prepare(cls):
        cls.app = naru.App(cls.platform, "shop", small.web_only(naru.free_port()))
        cls.app.push()
        cls.app.wait_live(1)

    def argv(self, *words):
        return [naru.NARU, "exec", *words]

    def test_a_terminal_has_the_size_of_its_window_and_follows_it(self):
        window = Window(self.argv("-it", "shop/web", "--", "sh", "-c", "trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.05; done"),
                        self.platform.env, 31, 107)
        self.addCleanup(window.close)
        window.wait_says("31 107")
        window.resize(42, 133)
        window.wait_says("42 133")
        self.assertEqual(window.process.wait(60), 7)

    def test_many_programs_at_once_leave_threads_for_everybody_else(self):
        # Their output is closed: what is waited for is their end.
        running = [subprocess.Popen(self.argv("shop/web", "--", "sh", "-c", "exec >&- 2>&-; sleep 600"), env=self.platform.env, stdin=subprocess.DEVNULL) for _ in range(12)]
        try:
            count = ("exec", "shop/web", "--", "sh", "-c", "grep -lx sleep /proc/[0-9]*/comm | wc -l")
            naru.wait_until(lambda: self.platform.naru(*count).stdout.strip() == "12", "they run")
            begun = time.monotonic()
            for _ in range(5):  # each needs a thread
                self.platform.api("GET", "/v1/images")
            self.assertLess(time.monotonic() - begun, 300, "the programs sleep for 600 s")
            self.assertTrue(all(program.poll() is None for program in running))
        finally:
            for program in running:
                program.kill()
                program.wait()


if __name__ == "__main__":
    unittest.main()
