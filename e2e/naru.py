"""A platform of its own for each test module: `naru up` in a fresh data folder on free ports, with a base image, and a
teardown that leaves nothing behind and says so when something was left."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
from pathlib import Path

from machine import Traces, command_of, connections_to, parent_of, processes_in, processes_with  # noqa: F401: the tests' as well

ROOT = Path(__file__).resolve().parent.parent
NARU = os.environ.get("NARU", str(ROOT / "build/dev/naru"))
TRAFFIC = os.environ.get("NARU_TRAFFIC", str(Path(NARU).parent / "bench/naru-traffic"))
REPLAY = os.environ.get("NARU_REPLAY", str(Path(NARU).parent / "e2e/naru-replay"))
BASE_TAR = Path(os.environ.get("NARU_BASE_TAR", ROOT / "build/base.tar"))
BASE_IMAGE = "docker.io/library/debian:bookworm-slim"
LONG = os.environ.get("NARU_LONG") == "1"
PROCESSES = ("launcher", "gateway", "control")


class Failed(AssertionError):
    pass


def wait_until(probe, what, seconds=60.0, pause=0.05):
    """The first true answer of `probe`; an AssertionError of the probe's counts as not yet, and so does that something it asks
    of is not there yet. The bound only says when there is no hope any more: what is quick is not waited for."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            answer = probe()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError, http.client.HTTPException, KeyError, IndexError, TypeError) as error:
            last = error
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s; last: {last!r}; waited until: {what}"[:6000])
        time.sleep(pause)


_given_ports = set()


