"""Staging before production: the same images, its own variables, addresses and data; a person lets it go on."""
import re
import unittest

import naru


class Environments(naru.Case):
    @classmethod
    def prepare(cls):
        cls.port, cls.book_port, cls.ssh_port = naru.free_port(), naru.free_port(), naru.free_port()
        cls.app = naru.App.copy(cls.platform, naru.ROOT / "e2e/apps/ledger", "ledger",
                                [('"9400:9400"', f'"{cls.ssh_port}:22", "{cls.port}:9400"'), ('"7070:7070/tcp"', f'"{cls.book_port}:7070/tcp"'),
                                 ("x-naru:\n", "x-naru:\n  environments:\n    staging:\n    production: {deploy: manual, after: staging}\n")])

    def status(self, name):
        return self.platform.naru_json("status", name)

    def wait_served(self, name, version):
        def served():
            status = self.status(name)
            return (status["stable"] or {}).get("version") == version and status["rollout"]["phase"] == "done"
        naru.wait_until(served, f"{name} serves v{version}", seconds=180)

    def test_01_variables_can_be_set_before_the_first_push(self):
        self.platform.naru("env", "set", "ledger/staging", "GREETING=good morning")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"compose\.yml:\d+:\d+: services\.teller\.build: variables give it another image in staging")
        self.app.edit("compose.yml", ', args: { GREETING: "${GREETING:-hello}" }', "")
        self.app.commit("One image for all")
        pushed = self.app.push()
        self.assert_says(pushed.stdout, r"remote: release v1 of ledger is made", r"remote: it comes to production when staging serves it",
                         r"remote: watch it go to the users: naru status ledger --watch", r"remote: staging:")
        told = re.search(r"remote: staging:[\s\S]*?remote:   book +tcp://localhost:(\d+)\s", pushed.stdout)
        self.assertTrue(told, pushed.stdout)
        type(self).told_port = int(told[1])
        # Port 22 comes first in the file, but nobody's name leads there.
        self.assert_says(pushed.stdout, r"remote: staging:[\s\S]*?remote:   teller +tcp://localhost:\d+\s+remote:   teller +tcp://localhost:\d+\s",
                         rf"remote:   teller +http://teller\.staging\.ledger\.localhost:{self.platform.gateway_port}\s")

    def test_02_staging_serves_it_by_name_and_on_a_free_port(self):
        self.wait_served("ledger/staging", 1)
        name = f"http://teller.staging.ledger.localhost:{self.platform.gateway_port}/"
        self.assertEqual(naru.fetch(name)[2], b"good morning\n")
        urls = [a["url"] for a in self.status("ledger/staging")["addresses"] if a["service"] == "book" and ".localhost" not in a["url"]]
        self.assertEqual([u.rpartition(":")[0].partition("://")[2] for u in urls], ["localhost"], urls)
        self.staged_port = int(urls[0].rpartition(":")[2])
        self.assertEqual(self.staged_port, self.told_port, "what the push said")
        naru.wait_until(lambda: naru.tcp_lines(self.staged_port, "PING") == ["book 2", "+pong"], "its port is open")
        self.assertEqual(naru.tcp_lines(self.staged_port, "PING", "ADD anna 5", "SUM anna"), ["book 2", "+pong", "+1 entries", "+5"])

    def test_03_production_waits_for_a_person(self):
        self.assertIsNone(self.status("ledger")["stable"])
        naru.wait_until(lambda: "naru promote ledger" in self.status("ledger")["message"], "production waits")
        self.platform.naru("promote", "ledger")
        self.wait_served("ledger", 1)
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"hello\n")
        self.assertEqual(naru.tcp_lines(self.book_port, "SUM anna"), ["book 2", "+0"], "production has data of its own")

    def test_04_both_run_the_same_images(self):
        images = [[s["image"] for s in self.platform.naru_json("releases", name)["releases"][0]["services"]] for name in ("ledger", "ledger/staging")]
        self.assertEqual(images[0], images[1])

    def test_05_the_environments_do_not_reach_each_other(self):
        asked = self.platform.naru("exec", "ledger/teller", "--", "getent", "hosts", "book.staging.ledger", check=False)
        self.assertNotEqual(asked.returncode, 0)

    def test_06_an_unknown_environment_is_an_error_with_its_place(self):
        self.app.edit("compose.yml", "after: staging", "after: stagin")
        self.app.commit("Misspell it")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"x-naru.environments.production.after", r'did you mean "staging"\?')

    def test_07_one_that_the_file_does_not_declare_any_more_is_named_and_removed(self):
        self.app.git("checkout", "-q", "-f", "HEAD~1")
        self.app.git("checkout", "-q", "-B", "main")
        self.app.edit("compose.yml", "  environments:\n    staging:\n    production: {deploy: manual, after: staging}\n", "")
        self.app.commit("Production alone")
        pushed = self.app.push("-f", "main")
        self.assert_says(pushed.stdout, r"does not declare staging.*naru app rm ledger/staging")
        self.wait_served("ledger", 2)
        refused = self.platform.naru("app", "rm", "ledger/production", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"naru app stop ledger")
        removed = self.platform.naru("app", "rm", "ledger/staging", "--yes").stdout
        self.assert_says(removed, r"ledger/staging is removed", r"naru volume rm ledger\.staging\.")
        names = [e["name"] for a in self.platform.naru_json("app", "ls")["apps"] for e in a["environments"]]
        self.assertEqual(names, ["production"])
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2], b"hello\n", "production runs on")


if __name__ == "__main__":
    unittest.main()
