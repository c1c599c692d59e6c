#!/usr/bin/env python3
"""Holds what a compiler does not: layers, lengths, repetition, the error catalogue (a statement of a test asserts each code, which
shows that it is looked at, not that the product raised it), names of the example in code.

Run by `./dev check`. Ratchets stand in scripts/ratchets.json: a figure may fall (then write it down with --update), not rise.
"""
import json
import pathlib
import re
import subprocess
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATCHETS = ROOT / "scripts" / "ratchets.json"

# A folder includes itself, lower layers, and the edges named here (docs/ARCHITECTURE.md).
LAYERS = {
    "base": 0,
    "model": 1, "format": 1, "judge": 1,
    "pipeline": 2, "rollout": 2, "route": 2, "os": 2,
    "platform": 3, "io": 3, "ipc": 3, "store": 3, "container": 3, "network": 3, "image": 3, "build": 3,
    "supervisor": 4, "launcher": 4, "gateway": 4, "control": 4, "cli": 4, "runtime": 4,
}
EDGES = {("format", "model"), ("judge", "model"), ("build", "image"), ("build", "container"), ("image", "io"), ("container", "store")}
PURE = {"base", "model", "format", "judge", "pipeline", "rollout", "route", "platform"}
# What does I/O has no place in a decider.
IMPURE = re.compile(r"#include <(sys/socket|sys/stat|fcntl|unistd|fstream|filesystem|thread|mutex|sqlite3|poll|sys/epoll)\.?h?>")
MAX_LINES = 600
# A code counts as tested when it stands in a statement that asserts.
ASSERTS = re.compile(r"\b(EXPECT|ASSERT)_|\bassert")
# examples/shop is an application like any other. Only these show its names, in the texts that they print for people.
SHOW_THE_EXAMPLE = {f"src/cli/{name}.cc" for name in ("apps", "grammar_delivery", "grammar_platform", "status", "target", "up")}
WORDS_OF_ALL = {"web"}  # names of its services that say nothing of it


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns], cwd=ROOT,
                         check=True, capture_output=True).stdout.decode()
    return [ROOT / name for name in out.split("\0") if name and (ROOT / name).is_file()]


def sources():
    return [p for p in tracked("src", "sim", "bench", "fuzz", "e2e") if p.suffix in (".cc", ".h")]


def programs():
    """Everything that is written by hand and read by people, C++ and the rest."""
    others = [p for p in tracked() if p.suffix in (".py", ".mjs", ".js", ".ts", ".svelte", ".sh", ".pl", ".css") or (p.suffix == "" and p.read_bytes()[:2] == b"#!")]
    return sorted({*sources(), *others})


def check_layers(errors):
    for path in tracked("src"):
        parts = path.relative_to(ROOT / "src").parts
        if path.suffix not in (".cc", ".h") or len(parts) < 2:
            continue
        folder = parts[0]
        if folder not in LAYERS:
            errors.append(f"{path.relative_to(ROOT)}: src/{folder} has no layer in scripts/check_tree.py")
            continue
        is_test = path.stem.endswith("_test")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            place = f"{path.relative_to(ROOT)}:{number}"
            found = re.match(r'#include "([a-z_]+)/', line)
            if found and found[1] in LAYERS and found[1] != folder and not is_test:
                if LAYERS[found[1]] >= LAYERS[folder] and (folder, found[1]) not in EDGES:
                    errors.append(f"{place}: {folder} (layer {LAYERS[folder]}) must not include {found[1]} (layer {LAYERS[found[1]]})")
            if folder in PURE and folder not in ("base",) and not is_test and IMPURE.match(line):
                errors.append(f"{place}: {folder} decides; it does no I/O: {line}")
            if folder != "store" and "sqlite3.h" in line:
                errors.append(f"{place}: SQLite is used in src/store and nowhere else")
            if ".dump(" in line and "test" not in path.name and path.name != "json.cc":
                errors.append(f"{place}: dump() throws at bytes that are not UTF-8; model/json_text.h writes JSON")


def is_test(path):
    return re.search("test|fake_|fixture", path.name) is not None


def without_comments(text):
    return re.sub(r'(R"\(.*?\)"|"(?:\\.|[^"\\\n])*")|//[^\n]*', lambda found: found[1] or "", text, flags=re.S)


