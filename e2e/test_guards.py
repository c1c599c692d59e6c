"""What must not happen to what runs, and what nobody may read: a volume goes under its service, a variable's value stands in a
status, an application is left without its token, `naru down --all` says that all is stopped when it is not."""
import os
import signal
import unittest

import naru
import small

VOLUME = '    volumes: ["entries:/data"]\n    environment: { PASSWORD: "${PASSWORD:-none}" }\n'
TAIL = "volumes: { entries: {} }\nx-naru:\n  rollout: { strategy: all-at-once, ready_deadline: 8s }\n"
NOTHING = {"links": [], "tables": [], "cgroups": [], "mounts": []}


class Guards(naru.Case):
    @classmethod
    def prepare(cls):
        cls.platform.naru("token", "create", "shop")  # an operator's, called as the application will be
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "shop", small.web_only(cls.port, VOLUME, TAIL))
        cls.platform.naru("env", "set", "shop", "PASSWORD=open-sesame")
        cls.app.push()
        cls.app.wait_rollout("done", seconds=60)

    def test_01_a_volume_is_not_removed_under_a_service_that_is_about_to_start_again(self):
        def waits():
            [web] = self.app.instances("web")
            return web["phase"] == "waiting" and web["id"], web["restarts"]
        # Each pause is twice the one before: at last one is long enough for all this.
        for _ in range(7):
            os.kill(self.app.wait_alone("web")["pid"], signal.SIGKILL)
            before = naru.wait_until(lambda: waits()[0] and waits(), "it waits for its next start")
            refused = self.platform.naru("volume", "rm", "shop.production.entries", "--yes", check=False)
            self.assertNotEqual(refused.returncode, 0)
            if waits() == before:
                break
        self.assertEqual(waits(), before, "no process had the volume while it was asked for")
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, "belongs to web of shop/production", "naru app stop shop")
        self.assertTrue((self.platform.data / "volumes/shop.production.entries").is_dir())
        self.app.wait_alone("web")

    def test_02_what_a_health_check_prints_shows_no_value_of_a_variable(self):
        self.app.edit("compose.yaml", "    environment:", '    healthcheck: { test: ["CMD-SHELL", "echo it is $$PASSWORD; exit 1"], interval: 300ms }\n    environment:')
        self.app.commit("A health check that says too much")
        self.app.push()
        said = []
        def all_said():
            said.extend(self.platform.naru(*words, check=False).stdout for words in (("status", "shop"), ("ps", "shop"), ("rollout", "shop"), ("status", "shop", "--json")))
            return self.app.status()["rollout"]["phase"] == "rolled-back"
        naru.wait_until(all_said, "the release comes back", 60, pause=0.5)
        self.assertIn("it is ***", "".join(said))
        self.assertNotIn("open-sesame", "".join(said))

    def test_03_down_leaves_containers_running_and_up_takes_them_over(self):
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{self.port}/")[0] == 200, "it answers")
        before = self.app.wait_alone("web")
        processes = self.platform.container_pids()
        self.assertIn(before["pid"], processes)
        self.assert_says(self.platform.stop().stdout, r"Naru is down\. 1 container of shop runs on; .*until `naru up`")
        self.assertFalse(naru.processes_with(f"--data={self.platform.data}"), "nothing of Naru runs")
        self.assertLessEqual({before["pid"]}, self.platform.container_pids())
        self.assertNotEqual(self.platform.naru("status", "shop", check=False).returncode, 0)
        self.platform.start_process()
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{self.port}/")[2] == b"first\n", "it answers again")
        [after] = self.app.instances("web")
        self.assertEqual([(after[k], before[k]) for k in ("id", "pid", "attempt") if after.get(k) != before.get(k)], [], "the same process goes on")
        # What was taken over is looked after: it is started again when it ends.
        os.kill(before["pid"], signal.SIGKILL)
        naru.wait_until(lambda: self.app.wait_alone("web")["pid"] != before["pid"], "it starts again")

    def test_04_down_stops_everything_though_the_gateway_does_not_answer(self):
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{self.port}/")[0] == 200, "it answers")
        os.kill(self.platform.pids()["gateway"], signal.SIGSTOP)
        self.assert_says(self.platform.stop(all=True).stdout, "every container is stopped")
        self.assertEqual(self.platform.kernel(), NOTHING)
        self.platform.start_process()


if __name__ == "__main__":
    unittest.main()
