"""A release that is only slow, or never answers, of an application without a host port: it comes back by itself."""
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

    def before_each_answer(self, what):
        (self.app.folder / "web/server.pl").write_text(small.SERVER.replace("my $text", f"{what}; my $text"))
        self.app.commit(what)

    def test_a_release_that_is_only_slow_comes_back_by_itself(self):
        self.before_each_answer("select(undef, undef, undef, 3)")
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

    def test_a_release_that_hangs_comes_back_though_its_users_give_up_long_before_the_gateway(self):
        self.before_each_answer("sleep 1000")
        with naru.Traffic(self.url, threads=64, patience_ms=2_500) as traffic:
            # Whoever has no cookie yet is told from others by his address alone.
            naru.wait_until(lambda: traffic.report.get("users", 0) >= 150, "users are known by their cookies")
            self.app.push()
            rollout = self.app.wait_rollout("rolled-back", "done", seconds=60)
        self.assertEqual(rollout["phase"], "rolled-back", rollout["reason"])
        self.assertEqual(rollout["verdict"]["metric"], "errors", rollout["reason"])
        self.assertRegex(rollout["reason"], r"errors for [1-9]\d* of [1-9]\d* canary users and \d+ of [1-9]\d* stable users at 20%")
        # Those still waiting when it is taken back lose their connection.
        gave_up = [r for r in rollout["failed_requests"] if r["outcome"] != "connect failure"]
        self.assertEqual({(r["outcome"], r["status"], r["side"], r["service"], r["path"]) for r in gave_up}, {("client gave up", 0, "canary", "web", "/")})
        self.assertTrue(all(2_000_000 <= r["duration_us"] < 60_000_000 for r in gave_up), gave_up)
        self.assert_says(self.platform.naru("rollout", "shop").stdout, r"GET / +canary +web +client gave up")


if __name__ == "__main__":
    unittest.main()
