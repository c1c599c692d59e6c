"""CPU time of a proxy per request: the shipped gateway in the middle of a canary rollout, beside haproxy and nginx. All three
stand before the same two containers and get the same requests: 64 connections kept open, the cookies of 500 users."""
import json
import random
import re
import subprocess
import time
import urllib.request

import naru
import rows
from world import TOOLS, children_of, cpu_us, say

SIZES = {"1k": "/1k", "64k": "/64k"}
NAMES = tuple(f"gateway_cpu_{size}_vs_{peer}" for size in SIZES for peer in ("haproxy", "nginx"))
USERS = 500

COMPOSE = """services:
  web:
    build: .
    ports: ["{port}:8080"]
x-naru:
  rollout: {{ steps: [{{ weight: 50%, duration: 1h, users: 10000000 }}], warm_up: 0s }}
"""
DOCKERFILE = """FROM debian:bookworm-slim
COPY backend /backend
EXPOSE 8080
CMD ["/backend", "8080"]
ENV RELEASE=1
"""
HAPROXY = """global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend edge
  bind 127.0.0.1:{port}
  acl shop hdr(host) -m beg 127.0.0.1 localhost
  use_backend shop if shop
backend shop
  balance random(2)
  server one {one}:8080 maxconn 1000
  server two {two}:8080 maxconn 1000
"""
NGINX = """daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi; scgi_temp_path {folder}/nginx-scgi;
  proxy_buffers 32 8k;
  upstream shop {{ random two least_conn; server {one}:8080; server {two}:8080; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    server_name 127.0.0.1 localhost;
    location / {{
      proxy_pass http://shop;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
# The requests are made once: what the load costs is not the proxy's.
SCRIPT = """local requests, at = {}, 0
local users = { %s }
function init(args)
  for i, user in ipairs(users) do requests[i] = wrk.format("GET", args[1], { ["Host"] = wrk.headers["Host"], ["Cookie"] = "naru_user=" .. user }) end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "failed": %%d}\\n', summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def measure(world, quick, wanted):
    front, (one, two), gateway = _naru(world)
    proxies = {"naru": (front, [gateway])}
    for peer in ("haproxy", "nginx"):
        if any(name.endswith(peer) for name in wanted):
            proxies[peer] = _peer(world, peer, one, two)
    script = world.folder / "load.lua"
    rng = random.Random(1)
    script.write_text(SCRIPT % ", ".join(f'"{user}"' for user in _users(front)))
    section = rows.Section("CPU time of the proxy per request", "peer")
    rounds, seconds = (2, 1) if quick else (9, 3)
    for size, path in SIZES.items():
        if not any(f"_{size}_" in name for name in wanted):
            continue
        say(f"load on {', '.join(proxies)}: answers of {size}, {rounds} rounds of {seconds} s each")
        costs = {name: [] for name in proxies}
        rates = {name: [] for name in proxies}
        for turn in range(rounds + 1):
            for name in rng.sample(list(proxies), len(proxies)):
                cost, rate = _load(script, path, *proxies[name], seconds=seconds if turn else 1)
                if turn:  # the first is a warm-up
                    costs[name].append(cost)
                    rates[name].append(rate)
        section.rows += [rows.paired(f"gateway_cpu_{size}_vs_{peer}", "us", costs["naru"], costs[peer]) for peer in proxies if peer != "naru"]
        section.notes.append(f"{size}: requests a second meanwhile: " + ", ".join(f"{name} {rows.alone('', '', rates[name]).naru:,.0f}" for name in proxies))
    section.notes += [
        "user and system time of the proxy's processes over all threads, from /proc, divided by the requests that wrk counted (64 connections kept open).",
        "naru: one gateway thread in the middle of a canary of 50%: routes, cohort by cookie, who is seen and who failed, latency histograms, trace context.",
        "haproxy, nginx: one worker, one host rule, two servers, connections to them kept open, X-Forwarded-For, no access log, no cohorts.",
        "all three stand before the same two containers of one static C++ program, reached over the same bridge.",
    ]
    return section


def _users(front):
    """Names that the gateway gives: those that somebody invents are not taken."""
    users = []
    for _ in range(USERS):
        with urllib.request.urlopen(f"http://127.0.0.1:{front}/", timeout=10) as answer:
            users.append(re.search(r"naru_user=([0-9a-f]+)", answer.headers["Set-Cookie"])[1])
    return users


def _naru(world):
    """(front port, addresses of both sides' containers, the gateway's pid)."""
    platform = world.platform(one_gateway_thread=True)
    port = naru.free_port()
    app = naru.App(platform, "wall", {"compose.yaml": COMPOSE.format(port=port), "Dockerfile": DOCKERFILE, "backend": (TOOLS / "naru-bench-backend").read_bytes()})
    (app.folder / "backend").chmod(0o755)
    app.commit("The program is executable")
    app.push()
    app.wait_live(1)
    app.edit("Dockerfile", "RELEASE=1", "RELEASE=2")
    app.commit("Another release")
    app.push()
    app.wait_rollout("stepping")
    addresses = {i["side"]: i["address"] for i in app.instances() if i["phase"] == "ready"}
    naru.wait_until(lambda: platform.api("GET", "/v1/apps/wall/status")["rollout"]["steps"], "the step has begun")
    gateway = platform.pids()["gateway"]
    return port, (addresses["stable"], addresses["canary"]), gateway


def _peer(world, name, one, two):
    port = naru.free_port()
    config = world.folder / f"{name}.cfg"
    config.write_text((HAPROXY if name == "haproxy" else NGINX).format(port=port, one=one, two=two, folder=world.folder))
    argv = ["haproxy", "-db", "-f", config] if name == "haproxy" else ["nginx", "-c", config, "-e", world.folder / "nginx-error.log"]
    child = world.process(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{port}/1k")[0] == 200, f"{name} answers")
    return port, [child.pid, *children_of(child.pid)]


def _load(script, path, port, pids, seconds):
    """(microseconds of CPU per request, requests a second)."""
    before, begin = cpu_us(pids), time.monotonic()
    done = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}", "--", path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 30)
    took = time.monotonic() - begin
    spent = cpu_us(pids) - before
    counted = json.loads(done.stdout.strip().splitlines()[-1])
    if counted["failed"] or not counted["requests"]:
        raise naru.Failed(f"the load on port {port} failed: {done.stdout[-1000:]}")
    return spent / counted["requests"], counted["requests"] / took
