"""Calls between services: a user of the new `front` meets the new `back`, one of the old the old, as long as `front` passes
W3C `baggage` on; and two replicas of `front` serve side by side."""
import re
import unittest

import naru

SERVER = r"""use strict; use warnings; use IO::Socket::INET;
my ($mode) = @ARGV;
$SIG{TERM} = sub { exit 0 }; $SIG{CHLD} = 'IGNORE'; $SIG{PIPE} = 'IGNORE'; $| = 1;
my $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 128, ReuseAddr => 1) or die "listen: $!";
open(my $name, '<', '/etc/hostname') or die $!;
chomp(my $host = <$name>);
while (1) {
  my $client = $listener->accept or next;
  my $child = fork;
  if (!defined $child || $child) { close $client; next }
  close $listener;
  while (my $line = <$client>) {
    my $baggage = '';
    while (my $field = <$client>) { last if $field =~ /^\r?\n$/; $baggage = $1 if $field =~ /^baggage:\s*(\S+)/i }
    my $text = "$ENV{NARU_RELEASE} $host";
    $text .= ' ' . back($baggage) if $mode eq 'front';
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . (1 + length $text) . "\r\n\r\n$text\n";
  }
  exit 0;
}
sub back {
  my ($baggage) = @_;
  my $back = IO::Socket::INET->new(PeerAddr => 'back', PeerPort => 8080, Timeout => 10) or return 'nobody';
  print $back "GET / HTTP/1.1\r\nHost: back\r\n" . ($baggage ? "baggage: $baggage\r\n" : '') . "Connection: close\r\n\r\n";
  while (my $field = <$back>) { last if $field =~ /^\r?\n$/ }
  chomp(my $said = <$back> // 'nobody');
  return $said;
}
"""

COMPOSE = """services:
  front:
    build: src
    command: [perl, /app/server.pl, front]
    environment: { FRONT: "1" }
    ports: ["%d:8080"]
    depends_on: { back: { condition: service_healthy } }
    deploy: { replicas: 2 }
  back:
    build: src
    command: [perl, /app/server.pl, back]
    environment: { BACK: "1" }
    expose: ["8080"]
    healthcheck: { test: [CMD, perl, -MIO::Socket::INET, -e, "exit !IO::Socket::INET->new('127.0.0.1:8080')"], interval: 500ms, timeout: 4s, retries: 20 }
x-naru:
  rollout: { steps: [{ weight: 40%%, duration: 500ms, users: 1000 }], bake: 1s, warm_up: 500ms, ready_deadline: 60s }
"""


class Inner(naru.Case):
    """The tests follow one application, in the order of their names."""

    @classmethod
    def prepare(cls):
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "pair", {"compose.yaml": COMPOSE % cls.port, "src/Dockerfile": "FROM debian:bookworm-slim\nCOPY server.pl /app/server.pl\n",
                                                  "src/server.pl": SERVER})
        cls.app.push()
        cls.app.wait_live(1)

    def ask(self, cookie=None):
        """(release of front, its host name, release of back), and the user's cookie."""
        status, headers, body = naru.fetch(f"http://127.0.0.1:{self.port}/", headers={"Cookie": cookie} if cookie else {}, timeout=60)
        found = re.fullmatch(r"(v\d+) (\S+) (v\d+) \S+\n", body.decode())
        self.assertTrue(status == 200 and found, (status, body))
        return found.groups(), cookie or headers["Set-Cookie"].partition(";")[0]

    def met_by_users(self, users=40, times=4):
        """Each user's set of (release of front, release of back)."""
        met = []
        for _ in range(users):
            cookie, seen = None, set()
            for _ in range(times):
                (front, _, back), cookie = self.ask(cookie)
                seen.add((front, back))
            met.append(seen)
        return met

    def step(self, *changes):
        for name, old, new in changes:
            self.app.edit("compose.yaml", f'{name}: "{old}"', f'{name}: "{new}"')
        self.app.commit("Another round")
        self.app.push()
        naru.wait_until(lambda: "holding" in (self.app.status()["rollout"] or {}).get("reason", ""), "the canary is met by users")

    def test_01_two_replicas_serve_side_by_side(self):
        self.assertEqual({s["name"]: (s["ready"], s["wanted"]) for s in self.app.status()["services"]}, {"front": (2, 2), "back": (1, 1)})
        self.assertEqual(len({i["pid"] for i in self.app.instances("front")}), 2)
        hosts = set()
        def both():
            hosts.add(self.ask()[0][1])
            return len(hosts) == 2
        naru.wait_until(both, "both have answered")

    def test_02_users_of_a_new_front_meet_the_new_back_and_those_of_the_old_the_old(self):
        self.step(("FRONT", 1, 2), ("BACK", 1, 2))
        met = self.met_by_users()
        self.assertLessEqual({frozenset(seen) for seen in met}, {frozenset({("v1", "v1")}), frozenset({("v2", "v2")})})
        self.assertEqual(len({frozenset(seen) for seen in met}), 2, "of forty users some are on each side")
        self.platform.naru("promote", "pair")
        self.app.wait_live(2)
        self.assertEqual({pair for seen in self.met_by_users(5) for pair in seen}, {("v2", "v2")})

    def test_03_a_front_that_does_not_change_takes_each_user_to_his_back(self):
        self.step(("BACK", 2, 3))
        met = {frozenset(seen) for seen in self.met_by_users()}
        self.assertEqual(met, {frozenset({("v2", "v2")}), frozenset({("v2", "v3")})}, "each user meets one back, again and again")
        self.platform.naru("abort", "pair")
        self.app.wait_rollout("rolled-back")
        self.assertEqual({pair for seen in self.met_by_users(5) for pair in seen}, {("v2", "v2")})

    def test_04_one_of_two_replicas_that_dies_is_started_again_while_the_other_serves(self):
        dead, alive = self.app.instances("front")
        naru.os.kill(dead["pid"], naru.signal.SIGKILL)
        def started_again():
            self.ask()
            front = self.app.instances("front")
            return [i["phase"] for i in front] == ["ready", "ready"] and {i["pid"] for i in front} - {dead["pid"], alive["pid"]}
        naru.wait_until(started_again, "there are two again")
        self.assertIn(alive["pid"], [i["pid"] for i in self.app.instances("front")])


if __name__ == "__main__":
    unittest.main()
