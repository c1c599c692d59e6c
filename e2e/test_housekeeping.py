"""What is no longer needed goes: old releases with their images, layers, checkouts and logs; a removed application; and with
`naru down --all` everything that this platform has in the kernel."""
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import naru
import small

VOLUME = '    volumes: ["entries:/data"]\n'
AT_ONCE = "volumes: { entries: {} }\nx-naru:\n  rollout: { strategy: all-at-once, ready_deadline: 20s }\n"
NOTHING = {"links": [], "tables": [], "cgroups": [], "mounts": []}


class Housekeeping(naru.Case):
    """The tests follow one application, in the order of their names."""

    @classmethod
    def prepare(cls):
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "shop", small.web_only(cls.port, VOLUME, AT_ONCE))
        cls.app.push()
        cls.app.wait_live(1)

    def layers(self):
        return sorted(name for name in os.listdir(self.platform.data / "layers") if not name.startswith("."))

    def blobs(self):
        return sorted(os.listdir(self.platform.data / "images/blobs/sha256"))

    def release(self, version):
        self.app.edit("web/server.pl", "use strict; use warnings;", f"use strict; use warnings; # round {version}\n")
        self.app.commit(f"Round {version}")
        self.app.push()
        self.app.wait_live(version)

    def old(self, *folders):
        """As if nobody had asked for it for a day."""
        then = time.time() - 86400
        for folder in folders:
            for path in Path(folder).rglob("*"):
                os.utime(path, (then, then), follow_symlinks=False)

    def pass_the_timed_round(self):
        """Its own first round comes 35 s after control's start, and the next one 35 s after a release: what is counted here is
        not to be taken by it. A log that nobody needs any more tells when that round has been."""
        if self.platform.age("control") > 25:
            self.platform.kill("control")
            self.platform.wait_answering()
        nobodys = self.platform.data / "control/logs/gone-web-1.1.log"
        nobodys.write_text("2026-01-01T00:00:00.000Z stdout long ago\n")
        then = time.time() - 60 * 86400
        os.utime(nobodys, (then, then))
        log = self.platform.data / "log/control.log"
        naru.wait_until(lambda: not nobodys.exists() and "control.housekeeping" in log.read_text(errors="replace"), "the round has been", 120, 0.2)

    def test_01_prune_frees_what_old_releases_needed_and_says_before_what_it_would(self):
        for version in (2, 3, 4):
            self.release(version)
        self.pass_the_timed_round()
        self.old(self.platform.data / "images/blobs", self.platform.data / "control/cache", self.platform.data / "checkouts/shop")
        # The build cache is for the next build; without it nothing but the releases needs the old layers.
        naru.run(["find", self.platform.data / "control/cache", "-name", "*.json", "-exec", "touch", "-d", "60 days ago", "{}", "+"])
        before = (self.layers(), self.blobs())
        would = self.platform.naru_json("prune", "--keep", "2", "--dry-run")
        self.assertEqual((self.layers(), self.blobs()), before, "a dry run touches nothing")
        self.assertEqual((would["releases"], would["checkouts"]), (2, 2), would)
        text = self.platform.naru("prune", "--keep", "2").stdout
        self.assert_says(text, r"releases +2", r"unpacked layers +\d+", r"are freed")
        self.assertEqual([r["version"] for r in self.platform.api("GET", "/v1/apps/shop/releases")["releases"]], [4, 3])
        self.assertLess(len(self.layers()), len(before[0]))
        self.assertLess(len(self.blobs()), len(before[1]))
        self.assertEqual(len(os.listdir(self.platform.data / "checkouts/shop")), 2)
        self.assertEqual(len(list((self.platform.data / "control/pipelines").glob("*.log"))), 2)
        again = self.platform.naru_json("prune", "--keep", "2")
        self.assertEqual((again["bytes"], again["skipped"]), (0, ""), again)

    def test_02_what_runs_runs_on_and_the_way_back_is_kept(self):
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"first\n")
        self.platform.naru("rollback", "shop")
        self.app.wait_live(3)
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"first\n")
        gone = self.platform.naru("rollback", "shop", "v1", check=False)
        self.assertNotEqual(gone.returncode, 0)
        self.assert_says(gone.stdout, r"no release v1", r"hint: .*naru releases shop")

    def test_03_an_image_that_is_removed_frees_its_room(self):
        before = self.blobs()
        (self.platform.work / "big").write_bytes(os.urandom(5 << 20))
        naru.run(["tar", "-cf", "spare.tar", "big"], cwd=self.platform.work)
        self.platform.naru("image", "import", "spare.tar", "spare:1")
        self.assertGreater(len(self.blobs()), len(before))
        self.assert_says(self.platform.naru("image", "rm", "spare:1").stdout, r"removed; 5\.\d M.?B are free")
        self.assertEqual(self.blobs(), before)

    def test_04_kills_in_the_middle_of_cleaning_break_nothing(self):
        for process in ("control", "launcher"):
            pruning = subprocess.Popen([naru.NARU, "prune", "--keep", "1"], env=self.platform.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.05)  # somewhere in the middle is the point
            self.platform.kill(process)
            pruning.wait(60)
            self.platform.wait_answering()
        naru.wait_until(lambda: self.platform.naru("prune", "--keep", "1", check=False).returncode == 0, "pruning works again", 60)
        self.assertEqual([n for n in os.listdir(self.platform.data / "layers") if n.startswith(".unpack-")], [])
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"first\n")

    def test_05_down_all_leaves_nothing_in_the_kernel_and_up_starts_what_ran(self):
        self.assertNotEqual(self.platform.kernel(), NOTHING)
        self.assert_says(self.platform.stop(all=True).stdout, "networks and cgroups are gone")
        self.assertEqual(self.platform.kernel(), NOTHING)
        self.platform.start_process()
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{self.port}/")[2] == b"first\n", "it runs again", 60)

    def test_05_an_interrupted_bootstrap_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            making = subprocess.Popen([naru.NARU, "image", "bootstrap", "--data", self.platform.data], env=self.platform.env | {"TMPDIR": folder},
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.addCleanup(making.kill)
            scratch = naru.wait_until(lambda: list(Path(folder).glob("**/mmdebstrap.*/var")), "it unpacks", 120)[0].parent
            making.send_signal(signal.SIGTERM)
            said, _ = making.communicate(timeout=120)
            self.assertEqual(making.returncode, 1, said)
            self.assertIn("was interrupted", said)
            self.assertFalse(scratch.exists())
            self.assertNotIn(folder, Path("/proc/mounts").read_text())
            self.assertEqual(os.listdir(folder), [])

    def test_05_a_bootstrap_says_what_it_made_as_json(self):
        """With a mmdebstrap that is quick; the real one makes the other tests' base image (naru.Platform.seed_base_image)."""
        with tempfile.TemporaryDirectory() as folder:
            quick = Path(folder) / "mmdebstrap"
            quick.write_text('#!/bin/sh -e\nfor word; do case "$word" in *.part) out="$word";; esac; done\n'
                             'echo "I: on standard output"; echo "I: on standard error" >&2\nmkdir root root/etc; echo quick >root/etc/hello; tar -cf "$out" -C root .\n')
            quick.chmod(0o755)
            env = self.platform.env | {"PATH": f"{folder}:{os.environ['PATH']}"}
            for words in (["--reference", "quick:1"], ["--reference", "quick:2", "--include", "hello"]):
                done = subprocess.run([naru.NARU, "image", "bootstrap", "--json", *words], env=env, cwd=folder, capture_output=True, text=True, timeout=120)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                made = naru.json.loads(done.stdout)
                listed = {image["reference"]: image for image in self.platform.naru_json("image", "ls")["images"]}
                self.assertEqual(set(made), {"reference", "manifest"})
                self.assertEqual(listed[made["reference"]]["manifest"], made["manifest"])
                shutil.rmtree(Path(folder) / "root")
            quick.write_text("#!/bin/sh\necho 'E: no mirror answers'; exit 25\n")
            failed = subprocess.run([naru.NARU, "image", "bootstrap", "--json"], env=env, cwd=folder, capture_output=True, text=True, timeout=120)
            self.assertEqual(failed.returncode, 1)
            error = naru.json.loads(failed.stdout or failed.stderr)["error"]
            self.assertEqual(error["code"], "bootstrap_failed")
            self.assertIn("ended with 25: E: no mirror answers", error["message"])
            self.assertEqual(os.listdir(folder), ["mmdebstrap"])
        for name in ("quick:1", "quick:2"):
            self.platform.naru("image", "rm", name)

    def test_06_a_removed_application_leaves_its_volumes_only(self):
        bridges = [link for link in self.platform.links() if link[6] == "b"]
        said = self.platform.naru("app", "rm", "shop", "--yes").stdout
        self.assert_says(said, "shop is removed, with its containers, network, repository, releases and logs", "naru volume rm shop.production.entries")
        data = self.platform.data
        self.assertEqual(os.listdir(data / "control/git"), [])
        self.assertEqual(os.listdir(data / "checkouts"), [])
        self.assertEqual(os.listdir(data / "control/pipelines"), [])
        naru.wait_until(lambda: len([link for link in self.platform.links() if link[6] == "b"]) < len(bridges), "its bridge is gone")
        naru.wait_until(lambda: not [name for name in os.listdir(data / "containers") if name[0] != "."], "its containers are gone")
        naru.wait_until(lambda: not os.listdir(data / "logs"), "and their logs")
        self.platform.naru("prune")
        self.assertEqual(os.listdir(data / "control/logs"), [])
        self.assertNotIn("shop/", self.platform.naru("image", "ls").stdout)
        self.assertEqual(os.listdir(data / "volumes"), ["shop.production.entries"])
        wrong = self.platform.naru("volume", "rm", "shop.production.entires", "--yes", check=False)
        self.assertEqual(wrong.returncode, 1)
        self.assert_says(wrong.stdout, r"there is no volume 'shop\.production\.entires'", r"did you mean shop\.production\.entries\?")
        self.platform.naru("volume", "rm", "shop.production.entries", "--yes")
        self.assertEqual(os.listdir(data / "volumes"), [])

    def test_07_an_application_of_the_same_name_begins_with_nothing(self):
        (self.platform.data / "control/logs/shop-web-1.1.log").write_text("2026-01-01T00:00:00.000Z stdout of the first shop\n")
        os.rename(self.platform.work / "shop", self.platform.work / "shop-before")
        again = naru.App(self.platform, "shop", small.web_only(self.port, VOLUME, AT_ONCE))
        again.push()
        again.wait_live(1)
        logs = self.platform.naru("logs", "shop").stdout
        self.assertIn("web listens on 8080", logs)
        self.assertNotIn("of the first shop", logs)


if __name__ == "__main__":
    unittest.main()
