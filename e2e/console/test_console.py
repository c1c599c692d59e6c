"""The web console in headless Chromium: in full against recorded answers, and on a real platform with a real application."""
import os
import re
import subprocess
import unittest

import naru

kPatience = 900


def run_browser_tests(**environment):
    done = subprocess.run([naru.ROOT / "scripts/console", "test"], env=os.environ | environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=kPatience)
    passed = re.search(r"^\S+ pass (\d+)$", done.stdout, re.M)
    if done.returncode != 0 or not passed or int(passed.group(1)) == 0 or not re.search(r"^\S+ skipped 0$", done.stdout, re.M):
        raise AssertionError(done.stdout[-20_000:])
    print(f"{passed.group(1)} browser tests passed", flush=True)


class RecordedConsole(unittest.TestCase):
    def test_the_console_does_what_a_person_asks(self):
        run_browser_tests()


class RealConsole(naru.Case):
    def test_the_console_of_a_platform_shows_its_application_and_promotes_what_holds(self):
        port, book_port = naru.free_port(), naru.free_port()
        app = naru.App.copy(self.platform, naru.ROOT / "e2e/apps/ledger", "ledger",
                            [('"9400:9400"', f'"{port}:9400"'), ('"7070:7070/tcp"', f'"{book_port}:7070/tcp"')])
        app.push()
        app.wait_live(1)
        app.edit("src/teller.py", 'os.environ.get("GREETING", "hello")', '"good day"')
        app.commit("Greet politely")
        app.push()
        link = self.platform.naru("open").stdout.strip().splitlines()[-1]
        run_browser_tests(NARU_CONSOLE_LINK=link, NARU_CONSOLE_APP="ledger", NARU_CONSOLE_PROMOTE="1")
        app.wait_live(2)


if __name__ == "__main__":
    unittest.main()
