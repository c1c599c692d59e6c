"""kill -9 at any moment: of launcher, gateway, control, `naru up`, and all of them; and a restart of everything."""
import contextlib
import functools
import os
import random
import signal
import socket
import time
import unittest
import uuid
from pathlib import Path

import naru
import small

SEED = int(os.environ.get("NARU_SEED", "1"))
VICTIMS = ("launcher", "gateway", "control", "up", "all")


class Users(naru.Beside):
    """A few users at once, each asking `url` again and again, and when each request began, ended and how."""
    THREADS = 4

    def __init__(self, url):
        super().__init__(*(functools.partial(self._run, number) for number in range(self.THREADS)))
        self.url, self.requests = url, []
        self.newest = [0.0] * self.THREADS  # when the last request that each has an outcome of began

    def _run(self, number):
        cookies = {}
        asked = 0
        while not self.stopped.wait(0.06):
            user = asked % 25  # enough that a few of them fall to every canary
            asked += 1
            began = time.monotonic()
            fault = None
            try:
                status, headers, _ = naru.fetch(self.url, headers={"Cookie": cookies[user]} if user in cookies else {}, timeout=15)
                if user not in cookies and headers.get("Set-Cookie"):
                    cookies[user] = headers["Set-Cookie"].partition(";")[0]
                if status != 200:
                    fault = f"status {status}"
            except (OSError, naru.http.client.HTTPException) as error:
                fault = repr(error)
            self.requests.append((began, time.monotonic(), fault))
            self.newest[number] = began

    def take(self, until):
        """What ended so far, once every request that began before `until` has ended."""
        naru.wait_until(lambda: min(self.newest) >= until, "the users go on", 60)
        requests, self.requests = self.requests, []
        return requests


class Writer(naru.Beside):
    """Adds entries to the store, one after another, and remembers which were acknowledged."""

    def __init__(self, port):
        super().__init__(self._run)
        self.port, self.acknowledged, self.next = port, [], 0

    def _run(self):
        while not self.stopped.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as sock, sock.makefile("rw", newline="\n") as stream:
                if not stream.readline():
                    continue
                while not self.stopped.wait(0.05):
                    entry = f"e{self.next}"
                    self.next += 1
                    stream.write(f"ADD {entry}\n")
                    stream.flush()
                    if stream.readline() != f"+added {entry}\n":
                        break
                    self.acknowledged.append(entry)


