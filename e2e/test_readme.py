"""The commands of README.md, run as they stand there by somebody whose home, data folder and ports are new."""
import os
import re
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

from naru import BASE_IMAGE, BASE_TAR, NARU, ROOT, Platform, run

# Written down with the reason; everything else in the `sh` blocks is run.
NOT_RUN = {
    "./dev demo": "the same road with the shop takes minutes",
    "./dev test": "runs this test",
    "naru image bootstrap": "takes a minute; the base image of the other tests is imported instead",
}
# Commands that a person ends, and what he then has seen.
FOR_EVER = {"naru status hello --watch": "v1 serves everybody"}


def blocks(readme):
    """(language, lines without their comments) of each code block."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / readme).read_text(), re.M | re.S)
    lines = ((language, [re.sub(r"\s+#( .*)?$", "", line) for line in text.splitlines()]) for language, text in found)
    return [(language, [line for line in some if line]) for language, some in lines]


def commands(readme):
    return [line for language, lines in blocks(readme) if language == "sh" for line in lines]


def bones(readme):
    """What both languages have in common beside the blocks: levels of headings, the figures and commands of each cell of a
    table, the pages that are linked, and the paragraphs' figures."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / readme).read_text(), flags=re.M | re.S)
    figure = r"\d[\d,.]*\d|\d"
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    return {
        "headings": re.findall(r"^#+(?= )", text, re.M),
        "cells": [[(re.findall(r"`[^`]+`", cell), sorted(re.findall(figure, cell))) for cell in line.split("|")[1:-1]]
                  for line in text.splitlines() if line.startswith("|")],
        "links": sorted(link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("README")),
        "figures": sorted(re.findall(figure, "\n".join(prose))),
        "commands": sorted(re.findall(r"`((?:naru|\./dev) [^`]+)`", "\n".join(prose))),
    }


class Readme(unittest.TestCase):
    def setUp(self):
        self.assertTrue(commands("README.md"))

    def test_is_the_same_in_both_languages(self):
        self.assertEqual(blocks("README.ko.md"), blocks("README.md"))
        korean, english = bones("README.ko.md"), bones("README.md")
        for part in english:
            self.assertTrue(english[part], f"nothing is compared: {part}")
            self.assertEqual(korean[part], english[part], part)

    def test_names_only_verbs_and_options_that_there_are(self):
        words = re.findall(r"`(naru [^`]+)`", (ROOT / "README.md").read_text())
        self.assertGreater(len(words), 10)
        for line in words:
            with self.subTest(line):
                argv = shlex.split(line.replace("[", "").replace("]", ""))[1:]
                argv = argv[: argv.index("--")] if "--" in argv else argv
                verbs = [word for word in argv if re.fullmatch("[a-z]+", word)][:2]
                text = run([NARU, *argv, "--help"]).stdout
                self.assertIn(f"Usage: naru {verbs[0]}", text)
                for option in (word for word in argv if word.startswith("-")):
                    self.assertIn(option, text)

    def test_commands_do_what_they_say(self):
        for line in (*NOT_RUN, *FOR_EVER):
            self.assertIn(line, commands("README.md"))
        platform = Platform()
        self.addCleanup(platform.destroy)
        self.addCleanup(platform.naru, "down", "--all", check=False)
        with tempfile.TemporaryDirectory(prefix="naru-e2e-home-") as home:
            said = self.run_by_hand(platform, Path(home))
        self.assertEqual(platform.leftovers(), [])
        self.assertRegex(said["naru up --detach"], r"login\?code=")
        self.assertIn("remote:", said["git push naru main"])
        curl = next(line for line in said if line.startswith("curl "))
        self.assertEqual(said[curl].strip().splitlines()[-1], "Hello from Naru.")
        self.assertIn("v1 serves everybody", said["naru status hello --watch"])
        self.assertIn("v1", said["naru rollout hello"])

    def run_by_hand(self, platform, home):
        """command -> what it printed. One shell, so that `cd` and `export` last; it stops at the first that fails."""
        lines, script = [], ["set -eu -o pipefail"]
        for line in commands("README.md"):
            output = shlex.quote(str(home / f"said-{len(lines)}"))
            lines.append(line)
            if line == "naru image bootstrap" and BASE_TAR.exists():
                line = f"naru image import {shlex.quote(str(BASE_TAR))} --reference {BASE_IMAGE}"
            elif line in NOT_RUN and not line.startswith("naru"):
                continue
            if line in FOR_EVER:
                # tail ends when the command does, grep at the first line that it looks for.
                script.append(f": >{output}\n"  # tail finds it, however late the command starts
                              f"{line} >{output} 2>&1 & watch=$!\n"
                              f"tail -f -s 0.1 --pid=$watch -n +1 {output} | grep -q -m 1 '{FOR_EVER[line]}' || true\n"
                              f"kill $watch; wait $watch || true")
            else:
                script.append(f"{{ {line}\n}} >{output} 2>&1")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NARU", "GIT_", "PRESET"))}
        person = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "NO_COLOR": "1", "no_proxy": "127.0.0.1,localhost,.localhost",
                  "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
        place = {"NARU_DATA": str(platform.data), "NARU_PORT": str(platform.port), "NARU_GATEWAY_PORT": str(platform.gateway_port)}
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=ROOT, env=environment | person | place, timeout=600, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        outputs = {line: path.read_text() for number, line in enumerate(lines) if (path := home / f"said-{number}").exists()}
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{outputs}\n{platform.logs_text()}")
        return outputs


if __name__ == "__main__":
    unittest.main()
