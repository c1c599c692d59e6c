"""`./dev demo` from beginning to end, with the shop of examples/: only with --long, since it takes minutes and fixed ports."""
import re
import subprocess
import unittest

import naru

kPatience = 1800


def demo(*arguments):
    return subprocess.run([naru.ROOT / "dev", "demo", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=kPatience)


@unittest.skipUnless(naru.LONG, "takes minutes, and the ports 7433, 8080 and 8000: only with --long")
class Demo(unittest.TestCase):
    def test_a_good_release_goes_out_and_a_bad_one_comes_back(self):
        self.addCleanup(demo, "--stop")
        done = demo()
        self.assertEqual(done.returncode, 0, done.stdout[-20_000:])
        measured = done.stdout[done.stdout.index("▸ Measured"):]
        ends = re.findall(r"^  (First|Good|Bad): .*: (\S+) after [\d.]+ s; (\d+) requests, (\d+) failed for their users$", measured, re.M)
        self.assertEqual([end[:2] for end in ends], [("First", "done"), ("Good", "done"), ("Bad", "rolled-back")], measured)
        self.assertGreater(int(ends[1][2]), 1000, "the good release's users")
        self.assertEqual(ends[1][3], "0", "a good release fails nobody")
        self.assertEqual(len(re.findall(r"^    push to live: (.* \d+ ms, ){2}.* \d+ ms$", measured, re.M)), 3, measured)
        self.assertRegex(measured, r"verdict: .*errors for \d+ of \d+ canary users")
        stopped = demo("--stop")
        self.assertEqual(stopped.returncode, 0, stopped.stdout)
        self.assertFalse((naru.ROOT / ".naru").exists())
