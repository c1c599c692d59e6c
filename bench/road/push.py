"""A change of one line, from `git push` until a request is answered by it: Naru beside peer.sh, a shell script with git, buildah,
podman and haproxy. The same application, base image and disk; everything that can be cached is."""
import json
import os
import random
import statistics
import subprocess
import threading
import time
from pathlib import Path

import naru
import rows
from world import say

HERE = Path(__file__).resolve().parent
STAGES = ("push_check_ms", "plan_ms", "build_ms", "start_ms", "route_ms")
NAMES = ("push_to_live_vs_script", "own_share_vs_script", "own_share_ms", *STAGES)


def measure(world, quick, wanted):
    sides = {"naru": _Naru(world), "script": _Script(world)}
    commands = _commands_ms(world, sides["naru"].folder)
    rng = random.Random(1)
    count = 3 if quick else 15
    say(f"pushing {count} changes of one line on each side, in turns")
    runs = {name: [] for name in sides}
    for turn in range(count + 1):
        for name in rng.sample(list(sides), 2):
            run = sides[name].deliver()
            if turn:  # the first fills the caches
                runs[name].append(run)
    section = rows.Section("Push to live, a change of one line", "script")

    def both(name, of):
        return rows.paired(name, "ms", [of(run) for run in runs["naru"]], [of(run) for run in runs["script"]])
    section.rows = [both("push_to_live_vs_script", lambda run: run["total"]), both("own_share_vs_script", lambda run: run["total"] - commands)]
    section.rows += [both("own_share_ms", lambda run: run["total"] - commands)] + [both(stage, lambda run, stage=stage: run[stage]) for stage in STAGES]
    section.notes = [
        f"own share: the wall time less the application's own build and test commands, which take {commands:.0f} ms here (measured alone, in the base image).",
        "push_check: git push until the commit is accepted (naru: over HTTP, checked in quarantine; script: a local path, not checked); plan: until it is checked out and read;",
        "build: stages `test` and the image; start: container until healthy; route: until a request from outside is answered by the new release.",
        "naru also keeps a release to return to, a network of its own for the application, logs, and a judged rollout (here: to everybody at once).",
        f"script: containers run by {sides['script'].runtime}, layers cached by buildah; `podman run --network host`, which spares it bridge and address; health asked every 20 ms; haproxy reloaded without losing its socket.",
    ]
    return section


class _Side:
    """A repository of the application; `deliver` changes its one line, pushes, and says when what was done."""

    def deliver(self):
        self.number += 1
        text = f"release {self.number}"
        (self.folder / "greeting.pl").write_text((HERE / "app/greeting.pl").read_text().replace("release 0", text))
        self.git("commit", "-qam", text)
        watch = _Watch(self.port, text)
        begin = time.time()
        try:
            pushed = self.git("push", self.remote, "main", timeout=120)
            live = watch.wait(60)
            if live is None:
                raise naru.Failed(f"{type(self).__name__}: not live within 60 s of:\n{pushed.stdout[-3000:]}")
        finally:
            watch.stop()
        ends = [begin, *self.stage_ends(text), live]
        run = {stage: (ends[i + 1] - ends[i]) * 1000 for i, stage in enumerate(STAGES)}
        return run | {"total": (live - begin) * 1000}


class _Naru(_Side):
    remote = "naru"

    def __init__(self, world):
        self.number = 0
        self.port = naru.free_port()
        self.platform = world.platform()
        self.app = naru.App.copy(self.platform, HERE / "app", "greeter", [('"8000:8080"', f'"{self.port}:8080"')])
        self.folder, self.git = self.app.folder, self.app.git

    def stage_ends(self, text):
        def settled():
            status = self.app.status()
            ended = status["rollout"] and status["rollout"]["phase"] == "done" and status["pipeline"]["subject"] == text
            return status if ended and status["stable"]["version"] == status["pipeline"]["release_version"] else None
        status = naru.wait_until(settled, "the release has replaced the one before", 60)
        pipeline = status["pipeline"]
        ready = [i["ready_at"] for i in status["instances"] if i["release_version"] == status["stable"]["version"]]
        return [at / 1000 for at in (pipeline["pushed"], pipeline["planned_at"], pipeline["finished"], max(ready))]


