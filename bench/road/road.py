#!/usr/bin/env python3
"""./dev bench road: Naru's road beside what people use instead. Prints a table; with --json a list of
{"name", "unit", "naru", "peer", "ratio", "n"} on stdout and nothing else. Progress goes to stderr.

A goal on a name with `_vs_` is held against `ratio` (naru/peer), every other against `naru`."""
import argparse
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))  # a platform is run as the end-to-end tests run one
import naru  # noqa: E402

import gateway  # noqa: E402
import memory  # noqa: E402
import push  # noqa: E402
import rollback  # noqa: E402
import rows  # noqa: E402
import start  # noqa: E402
from world import World, say  # noqa: E402

PARTS = {"push": push, "start": start, "gateway": gateway, "memory": memory, "rollback": rollback}


def arguments(words):
    parser = argparse.ArgumentParser(prog="./dev bench road", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="measurements and their figures:\n" + "\n".join(f"  {name}: {', '.join(part.NAMES)}" for name, part in PARTS.items()))
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout and nothing else")
    parser.add_argument("--quick", action="store_true", help="few repetitions: whether it works, not how fast it is")
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help="these measurements, or these figures")
    given = parser.parse_args(words)
    try:
        given.wanted = wanted_names(given.only)
    except ValueError as error:
        parser.error(str(error))
    return given


def wanted_names(only):
    """The figures to measure, by part. A part's name stands for all of its figures."""
    wanted = {}
    for word in filter(None, only.split(",")):
        found = {part: [name for name in module.NAMES if word in (part, name)] for part, module in PARTS.items()}
        if not any(found.values()):
            raise ValueError(f"there is no measurement '{word}'; there are: {', '.join(PARTS)}, and their figures (--help)")
        for part, names in found.items():
            if names:
                wanted.setdefault(part, []).extend(names)
    return wanted or {part: list(module.NAMES) for part, module in PARTS.items()}


def measure(wanted, quick):
    """The sections, each with the wanted rows; and whether every one could be measured."""
    sections, whole = [], True
    with World() as world:
        for part, module in PARTS.items():
            if part not in wanted:
                continue
            load = os.getloadavg()[0]
            say(f"{part} (load average {load:.1f})")
            try:
                section = module.measure(world, quick, wanted[part])
            except (naru.Failed, OSError, RuntimeError, subprocess.SubprocessError) as error:
                traceback.print_exc()
                say(f"{part} was not measured: {error}")
                whole = False
                continue
            section.notes.append(f"load average of the machine when this began {load:.1f}, when it ended {os.getloadavg()[0]:.1f}")
            section.keep(wanted[part])
            sections.append(section)
    return sections, whole


def main():
    given = arguments(sys.argv[1:])
    if os.geteuid() != 0:
        sys.exit("error: the measurements start containers and need root: sudo ./dev bench road")
    sections, whole = measure(given.wanted, given.quick)
    if given.json:
        print(json.dumps([row.as_json() for section in sections for row in section.rows]))
    else:
        print("\n".join(rows.table(section) for section in sections))
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
