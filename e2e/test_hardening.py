"""What protects a running Naru from its containers: seen from outside, on the real processes."""

import os
import signal
import socket
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from naru import Case, Platform, wait_until


class Hardening(Case):
    def launcher(self):
        return self.platform.pids().get("launcher")

    def check_sealed(self, pid):
        exe = f"/proc/{pid}/exe"
        self.assertEqual(os.readlink(exe), "/memfd:naru (deleted)")
        # It names itself right after its start.
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "naru\n", "a process named naru")
        self.assertTrue(Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"naru\0launcher\0"))
        # The attack: hold the file, let the process end, write. It ends with the refusal of a sealed file.
        held = os.open(exe, os.O_PATH)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.launcher() not in (None, pid), "a new launcher")
        with self.assertRaises(OSError):
            writing = os.open(f"/proc/self/fd/{held}", os.O_WRONLY)
            try:
                os.pwrite(writing, b"evil", 0)
            finally:
                os.close(writing)
        os.close(held)

    def test_the_launcher_runs_from_a_copy_that_none_can_write(self):
        self.check_sealed(wait_until(self.launcher, "a launcher"))
        self.check_sealed(wait_until(self.launcher, "the restarted one"))
        self.platform.wait_answering()

    def test_the_other_half_of_localhost_is_taken_too(self):
        port = self.platform.port
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return  # no IPv6 here, and nobody can sit there
        with socket.socket(socket.AF_INET6) as evil, self.assertRaises(OSError):
            evil.bind(("::1", port))
        # Ours answers there: a token is asked for, as on the other half.
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://[::1]:{port}/v1/status", timeout=10)
        self.assertEqual(refused.exception.code, 401)

    def test_memory_runs_out_for_others_first(self):
        # Lowering wants CAP_SYS_RESOURCE; without it Naru runs on, and says so.
        allowed = subprocess.run(["sh", "-c", "echo -500 > /proc/self/oom_score_adj"], stderr=subprocess.DEVNULL).returncode == 0
        for name, pid in self.platform.pids().items():
            with self.subTest(name):
                self.assertEqual(Path(f"/proc/{pid}/oom_score_adj").read_text(), "-500\n" if allowed else "0\n")
        notice = "Naru's own processes are not protected"
        said = self.platform.naru("doctor", check=False)
        self.assertEqual(notice in said.stdout, not allowed, said.stdout)

    def test_down_all_leaves_nothing_though_the_launcher_died_just_before(self):
        platform = Platform().start(seed=False)
        try:
            # Dying at once again and again, it is started after ever longer pauses: `down` comes into one of them.
            for _ in range(6):
                pid = wait_until(lambda: platform.pids().get("launcher"), "a launcher")
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: platform.pids().get("launcher") != pid, "its end")
        finally:
            platform.destroy()  # fails over what is left


if __name__ == "__main__":
    unittest.main()
