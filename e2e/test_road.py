"""The road of a change: git push, build, canary, verdict, back; with an application of three services that is no shop."""
import contextlib
import hashlib
import json
import subprocess
import tarfile
import tempfile
import threading
import unittest
from pathlib import Path

import naru


def contents_of(layer):
    """name -> sha256 of the bytes, of everything in a compressed tar."""
    with tempfile.TemporaryFile() as plain:
        program = "zstd" if layer.read_bytes()[:4] == b"\x28\xb5\x2f\xfd" else "gzip"
        subprocess.run([program, "-dc", layer], check=True, stdin=subprocess.DEVNULL, stdout=plain)
        plain.seek(0)
        with tarfile.open(fileobj=plain) as tar:
            return {member.name.removeprefix("./"): hashlib.sha256(tar.extractfile(member).read() if member.isfile() else b"").digest() for member in tar}


class Watched(naru.Beside):
    """Looks every few milliseconds which containers of the book have a process, and adds entries to the book meanwhile."""

    def __init__(self, platform, port):
        self.groups = [Path(group, "apps") for group in platform.cgroups() if Path(group, "apps").is_dir()][:1]
        super().__init__(self._look, self._write)
        self.port = port
        self.ticks, self.seen, self.together = 0, set(), []
        self.acknowledged = self.unanswered = 0

    def alive(self):
        found = set()
        for group in self.groups:
            for container in group.glob("ledger-book-*"):
                with contextlib.suppress(OSError):
                    if container.joinpath("cgroup.procs").read_text().strip():
                        found.add(container.name)
        return found

    def _look(self):
        while not self.stopped.wait(0.005):
            alive = self.alive()
            self.ticks += 1
            self.seen |= alive
            if len(alive) > 1 and self.alive() >= alive:  # the first look is not of one moment
                self.together.append(sorted(alive))

    def _write(self):
        while not self.stopped.wait(0.05):
            try:
                answer = naru.tcp_lines(self.port, "ADD tick 1", timeout=20)
            except OSError:
                answer = []
            if len(answer) == 2 and answer[1].endswith(" entries"):
                self.acknowledged += 1
            else:
                self.unanswered += 1


