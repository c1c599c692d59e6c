"""Networks of a compose file separate its services: `web` on front, `api` on front and back, `db` on back alone. Everything is
asked from inside the containers: by name, by virtual address, by the other's own address; TCP and datagrams."""
import unittest

import naru

SERVER = r"""use strict; use warnings; use IO::Socket::INET; use IO::Select; use Socket;
my ($mode, $host, $port) = @ARGV;
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE'; $| = 1;
sub unknown { print "unknown\n"; exit }
if ($mode eq 'ask' or $mode eq 'udp') {
  my $address = inet_aton($host) or unknown();
  $host = inet_ntoa($address);
  $SIG{ALRM} = sub { print "nobody\n"; exit }; alarm 3;
  my $socket = IO::Socket::INET->new(Proto => $mode eq 'udp' ? 'udp' : 'tcp', PeerAddr => $host, PeerPort => $port);
  unless ($socket) { print "nobody\n"; exit }
  eval { $socket->send("who\n") };  # a reset may be there already
  my $said = '';
  if ($mode eq 'udp') { $socket->recv($said, 99) } else { $said = <$socket> }
  print defined $said && length $said ? $said : "nobody\n";
  exit;
}
if ($mode eq 'address') { my $address = inet_aton($host) or unknown(); print inet_ntoa($address), "\n"; exit }
my $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 128, ReuseAddr => 1) or die "listen: $!";
my $datagrams = IO::Socket::INET->new(Proto => 'udp', LocalPort => 5353) or die "bind: $!";
# What a service does first: before anybody can know its address.
if ($host) { print "at start $host is ", (inet_aton($host) ? 'known' : 'unknown'), "\n" }
my $me = "$mode $ENV{NARU_RELEASE}\n";
while (1) {
  for my $ready (IO::Select->new($listener, $datagrams)->can_read) {
    if ($ready == $datagrams) { $datagrams->send($me) if defined $datagrams->recv(my $said, 99); next }
    my $client = $listener->accept or next;
    if ((<$client> // '') =~ /^GET /) {
      while (my $field = <$client>) { last if $field =~ /^\r?\n$/ }
      print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($me) . "\r\nConnection: close\r\n\r\n";
    }
    print $client $me;
  }
}
"""

COMPOSE = """services:
  web:
    build: src
    command: [perl, /app/server.pl, web, api]
    ports: ["%d:8080"]
    networks: [front]
    depends_on: { db: { condition: service_healthy } }
  api:
    build: src
    command: [perl, /app/server.pl, api, db]
    expose: ["8080", "5353/udp"]
    networks: [front, back]
    depends_on: { db: { condition: service_healthy } }
  db:
    build: src
    command: [perl, /app/server.pl, db]
    expose: ["8080", "5353/udp"]
    networks: [back]
    volumes: ["rows:/rows"]
    healthcheck: { test: [CMD, perl, -MIO::Socket::INET, -e, "exit !IO::Socket::INET->new('127.0.0.1:8080')"], interval: 500ms, timeout: 4s, retries: 20 }
volumes: { rows: {} }
networks: { front: {}, back: { internal: true } }
x-naru:
  rollout: { steps: [{ weight: 40%%, duration: 500ms, users: 1000 }], bake: 1s, warm_up: 500ms, ready_deadline: 60s }
  environments: { staging: {} }
"""


