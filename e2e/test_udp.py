"""Datagrams between services: `web` asks `pulse` by its name, from a fresh port each time and from one that it keeps."""
import contextlib
import os
import re
import signal
import time
import unittest

import naru

SERVER = r"""use strict; use warnings; use IO::Socket::INET; use IO::Select;
my ($mode) = @ARGV;
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE'; $| = 1;
# Connected: only what comes from the address that was asked is heard.
sub line_to { IO::Socket::INET->new(Proto => 'udp', PeerAddr => $_[0], PeerPort => $_[1]) }
my $asked = 0;
sub ask {
  my ($socket, $patience) = @_;
  my $id = $$ . '-' . ++$asked;
  my $until = time + $patience;
  defined $socket && $socket->send("ask $id") or return 'nobody';
  while (time <= $until) {
    next unless IO::Select->new($socket)->can_read(0.1);
    defined $socket->recv(my $said, 2000) or return 'nobody';
    return $1 if $said =~ /^(\S+) \Q$id\E$/;
  }
  return 'nobody';
}
if ($mode eq 'pulse') {
  my $socket = IO::Socket::INET->new(Proto => 'udp', LocalPort => $_ = $ARGV[1]) or die "bind: $!";
  print "listening\n";
  while (1) {
    my $from = $socket->recv(my $said, 2000);
    $socket->send("$ENV{NARU_RELEASE} $1") if defined $from && $said =~ /^ask (\S+)$/;
  }
}
exit(ask(line_to('127.0.0.1', $ARGV[1]), 2) eq $ENV{NARU_RELEASE} ? 0 : 1) if $mode eq 'check';
my $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 128, ReuseAddr => 1) or die "listen: $!";
my $kept = line_to('pulse', 5353) or die "pulse: $!";
while (1) {
  my $client = $listener->accept or next;
  my ($patience) = (<$client> // '') =~ m{^GET /(\d+) } or next;
  while (my $field = <$client>) { last if $field =~ /^\r?\n$/ }
  my $text = "web=$ENV{NARU_RELEASE} fresh=" . ask(line_to('pulse', 5353), $patience) . ' kept=' . ask($kept, $patience) . "\n";
  print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($text) . "\r\nConnection: close\r\n\r\n" . $text;
  close $client;
}
"""

DOCKERFILE = "FROM debian:bookworm-slim\nCOPY server.pl /app/server.pl\n"


def application(port):
    return {
        "compose.yaml": f"""services:
  web:
    build: src
    command: [perl, /app/server.pl, web]
    environment: {{ ROUND: "0" }}
    ports: ["{port}:8080"]
    depends_on: {{ pulse: {{ condition: service_healthy }} }}
  pulse:
    build: src
    command: [perl, /app/server.pl, pulse, "5353"]
    environment: {{ BEAT: "0" }}
    expose: ["5353/udp"]
    healthcheck: {{ test: [CMD, perl, /app/server.pl, check, "5353"], interval: 500ms, timeout: 4s, retries: 5 }}
x-naru:
  rollout: {{ steps: [{{ weight: 40%, duration: 500ms, users: 1000 }}], bake: 1s, warm_up: 500ms, ready_deadline: 30s }}
""",
        "src/Dockerfile": DOCKERFILE,
        "src/server.pl": SERVER,
    }


class Asking(naru.Beside):
    """Asks `web` again and again; remembers who answered, and when nobody did."""

    def __init__(self, test):
        super().__init__(self._run)
        self.test, self.answers, self.failures = test, [], []

    def _run(self):
        while not self.stopped.wait(0.03):
            answer = None
            with contextlib.suppress(OSError, naru.http.client.HTTPException):
                answer = self.test.ask(patience=10)  # one that is lost is never answered
            self.answers.append(answer)
            if answer is None or "nobody" in answer:
                self.failures.append((time.monotonic(), answer))