class Road(naru.Case):
    """The tests follow one application through its releases, in the order of their names."""

    @classmethod
    def prepare(cls):
        cls.port, cls.book_port = naru.free_port(), naru.free_port()
        cls.app = naru.App.copy(cls.platform, naru.ROOT / "e2e/apps/ledger", "ledger",
                                [('"9400:9400"', f'"{cls.port}:9400"'), ('"7070:7070/tcp"', f'"{cls.book_port}:7070/tcp"')])
        cls.pushed = cls.app.push()
        cls.status = cls.app.wait_live(1)

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


    def test_04_the_one_shot_ran_once_and_the_stateful_service_has_one_instance(self):
        migrations = [e for e in self.events("OneshotCompleted")]
        self.assertEqual(len(migrations), 1, migrations)
        self.assertEqual({s["name"]: (s["ready"], s["wanted"]) for s in self.app.status()["services"] if not s["oneshot"]}, {"teller": (1, 1), "book": (1, 1)})

    def test_05_services_find_each_other_by_name(self):
        self.assertEqual(self.inside("python3 ask.py book:7070 PING").stdout, "+pong\n")
        self.assertEqual(self.inside("python3 ask.py book.production.ledger:7070 PING").stdout, "+pong\n")
        fetch = "import urllib.request as r; print(r.urlopen('http://teller:9400/').read())"
        self.assertEqual(self.inside(f'python3 -c "{fetch}"', service="book").stdout, "b'hello\\n'\n")
        self.assertNotEqual(self.inside("getent hosts nobody", check=False).returncode, 0)

    def test_06_a_container_reaches_neither_control_nor_the_host(self):
        host = [line.split()[3].partition("/")[0] for line in naru.run(["ip", "-4", "-o", "addr"]).stdout.splitlines()]
        gateway = self.inside("awk '/^nameserver/ {print $2}' /etc/resolv.conf").stdout.strip()
        self.assertIn(gateway, host)
        ports = [self.platform.port, self.platform.gateway_port, self.port, self.book_port, 22]
        reached = self.try_to_connect([(address, port) for address in host for port in ports])
        self.assertEqual(reached, [], "an address of the host was reached from a container")

    def test_07_a_container_reaches_no_container_of_another_application(self):
        other = naru.App.copy(self.platform, naru.ROOT / "e2e/apps/ledger", "other", [('ports: ["9400:9400"]', 'expose: ["9400"]'), ('    ports: ["7070:7070/tcp"]\n', "")])
        other.push()
        other.wait_live(1)
        addresses = [i["address"] for i in other.instances() if i["address"]]
        virtual = self.inside("getent hosts book", app="other").stdout.split()[0]
        self.assertEqual(self.try_to_connect([(a, p) for a in [*addresses, virtual] for p in (9400, 7070)]), [])
        self.assertNotEqual(self.inside("getent hosts book.production.other", check=False).returncode, 0)
        self.assertEqual(self.inside("python3 ask.py book:7070 'SUM anna'", app="other").stdout, "+0\n", "the volume is its own")
        self.platform.naru("app", "rm", "other", "--yes")
        naru.wait_until(lambda: not [i for i in self.platform.api("GET", "/v1/ps")["instances"] if i["app"] == "other"], "the other application is gone")

    def test_08_a_good_release_goes_through_its_canary_and_no_request_fails(self):
        self.app.edit("src/teller.py", 'os.environ.get("GREETING", "hello")', '"good day"')
        self.app.commit("Greet politely")
        with naru.Traffic(self.url) as traffic:
            naru.wait_until(lambda: traffic.report.get("users", 0) >= 50, "there is traffic")
            pushed = self.app.push()
            self.assert_says(pushed.stdout, "release v2 of ledger is made")
            cached = [line.strip() for line in pushed.stdout.splitlines() if line.strip().endswith(": cached")]
            self.assertTrue(cached, pushed.stdout)
            self.assertEqual(len(cached), len(set(cached)), cached)  # tests and image share steps
            rollout = self.app.wait_rollout("stepping")
            self.assertEqual(rollout["changed"], ["teller"], "the book is unchanged and must not be touched")
            weights = set()
            def finished():
                rollout = self.app.status()["rollout"]
                weights.add(rollout["weight"])
                self.assert_one_book()
                return rollout["phase"] in ("done", "rolled-back") and rollout
            rollout = naru.wait_until(finished, "the rollout ends", 90)
        self.assertEqual(rollout["phase"], "done", rollout["reason"])
        self.assertGreaterEqual(weights, {1000, 5000}, weights)
        self.assertEqual([s["weight"] for s in rollout["steps"]][:2], [1000, 5000])
        self.assertTrue(all(s["verdict"] for s in rollout["steps"][:2]), rollout["steps"])
        self.assertGreaterEqual(rollout["completed"] - rollout["first_user"], 5000, "it bakes for 5 s")
        self.assertEqual(traffic.report["failed"], 0, traffic.report)
        self.assertEqual(naru.fetch(self.url)[2], b"good day\n")
        self.assertEqual(naru.tcp_lines(self.book_port, "SUM anna")[1], "+8", "the book's entries stay")

    def test_09_a_bad_release_comes_back_by_itself(self):
        before = [i["id"] for i in self.app.instances("teller")]
        self.app.edit("src/Dockerfile", "ARG BROKEN=0", "ARG BROKEN=1")
        self.app.commit("Break every answer")
        with naru.Traffic(self.url) as traffic:
            naru.wait_until(lambda: traffic.report.get("users", 0) >= 100, "there is traffic")
            self.app.push()
            rollout = self.app.wait_rollout("rolled-back", "done", seconds=90)
        self.assertEqual(rollout["phase"], "rolled-back")
        self.assertEqual(self.app.status()["stable"]["version"], 2)
        self.assertTrue(rollout["verdict"], "the verdict is kept with its evidence")
        self.assertTrue(rollout["failed_requests"], "examples of what failed are kept")
        self.assertEqual([i["id"] for i in self.app.instances("teller") if i["side"] == "stable"], before, "what ran was not restarted")
        self.assertEqual(naru.fetch(self.url)[2], b"good day\n")
        # GETs that fail on the canary are tried again on the stable side: people see next to nothing.
        self.assertLessEqual(traffic.report["failed"], traffic.report["requests"] // 20, traffic.report)
        self.app.edit("src/Dockerfile", "ARG BROKEN=1", "ARG BROKEN=0")

    def test_10_without_traffic_a_rollout_holds_and_says_what_to_do_and_abort_ends_it(self):
        self.app.edit("src/teller.py", '"good day"', '"abort me"')
        self.app.commit("To be aborted")
        self.app.push()
        self.app.wait_rollout("stepping")
        naru.wait_until(lambda: "send traffic" in self.app.status()["message"], "status says that it holds")
        self.assert_says(self.app.status()["message"], r"holding at 10%: 0 of 10 users.*send traffic.*naru promote ledger")
        self.assert_says(self.platform.naru("status", "ledger").stdout, "0 of 10 users")
        self.platform.naru("abort", "ledger")
        self.app.wait_rollout("rolled-back")
        self.assertEqual(naru.fetch(self.url)[2], b"good day\n")

    def test_11_promote_delivers_without_waiting_and_rollback_returns(self):
        self.app.edit("src/teller.py", '"abort me"', '"promoted"')
        self.app.commit("To be promoted")
        self.app.push()
        self.app.wait_rollout("stepping")
        self.platform.naru("promote", "ledger")
        version = self.app.wait_rollout("done", seconds=60)["to_version"]
        self.assertEqual(naru.fetch(self.url)[2], b"promoted\n")
        ran = len(self.events("OneshotCompleted"))
        self.platform.naru("rollback", "ledger", "v2")
        rollout = naru.wait_until(lambda: (r := self.app.status()["rollout"]) and r["to_version"] == 2 and r["phase"] == "done" and r, "v2 is back", 60)
        self.assertTrue(rollout["is_rollback"])
        self.assertEqual(naru.fetch(self.url)[2], b"good day\n")
        self.assertEqual(len(self.events("OneshotCompleted")), ran, "a rollback never runs one-shots again")
        releases = {r["version"]: r["current"] for r in self.platform.naru_json("releases", "ledger")["releases"]}
        self.assertTrue(releases[2] and not releases[version], releases)

    def test_12_a_variable_is_delivered_and_masked(self):
        self.app.edit("src/teller.py", '"promoted"', 'os.environ.get("GREETING", "hello")')
        self.app.commit("Greet as the environment says")
        self.app.push()
        self.promote_newest()
        self.assertEqual(naru.fetch(self.url)[2], b"hello\n")
        self.platform.naru("env", "set", "ledger", "GREETING=xyzzy-secret")
        self.promote_newest()
        self.assertEqual(naru.fetch(self.url)[2], b"xyzzy-secret\n")
        self.assertNotIn("xyzzy-secret", self.platform.naru("env", "ls", "ledger").stdout)
        self.assertIn("xyzzy-secret", self.platform.naru("env", "ls", "ledger", "--reveal").stdout)
        self.assertNotIn("xyzzy-secret", self.platform.naru("events", "ledger", "-n", "500", "--json").stdout)

    def test_13_every_verb_answers_in_json(self):
        status = self.platform.naru_json("status", "ledger")
        self.assertEqual((status["app"], status["stable"]["version"]), ("ledger", self.app.status()["stable"]["version"]))
        instances = self.platform.naru_json("ps", "ledger")["instances"]
        self.assertEqual({i["service"] for i in instances if i["phase"] == "ready"}, {"teller", "book"})
        self.assertGreaterEqual(len(self.platform.naru_json("releases", "ledger")["releases"]), 5)
        self.assertEqual(self.platform.naru_json("rollout", "ledger")["app"], "ledger")
        self.assertIn("ledger", [a["name"] for a in self.platform.naru_json("app", "ls")["apps"]])
        self.assertTrue(self.platform.naru_json("doctor")["checks"])
        self.assertTrue(self.platform.naru_json("events", "ledger")["events"])

    def test_14_logs_keep_what_containers_said(self):
        said = self.platform.naru("logs", "ledger/book", "-n", "50").stdout
        self.assertIn("book open", said)

    def test_15_exec_gives_back_output_and_status(self):
        self.assertEqual(self.inside("echo out; echo err >&2; exit 7", check=False).returncode, 7)
        done = self.platform.naru("exec", "-i", "ledger/book", "--", "sh", "-c", "read line; echo got $line", input="a question\n")
        self.assertEqual(done.stdout, "got a question\n")
        missing = self.platform.naru("exec", "ledger/nobody", "--", "true", check=False)
        self.assertNotEqual(missing.returncode, 0)
        self.assert_says(missing.stdout, "nobody", "hint:")

    def test_16_a_changed_book_is_recreated_alone_and_at_no_moment_of_a_canary_two_have_the_volume(self):
        with Watched(self.platform, self.book_port) as watched, naru.Traffic(self.url) as traffic:
            naru.wait_until(lambda: traffic.report.get("users", 0) >= 50, "there is traffic")
            self.app.edit("src/book.py", '"book open,"', '"book is open again,"')
            self.app.edit("src/teller.py", '"no such thing"', '"no such page"')
            self.app.commit("Another book, and another teller")
            self.app.push()
            version = self.app.newest_version()
            looks = {}  # share -> the look at which it began, and how many there were since
            def finished():
                rollout = self.app.status()["rollout"]
                if rollout["to_version"] != version:
                    return None
                begin, _ = looks.get(rollout["weight"], (watched.ticks, 0))
                looks[rollout["weight"]] = begin, watched.ticks - begin
                return rollout["phase"] in ("done", "rolled-back") and rollout
            rollout = naru.wait_until(finished, "the rollout ends", 120)
            self.assertEqual((rollout["phase"], sorted(rollout["changed"])), ("done", ["book", "teller"]), rollout["reason"])
            for weight in (1000, 5000):
                self.assertGreater(looks[weight][1], 20, f"the teller's canary went through every step: {looks}")
            self.app.wait_live(version)
            naru.wait_until(lambda: "book is open again" in self.platform.naru("logs", "ledger/book", "-n", "50").stdout, "the new book says so")
            self.platform.naru("rollback", "ledger")
            back = naru.wait_until(lambda: (r := self.app.status()["rollout"])["is_rollback"] and r["phase"] == "done" and r, "the book before is back", 60)
            self.assertNotEqual(back["to_version"], version)
            naru.wait_until(lambda: naru.tcp_lines(self.book_port, "PING")[1] == "+pong", "the book answers")
        self.assertEqual(naru.fetch(self.url + "a/b/c")[2], b"no such thing\n", "the teller before is back")
        self.assertEqual(traffic.report["failed"], 0, traffic.report)
        self.assertGreater(watched.ticks, 50)
        self.assertEqual(watched.together, [], "two containers of the book lived at once")
        self.assertGreaterEqual(len(watched.seen), 3, "the book of before, the new one, and the one of before again")
        self.assertGreater(watched.acknowledged, 0)
        kept = int(naru.tcp_lines(self.book_port, "SUM tick")[1])
        self.assertLessEqual(watched.acknowledged, kept)
        self.assertLessEqual(kept, watched.acknowledged + watched.unanswered)

    def test_17_what_a_build_is_lent_by_the_host_is_never_in_the_image(self):
        lent = [str(path) for folder in ("/etc/apt/sources.list.d", "/etc/apt/trusted.gpg.d") for path in sorted(Path(folder).glob("*"))
                if path.suffix in (".sources", ".list", ".asc", ".gpg") and path.stat().st_mode & 0o004]
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        tests = [f"test -s {path}" for path in lent] + (["test -s /run/naru/ca-certificates.crt", 'test -n "$SSL_CERT_FILE"'] if Path(bundle).exists() else [])
        self.assertTrue(tests, "this host lends nothing: the test would prove nothing")
        app = naru.App(self.platform, "lent", {
            "compose.yaml": "services:\n  web:\n    build: .\n    command: sleep 1000\n",
            "Dockerfile": f"FROM debian:bookworm-slim\nRUN {' && '.join(tests)}\n"
                          # Writes a bundle of the image's own, where a mount over it would forbid that.
                          "RUN apt-get update && apt-get install -y --reinstall --no-install-recommends ca-certificates"
                          " && update-ca-certificates --fresh && rm -rf /var/lib/apt/lists/*\n"
                          "RUN echo mine > /mine\n"})
        self.assert_says(app.push().stdout, "release v1 of lent is made")
        app.wait_live(1)
        config, base, layers = self.image_of("lent/web")
        names = {name for layer in layers for name in layer}
        self.assertLessEqual({"mine", bundle[1:]}, names)
        places = ("etc/apt", "run", "usr/share/keyrings", "etc/resolv.conf", "etc/hosts", "etc/hostname", "proc", "sys", "dev")
        self.assertEqual({name for name in names if any(name == place or name.startswith(place + "/") for place in places)}, set())
        of_host = {hashlib.sha256(Path(path).read_bytes()).digest(): path for path in lent if Path(path).is_file()}
        self.assertEqual({of_host[digest]: name for layer in layers for name, digest in layer.items() if digest in of_host}, {})
        self.assertEqual(config["config"].get("Env"), base.get("Env"), "what is set for the step is not for the image")
        said = self.inside("cat /mine; ls -d /run/naru 2>/dev/null; env | grep CERT || true", service="web", app="lent").stdout
        self.assertEqual(said, "mine\n")
        self.platform.naru("app", "rm", "lent", "--yes")

    # ----

    def image_of(self, name):
        """(configuration, variables of the base image, of each layer that was built upon it: name -> digest of its bytes)"""
        [built] = [i["reference"] for i in self.platform.naru_json("image", "ls")["images"] if name in i["reference"]]
        told = []
        for reference in (naru.BASE_IMAGE, built):
            folder = self.platform.work / f"image-{len(told)}"
            naru.run(["skopeo", "copy", f"oci:{self.platform.data}/images:{reference}", f"dir:{folder}"])
            manifest = json.loads((folder / "manifest.json").read_text())
            blob = lambda entry: folder / entry["digest"].partition(":")[2]
            told.append((json.loads(blob(manifest["config"]).read_text()), [blob(layer) for layer in manifest["layers"]]))
        (base, below), (config, layers) = told
        self.assertEqual([b.name for b in below], [b.name for b in layers[:len(below)]])
        return config, base["config"], [contents_of(layer) for layer in layers[len(below):]]

    def promote_newest(self):
        """The newest release to everybody, without traffic."""
        version = self.app.newest_version()
        naru.wait_until(lambda: (r := self.app.status()["rollout"])["to_version"] == version and r["phase"] == "stepping", f"v{version} goes to some", 60)
        self.platform.naru("promote", "ledger")
        self.app.wait_live(version)

    def inside(self, script, service="teller", app="ledger", check=True):
        return self.platform.naru("exec", f"{app}/{service}", "--", "sh", "-c", script, check=check)

    def try_to_connect(self, targets):
        """Which of (address, port) a connection from the teller's container reaches, all tried at once."""
        program = (
            "import socket,threading\n"
            f"targets={targets!r}\nreached=[]\n"
            "def one(t):\n"
            "    try: socket.create_connection(t,2).close(); reached.append(t)\n"
            "    except OSError: pass\n"
            "threads=[threading.Thread(target=one,args=(t,)) for t in targets]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]\n"
            "print(sorted(reached))\n")
        return eval(self.platform.naru("exec", "ledger/teller", "--", "python3", "-c", program).stdout)

    def assert_one_book(self):
        running = [i for i in self.app.instances("book") if i["pid"] and i["phase"] not in ("completed", "failed", "waiting")]
        self.assertLessEqual(len(running), 1, running)

    def events(self, kind):
        rows = self.platform.api("GET", "/v1/events?app=ledger&limit=1000")["events"]
        return [row for row in rows if row["event"]["event"] == kind]


if __name__ == "__main__":
    unittest.main()
