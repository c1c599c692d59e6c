"""What stands on this machine: processes, and what a Naru has in the kernel, found by the names that it gives."""
import contextlib
import hashlib
import os
import re
import subprocess
from pathlib import Path


def processes_with(text):
    """pid -> command line of every process (no zombies) whose command line contains `text`."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if text in line:
                    found[int(entry)] = line
    return found


def processes_in(folder):
    """Pids of those that work in `folder` or below, or whose environment names it."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{entry}/cwd")).is_relative_to(folder) or str(folder).encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(int(entry))
    return found


def connections_to(port):
    """Of TCP, those whose end at `port` has not been closed by who listens there."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [row for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] in ("01", "03", "08")]  # established, arriving, left by its peer


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def nft(*words):
    """What nft prints; None: it refuses."""
    done = subprocess.run(["nft", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout if done.returncode == 0 else None


class Traces:
    """Of the Naru whose data folder is `data`, named as src/network and src/container name them."""

    def __init__(self, data):
        self.data = data

    def _hash(self, length):
        digest = hashlib.sha256(str(self.data).encode()).digest()
        return "".join("abcdefghijklmnopqrstuvwxyz234567"[b % 32] for b in digest[:length])

    def table(self):
        return "naru_" + self._hash(5)

    def links(self):
        prefix = "n" + self._hash(5)
        return [name for name in os.listdir("/sys/class/net") if name.startswith((prefix + "b", prefix + "v"))]

    def cgroups(self):
        name = "naru-" + hashlib.sha256(str(self.data).encode()).hexdigest()[:12]
        found = []
        for folder, folders, _ in os.walk("/sys/fs/cgroup"):
            if name in folders:
                found.append(os.path.join(folder, name))
            if folder.count("/") > 6:
                folders.clear()
        return found

    def cgroups_below(self, name):
        """Of every hierarchy, the groups below "apps" or "builds"."""
        return [{e.name for e in os.scandir(p) if e.is_dir()} for p in (os.path.join(g, name) for g in self.cgroups()) if os.path.isdir(p)]

    def bridge_ports(self):
        """The links that the nft table of the bridge family lets send; None: this kernel has no such table."""
        ports = nft("list", "set", "bridge", self.table(), "ports")
        return None if ports is None else set(re.findall(r'"(\w+)" \.', ports))

    def mounts(self):
        prefix = str(self.data) + "/"
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split(" ")[4] for line in lines if line.split(" ")[4].startswith(prefix)]

    def kernel(self):
        """What it has outside of its data folder."""
        tables = nft("list", "tables")
        if tables is None:
            raise AssertionError("nft cannot list its tables")
        return {"links": self.links(), "tables": [t for t in tables.split() if t == self.table()], "cgroups": self.cgroups(), "mounts": self.mounts()}

    def container_pids(self):
        """Processes below its cgroups but its own."""
        pids = set()
        for group in self.cgroups():
            for folder, _, files in os.walk(group):
                if "cgroup.procs" in files:
                    with contextlib.suppress(OSError):
                        pids.update(int(p) for p in Path(folder, "cgroup.procs").read_text().split())
        return {pid for pid in pids if not re.search(rf"--data[= ]{re.escape(str(self.data))}\b", command_of(pid))}
