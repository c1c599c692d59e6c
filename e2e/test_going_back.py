"""A database under a new name never runs beside itself, and a rollback takes nothing that it may not have."""
import unittest

import naru
import small


class GoingBack(naru.Case):
    @classmethod
    def prepare(cls):
        cls.port, cls.store_port = naru.free_port(), naru.free_port()
        cls.app = naru.App(cls.platform, "shop", small.web_and_store(cls.port, cls.store_port))
        cls.app.push()
        cls.app.wait_live(1)

    def add(self, entry):
        self.assertEqual(naru.tcp_lines(self.store_port, f"ADD {entry}"), ["store", f"+added {entry}"])

    def entries(self, service):
        kept = self.platform.naru("exec", f"shop/{service}", "--", "sh", "-c", "ls /data; cat /data/entries").stdout
        self.assertNotIn("two-at-once", kept)
        return kept.split()[-2:]

    def test_01_a_renamed_database_takes_its_volume_over_and_keeps_its_old_name_for_old_users(self):
        self.add("one")
        self.app.edit("compose.yaml", "  store:\n", "  database:\n")
        self.app.edit("compose.yaml", "{ store: {", "{ database: {")
        self.app.commit("A better name")
        self.app.push()
        self.app.wait_rollout("stepping")
        self.assertEqual([i["service"] for i in self.app.instances() if i["service"] in ("store", "database")], ["database"])
        self.add("two")  # at the host port of v1's `store`
        self.assertEqual(self.entries("database"), ["one", "two"])

    def test_02_the_old_name_comes_back_with_what_was_written_since(self):
        self.platform.naru("abort", "shop")
        self.app.wait_live(1)
        self.assertIn("the data of database was not rolled back", self.app.status()["rollout"]["reason"])
        self.assertEqual(self.entries("store"), ["one", "two"])

    def test_03_what_never_served_everybody_is_not_rolled_back_to(self):
        refused = self.platform.naru("rollback", "shop", "v2", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"v2 never served everybody", r"deliver it with both: naru promote shop v2")

    def test_04_a_rollback_takes_no_host_port_from_another_application(self):
        type(self).moved = naru.free_port()
        self.app.edit("compose.yaml", f"{self.store_port}:7000", f"{self.moved}:7000")
        self.app.commit("Another port")
        self.app.push()
        self.app.wait_rollout("stepping")
        self.platform.naru("promote", "shop")
        self.app.wait_live(3)
        other = naru.App(self.platform, "zoo", small.web_only(self.store_port))
        other.push()
        other.wait_live(1)
        refused = self.platform.naru("rollback", "shop", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, rf"host port {self.store_port} of store belongs to service web of zoo", r"gives it up")
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.store_port}/")[2], b"first\n")

    def test_05_nor_does_a_push(self):
        before = self.app.head()
        self.app.edit("compose.yaml", f"{self.moved}:7000", f"{self.store_port}:7000")
        self.app.commit("The old port again")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, "the push is refused", rf"compose\.ya?ml:\d+:\d+: services\.database\.ports\[0\]: host port {self.store_port} belongs to service web of zoo", "hint:")
        self.assertEqual(self.app.git("ls-remote", "naru", "refs/heads/main").stdout.partition("\t")[0], before)
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.store_port}/")[2], b"first\n")


if __name__ == "__main__":
    unittest.main()
