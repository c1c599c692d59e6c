"""A bad canary until it is taken back: what it cost, by how often it fails. The real shop, the real judge, many users with cookies."""
import time

import naru
import rows
from world import say

RATES = (100, 50, 20, 5)
KINDS = ("seconds", "canary_requests", "failed_requests", "failed_users", "user_failures")
NAMES = tuple(f"rollback_{kind}_at_{rate}pct" for rate in RATES for kind in (*KINDS, "promoted"))
USERS, PER_SECOND = 5000, 200


def measure(world, quick, wanted):
    shop = world.shop()
    section = rows.Section(f"A bad canary at 5% until it is rolled back ({USERS} users, {PER_SECOND} requests a second)")
    rates = [rate for rate in RATES if any(name.endswith(f"_at_{rate}pct") for name in wanted)]
    with naru.Traffic(shop.url, users=USERS, rate=PER_SECOND, seconds=3600, threads=8) as traffic:
        known = 500 if quick else USERS * 3 // 5  # who has no cookie yet counts by his address, with everybody else of it
        naru.wait_until(lambda: traffic.report.get("users", 0) >= known, f"{known} users have their cookies", 120)
        for rate in rates[:1] if quick else rates:
            _add(section, rate, [_one(shop, rate, traffic) for _ in range(1 if quick else 3)])
    section.notes += [
        "seconds: from the first user on the canary until the verdict; canary_requests, failed_requests: the canary's, as the judge counted them.",
        "failed_users: whose request failed on the canary; user_failures: answers that were 5xx or none at the user's end, after the gateway's retry.",
        "promoted: releases that went to everybody instead, of n; the other rows are of those that were taken back, and missing when there are none.",
        "the release changes `web` alone; its health check passes whatever it answers; medians of the repetitions.",
    ]
    return section


def _add(section, rate, runs):
    units = {"seconds": "s", "failed_users": "users"}
    ended = [run for run in runs if run["phase"] == "rolled-back"]
    if ended:
        section.rows += [rows.alone(f"rollback_{kind}_at_{rate}pct", units.get(kind, "requests"), [run[kind] for run in ended]) for kind in KINDS]
    # Of those that went to everybody there is nothing to measure: this row stands where theirs would, whoever asked for which.
    section.rows.append(rows.Row(f"rollback_promoted_at_{rate}pct", "runs", len(runs) - len(ended), n=len(runs), always=len(ended) < len(runs)))
    if len(ended) < len(runs):
        section.notes.append(f"at {rate}%: {len(runs) - len(ended)} of {len(runs)} went to everybody: the judge held them for no worse than its margin allows")
    if ended:
        section.notes.append(f"at {rate}%: it had {', '.join(format(run['weight'] / 100, 'g') for run in ended)} % of the users when it was taken back")


def _one(shop, rate, traffic):
    say(f"a release that fails {rate}% of its requests")
    failed_before = traffic.report["failed"]
    version = shop.release(rate)
    seen = {}  # by step, the last that the judge told
    deadline = time.monotonic() + 240
    while True:
        rollout = shop.app.status()["rollout"]
        if rollout["to_version"] == version:
            for evidence in (rollout["verdict"] or {}).get("evidence", []):
                if evidence["metric"] == "errors":
                    seen[rollout["step"]] = evidence
            if rollout["phase"] in ("rolled-back", "done"):
                break
        if time.monotonic() > deadline:
            raise naru.Failed(f"the rollout of {rate}% has not ended: {rollout['phase']}, {rollout['reason']}")
        time.sleep(0.05)
    time.sleep(1.2)  # the traffic's last report
    if rollout["phase"] == "done":  # the next is not to be compared with a bad one
        good = shop.release(0)
        naru.wait_until(lambda: (s := shop.app.status())["stable"]["version"] == good and s["rollout"]["phase"] == "done", "a good release is back", 240)
    return {"phase": rollout["phase"], "weight": rollout["steps"][-1]["weight"], "seconds": (_rolling_back_at(shop, rollout) - rollout["first_user"]) / 1000,
            "canary_requests": sum(e["canary"]["requests"] for e in seen.values()), "failed_requests": sum(e["canary"]["failed"] for e in seen.values()),
            "failed_users": sum(e["canary"]["users_bad"] for e in seen.values()), "user_failures": traffic.report["failed"] - failed_before}


def _rolling_back_at(shop, rollout):
    """When the verdict fell; for one that went to everybody, when it had."""
    for row in shop.platform.api("GET", "/v1/events?app=shop&limit=1000")["events"]:
        event = row["event"]
        if event["event"] == "RolloutPhaseChanged" and event.get("rollout") == rollout["id"] and event.get("phase") == "rolling-back":
            return row["at"]
    return rollout["completed"] or rollout["ended"]