class Kill(naru.Case):
    in_memory = False  # what is synced, and when, is part of the test

    @classmethod
    def prepare(cls):
        cls.port, cls.store_port = naru.free_port(), naru.free_port()
        cls.app = naru.App(cls.platform, "tiny", small.web_and_store(cls.port, cls.store_port))
        cls.app.push()
        cls.app.wait_live(1)
        cls.tables = cls.platform.kernel()["tables"]

    def test_1_a_process_killed_at_any_moment_of_a_push_loses_nothing(self):
        moments = 200 if naru.LONG else 20
        self.failed = []
        with Users(f"http://127.0.0.1:{self.port}/") as self.users, Writer(self.store_port) as self.writer:
            for number in range(moments):
                if len(self.failed) == 3:
                    self.fail(f"three moments failed, {moments - number} were not tried: {self.failed}")
                rng = random.Random(SEED * 100_000 + number)
                victim = VICTIMS[number % len(VICTIMS)]
                self.failed.append((SEED, number, victim))
                with self.subTest(seed=SEED, moment=number, victim=victim):
                    self.one_moment(number, victim, rng.uniform(0, 4), changes_store=number % 4 == 3)
                    self.failed.pop()
            self.assertGreater(len(self.writer.acknowledged), moments)
            self.assert_entries_are_kept()

    def test_2_after_a_reboot_everything_wanted_starts_again(self):
        releases = self.app.platform.api("GET", "/v1/apps/tiny/releases")["releases"]
        self.assertEqual(naru.tcp_lines(self.store_port, "ADD before"), ["store", "+added before"])
        before = naru.fetch(f"http://127.0.0.1:{self.port}/")[2]
        self.crash_the_machine()
        self.platform.boot_id = str(uuid.uuid4())
        self.platform.start_process()
        self.assertEqual(naru.wait_until(lambda: self.ask(), "web answers", 60), before)
        naru.wait_until(lambda: naru.tcp_lines(self.store_port, "PING") == ["store", "+pong"], "the store answers")
        self.assertIn("before", self.entries())
        self.assertEqual(self.app.platform.api("GET", "/v1/apps/tiny/releases")["releases"], releases)
        self.assert_machine_agrees()

    # ---- one moment

    def one_moment(self, number, victim, delay, changes_store):
        commit = self.change(number, changes_store)
        before = {i["service"]: i["pid"] for i in self.app.instances() if i["phase"] == "ready"}
        stable = self.app.status()["stable"]
        push = self.app.start_push()
        time.sleep(delay)  # the moment, drawn by the seed
        killed = self.kill(victim)
        if victim in ("up", "all"):
            self.platform.start_process()
        back = time.monotonic()
        served_by = self.gateway_since()
        said = push.communicate(timeout=120)[0]
        self.platform.wait_answering()
        taken = self.app.git("ls-remote", "naru", "refs/heads/main").stdout.partition("\t")[0]
        if taken != commit:
            self.assertNotIn("is made", said, "a push that was not taken must not say so")
            self.assertEqual(self.app.status()["stable"]["commit"], stable["commit"], "what was not taken must not be delivered")
            self.app.push()
        self.wait_delivered(commit, f"{victim} after {delay:.2f} s; the push said: {said[-1500:]}")
        after = {i["service"]: i["pid"] for i in self.app.instances() if i["phase"] == "ready"}
        if not changes_store:
            self.assertEqual(after["store"], before["store"], "what did not change runs on")
        self.assert_machine_agrees()
        self.assert_users_were_served(victim, killed, back, served_by)
        self.assert_entries_are_kept()

    def change(self, number, changes_store):
        dockerfile = self.app.folder / "web/Dockerfile"
        lines = [f"ARG TEXT=round{number}" if line.startswith("ARG TEXT=") else line for line in dockerfile.read_text().splitlines()]
        dockerfile.write_text("\n".join(lines) + "\n")
        if changes_store:
            compose = (self.app.folder / "compose.yaml").read_text()
            begin = compose.index('ROUND: "') + 8
            (self.app.folder / "compose.yaml").write_text(compose[:begin] + str(number) + compose[compose.index('"', begin):])
        return self.app.commit(f"Round {number}")

    def kill(self, victim):
        """(before, after) the signal."""
        pids = self.platform.pids() | {"up": self.platform.up.pid}
        if victim != "all":
            pids = {victim: naru.wait_until(lambda: (self.platform.pids() | {"up": self.platform.up.pid}).get(victim), f"{victim} runs")}
        before = time.monotonic()
        for pid in pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        after = time.monotonic()
        if "up" in pids:
            self.platform.up.wait(30)
        return before, after

    def gateway_since(self):
        """When the gateway that runs now was started, on the clock of the requests."""
        return time.monotonic() - self.platform.age("gateway")

    def wait_delivered(self, commit, what):
        def delivered():
            status = self.app.status()
            rollout = status["rollout"]
            self.assertEqual(status["stable"]["commit"], commit, status["message"])
            self.assertIn(rollout["phase"], ("done", "rolled-back"))
            self.assertTrue(all(s["ready"] == s["wanted"] for s in status["services"]), status["message"])
            return True
        naru.wait_until(delivered, f"{commit[:10]} is delivered: {what}\n{self.platform.logs_text(2000)}", 120, 0.1)

    # ---- what must hold

    def assert_machine_agrees(self):
        """Processes, bundles, mounts, links, cgroups and tables of nft are those of the instances that should run, and the
        rows of the state are what its log says."""
        def agrees():
            platform = self.platform
            running = [i for i in self.app.instances() if i["pid"]]
            containers = {i["container"] for i in running}
            pids = platform.container_pids()
            self.assertEqual({p for p in pids if naru.parent_of(p) not in pids}, {i["pid"] for i in running})
            self.assertEqual({name for name in os.listdir(platform.data / "containers") if name[0] != "."}, containers)
            self.assertEqual(platform.mounts(), [], "containers and builds mount in namespaces of their own")
            ports = {name for name in platform.links() if name[6] == "v"}
            self.assertEqual(len(ports), len(containers))
            self.assertIn(platform.bridge_ports(), (ports, None))
            self.assertEqual(platform.kernel()["tables"], self.tables)
            groups = platform.cgroups_below("apps")
            self.assertTrue(groups)
            self.assertEqual(groups, [containers] * len(groups), "no group is left empty")
            self.assertEqual([g for g in platform.cgroups_below("builds") if g], [])
            outbox = [c for c in platform.api("GET", "/v1/doctor")["checks"] if c["name"] == "outbox"]
            self.assertTrue(all(c["ok"] for c in outbox), outbox)
            return True
        naru.wait_until(agrees, "the machine agrees with the tables", 60, 0.2)
        self.assertIsNone(self.platform.replay())

    def assert_users_were_served(self, victim, killed, back, served_by):
        """Forgiven is a request that was open when its gateway was killed. When `naru up` dies, its sockets go, too: until
        the next one's gateway has answered somebody, nobody can be answered."""
        before, after = killed
        again = max(after, served_by)
        naru.wait_until(lambda: any(fault is None and began >= again for began, _, fault in self.users.requests), "users are served again")
        requests = self.users.take(until=max(back, served_by))
        failures = [r for r in requests if r[2]]
        if victim == "gateway":
            failures = [r for r in failures if not (r[0] <= after and r[1] >= before)]
        elif victim in ("up", "all"):
            answered = min(end for began, end, fault in requests if fault is None and began >= again)
            failures = [r for r in failures if not (r[1] >= before and r[0] <= answered)]
        self.assertEqual(failures, [], f"requests failed; {victim} was killed between {before:.3f} and {after:.3f}, and was back at {back:.3f}")

    def entries(self):
        [path] = [p for p in (self.platform.data / "volumes").rglob("entries") if p.is_file()]
        return path.read_text().split()

    def assert_entries_are_kept(self):
        self.assertEqual(set(self.writer.acknowledged) - set(self.entries()), set(), "acknowledged entries are lost")
        self.assertEqual(list((self.platform.data / "volumes").rglob("two-at-once")), [], "two stores ran at once")

    def ask(self):
        status, _, body = naru.fetch(f"http://127.0.0.1:{self.port}/")
        return body if status == 200 else None

    def crash_the_machine(self):
        """What a power failure leaves: files, and nothing else."""
        for pid in [*self.platform.pids().values(), self.platform.up.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.platform.up.wait(30)
        self.platform.forget_kernel_state()


class KillWhileBuilding(naru.Case):
    """The control that comes next builds again what its predecessor was building, beside what that one left."""
    FILES = 2000

    def push(self, name, size=1_000_000):
        """Of a new application; each line of its files is `name`, one file has `size` bytes."""
        self.size = size
        web = small.web_only(naru.free_port())
        web["web/Dockerfile"] = web["web/Dockerfile"].replace("CMD", f"""RUN mkdir /made && for i in $(seq {self.FILES}); do echo {name} > /made/$i; done && \\
  echo {name} > /begun && sleep 3 && head -c {size} /dev/urandom > /large && echo {name} > /ended
CMD""", 1)
        self.app = naru.App(self.platform, name, web)
        push = self.app.start_push()
        self.addCleanup(lambda: push.communicate(timeout=60))

    def bench(self, file):
        """The upper directory of the build under way, once its step has written `file`."""
        return naru.wait_until(lambda: next(iter((self.platform.data / "builds").glob(f"*/upper/{file}")), None), f"the step writes {file}", pause=0.01).parent

    def assert_built(self):
        name = self.app.name
        self.assertEqual(self.app.newest_version(), 1)
        self.app.wait_live(1)
        said = self.platform.naru("exec", f"{name}/web", "--", "sh", "-c", "cat /begun /ended; ls /made | wc -l; cat /made/* | sort -u; stat -c %s /large").stdout
        self.assertEqual(said.split(), [name, name, str(self.FILES), name, str(self.size)])
        naru.wait_until(lambda: os.listdir(self.platform.data / "builds") == [".empty"], "no bench is left")

    def test_in_a_step(self):
        self.push("steps")
        self.bench("begun")
        self.platform.kill("control")
        self.assert_built()

    def test_while_its_layer_is_made(self):
        # The kill comes too late for a small layer on a machine that is busy elsewhere.
        for size in (60_000_000, 200_000_000, 600_000_000):
            self.push(f"layers-{size}", size)
            bench = self.bench("ended")
            naru.wait_until(lambda: not any(self.platform.cgroups_below("builds")), "the step has ended", pause=0.01)
            self.platform.kill("control")
            in_time = bench.exists()
            self.assert_built()
            if in_time:
                return
        self.fail("no layer was under way at the kill")


if __name__ == "__main__":
    unittest.main()