class _Script(_Side):
    def __init__(self, world):
        self.number = 0
        self.port = _three_ports()
        self.home = world.folder / "peer"
        self.home.mkdir()
        # crun is the faster one; it does not know cgroup v1. Limits of the host are left alone: raising them may not be allowed.
        self.runtime = "crun" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "runc"
        (self.home / "containers.conf").write_text(f'[containers]\ndefault_ulimits = []\n[engine]\nruntime = "{self.runtime}"\n')
        self.env = os.environ | {"BUILDAH_RUNTIME": self.runtime, "PEER_HOME": str(self.home), "PEER_PORT": str(self.port), "CONTAINERS_CONF": str(self.home / "containers.conf"),
                                 "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        world.stack.callback(self.peer, "down", check=False)
        self.peer("setup", naru.BASE_TAR, naru.BASE_IMAGE)
        self.remote = str(self.home / "repo.git")
        self.folder = world.folder / "greeter"
        subprocess.run(["cp", "-r", HERE / "app", self.folder], check=True)
        for words in (["init", "-q", "-b", "main"], ["config", "user.name", "Bench"], ["config", "user.email", "bench@localhost"], ["add", "-A"],
                      ["commit", "-qm", "first"]):
            self.git(*words)

    def peer(self, *words, check=True):
        return naru.run([HERE / "peer.sh", *words], env=self.env, check=check, timeout=300)

    def git(self, *words, timeout=120):
        return naru.run(["git", *words], cwd=self.folder, env=self.env, timeout=timeout)

    def stage_ends(self, text):
        path = self.home / "stages"
        ends = dict(line.split() for line in path.read_text().splitlines())
        path.unlink()
        return [int(ends[stage]) / 1e9 for stage in ("pushed", "checked_out", "built", "started")]


def _three_ports():
    """The first of three in a row that are free: the proxy's, and those of its two backends in turn."""
    while True:
        ports = [naru.free_port() for _ in range(3)]
        if ports == list(range(ports[0], ports[0] + 3)):
            return ports[0]


class _Watch:
    """Asks on the front port until the answer is the wanted one; each request on a connection of its own, 2 ms apart."""

    def __init__(self, port, text):
        self.url, self.text = f"http://127.0.0.1:{port}/", text.encode()
        self.live, self.over = None, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.wait(0.002):
            try:
                if naru.fetch(self.url, timeout=5)[2].strip() == self.text:
                    self.live = time.time()
                    return
            except (OSError, naru.http.client.HTTPException):
                continue

    def wait(self, seconds):
        self.thread.join(seconds)
        return self.live

    def stop(self):
        self.over.set()
        self.thread.join(10)


def _commands_ms(world, folder):
    """The application's own commands, run in the unpacked base image without a container."""
    root = world.folder / "root"
    subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{naru.BASE_TAR}", f"dir:{world.folder}/base"], check=True, stdin=subprocess.DEVNULL)
    layer = json.loads((world.folder / "base/manifest.json").read_text())["layers"][0]["digest"].partition(":")[2]
    root.mkdir()
    subprocess.run(["tar", "-xf", world.folder / "base" / layer, "-C", root, "--exclude=./dev/*", "--exclude=dev/*"], check=True)
    subprocess.run(["cp", "-r", folder, root / "app"], check=True)
    times = []
    for _ in range(5):
        begin = time.monotonic()
        for script in ("perl -c server.pl", "perl test.pl"):
            subprocess.run(["chroot", root, "sh", "-c", f"cd /app && {script}"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append((time.monotonic() - begin) * 1000)
    return statistics.median(times)
