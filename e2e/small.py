"""A small application that builds in a second: everything is Perl, which the base image has. `web` answers HTTP, `store`
appends lines to a file on a volume and notes in it when two of it ever run at once."""

SERVER = r"""use strict; use warnings; use IO::Socket::INET; use IO::Handle; use Fcntl qw(:flock);
my ($mode, $port) = @ARGV;
$SIG{TERM} = sub { exit 0 }; $SIG{CHLD} = 'IGNORE'; $SIG{PIPE} = 'IGNORE';
if ($mode eq 'check') {
  exit(IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 2) ? 0 : 1);
}
if ($mode eq 'crash') { print STDERR "cannot find my configuration\n"; exit 3 }
if ($mode eq 'eat') { my @held; for (1 .. 4096) { push @held, 'x' x (1 << 20) } sleep 1000 }
if ($mode eq 'never') { sleep 1 while 1 }
my $folder = '/data';
my $lock;
if ($mode eq 'store') {
  open($lock, '>>', "$folder/lock") or die $!;
  unless (flock($lock, LOCK_EX | LOCK_NB)) { open(my $f, '>>', "$folder/two-at-once"); print $f "$$\n"; exit 9 }
}
my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 128, ReuseAddr => 1) or die "listen: $!";
$| = 1; print "$mode listens on $port\n";
while (1) {
  my $client = $listener->accept or next;
  my $child = fork;
  if (!defined $child || $child) { close $client; next }
  close $listener; $client->autoflush(1);
  if ($mode eq 'store') { serve_store($client) } else { serve_web($client) }
  exit 0;
}
sub serve_store {
  my ($client) = @_;
  print $client "store\n";
  while (my $line = <$client>) {
    chomp $line;
    if ($line =~ /^ADD (\w{1,60})$/) {
      open(my $file, '>>', "$folder/entries") or die $!;
      syswrite($file, "$1\n"); $file->sync; close $file;
      print $client "+added $1\n";
    } elsif ($line eq 'PING') { print $client "+pong\n" }
    else { print $client "-expected ADD or PING\n" }
  }
}
sub serve_web {
  my ($client) = @_;
  while (my $line = <$client>) {
    my ($length, $chunked) = (0, 0);
    while (my $field = <$client>) {
      last if $field =~ /^\r?\n$/;
      $length = $1 if $field =~ /^content-length:\s*(\d+)/i;
      $chunked = 1 if $field =~ /^transfer-encoding:\s*chunked/i;
    }
    read($client, my $body, $length) if $length;
    while ($chunked) { my $size = hex((<$client> // '0') =~ /^([0-9a-f]+)/i ? $1 : 0); read($client, my $piece, $size + 2); last unless $size }
    my $text = ($ENV{TEXT} // 'first') . "\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($text) . "\r\n\r\n" . $text;
  }
}
"""

DOCKERFILE = """FROM debian:bookworm-slim
COPY server.pl /app/server.pl
ARG TEXT=first
ENV TEXT=$TEXT
CMD ["perl", "/app/server.pl", "web", "8080"]
HEALTHCHECK --interval=500ms --timeout=2s --retries=20 CMD ["perl", "/app/server.pl", "check", "8080"]
"""

STORE_DOCKERFILE = """FROM debian:bookworm-slim
COPY server.pl /app/server.pl
CMD ["perl", "/app/server.pl", "store", "7000"]
HEALTHCHECK --interval=500ms --timeout=2s --retries=20 CMD ["perl", "/app/server.pl", "check", "7000"]
"""

QUICK = "x-naru:\n  rollout: { steps: [{ weight: 20%, duration: 500ms, users: 3 }], bake: 1s, warm_up: 500ms, ready_deadline: 20s }\n"


def web_only(port, extra="", tail=QUICK):
    """`extra`: more lines of the service `web`, indented by four."""
    return {
        "compose.yaml": f'services:\n  web:\n    build: web\n    ports: ["{port}:8080"]\n{extra}{tail}',
        "web/Dockerfile": DOCKERFILE,
        "web/server.pl": SERVER,
    }


def web_and_store(port, store_port):
    return {
        "compose.yaml": f'''services:
  web:
    build: web
    ports: ["{port}:8080"]
    depends_on: {{ store: {{ condition: service_healthy }} }}
  store:
    build: store
    environment: {{ ROUND: "0" }}
    ports: ["{store_port}:7000/tcp"]
    volumes: ["entries:/data"]
volumes: {{ entries: {{}} }}
{QUICK}''',
        "web/Dockerfile": DOCKERFILE,
        "web/server.pl": SERVER,
        "store/Dockerfile": STORE_DOCKERFILE,
        "store/server.pl": SERVER,
    }
