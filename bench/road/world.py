"""The machine side of the benchmark: one temporary folder with everything in it, a Naru of its own, helpers that read /proc."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import naru
from shop import Shop

TOOLS = Path(naru.NARU).parent / "bench"
TICK = os.sysconf("SC_CLK_TCK")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class World:
    """Below one folder that goes at the end, whatever happens. Processes are ended by their ids."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="naru-bench-"))
        self.folder.chmod(0o755)
        tempfile.tempdir = str(self.folder)
        self.stack = contextlib.ExitStack()
        say(f"works in {self.folder}")
        self._shop = None

    def shop(self):
        """The shop on a Naru of its own, made when first asked for."""
        if self._shop is None:
            self._shop = Shop(self)
        return self._shop

    def __enter__(self):
        # An ended terminal or CI job must not leave containers behind.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # a second one must not stop the cleaning up
        try:
            self.stack.close()
        finally:
            tempfile.tempdir = None
            for mount in sorted(mounts_below(self.folder), key=len, reverse=True):
                subprocess.run(["umount", "-l", mount], check=False)
            shutil.rmtree(self.folder, ignore_errors=True)

    def platform(self, one_gateway_thread=False):
        """A Naru on a disk, as people run it, with the base image. It is stopped at the end of the benchmark or by `destroy`."""
        folder = self.folder / f"naru-{time.monotonic_ns()}"
        folder.mkdir()
        platform = naru.Platform(folder=folder)
        all_cpus = os.sched_getaffinity(0)
        try:
            if one_gateway_thread:  # it starts a thread for each CPU that it may use
                os.sched_setaffinity(0, {min(all_cpus)})
            platform.start_process()
        finally:
            os.sched_setaffinity(0, all_cpus)
        self.stack.callback(self.destroy, platform)
        for pid in [platform.up.pid, *platform.pids().values()]:
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(task), all_cpus)
        platform.seed_base_image()
        return platform

    @staticmethod
    def destroy(platform):
        if not getattr(platform, "bench_over", False):
            platform.bench_over = True
            platform.destroy(check=False)

    def process(self, argv, **options):
        """A child that is ended at the end."""
        child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, **options)

        def end():
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        self.stack.callback(end)
        return child


def mounts_below(folder):
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if line.split(" ")[4].startswith(f"{folder}/")]


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def cpu_us(pids):
    """User and system time of all threads of these processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1_000_000 / TICK


def memory_mb(pid):
    """(proportional, resident) of one process, in 10^6 bytes."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(rows[key].split()[0]) * 1024 / 1e6 for key in ("Pss", "Rss"))


def run_json(argv, timeout):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != 0:
        raise naru.Failed(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def base_layer(platform):
    """(blob, diff id, media type) of the base image's only layer, from the OCI layout."""
    images = platform.data / "images"

    def blob(digest):
        return json.loads((images / "blobs" / digest.replace(":", "/")).read_text())
    index = json.loads((images / "index.json").read_text())
    named = [m for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == naru.BASE_IMAGE]
    manifest = blob(named[0]["digest"])
    while "manifests" in manifest:
        manifest = blob(manifest["manifests"][0]["digest"])
    return manifest["layers"][0]["digest"], blob(manifest["config"]["digest"])["rootfs"]["diff_ids"][0], manifest["layers"][0]["mediaType"]
