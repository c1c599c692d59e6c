"""What all of Naru's processes hold in memory while the shop runs."""
import time

import rows
from naru import processes_with
from world import memory_mb

NAMES = ("memory_mb_all_processes", "memory_rss_mb_all_processes")


def measure(world, quick, wanted):
    shop = world.shop()
    for _ in range(200):  # as after some use, not just started
        shop.get("/")
    time.sleep(1)
    section = rows.Section("Resident memory with the shop running (six services, idle)")
    total_pss = total_rss = 0.0
    for pid, line in sorted(processes_with(f"--data={shop.platform.data}").items() | {(shop.platform.up.pid, "naru up")}):
        pss, rss = memory_mb(pid)
        total_pss, total_rss = total_pss + pss, total_rss + rss
        section.notes.append(f"{line.split()[1]}: {pss:.1f} MB proportional, {rss:.1f} MB resident")
    section.rows = [rows.Row(NAMES[0], "MB", total_pss), rows.Row(NAMES[1], "MB", total_rss)]
    section.notes.append("proportional (PSS): a page shared by two processes counts half for each; resident (RSS) counts it twice. MB = 10^6 bytes.")
    return section
