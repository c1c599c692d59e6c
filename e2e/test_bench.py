"""`./dev bench road` and `./dev bench judge`: what they print is what a program expects, road's from real containers."""
import json
import os
import subprocess
import sys
import unittest

import naru

ROAD = naru.ROOT / "bench/road"
JUDGE = naru.Path(naru.NARU).parent / "bench/naru-bench-judge"
sys.path.insert(0, str(ROAD))
import road  # noqa: E402
import rollback  # noqa: E402
import rows  # noqa: E402


def bench(*words, timeout=300):
    return subprocess.run([sys.executable, ROAD / "road.py", *words], env=os.environ | {"NARU": naru.NARU}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout)


class Bench(unittest.TestCase):
    def test_a_quick_measurement_prints_a_list_of_figures_and_nothing_else(self):
        done = bench("--quick", "--json", "--only=start_vs_bare,start_answer_ms")
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = {figure["name"]: figure for figure in json.loads(done.stdout)}
        self.assertEqual(set(figures), {"start_vs_bare", "start_answer_ms"})
        for figure in figures.values():
            self.assertEqual(list(figure), ["name", "unit", "naru", "peer", "ratio", "n"])
            self.assertEqual((figure["unit"], figure["n"]), ("ms", 10))
            self.assertGreater(figure["naru"], 0)
        self.assertGreater(figures["start_vs_bare"]["peer"], 0)
        self.assertGreater(figures["start_vs_bare"]["ratio"], 0)
        self.assertIsNone(figures["start_answer_ms"]["peer"])
        self.assertIn("load average", done.stderr)
        folder = next(word for word in done.stderr.split() if word.startswith("/") and "naru-bench-" in word)
        self.assertFalse(os.path.exists(folder), "its folder is gone")
        self.assertEqual(naru.processes_with(folder), {})

    def test_the_judge_prints_a_list_of_figures_and_nothing_else(self):
        done = subprocess.run([JUDGE, "--quick", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        figures = {figure["name"]: figure for figure in json.loads(done.stdout)}
        self.assertEqual(set(figures), {"dead_canary_failed_requests", "dead_canary_failed_requests_p99", "worst_sample_vs_wald",
                                        "worst_sample_vs_wald_all_users", "false_alarm_rate_over_alpha"})
        for name, figure in figures.items():
            with self.subTest(name):
                self.assertEqual(set(figure), {"name", "unit", "naru", "peer", "ratio", "n"})
                self.assertGreater(figure["n"], 0)
                if name != "false_alarm_rate_over_alpha":
                    self.assertEqual(figure["unit"], "requests")
                    self.assertGreater(figure["naru"], 1)
                    self.assertGreater(figure["peer"], 1)
        self.assertLess(figures["dead_canary_failed_requests"]["naru"], 10, "a canary that fails everything is taken back at once")
        refused = subprocess.run([JUDGE, "--jsno"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))
        self.assertIn("usage: naru-bench-judge", refused.stderr)

    def test_an_unknown_measurement_is_refused_by_name(self):
        done = bench("--only=start,speed")
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no measurement 'speed'; there are: push, start, gateway, memory, rollback", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_a_part_stands_for_its_figures(self):
        self.assertEqual(road.wanted_names("memory"), {"memory": ["memory_mb_all_processes", "memory_rss_mb_all_processes"]})
        self.assertEqual(road.wanted_names("start_vs_runc"), {"start": ["start_vs_runc"]})
        self.assertEqual(set(road.wanted_names("")), set(road.PARTS))

    def test_a_ratio_is_the_median_of_the_rounds_so_that_a_busy_moment_hits_both_sides(self):
        row = rows.paired("x_vs_y", "ms", [10, 100, 12], [20, 200, 20])
        self.assertEqual((row.naru, row.peer, row.ratio, row.n), (12, 20, 0.5, 3))
        with self.assertRaises(ValueError):
            rows.paired("x_vs_y", "ms", [1], [])

    def test_a_bad_release_that_went_to_everybody_is_told_and_no_figure(self):
        def figures(*phases):
            section = rows.Section("")
            rollback._add(section, 5, [{kind: 7 for kind in rollback.KINDS} | {"phase": phase, "weight": 500} for phase in phases])
            section.keep(["rollback_seconds_at_5pct"])
            return {row.name: (row.naru, row.n) for row in section.rows}
        self.assertEqual(figures("rolled-back", "rolled-back"), {"rollback_seconds_at_5pct": (7, 2)})
        self.assertEqual(figures("done", "rolled-back"), {"rollback_seconds_at_5pct": (7, 1), "rollback_promoted_at_5pct": (1, 2)})
        self.assertEqual(figures("done", "done"), {"rollback_promoted_at_5pct": (2, 2)})
        self.assertIn("rollback_promoted_at_5pct", rollback.NAMES)


if __name__ == "__main__":
    unittest.main()