class Udp(naru.Case):
    @classmethod
    def prepare(cls):
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "beat", application(cls.port))

    def ask(self, patience=1):
        """The releases of web and of who answered its two questions within `patience` seconds each."""
        status, _, body = naru.fetch(f"http://127.0.0.1:{self.port}/{patience}", timeout=60)
        found = re.fullmatch(r"web=(\S+) fresh=(\S+) kept=(\S+)\n", body.decode())
        return found.groups() if status == 200 and found else None

    def release(self, name, old, new):
        self.app.edit("compose.yaml", f'{name}: "{old}"', f'{name}: "{new}"')
        self.app.commit(f"{name} {new}")
        self.app.push()
        return self.app.newest_version()

    def wait_step(self):
        naru.wait_until(lambda: "holding" in (self.app.status()["rollout"] or {}).get("reason", ""), "the canary is met by users", 60)

    def wait_answers(self, *expected, seconds=60):
        naru.wait_until(lambda: self.ask() == expected, f"web says {expected}", seconds)
        for _ in range(5):
            self.assertEqual(self.ask(), expected)

    def test_01_a_service_is_reached_by_its_name(self):
        self.app.push()
        self.app.wait_live(1)
        self.assertEqual(self.ask(), ("v1", "v1", "v1"))

    def test_02_a_port_that_is_not_declared_answers_nobody(self):
        said = self.platform.naru("exec", "beat/web", "--", "perl", "-MIO::Socket::INET", "-e",
                                  'my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "pulse", PeerPort => 5354); $s->send("ask 1"); '
                                  'alarm 2; $SIG{ALRM} = sub { print "nobody\n"; exit }; print defined $s->recv(my $said, 99) ? "said" : "nobody", "\n"')
        self.assertEqual(said.stdout.strip(), "nobody")

    def test_03_while_a_release_of_the_called_steps_all_stay_with_the_old_one(self):
        with Asking(self) as asking:
            self.assertEqual(self.release("BEAT", 0, 1), 2)
            self.wait_step()
            self.assertEqual({self.ask() for _ in range(20)}, {("v1", "v1", "v1")})
            self.platform.naru("promote", "beat")
            self.app.wait_live(2)
            self.wait_answers("v1", "v2", "v2")
            time.sleep(1)
        self.assertEqual(asking.failures, [], f"of {len(asking.answers)} none may be lost")
        self.assertLessEqual(set(asking.answers), {("v1", "v1", "v1"), ("v1", "v1", "v2"), ("v1", "v2", "v2")})

    def test_04_a_release_of_both_talks_to_itself_and_the_old_one_too(self):
        self.app.edit("compose.yaml", 'ROUND: "0"', 'ROUND: "1"')
        self.assertEqual(self.release("BEAT", 1, 2), 3)
        self.wait_step()
        both = {("v1", "v2", "v2"), ("v3", "v3", "v3")}
        # The step begins with the gateway's routes; the kernel's are set beside them.
        naru.wait_until(lambda: {self.ask() for _ in range(30)} == both, "the kernel has the step's routes, too")
        self.assertEqual({self.ask() for _ in range(60)}, both)
        self.platform.naru("abort", "beat")
        self.app.wait_rollout("rolled-back")
        self.wait_answers("v1", "v2", "v2")
        self.assertEqual({self.ask() for _ in range(20)}, {("v1", "v2", "v2")})

    def test_05_who_dies_is_followed_by_who_comes(self):
        os.kill(self.app.wait_alone("pulse")["pid"], signal.SIGKILL)
        self.wait_answers("v1", "v2", "v2")

    def test_06_whoever_of_naru_dies_datagrams_go_on_and_find_a_new_instance(self):
        for victim in ("control", "launcher"):
            with self.subTest(victim=victim):
                with Asking(self) as asking:
                    self.platform.kill(victim)
                    time.sleep(1)
                    self.platform.wait_answering()
                self.assertEqual(asking.failures, [])
                pid = self.app.wait_alone("pulse")["pid"]
                self.platform.kill(victim)
                os.kill(pid, signal.SIGKILL)
                self.wait_answers("v1", "v2", "v2")

    def test_07_everything_starts_again(self):
        self.platform.kill("up")
        naru.wait_until(lambda: not self.platform.pids(), "nothing of Naru runs")
        self.platform.forget_kernel_state()
        self.platform.start_process()
        naru.wait_until(lambda: all(i["phase"] == "ready" for i in self.app.instances()) and len(self.app.instances()) == 2, "all are ready", 60)
        self.wait_answers("v1", "v2", "v2")
        self.platform.stop(all=True)
        self.platform.start_process()
        self.wait_answers("v2", "v2", "v2", seconds=60)  # both were made anew, for the release that is served

    def test_08_a_host_port_is_refused_with_its_place(self):
        self.app.edit("compose.yaml", 'expose: ["5353/udp"]', 'ports: ["5353:5353/udp"]')
        self.app.commit("Publish it")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"compose.yaml:12:\d+: services.pulse.ports\[0\]: found the host port 5353 for UDP",
                         r'write "5353/udp": the other services reach it there by the name pulse')


if __name__ == "__main__":
    unittest.main()