def free_port():
    # Below the ephemeral range, so that no outgoing connection of anybody takes it before it is used.
    base = 20000 + (os.getpid() * 97) % 8000
    for port in range(base, 32000):
        if port in _given_ports:
            continue
        with socket.socket() as s, socket.socket(socket.AF_INET6) as s6:
            try:
                s.bind(("", port))
                s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s6.bind(("::", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise Failed("no free port")


def run(argv, *, cwd=None, env=None, timeout=120, check=True, input=None):
    done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, timeout=timeout, input=input, text=True, errors="replace",
                          stdin=subprocess.DEVNULL if input is None else None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiError(AssertionError):
    def __init__(self, status, body):
        error = body.get("error", {}) if isinstance(body, dict) else {}
        self.status, self.code = status, error.get("code", "")
        self.message, self.hint = error.get("message", str(body)), error.get("hint", "")
        super().__init__(f"{status} {self.code}: {self.message} (hint: {self.hint})")


def fetch(url, method="GET", headers=None, body=None, timeout=10):
    """(status, headers, body) of one request on a connection of its own. Names below .localhost are this machine."""
    parts = urllib.parse.urlsplit(url)
    host = "127.0.0.1" if (parts.hostname or "").endswith("localhost") else parts.hostname
    connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        connection.request(method, path, body=body, headers={"Host": parts.netloc, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def tcp_lines(port, *questions, host="127.0.0.1", timeout=10):
    """The greeting of a line protocol that speaks first, then the answer to each question."""
    with socket.create_connection((host, port), timeout) as sock, sock.makefile("rw", newline="\n") as stream:
        answers = [stream.readline().rstrip("\n")]
        for question in questions:
            stream.write(question + "\n")
            stream.flush()
            answers.append(stream.readline().rstrip("\n"))
        return answers


class Platform(Traces):
    """`naru up` as a child, on a data folder of its own."""

    def __init__(self, folder=None, in_memory=True, up_options=()):
        self.up_options = list(up_options)
        self.own_folder = folder is None
        super().__init__(Path(folder or tempfile.mkdtemp(prefix="naru-e2e-")).resolve())
        self.data.chmod(0o755)
        # Thousands of small files: a disk takes longer to remove them than the tests to run.
        self.own_mount = self.own_folder and in_memory
        if self.own_mount:
            run(["mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "naru-e2e", self.data])
        self.work = Path(tempfile.mkdtemp(prefix="naru-e2e-work-")).resolve()
        self.port, self.gateway_port = free_port(), free_port()
        self.up = None
        self.boot_id = None  # a text: `naru up` is told that this is the machine's present boot
        self.env = {k: v for k, v in os.environ.items() if k not in ("NARU_URL", "NARU_TOKEN")} | {"NARU_DATA": str(self.data), "NO_COLOR": "1"}

    # ---- life

    def start(self, seed=True):
        try:
            self.start_process()
            if seed:
                self.seed_base_image()
        except BaseException:
            self.destroy(check=False)
            raise
        return self

    def start_process(self):
        log = open(self.work / "up.log", "ab")
        with log:
            self.up = subprocess.Popen([*self._as_booted(), NARU, "up", "--data", self.data, "--port", str(self.port), "--gateway-port", str(self.gateway_port), *self.up_options],
                                       env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        self.wait_answering()

    def _as_booted(self):
        """What goes before a program that shall see `boot_id`; it is exec'ed by it, under the same pid."""
        if self.boot_id is None:
            return []
        file = self.work / "boot_id"
        file.write_text(self.boot_id + "\n")
        file.chmod(0o444)
        script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
        return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, file]

    def wait_answering(self, seconds=60):
        def answers():
            if self.up.poll() is not None:
                raise RuntimeError(f"`naru up` ended with {self.up.returncode}:\n{self.logs_text()}")
            return self.api("GET", "/v1/version", timeout=5)
        return wait_until(answers, "control answers", seconds)

    def seed_base_image(self):
        """From the machine's cache; made once with `naru image bootstrap`, which takes about a minute."""
        if BASE_TAR.exists():
            self.naru("image", "import", BASE_TAR, "--reference", BASE_IMAGE)
            return
        made = self.naru_json("image", "bootstrap", timeout=900)
        if made["reference"] != BASE_IMAGE:
            raise Failed(f"`naru image bootstrap --json` said {made}")
        part = BASE_TAR.with_suffix(f".{os.getpid()}.part")
        BASE_TAR.parent.mkdir(parents=True, exist_ok=True)
        run(["skopeo", "copy", f"oci:{self.data}/images:{BASE_IMAGE}", f"oci-archive:{part}:{BASE_IMAGE}"], timeout=300)
        part.rename(BASE_TAR)

    def pids(self):
        """Of the three processes that the supervisor started; the launcher's helper is its child and goes with it."""
        found = {}
        if self.up is None or self.up.poll() is not None:
            return found
        for pid, line in processes_with(f"--data={self.data}").items():
            for name in PROCESSES:
                if re.match(rf"\S+ {name} --data=", line) and parent_of(pid) == self.up.pid:
                    found[name] = pid
        return found

    def kill(self, name):
        """kill -9 of "launcher", "gateway", "control" or "up". Returns the pid."""
        pid = self.up.pid if name == "up" else wait_until(lambda: self.pids().get(name), f"{name} runs")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if name == "up":
            self.up.wait(60)
        return pid

    def stop(self, all=False):
        done = self.naru("down", *(["--all"] if all else []), timeout=150)
        self.up.wait(60)
        return done

    def destroy(self, check=True):
        """Stops everything and removes every trace; with `check` an AssertionError names what `down --all` left."""
        problems = []
        if self.up is not None and self.up.poll() is None:
            try:
                self.stop(all=True)
            except Exception as error:  # noqa: BLE001: cleaning up goes on whatever went wrong
                problems.append(f"naru down --all: {error}")
        problems += [f"left behind: {left}" for left in self.leftovers()]
        self._clear()
        if check and problems:
            raise Failed("\n".join(problems) + "\n" + self.logs_text())
        shutil.rmtree(self.work, ignore_errors=True)

    def leftovers(self):
        left = [f"process {pid}: {line}" for pid, line in processes_with(str(self.data)).items() if "naru" in line.split(" ")[0]]
        left += [f"container process {pid}: {command_of(pid)}" for pid in self.container_pids()]
        left += [f"mount {m}" for m in self.mounts()]
        kernel = self.kernel()
        return left + [f"{kind[:-1]} {name}" for kind in ("cgroups", "links", "tables") for name in kernel[kind]]

    def _clear(self):
        for pid in {*processes_with(f"--data={self.data}"), *([self.up.pid] if self.up and self.up.poll() is None else [])}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.up is not None:
            self.up.wait(60)
        self.forget_kernel_state()
        if self.own_mount:
            run(["umount", "-l", self.data], check=False)
        if self.own_folder:
            shutil.rmtree(self.data, ignore_errors=True)

    def forget_kernel_state(self):
        """Containers, mounts, links, nft tables and cgroups of this data folder go, as they do when a machine restarts."""
        self.kill_containers()
        for mount in sorted(self.mounts(), key=len, reverse=True):
            run(["umount", "-l", mount], check=False)
        for link in self.links():
            run(["ip", "link", "delete", link], check=False)
        for family in ("inet", "bridge"):
            run(["nft", "delete", "table", family, self.table()], check=False)
        for group in self.cgroups():
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def kill_containers(self):
        def gone():
            for pid in self.container_pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not self.container_pids()
        wait_until(gone, "the containers are dead")

    def replay(self):
        """None when the event log gives the rows that are stored, else the differences."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            with contextlib.closing(sqlite3.connect(self.data / "control/state.db", timeout=10)) as live, \
                 contextlib.closing(sqlite3.connect(Path(folder, "state.db"))) as copy:
                live.backup(copy)
            shutil.copy(self.data / "control/state.key", folder)
            done = run([REPLAY, folder], check=False)
            return None if done.returncode == 0 else done.stdout

    def age(self, name):
        """Seconds since one of the three processes was started."""
        pid = wait_until(lambda: self.pids().get(name), f"{name} runs")
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

    def logs_text(self, bytes_each=3000):
        out = ""
        for path in [self.work / "up.log", *sorted((self.data / "log").glob("*.log"))]:
            with contextlib.suppress(OSError):
                out += f"--- {path.name}\n{path.read_text(errors='replace')[-bytes_each:]}\n"
        return out

    # ---- asking

    def naru(self, *words, check=True, timeout=120, cwd=None, input=None):
        return run([NARU, *words], env=self.env, check=check, timeout=timeout, cwd=cwd or self.work, input=input)

    def naru_json(self, *words, **options):
        return json.loads(self.naru(*words, "--json", **options).stdout)

    def api(self, method, path, body=None, timeout=30):
        connection = UnixConnection(str(self.data / "run/control.sock"), timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, body=text, headers={"Content-Type": "application/json"} if text else {})
            response = connection.getresponse()
            raw = response.read()
            try:
                answer = json.loads(raw) if raw else {}
            except ValueError:
                answer = raw.decode(errors="replace")
            if response.status >= 400:
                raise ApiError(response.status, answer)
            return answer
        finally:
            connection.close()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


class App:
    """An application of the platform and its repository."""

    def __init__(self, platform, name, files):
        self.platform, self.name = platform, name
        self.folder = platform.work / name
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")
        for key, value in {"user.name": "Test", "user.email": "test@example.com", "commit.gpgsign": "false", "gc.auto": "0"}.items():
            self.git("config", key, value)
        self.write(files)
        self.commit("first")
        made = platform.naru_json("app", "create", name, cwd=self.folder)
        self.token, self.remote = made["token"], made["remote_url"]

    @classmethod
    def copy(cls, platform, source, name, replace):
        """A folder's files, with each (old, new) of `replace` done in every one of them."""
        files = {}
        for path in sorted(Path(source).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                text = path.read_text()
                for old, new in replace:
                    text = text.replace(old, new)
                files[str(path.relative_to(source))] = text
        return cls(platform, name, files)

    def write(self, files):
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        if old not in text:
            raise Failed(f"{name} does not contain {old!r}")
        (self.folder / name).write_text(text.replace(old, new))

    def git_env(self):
        return self.platform.env | {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "no_proxy": "127.0.0.1,localhost",
                                    "NO_PROXY": "127.0.0.1,localhost"}

    def git(self, *words, check=True, timeout=120, input=None):
        return run(["git", *words], cwd=self.folder, env=self.git_env(), check=check, timeout=timeout, input=input)

    def commit(self, subject):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.head()

    def head(self):
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, *words, check=True, timeout=300):
        return self.git("push", "naru", *(words or ["main"]), check=check, timeout=timeout)

    def start_push(self, *words):
        """A push that goes on beside the test."""
        return subprocess.Popen(["git", "push", "naru", *(words or ["main"])], cwd=self.folder, env=self.git_env(), text=True, errors="replace",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def status(self):
        return self.platform.api("GET", f"/v1/apps/{self.name}/status")

    def instances(self, service=None):
        return [i for i in self.status()["instances"] if service in (None, i["service"])]

    def wait_alone(self, service):
        """The only instance of `service`, once it is that (who goes is told of for a moment) and ready."""
        def alone():
            instances = self.instances(service)
            return instances[0] if [i["phase"] for i in instances] == ["ready"] else None
        return wait_until(alone, f"{service} has one instance, which is ready")

    def rollouts(self):
        return self.platform.api("GET", f"/v1/apps/{self.name}/rollouts")["rollouts"]

    def pipelines(self):
        return self.platform.api("GET", f"/v1/apps/{self.name}/pipelines")["pipelines"]

    def newest_version(self):
        """Of the newest push, once its pipeline has made it."""
        def made():
            pipeline = self.pipelines()[0]
            if pipeline["state"] == "failed":
                raise RuntimeError(f"the pipeline failed: {pipeline['error']}")
            return pipeline["release_version"]
        return wait_until(made, "the newest pipeline makes its release", 120)

    def wait_live(self, version, seconds=180):
        """Until release `version` serves everybody and nothing is under way."""
        def live():
            status = self.status()
            stable, rollout = status["stable"], status["rollout"]
            done = stable and stable["version"] == version and (not rollout or rollout["phase"] in ("done", "rolled-back"))
            return status if done else _pick(status)
        deadline = time.monotonic() + seconds
        while True:
            status = live()
            if "services" in status:
                return status
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} v{version} is not live within {seconds} s: {status}\n{self.platform.logs_text(1500)}")
            time.sleep(0.1)

    def wait_rollout(self, *phases, seconds=120):
        """Until the newest rollout is in one of `phases`."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            rollout = status["rollout"]
            if rollout and rollout["phase"] in phases:
                return rollout
            if time.monotonic() > deadline:
                raise Failed(f"the rollout of {self.name} is not {' or '.join(phases)} within {seconds:g} s: {rollout}\n{_pick(status)}")
            time.sleep(0.1)


def _pick(status):
    rollout = status["rollout"] or {}
    return {"message": status["message"], "stable": status["stable"], "rollout": {k: rollout.get(k) for k in ("phase", "to_version", "weight", "reason")},
            "instances": [(i["id"], i["phase"], i["error"]) for i in status["instances"]]}


class Traffic:
    """Many users with cookie jars (naru-traffic). Stopped at the end of the block; `report` has the totals."""

    def __init__(self, url, users=200, rate=60, seconds=240, threads=4, patience_ms=20_000):
        self.argv = [TRAFFIC, f"--url={url}", f"--users={users}", f"--rate={rate}", f"--seconds={seconds}", f"--threads={threads}", f"--patience-ms={patience_ms}"]
        self.report = {}

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def _read(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.report = json.loads(line)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()


class Beside:
    """Runs functions on threads of their own beside a test, until its `with` ends: then `stopped` is set."""

    def __init__(self, *functions):
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=function, daemon=True) for function in functions]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)


class Case(unittest.TestCase):
    """One platform for all tests of a class."""
    maxDiff = None
    platform = None
    in_memory = True
    up_options = ()  # of `naru up`

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.platform = Platform(in_memory=cls.in_memory, up_options=cls.up_options).start()
        try:
            cls.prepare()
        except BaseException:
            print(cls.platform.logs_text())
            cls.tearDownClass()
            raise

    @classmethod
    def prepare(cls):
        """What all tests of the class need besides the platform, which goes when this fails."""

    @classmethod
    def tearDownClass(cls):
        if cls.platform is not None:
            cls.platform.destroy()
        super().tearDownClass()

    def assert_says(self, text, *parts):
        for part in parts:
            self.assertRegex(text, part)
