"""Bad input, a test each: the answer says what, where and what to do, and what was running runs on."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import naru
import small


def ask_raw(port, data, timeout=10, half_close=False):
    """What the other side says to these bytes until it closes; "" when it only closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused early: the answer may still be read
        answer = b""
        try:
            while chunk := sock.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                    break
        except TimeoutError:
            raise naru.Failed(f"no answer within {timeout} s to {data[:80]!r}") from None
        except OSError:
            pass
        return answer.decode(errors="replace")


class OneApp(naru.Case):
    """`shop` runs at v1; after each test it still answers, from the same process."""

    @classmethod
    def prepare(cls):
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "shop", small.web_only(cls.port))
        cls.app.push()
        cls.app.wait_live(1)
        cls.good = cls.app.head()
        cls.pid = cls.app.instances("web")[0]["pid"]

    def tearDown(self):
        self.app.git("checkout", "-q", "-f", "main")
        self.app.git("reset", "-q", "--hard", self.good)
        self.app.git("clean", "-qfd")
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"first\n")
        stable = [i["pid"] for i in self.app.instances("web") if i["side"] in ("stable", "both")]
        self.assertEqual(stable, [self.pid], "what was running runs on")

    def refused(self, subject, *parts):
        """The work tree is committed and pushed; the push is refused and says `parts`."""
        self.app.commit(subject)
        done = self.app.push("-f", "main", check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assert_says(done.stdout, "the push is refused", *parts)
        self.assertNotIn(self.app.head(), self.app.git("ls-remote", "naru").stdout)
        return done.stdout

    def fails_to_build(self, subject, *parts):
        """The push is taken, but no release is made; git's client is told why."""
        self.app.commit(subject)
        said = self.app.push("-f", "main").stdout
        self.assert_says(said, "no release was made", "what runs goes on as before", *parts)
        pipeline = self.app.pipelines()[0]
        self.assertEqual((pipeline["state"], pipeline["release_version"]), ("failed", None))
        self.assert_says(self.platform.naru("status", "shop").stdout, "failed")
        return said

    def comes_back(self, subject, *parts):
        """A release is made, but never meets a user; the reason says `parts`."""
        self.app.commit(subject)
        before = {r["id"] for r in self.app.rollouts()}
        self.app.push("-f", "main")
        def ended():
            newest = self.app.rollouts()[0]
            return newest if newest["id"] not in before and newest["phase"] == "rolled-back" else None
        rollout = naru.wait_until(ended, f"the rollout ends: {subject}", 120, 0.2)
        self.assert_says(rollout["reason"], *parts)
        self.assertEqual(self.app.status()["stable"]["version"], 1)
        self.assertEqual(rollout["steps"], [])
        naru.wait_until(lambda: len(self.app.instances("web")) == 1, "the failed instance is gone")


class Compose(OneApp):
    def test_a_syntax_error_is_refused_with_file_and_line(self):
        for text, where in (("services:\n  web:\n\tbuild: web\n", "compose.yaml:3"), ("services:\n  web:\n    build: [web\n", "compose.yaml:"),
                            ("services:\n  web:\n    build: web\n   ports: x\n", "compose.yaml:4")):
            with self.subTest(text=text):
                (self.app.folder / "compose.yaml").write_text(text)
                self.refused("Syntax", where + r"[0-9:]*", "hint:")

    def test_an_unknown_service_in_depends_on_is_refused_by_name_and_line(self):
        self.app.edit("compose.yaml", "    build: web\n", "    build: web\n    depends_on: [databse]\n")
        self.refused("Depends on nobody", r"compose\.yaml:4.*databse", r"hint: correct the named lines and push again")
        self.app.edit("compose.yaml", "services:\n", "services:\n  database:\n    image: debian:bookworm-slim\n    command: sleep 1\n")
        self.refused("A slip of the pen", r"compose\.yaml:7.*databse", r'hint: did you mean "database"\?')

    def test_a_cycle_is_refused_and_shown(self):
        self.app.edit("compose.yaml", "    build: web\n", "    build: web\n    depends_on: [b]\n  b:\n    image: debian:bookworm-slim\n    command: sleep 1\n    depends_on: [web]\n")
        text = (self.app.folder / "compose.yaml").read_text().replace(f'    ports: ["{self.port}:8080"]\n', "")
        (self.app.folder / "compose.yaml").write_text(text)
        self.refused("A cycle", r"compose\.yaml:\d+", "run in a circle: web -> b -> web|run in a circle: b -> web -> b", "hint: take one of them out")

    def test_a_missing_dockerfile_is_refused_with_its_path(self):
        (self.app.folder / "web/Dockerfile").unlink()
        self.refused("No Dockerfile", "web/Dockerfile", r"build\.dockerfile|build\.context")

    def test_a_dockerfile_that_exposes_a_thousand_ports_stands_in_nobodys_way(self):
        ports = " ".join(str(10_000 + i) for i in range(1_200))
        other = naru.App(self.platform, "wide", small.web_only(naru.free_port()))
        other.edit("web/Dockerfile", "ENV TEXT", f"EXPOSE {ports}\nENV TEXT")
        other.commit("A thousand ports")
        other.push()
        other.wait_live(1)
        self.platform.naru("app", "stop", "shop")
        self.platform.naru("app", "start", "shop")
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{self.port}/")[2] == b"first\n", "shop answers again")
        type(self).pid = self.app.wait_alone("web")["pid"]
        self.platform.naru("app", "rm", "wide", "--yes")

    def test_more_host_ports_than_an_application_may_have_are_refused(self):
        self.app.edit("compose.yaml", "    build: web\n", '    build: web\n    expose: ["1000"]\n')
        text = (self.app.folder / "compose.yaml").read_text()
        more = "".join(f'  more{i}:\n    image: debian:bookworm-slim\n    command: sleep 1\n    ports: ["{20_000 + i * 100}-{20_099 + i * 100}:1000-1099"]\n'
                       for i in range(3))
        (self.app.folder / "compose.yaml").write_text(text.replace("services:\n", "services:\n" + more))
        self.refused("Three hundred host ports", "more than 256 host ports")

    def test_a_missing_variable_names_the_command_that_sets_it(self):
        self.app.edit("compose.yaml", "    build: web\n", '    build: web\n    environment: { KEY: "${API_KEY:?is needed}" }\n')
        self.refused("A variable", r"compose\.yaml:4", "API_KEY", "naru env set")

    def test_a_port_that_another_program_has_is_refused_by_number(self):
        with socket.socket() as taken:
            taken.bind(("", naru.free_port()))
            taken.listen()
            port = taken.getsockname()[1]
            self.app.edit("compose.yaml", f'"{self.port}:8080"', f'"{self.port}:8080", "{port}:8081"')
            self.refused("A taken port", rf"services\.web\.ports.*{port}", "another host port")


class Build(OneApp):
    def test_a_run_that_fails_ends_the_build_with_its_output_and_line(self):
        self.app.edit("web/Dockerfile", "ARG TEXT", "RUN echo the disk of the builder sings; exit 42\nARG TEXT")
        self.fails_to_build("RUN fails", "the disk of the builder sings", r"Dockerfile:3", "42", "hint: read the last lines of its output")
        self.app.edit("web/Dockerfile", "exit 42", "no-such-tool")
        self.fails_to_build("RUN finds no program", r"Dockerfile:3.*exit code 127", "hint: a command was not found: install its package in an earlier RUN")

    def test_a_test_stage_that_fails_makes_no_release(self):
        """It is nothing that the image is made of: who builds the image alone would not see it."""
        self.app.edit("web/Dockerfile", "FROM debian:bookworm-slim\n", "FROM debian:bookworm-slim AS test\nRUN echo 3 of 4 tests passed; exit 7\n\nFROM debian:bookworm-slim\n")
        self.fails_to_build("A test fails", "3 of 4 tests passed", r"Dockerfile:2", r"\b7\b", "hint: read the last lines of its output")
        self.app.edit("web/Dockerfile", "AS test", "AS check")
        self.app.edit("compose.yaml", "    build: web\n", "    build: web\n    x-naru: { test: check }\n")
        self.fails_to_build("A test fails in a stage of another name", "3 of 4 tests passed", r"Dockerfile:2")
        self.app.edit("compose.yaml", "test: check", "test: false")
        self.releases("It is not asked")
        self.app.edit("web/Dockerfile", "AS check", "AS test")
        self.releases("Nor under its usual name")

    def releases(self, subject):
        """The push makes a release; its rollout is taken back."""
        self.app.commit(subject)
        said = self.app.push("-f", "main").stdout
        self.assertRegex(said, r"release v\d+ of shop is made")
        self.assertNotIn("tests passed", said)
        commit = self.app.head()
        naru.wait_until(lambda: (r := self.app.status()["rollout"])["commit"] == commit and r["phase"] in ("stepping", "done"), subject, 60)

    def test_a_base_image_that_does_not_exist_is_named(self):
        self.app.edit("web/Dockerfile", "FROM debian:bookworm-slim", "FROM 127.0.0.1:1/nobody/nothing:9")
        self.fails_to_build("No base", r"web/Dockerfile:1: 127\.0\.0\.1:1/nobody/nothing:9", "naru image")

    def test_copying_what_does_not_exist_names_it(self):
        self.app.edit("web/Dockerfile", "COPY server.pl", "COPY sever.pl")
        self.fails_to_build("COPY", "sever.pl", r"Dockerfile:2", r"\.dockerignore")


class Start(OneApp):
    def test_a_service_that_never_becomes_healthy_comes_back(self):
        self.mode("never")
        self.app.edit("compose.yaml", "ready_deadline: 20s", "ready_deadline: 4s")
        self.comes_back("Never healthy", "web", "ready|healthy", "see `naru logs shop/web`")

    def test_a_commit_and_a_health_check_that_speak_no_utf8_end_nothing(self):
        control = self.platform.pids()["control"]
        said = "\\351" * 150 + "\\352\\270\\200" * 100
        self.app.edit("compose.yaml", "    build: web\n", f"""    build: web
    healthcheck: {{ test: ["CMD", "perl", "-e", 'print STDERR "{said}"; exit 1'], interval: 200ms, retries: 1 }}
""")
        self.app.edit("compose.yaml", "ready_deadline: 20s", "ready_deadline: 4s")
        self.app.git("config", "i18n.commitEncoding", "none")
        self.addCleanup(self.app.git, "config", "--unset", "i18n.commitEncoding")
        self.comes_back(os.fsdecode(b"caf\xe9 \xff"), "web", "[?\ufffd]{50}")
        self.assertEqual(self.app.pipelines()[0]["subject"], "caf? ?")
        self.assertEqual(self.platform.pids()["control"], control, "control runs on")

    def test_a_service_that_crashes_at_once_comes_back_with_its_status(self):
        self.mode("crash")
        self.app.edit("compose.yaml", "ready_deadline: 20s", "ready_deadline: 6s")
        self.comes_back("Crashes", "web", r"exited with 3\b", "see `naru logs shop/web`")

    def test_a_service_that_eats_its_memory_limit_comes_back_and_says_so(self):
        self.mode("eat")
        self.app.edit("compose.yaml", "    build: web\n", "    build: web\n    deploy: { resources: { limits: { memory: 48M } } }\n")
        self.app.edit("compose.yaml", "ready_deadline: 20s", "ready_deadline: 8s")
        self.comes_back("Eats memory", "web", "killed: it reached its memory limit of 48 MiB .raise deploy.resources.limits.memory.", "see `naru logs shop/web`")

    def test_a_program_that_does_not_exist_is_named(self):
        self.app.edit("web/Dockerfile", 'CMD ["perl"', 'CMD ["perll"')
        self.app.edit("compose.yaml", "ready_deadline: 20s", "ready_deadline: 6s")
        self.comes_back("No program", r"'perll' does not exist in the image, or its interpreter does not.*\(check command and entrypoint", "see `naru logs shop/web`")

    def mode(self, word):
        self.app.edit("web/Dockerfile", '"web", "8080"]', f'"{word}", "8080"]')


class Git(OneApp):
    def test_a_push_of_500_megabytes_is_refused_with_what_to_do_and_leaves_nothing(self):
        with open(self.app.folder / "huge.bin", "wb") as file, open("/dev/urandom", "rb") as noise:
            for _ in range(500):
                file.write(noise.read(1 << 20))
        self.app.git("config", "core.bigFileThreshold", "1m")
        self.app.git("config", "core.compression", "0")
        self.app.commit("Huge")
        before = self.repository_bytes()
        done = self.app.push("-f", "main", check=False, timeout=300)
        self.assertNotEqual(done.returncode, 0)
        self.assert_says(done.stdout, r"remote: fatal: pack exceeds maximum allowed size", r"remote: hint: this push has 50\d MiB, the bound is 256 MiB",
                         r"naru up --max-push-mb 50\d", r"! \[remote rejected\] main -> main")
        self.assertLess(self.repository_bytes() - before, 1 << 20, "the refused pack is thrown away")
        self.assertNotIn(self.app.head(), self.app.git("ls-remote", "naru").stdout)
        self.assertIn("--max-push-mb", self.platform.naru("up", "--help").stdout)

    def test_strange_names_of_branches_are_refused_or_kept_but_never_run(self):
        for name in ("a;touch${IFS}owned", "$(touch owned)".replace(" ", "${IFS}"), "`id`", "한글", "a'b", 'a"b', "x" * 120):
            with self.subTest(name=name):
                done = self.app.push(f"HEAD:refs/heads/{name}", check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assert_says(done.stdout, "cannot be kept here", "letters, digits")
        kept = self.app.push("HEAD:refs/heads/feature/x-1.2_3")
        self.assert_says(kept.stdout, "is kept; what is delivered is main")
        self.assertEqual(list(self.platform.data.rglob("owned")), [])

    def test_two_pushes_at_once_end_with_what_the_branch_says(self):
        commits = []
        for number in (1, 2):
            self.app.git("checkout", "-q", "-B", f"side{number}", self.good)
            self.app.edit("web/Dockerfile", "ARG TEXT=first", f"ARG TEXT=first\nLABEL side={number}")
            commits.append(self.app.commit(f"Side {number}"))
        pushes = [self.app.start_push("-f", f"side{number}:main") for number in (1, 2)]
        said = [push.communicate(timeout=120)[0] for push in pushes]
        self.assertTrue(any(push.returncode == 0 for push in pushes), said)
        branch = self.app.git("ls-remote", "naru", "refs/heads/main").stdout.partition("\t")[0]
        self.assertIn(branch, commits)
        for push, commit, text in zip(pushes, commits, said):
            if push.returncode != 0:
                self.assertNotEqual(branch, commit, text)
                self.assert_says(text, r"! \[remote rejected\] +side\d -> main \((pre-receive hook declined|failed to update ref)\)", "error: failed to push some refs",
                                 r"remote: (naru: )?another push came first", r"remote: hint: take it in with `git pull --rebase naru main` and push again")
        newest = naru.wait_until(lambda: (p := self.app.pipelines()[0])["state"] == "succeeded" and p, "the newest pipeline ends", 60)
        self.assertEqual(newest["commit"], branch)
        naru.wait_until(lambda: self.app.status()["rollout"]["commit"] == branch, "the newest push is on its way", 60)
        self.platform.naru("abort", "shop")
        self.app.wait_rollout("rolled-back")

    def test_a_client_that_goes_away_changes_nothing(self):
        for delay in (0.02, 0.1, 0.4):
            self.app.git("checkout", "-q", "-f", "main")
            self.app.git("reset", "-q", "--hard", self.good)
            self.app.edit("web/Dockerfile", "ARG TEXT=first", f"ARG TEXT=first\nRUN sleep 0.3; echo {delay}")
            commit = self.app.commit(f"Gone after {delay}")
            push = self.app.start_push("-f", "main")
            time.sleep(delay)  # the moment at which the client is killed
            os.killpg(push.pid, signal.SIGKILL)
            push.communicate()
            self.wait_for_the_server()
            branch = self.app.git("ls-remote", "naru", "refs/heads/main").stdout.partition("\t")[0]
            if branch == commit:
                naru.wait_until(lambda: self.app.pipelines()[0]["commit"] == commit and self.app.pipelines()[0]["state"] == "succeeded", "its pipeline ends", 60)
            else:
                self.app.push("-f", "main")
            naru.wait_until(lambda: (r := self.app.status()["rollout"])["commit"] == commit and r["phase"] == "stepping", "it is delivered", 60)
            self.platform.naru("abort", "shop")
            self.app.wait_rollout("rolled-back")

    def wait_for_the_server(self):
        """What a client began has ended at the other side, too: whose connection is closed, and whose git is gone."""
        naru.wait_until(lambda: not naru.connections_to(self.platform.port), "control has let go of every client")
        naru.wait_until(lambda: not naru.processes_in(self.platform.data / "control/git"), "no git works in a repository")

    def repository_bytes(self):
        return sum(p.stat().st_size for p in (self.platform.data / "control").rglob("*") if p.is_file())


class Http(OneApp):
    # (the bytes, the status, what the answer says is wrong with them)
    MALFORMED = ((b"GET\r\n\r\n", 400, "the method is not a token followed by one space"),
                 (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1 are understood here"),
                 (b"GET / HTTP/1.1\r\n\r\n", 400, "HTTP/1.1 needs a Host field"),
                 (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host is repeated"),
                 (b"GET / HTTP/1.1\r\nHost: a\r\nBad Field: x\r\n\r\n", 400, "there is whitespace before the colon of a field"),
                 (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "Content-Length is repeated"),
                 (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "both Content-Length and Transfer-Encoding are given"),
                 (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400, "a field holds a NUL byte"))

    def test_a_malformed_head_is_answered_with_what_is_wrong(self):
        for port in (self.port, self.platform.gateway_port, self.platform.port):
            for head, status, wrong in self.MALFORMED[1 if port == self.port else 0:]:  # on a service's own port what is no HTTP at all is the service's
                with self.subTest(port=port, head=head):
                    self.assert_refused(port, ask_raw(port, head), status, wrong)

    def test_a_header_of_one_megabyte_is_answered_with_431(self):
        for port in (self.port, self.platform.gateway_port, self.platform.port):
            with self.subTest(port=port):
                answer = ask_raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * (1 << 20) + b"\r\n\r\n")
                self.assert_refused(port, answer, 431, "the head is larger than its bound")

    # (framing and what comes of the body, then what the gateway and what control say)
    BODIES = ((b"Content-Length: 100\r\n\r\nten bytes.", "its body was cut short", "the body was cut short: 90 of 100 bytes are missing"),
              (b"Transfer-Encoding: chunked\r\n\r\nff\r\nten", "its body was cut short", "the chunked body was cut short after 3 bytes"),
              (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "its body is not the chunked coding", "the chunked body is malformed: "))

    def test_a_body_cut_short_is_refused_and_harms_nobody(self):
        for port, host in ((self.port, b"localhost"), (self.platform.gateway_port, b"web.production.shop.localhost")):
            for body, wrong, _ in self.BODIES:
                with self.subTest(port=port, body=body):
                    answer = ask_raw(port, b"POST / HTTP/1.1\r\nHost: " + host + b"\r\n" + body, half_close=True)
                    self.assert_refused(port, answer, 400, wrong)
                    self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"first\n")
        whole = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nten\r\n0\r\n\r\n"
        self.assertRegex(ask_raw(self.port, whole), r"^HTTP/1\.1 200 OK\r\n[\s\S]*\r\n\r\nfirst\n$", "one that is whole is the service's")
        head = f"POST /v1/apps/shop/env HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.app.token}\r\nContent-Type: application/json\r\n".encode()
        for body, _, wrong in self.BODIES:
            with self.subTest(body=body):
                answer = ask_raw(self.platform.port, head + body, half_close=True)
                self.assertRegex(answer, r"^HTTP/1\.1 [45]\d\d ")
                error = naru.json.loads(answer.partition("\r\n\r\n")[2])["error"]
                self.assertIn(wrong, error["message"])
                self.assertTrue(error["hint"])
        self.assertEqual(naru.fetch(self.platform.url("/v1/version"))[0], 401, "it answers, as to anybody without a token")

    def test_without_the_right_token_nothing_is_answered(self):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic bmFydTp3cm9uZw=="}, {"Cookie": "naru_session=wrong"}):
            for path in ("/v1/apps", "/v1/apps/shop/status", "/v1/events", "/git/shop.git/info/refs?service=git-upload-pack", "/v1/doctor"):
                with self.subTest(headers=headers, path=path):
                    status, _, body = naru.fetch(self.platform.url(path), headers=headers)
                    self.assertEqual(status, 401)
                    self.assertNotIn(b"first", body)
                    if path.startswith("/git/"):  # git shows its person text only
                        self.assertIn(b"hint: in the repository: naru app connect shop\n", body)
                        continue
                    error = naru.json.loads(body)["error"]
                    self.assertEqual(error["code"], "unauthorized")
                    self.assertIn("naru token create", error["hint"])
        wrong = self.app.remote.replace("http://", f"http://naru:naru_{'0' * 60}@")
        done = self.app.git("push", wrong, "main", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assert_says(done.stdout, "(?i)authentication failed", "remote: hint: in the repository: naru app connect shop")
        self.app.git("push", self.app.remote.replace("http://", f"http://naru:{self.app.token}@"), "main:old-way")  # as older remotes do

    def test_a_second_clone_pushes_without_a_question_and_without_a_token_in_sight(self):
        with tempfile.TemporaryDirectory() as folder:
            clone, env = Path(folder) / "clone", self.app.git_env()
            naru.run(["git", "clone", "-q", str(self.app.folder), str(clone)], env=env)
            made = self.platform.naru_json("app", "connect", "shop", cwd=clone)
            self.assertEqual((made["remote_url"], made["new_token"]), (self.app.remote, True))
            self.assertFalse(self.platform.naru_json("app", "connect", "shop", cwd=clone)["new_token"], "the one that it has is good")
            (clone / "ballast").write_bytes(os.urandom(500_000))
            for words in (["config", "user.email", "two@example.com"], ["config", "user.name", "Two"], ["add", "-A"], ["commit", "-qm", "more"]):
                naru.run(["git", *words], cwd=clone, env=env)
            push = subprocess.Popen(["git", "push", "naru", "HEAD:refs/heads/second"], cwd=clone, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
            seen = set()
            while push.poll() is None:
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        if "/git/shop.git" in words:
                            seen.add(words)
            self.assertEqual(push.returncode, 0, push.communicate()[0])
            self.assertTrue(any("remote-http" in words for words in seen), seen)
            self.assertFalse([words for words in seen if "naru_" in words], "everybody may read /proc")
            self.assertNotIn("naru_", (clone / ".git/config").read_text())
            self.assertEqual((clone / ".git/naru-credentials").stat().st_mode & 0o777, 0o600)
            self.platform.naru("token", "rm", "shop-2")
            again = naru.run(["git", "push", "naru", "HEAD:refs/heads/third"], cwd=clone, env=env, check=False)
            self.assert_says(again.stdout, "remote: hint: in the repository: naru app connect shop")
            self.assertTrue(self.platform.naru_json("app", "connect", "shop", cwd=clone)["new_token"])
            naru.run(["git", "push", "naru", "HEAD:refs/heads/third"], cwd=clone, env=env)

    def test_a_token_of_one_application_opens_no_other(self):
        self.assertEqual(naru.fetch(self.platform.url("/v1/apps/shop/status"), headers=self.bearer())[0], 200)
        self.platform.naru("app", "create", "secret")
        status, _, body = naru.fetch(self.platform.url("/v1/apps/secret/status"), headers=self.bearer())
        self.assertIn(status, (403, 404), body)
        self.platform.naru("app", "rm", "secret", "--yes")

    def test_a_cross_site_request_with_the_sessions_cookie_is_refused(self):
        link = self.platform.api("POST", "/v1/login-link", {})["url"]
        status, headers, _ = naru.fetch(link)
        cookie = headers["Set-Cookie"].partition(";")[0]
        own = f"http://localhost:{self.platform.port}"
        def post(extra):
            return naru.fetch(own + "/v1/apps/shop/rollback", "POST", {"Cookie": cookie, "Content-Type": "application/json", **extra}, b"{}")
        for extra in ({"Origin": "http://evil.example"}, {}, {"Origin": "null"}, {"Origin": own, "Sec-Fetch-Site": "cross-site"}):
            with self.subTest(extra=extra):
                status, _, body = post(extra)
                self.assertEqual(status, 403, body)
                self.assertIn("hint", naru.json.loads(body)["error"])
        self.assertNotEqual(post({"Origin": own})[0], 403, "the console itself may")
        self.assertEqual(naru.fetch(link)[0] in (200, 302, 303), False, "a link works once")

    def test_a_platform_whose_port_is_taken_says_so_and_does_not_start(self):
        for option, port in (("--port", self.platform.port), ("--gateway-port", self.platform.gateway_port)):
            with tempfile.TemporaryDirectory() as data:
                ports = {"--port": str(naru.free_port()), "--gateway-port": str(naru.free_port())} | {option: str(port)}
                refused = subprocess.run([naru.NARU, "up", "--detach", "--data", data, *(word for pair in ports.items() for word in pair)],
                                         capture_output=True, text=True, timeout=60)
                self.assertNotEqual(refused.returncode, 0)
                self.assertRegex(refused.stderr, rf"error: port {port}\b.*Address already in use")
                self.assertIn(f"`naru up {option} PORT`", refused.stderr)
                self.assertFalse(naru.processes_with(f"--data={data}"))

    def test_a_foreign_host_name_is_refused(self):
        status, _, body = naru.fetch(self.platform.url("/v1/apps"), headers={**self.bearer(), "Host": "rebound.example"})
        self.assertIn(status, (400, 403, 421), body)

    # of the gateway and of control
    REMEDIES = {400: ("Correct the program that wrote the request, or the proxy before it; it is not passed on.", "check what produced them"),
                431: ("Send fewer or shorter header fields and cookies: up to 100 fields and 64 KB together.", "send fewer or shorter header fields and cookies"),
                505: ("Speak HTTP/1.1 or HTTP/1.0.", "speak HTTP/1.1 or HTTP/1.0")}

    def assert_refused(self, port, answer, status, wrong):
        """What is wrong, and what to do: in the gateway's plain text on two lines, in control's JSON in two fields."""
        self.assertRegex(answer.partition("\r\n")[0], rf"^HTTP/1\.1 {status} ")
        body = answer.partition("\r\n\r\n")[2].strip()
        if port == self.platform.port:
            error = naru.json.loads(body)["error"]
            self.assertEqual((error["message"], error["hint"]), (wrong, self.REMEDIES[status][1]))
            return
        lines = body.split("\n")
        self.assertEqual(lines[1:], ["", f"The gateway did not accept this request: {wrong}.", self.REMEDIES[status][0]], body)
        self.assertRegex(lines[0], rf"^{status} [A-Z]")

    def bearer(self):
        return {"Authorization": f"Bearer {self.app.token}"}


class FullDisk(unittest.TestCase):
    def test_a_full_disk_refuses_the_push_and_what_runs_goes_on(self):
        folder = Path(naru.tempfile.mkdtemp(prefix="naru-e2e-small-"))
        naru.run(["mount", "-t", "tmpfs", "-o", "size=420m,mode=755", "naru-e2e", folder])
        platform = None
        try:
            data = folder / "data"
            data.mkdir()
            platform = naru.Platform(data).start()
            port = naru.free_port()
            app = naru.App(platform, "shop", small.web_only(port))
            app.push()
            app.wait_live(1)
            pid = app.instances("web")[0]["pid"]
            self.fill(folder)
            (app.folder / "web/noise").write_bytes(os.urandom(6 << 20))
            app.edit("web/Dockerfile", "COPY server.pl", "COPY noise /noise\nCOPY server.pl")
            app.commit("Needs space")
            done = app.push("main", check=False, timeout=120)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"remote: .*[Nn]o space left")
            self.assertRegex(done.stdout, r"remote: hint: only \d+ MiB are free on the disk of Naru's data: .*naru prune")
            self.assertNotIn(app.head(), app.git("ls-remote", "naru").stdout)
            self.goes_on(app, port, pid)
            # Room for the push (6 MB of pack, 6 MB checked out, and what the state's log may grow by: 4 MB), not for what is
            # built of it (6 MB of files, 6 MB of layer).
            self.fill(folder, but=18 << 20)
            done = app.push("main", timeout=120)
            self.assertRegex(done.stdout, r"(No space left|disk is full|below \d+ MiB a build is not taken)[\s\S]*no release was made")
            self.assertRegex(done.stdout, r"hint: free space.*naru (prune|image rm)")
            self.assertEqual(app.pipelines()[0]["state"], "failed")
            self.goes_on(app, port, pid)
            # Room for a small push, but what runs needs it.
            self.fill(folder, but=6 << 20)
            app.commit("Small")
            done = app.push("main", check=False, timeout=120)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"remote: \d MiB are free on the disk of Naru's data; below 8 MiB a push is not taken")
            self.assertRegex(done.stdout, r"remote: hint: free space, e\.g\. with `naru prune`")
            (folder / "filler").unlink()
            app.commit("Again")
            self.assertIn("is made", app.push("main").stdout)
            app.wait_rollout("stepping")
        finally:
            try:
                if platform is not None:
                    platform.destroy()
            finally:
                naru.run(["umount", "-l", folder])
                folder.rmdir()

    def goes_on(self, app, port, pid):
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{port}/")[2], b"first\n")
        self.assertEqual(app.status()["stable"]["version"], 1)
        self.assertEqual([(i["pid"], i["phase"]) for i in app.instances("web")], [(pid, "ready")], "what was running runs on")

    def fill(self, folder, but=2 << 20):
        (folder / "filler").unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
        with open(folder / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - but)


if __name__ == "__main__":
    unittest.main()
