"""How long until a program runs in a container: Naru's launcher beside `runc run` and the least that the kernel allows."""
import json
import subprocess

import rows
from world import TOOLS, base_layer, run_json, say

NAMES = ("start_vs_runc", "start_vs_bare", "start_answer_ms", "start_networked_ms", "start_cycle_vs_runc", "start_cycle_vs_bare")


def measure(world, quick, wanted):
    with_runc = any("runc" in name for name in wanted)
    platform = world.platform()
    blob, diff_id, media_type = base_layer(platform)
    work = platform.data / "bench"
    work.mkdir()
    argv = [TOOLS / "naru-bench-starts", f"--socket={platform.data}/run/launcher.sock", f"--blob={blob}", f"--layer={diff_id}", f"--media-type={media_type}",
            f"--layers={platform.data}/layers", f"--work={work}", f"--n={10 if quick else 100}"]
    if with_runc:
        argv.append(f"--runc={_bundle(work)}")
    say("starting containers, in turns")
    ways = run_json(argv, 300)
    world.destroy(platform)
    return _section(ways, with_runc)


def _bundle(work):
    """runc's own example, with what Naru gives a container too: a cgroup namespace and a limit of processes."""
    folder = work / "bundle"
    folder.mkdir()
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/date", "+%s%N"], "rlimits": []}
    config["root"] = {"path": str(work / "runc/root"), "readonly": False}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    config["linux"]["resources"]["pids"] = {"limit": 4096}
    config["linux"]["cgroupsPath"] = f"/naru-bench-runc-{folder.stat().st_ino}"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _section(ways, with_runc):
    def ms(way, what):
        return [value / 1000 for value in ways[way][what]]
    section = rows.Section(f"Container start (cgroup {ways['cgroup']})", "peer")
    peers = (["runc"] if with_runc else []) + ["bare"]
    section.rows = [rows.paired(f"start_vs_{peer}", "ms", ms("naru", "start"), ms(peer, "start")) for peer in peers]
    section.rows += [rows.paired(f"start_cycle_vs_{peer}", "ms", ms("naru", "cycle"), ms(peer, "cycle")) for peer in peers]
    section.rows += [rows.alone("start_answer_ms", "ms", ms("naru", "answer")), rows.alone("start_networked_ms", "ms", ms("naru_networked", "start"))]
    section.notes = [
        "start: from the request until date(1) inside reads the clock; cycle: until it has ended and nothing is left; every way makes its overlay.",
        "naru: through the launcher's socket, with its state and log files on disk, /dev, masked paths, seccomp, capabilities; loopback only.",
        "runc: `runc run` of its example specification, with a cgroup namespace; no seccomp filter, output to a pipe; mounting the overlay counts.",
        "bare: clone3, overlay, /proc, pivot_root, exec in six namespaces and a cgroup; no /dev, no filter, no log.",
        "start_networked_ms: with a link to an environment's bridge and an address; start_answer_ms: until the launcher's answer.",
    ]
    return section