class Networks(naru.Case):
    """The tests follow one application, in the order of their names."""

    @classmethod
    def prepare(cls):
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "tiers", {"compose.yaml": COMPOSE % cls.port, "src/Dockerfile": "FROM debian:bookworm-slim\nCOPY server.pl /app/server.pl\n",
                                                   "src/server.pl": SERVER})

    def inside(self, where, *words):
        """`where`: a service, ENV/SERVICE or the id of an instance."""
        return self.platform.naru("exec", f"tiers/{where}", "--", "perl", "/app/server.pl", *words).stdout.strip()

    def ask(self, where, whom, port=8080):
        return self.inside(where, "ask", whom, str(port))

    def addresses(self, env="production"):
        instances = self.platform.api("GET", "/v1/ps?app=tiers")["instances"]
        return {i["service"]: i["address"] for i in instances if i["env"] == env and i["phase"] == "ready"}

    def expect_separated(self, web="v1", api="v1", db="v1", env="production"):
        place = {name: name if env == "production" else f"{env}/{name}" for name in ("web", "api", "db")}
        address = self.addresses(env)
        virtual = self.inside(place["api"], "address", "db")
        self.assertRegex(virtual, r"^\d")
        self.assertEqual(self.ask(place["web"], "api"), f"api {api}")
        self.assertEqual(self.inside(place["web"], "udp", "api", "5353"), f"api {api}")
        self.assertEqual(self.ask(place["api"], "db"), f"db {db}")
        self.assertEqual(self.ask(place["api"], address["db"]), f"db {db}")
        self.assertEqual(self.inside(place["api"], "udp", "db", "5353"), f"db {db}")
        self.assertEqual(self.ask(place["db"], "api"), f"api {api}")
        for whom, asked in ((place["web"], "db"), (place["db"], "web")):
            self.assertEqual(self.ask(whom, asked), "unknown")
            self.assertEqual(self.ask(whom, address[asked]), "nobody")
            self.assertEqual(self.inside(whom, "udp", address[asked], "5353"), "nobody")
        self.assertEqual(self.ask(place["web"], virtual), "nobody")
        self.assertEqual(self.inside(place["web"], "udp", virtual, "5353"), "nobody")
        if env == "production":
            self.assertEqual(naru.fetch(f"http://127.0.0.1:{self.port}/")[2].decode(), f"web {web}\n")

    def test_01_only_those_with_a_network_in_common_reach_each_other(self):
        pushed = self.app.push()
        self.assertNotIn("separate", pushed.stdout)
        self.app.wait_live(1)
        self.expect_separated()
        for service in ("web", "api"):
            self.assertIn("is known", self.platform.naru("logs", f"tiers/{service}").stdout, "the first question of all waits for the answer")

    def test_02_in_every_environment(self):
        self.expect_separated(env="staging")

    def test_03_whoever_of_naru_dies_it_holds_and_others_go_on(self):
        db, web = self.addresses()["db"], self.app.wait_alone("web")["id"]
        for victim in ("launcher", "gateway", "control"):
            with self.subTest(victim=victim):
                self.platform.kill(victim)
                naru.wait_until(lambda: self.ask(web, db) == "nobody", "exec answers again")
                self.platform.wait_answering()
                naru.wait_until(lambda: self.ask("api", "db") == "db v1", "api reaches db")
                self.expect_separated()

    def test_04_everything_starts_again(self):
        self.platform.kill("up")
        naru.wait_until(lambda: not self.platform.pids(), "nothing of Naru runs")
        self.platform.forget_kernel_state()
        self.platform.start_process()
        naru.wait_until(lambda: (self.ask("web", "api"), self.ask("api", "db")) == ("api v1", "db v1"), "all run again, made anew")
        naru.wait_until(lambda: [i["phase"] for i in self.app.instances()] == ["ready"] * 3, "all are ready")
        self.expect_separated()

    def test_05_a_release_that_changes_networks_holds_each_instance_to_its_own(self):
        self.app.edit("compose.yaml", "networks: [front]\n", "networks: [front, back]\n")
        self.app.commit("web reads the rows itself")
        self.app.push()
        naru.wait_until(lambda: "holding" in (self.app.status()["rollout"] or {}).get("reason", ""), "the canary is met by users", 120)
        by_release = {i["release_version"]: i["id"] for i in self.app.instances("web")}
        self.assertEqual(len(by_release), 2, self.app.instances("web"))
        old, new = (by_release[key] for key in sorted(by_release))
        db = self.addresses()["db"]
        self.assertEqual([self.ask(old, "db"), self.ask(old, db)], ["unknown", "nobody"])
        self.assertEqual([self.ask(new, "db"), self.ask(new, db), self.inside(new, "udp", "db", "5353")], ["db v1"] * 3)
        self.platform.naru("promote", "tiers")
        self.app.wait_live(2)
        self.assertEqual(self.ask("web", "db"), "db v1")

    def test_06_a_release_that_moves_the_database_cuts_off_nobody(self):
        self.app.edit("compose.yaml", "networks: [back]\n", "networks: [vault]\n")
        self.app.edit("compose.yaml", "networks: [front, back]\n    depends_on: { db: { condition: service_healthy } }\n  db:", "networks: [front, vault]\n    depends_on: { db: { condition: service_healthy } }\n  db:")
        self.app.edit("compose.yaml", "networks: [front, back]\n", "networks: [front]\n")
        self.app.edit("compose.yaml", "back: { internal: true }", "vault: { internal: true }")
        self.app.commit("Another network for the rows")
        self.app.push()
        naru.wait_until(lambda: "holding" in (self.app.status()["rollout"] or {}).get("reason", ""), "the canary is met by users", 120)
        by_release = {}
        for i in self.app.instances():
            by_release.setdefault(i["service"], []).append(i["id"])
        self.assertEqual({name: len(ids) for name, ids in by_release.items()}, {"web": 2, "api": 2, "db": 1})
        answers = sorted([self.ask(each, "db"), self.inside(each, "udp", "db", "5353")] for each in by_release["api"])
        self.assertEqual(answers, [["db v3", "db v3"]] * 2, "the api of the old release, too")
        self.platform.naru("promote", "tiers")
        self.app.wait_live(3)
        self.expect_separated(web="v3", api="v3", db="v3")


if __name__ == "__main__":
    unittest.main()
