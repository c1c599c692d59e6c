"""x-naru.rollout.probe: a release that nobody visits is judged on requests that Naru sends itself."""
import unittest

import naru
import small

POLICY = ("x-naru:\n  rollout: {{ steps: [{{ weight: 20%, duration: 500ms, users: 5 }}], bake: 1s, warm_up: 500ms, ready_deadline: 20s,\n"
          "    probe: {{ path: {path}, rate: 50 }} }}\n")
FAULTY = """my $path = (split ' ', $line)[1] // '';
    if ($path eq '/probe') { print $client "HTTP/1.1 500 Bad\\r\\nContent-Length: 0\\r\\n\\r\\n"; next }
    my ($length, $chunked) = (0, 0);"""


class Probe(naru.Case):
    def test_users_that_naru_plays_carry_a_good_release_and_stop_a_bad_one(self):
        app = naru.App(self.platform, "shop", small.web_only(naru.free_port(), tail=POLICY.format(path="/probe")))
        app.push()
        app.wait_live(1)
        app.edit("web/server.pl", "use strict; use warnings;", "use strict; use warnings; # good\n")
        app.commit("Good, and nobody comes")
        app.push()
        done = app.wait_rollout("done")
        self.assertEqual(done["to_version"], 2)
        self.assertRegex(done["steps"][0]["verdict"], r"passed 20%: errors for 0 of \d+ canary users")
        app.edit("web/server.pl", "my ($length, $chunked) = (0, 0);", FAULTY)
        app.commit("Bad on the path that is probed")
        app.push()
        back = app.wait_rollout("rolled-back")
        self.assertEqual(back["to_version"], 3)
        self.assertRegex(str(back["failed_requests"]), "/probe")
        self.platform.stop()
        self.platform.start(seed=False)
        kept = app.rollouts()[0]
        self.assertEqual((kept["to_version"], kept["failed_requests"]), (3, back["failed_requests"]), "examples of what failed outlive the counters")


if __name__ == "__main__":
    unittest.main()
