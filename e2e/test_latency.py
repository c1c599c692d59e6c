"""A release that is only slow, of an application without a host port: it comes back by itself."""
import unittest

import naru
import small

SLOW = "x-naru:\n  rollout: { steps: [{ weight: 20%, duration: 120s, users: 100 }], bake: 1s, warm_up: 500ms, ready_deadline: 60s }\n"


class Latency(naru.Case):
    @classmethod
    def prepare(cls):
        files = small.web_only(0, tail=SLOW)
        files["compose.yaml"] = files["compose.yaml"].replace('    ports: ["0:8080"]\n', '    expose: ["8080"]\n')
        cls.app = naru.App(cls.platform, "shop", files)
        cls.url = f"http://web.production.shop.localhost:{cls.platform.gateway_port}/"
        cls.app.push()
        cls.app.wait_rollout("done", seconds=60)

    def test_a_release_that_is_only_slow_comes_back_by_itself(self):
        self.app.edit("web/server.pl", "my $text", "select(undef, undef, undef, 3); my $text")
        self.app.commit("Take a rest before each answer")
        with naru.Traffic(self.url, threads=64) as traffic:
            # So many that the first, slow ones of a busy machine are not the slowest hundredth.
            naru.wait_until(lambda: traffic.report.get("requests", 0) >= 800, "there is traffic")
            self.app.push()
            rollout = self.app.wait_rollout("rolled-back", "done", seconds=90)
        self.assertEqual(rollout["phase"], "rolled-back", rollout["reason"])
        self.assertEqual(rollout["verdict"]["metric"], "latency", rollout["reason"])
        self.assertGreater(rollout["slow_us"], 0)
        self.assertLess(rollout["slow_us"], 3_000_000)
        self.assertEqual(traffic.report["failed"], 0, traffic.report)
        self.assert_says(self.platform.naru("rollout", "shop").stdout, r"latency: an answer after more than [\d.]+ ms is slow")


if __name__ == "__main__":
    unittest.main()
