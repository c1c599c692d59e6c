"""`./dev demo` from beginning to end, with the shop of examples/, its host port 8000 and a folder and ports of its own."""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import naru

kPatience = 1800
kShopPort = 8000


def somebody_listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Demo(unittest.TestCase):
    def setUp(self):
        self.assertFalse(somebody_listens(kShopPort), f"port {kShopPort}, the shop's, is taken; a demo that runs ends with ./dev demo --stop")
        self.folder = Path(tempfile.mkdtemp(prefix="naru-e2e-demo-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if k not in ("NARU_URL", "NARU_TOKEN")} | {
            "PRESET": Path(naru.NARU).parent.name, "NARU_DEMO": str(self.folder / "demo"), "NARU_DATA": str(self.folder / "demo/demo"),
            "NARU_PORT": str(naru.free_port()), "NARU_GATEWAY_PORT": str(naru.free_port())}

    def demo(self, *arguments):
        return subprocess.run([naru.ROOT / "dev", "demo", *arguments], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=kPatience)

    def seed_base_image(self):
        """The demo makes one when there is none, which takes a minute: only with --long."""
        (self.folder / "demo").mkdir()
        (self.folder / "demo/.naru-demo").touch()
        naru.run([naru.NARU, "up", "--detach"], env=self.env)
        naru.run([naru.NARU, "image", "import", naru.BASE_TAR, "--reference", naru.BASE_IMAGE], env=self.env)

    def a_run(self, begins):
        done = self.demo()
        self.assertEqual(done.returncode, 0, done.stdout[-20_000:])
        measured = done.stdout[done.stdout.index("▸ Measured"):]
        ends = re.findall(r"^  (\w+): .*: (\S+) after [\d.]+ s; (\d+) requests, (\d+) failed for their users$", measured, re.M)
        self.assertEqual([end[:2] for end in ends], [(begins, "done"), ("Good", "done"), ("Bad", "rolled-back")], measured)
        self.assertGreater(int(ends[1][2]), 1000, "the good release's users")
        self.assertEqual(ends[1][3], "0", "a good release fails nobody")
        self.assertEqual(len(re.findall(r"^    push to live: (.* \d+ ms, ){2}.* \d+ ms$", measured, re.M)), 3, measured)
        self.assertRegex(measured, r"verdict: .*errors for \d+ of \d+ canary users")
        good = re.search(r"^  Good: .*\n(?:    .*\n)+", measured, re.M)[0]
        self.assertRegex(good, r"    errors, last step: \d+ of [1-9]\d* canary users, \d+ of [1-9]\d* stable users; "
                               r"odds ratio \S+ to \S+, at most \S+% of canary users \(95%\); M \S+, rolls back at [1-9]\d*")
        bad = re.search(r"^  Bad: .*\n(?:    .*\n)+", measured, re.M)[0]
        self.assertRegex(bad, r"verdict: .*errors start in catalog: [1-9]\d* of its \d+ inner requests on the canary failed, \d+ of \d+ on stable")

    def releases_that_are_bad_in_other_ways(self):
        """What examples/shop/README.md says to try, as it stands there; the demo itself takes the first two."""
        self.changes = dict((name, line) for line, name in re.findall(r"^    (sed -i 's/\^ARG (\w+)=[^']*' \S+)", (naru.ROOT / "examples/shop/README.md").read_text(), re.M))
        self.assertEqual(list(self.changes), ["RELEASE", "FAIL_PERCENT", "SLOW_MS", "CRASH_AT_START"])
        compose = self.folder / "demo/shop/compose.yaml"
        compose.write_text(compose.read_text().replace("warm_up: 2s", "warm_up: 2s\n    ready_deadline: 15s"))
        naru.run(["git", "commit", "-qam", "Good again, as the demo left it"], cwd=self.folder / "demo/shop")
        with naru.Traffic(f"http://127.0.0.1:{kShopPort}/", users=2000, rate=150) as traffic:
            crashed = self.end_of("CRASH_AT_START")
            self.assertRegex(crashed["reason"], r"\bcart\b.* exited with 1\b")
            self.assertEqual(crashed["steps"], [], "it meets nobody")
            said = naru.run([naru.NARU, "logs", "shop/cart"], env=self.env).stdout
            self.assertIn("cart: CRASH_AT_START is set, so this release dies here", said)
            slow = self.end_of("SLOW_MS")
            self.assertRegex(slow["reason"], r"\bslow answers, or none, for [1-9]\d* of \d+ canary users")
        self.assertGreater(traffic.report["requests"], 500)
        self.assertEqual(traffic.report["failed"], 0, "neither fails anybody")

    def end_of(self, change):
        """The rollout of a commit with this change alone, when it has ended: taken back."""
        repo, env = self.folder / "demo/shop", self.env | {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
        naru.run(["sh", "-c", self.changes[change]], cwd=repo)
        naru.run(["git", "commit", "-qam", change], cwd=repo)
        naru.run(["git", "push", "naru", "main"], cwd=repo, env=env, timeout=300)
        commit = naru.run(["git", "rev-parse", "HEAD"], cwd=repo).stdout.strip()
        def rollout():
            newest = json.loads(naru.run([naru.NARU, "rollout", "shop", "--json"], env=self.env).stdout)
            return newest if newest["commit"] == commit and newest["phase"] in ("done", "rolled-back") else None
        ended = naru.wait_until(rollout, f"the rollout of {change} ends", 120, 0.3)
        self.assertEqual(ended["phase"], "rolled-back", ended)
        naru.run(["git", "revert", "--no-commit", "HEAD"], cwd=repo)
        return ended

    def test_a_folder_that_is_somebody_elses_is_left_alone(self):
        (self.folder / "demo/shop").mkdir(parents=True)
        for words in ([], ["--stop"]):
            refused = self.demo(*words)
            self.assertEqual(refused.returncode, 1, refused.stdout)
            self.assertIn("name an empty folder in NARU_DEMO", refused.stdout)
        self.assertTrue((self.folder / "demo/shop").is_dir())

    def test_a_good_release_goes_out_and_a_bad_one_comes_back(self):
        self.addCleanup(self.demo, "--stop")
        if naru.BASE_TAR.exists() and not naru.LONG:
            self.seed_base_image()
        self.a_run("First")
        if naru.LONG:
            self.a_run("Again")
        self.releases_that_are_bad_in_other_ways()
        stopped = self.demo("--stop")
        self.assertEqual(stopped.returncode, 0, stopped.stdout)
        self.assertEqual(list(self.folder.iterdir()), [], "what was made is removed")