def check_example(errors):
    compose = (ROOT / "examples/shop/compose.yaml").read_text()
    services = re.search(r"^services:\n(.*?)^\S", compose, re.M | re.S)[1]
    names = {"shop", *re.findall(r"^  (\w+):$", services, re.M)} - WORDS_OF_ALL
    word = re.compile(rf"(?<![a-z])({'|'.join(sorted(names))})(?![a-z])", re.I)
    for path in tracked("src"):
        if path.suffix not in (".cc", ".h") or is_test(path):
            continue
        name = str(path.relative_to(ROOT))
        code = without_comments(path.read_text())
        if name in SHOW_THE_EXAMPLE:
            code = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', code)
        for line in code.splitlines():
            if found := word.search(line):
                errors.append(f"{name}: '{found[0]}' is of examples/shop, which no code of Naru knows: {line.strip()[:100]}")


def statements_that_assert(path):
    text = path.read_text(errors="replace")
    parts = without_comments(text).split(";") if path.suffix in (".cc", ".h") else text.splitlines()
    return [part for part in parts if ASSERTS.search(part)]


def check_errors(errors):
    catalogue = (ROOT / "src/base/error_catalogue.def").read_text()
    codes = re.findall(r"^NARU_ERROR\((\w+),", catalogue, re.M)
    asserted = ";\n".join(part for path in tracked("src", "e2e", "sim") if "test" in path.name for part in statements_that_assert(path))
    raised = "\n".join(without_comments(p.read_text()) for p in tracked("src") if p.suffix in (".cc", ".h") and not is_test(p))
    for code in codes:
        if not re.search(rf'\bCode::{code}\b|"{code}"', asserted):
            errors.append(f"src/base/error_catalogue.def: '{code}' stands in no EXPECT_, ASSERT_ or assert of a test")
        if not re.search(rf"\bCode::{code}\b", raised):
            errors.append(f"src/base/error_catalogue.def: no code but tests names '{code}'")
    table = (ROOT / "docs/errors.md").read_text() if (ROOT / "docs/errors.md").exists() else ""
    wanted = errors_page(catalogue)
    if "--update" in sys.argv:
        (ROOT / "docs/errors.md").write_text(wanted)
    elif table != wanted:
        errors.append("docs/errors.md is not what the catalogue says: run scripts/check_tree.py --update")


def errors_page(catalogue):
    rows = re.findall(r'^NARU_ERROR\((\w+), (\d+), "(.*?)", "(.*)"\)$', catalogue, re.M)
    lines = ["# Errors", "", "Made from `src/base/error_catalogue.def` by `scripts/check_tree.py --update`. The code stands in every JSON error.",
             "", "| code | HTTP | meaning | what to do |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {status} | {meaning} | {remedy} |" for name, status, meaning, remedy in rows]
    return "\n".join(lines) + "\n"


def measure():
    long_files = {}
    windows = defaultdict(set)
    for path in programs():
        length = len(path.read_text(errors="replace").splitlines())
        if length > MAX_LINES:
            long_files[str(path.relative_to(ROOT))] = length
    for path in sources():
        lines = path.read_text(errors="replace").splitlines()
        name = str(path.relative_to(ROOT))
        kept = [line.strip() for line in lines]
        kept = [line for line in kept if len(line) > 3 and not line.startswith(("//", "#include"))]
        for i in range(len(kept) - 7):
            windows["\n".join(kept[i:i + 8])].add(name)
    repeated = sum(1 for files in windows.values() if len(files) > 1)
    return {"long_files": long_files, "repeated_windows": repeated}


def check_ratchets(errors):
    now = measure()
    if "--update" in sys.argv or not RATCHETS.exists():
        RATCHETS.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n")
        return
    held = json.loads(RATCHETS.read_text())
    for name, lines in now["long_files"].items():
        if lines > held["long_files"].get(name, MAX_LINES):
            errors.append(f"{name}: {lines} lines; {held['long_files'].get(name, MAX_LINES)} is the most: split it by noun")
    if now["repeated_windows"] > held["repeated_windows"]:
        errors.append(f"{now['repeated_windows']} runs of eight lines stand in two files; it was {held['repeated_windows']}: share them")


def main():
    errors = []
    check_layers(errors)
    check_errors(errors)
    check_example(errors)
    check_ratchets(errors)
    for error in errors:
        print(f"error: {error}")
    print(f"check_tree: {len(errors)} faults")
    return 1 if errors else 0


sys.exit(main())
