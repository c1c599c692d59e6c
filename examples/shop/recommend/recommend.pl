#!/usr/bin/perl
# Recommendations: GET /recommendations?for=3,5 answers three product numbers that go with those; GET /healthz.
# A few processes accept on one socket; each asks the catalog what there is.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX qw(_exit);
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Sys::Hostname;

my $WORKERS = 8;
my $MAX_HEAD = 16 * 1024;
my $MAX_BODY = 256 * 1024;
my $catalog = $ENV{CATALOG} // 'catalog:8080';

# Products near in hue go together; ties by number. Pure, so that the test can ask it.
sub pick {
  my ($products, @given) = @_;
  my %given = map { $_ => 1 } @given;
  my @hues = map { $_->{hue} } grep { $given{$_->{id}} } @$products;
  my $near = sub {
    my ($p) = @_;
    return $p->{id} * 7 % 13 unless @hues;
    my $least = 360;
    for my $hue (@hues) {
      my $d = abs($hue - $p->{hue});
      $d = 360 - $d if $d > 180;
      $least = $d if $d < $least;
    }
    return $least;
  };
  my @sorted = sort { $near->($a) <=> $near->($b) || $a->{id} <=> $b->{id} } grep { !$given{$_->{id}} } @$products;
  return map { $_->{id} } @sorted[0 .. ($#sorted < 2 ? $#sorted : 2)];
}

# The two numbers of every product; the catalog writes them in this order.
sub parse_products {
  my ($json) = @_;
  my @out;
  push @out, { id => $1, hue => $2 } while $json =~ /"id":(\d+)[^{}]*?"hue":(\d+)/g;
  return \@out;
}

sub parse_for {
  my ($query) = @_;
  return () unless ($query // '') =~ /(?:^|&)for=([0-9,]{0,200})(?:&|$)/;
  return grep { length } split /,/, $1;
}

if (@ARGV && $ARGV[0] eq '--self-test') {
  my $products = parse_products('[{"id":1,"name":"a","hue":10},{"id":2,"hue":20},{"id":3,"hue":355},{"id":4,"hue":180}]');
  my @tests = (
    [scalar(@$products), 4, 'reads the products'],
    [join(',', pick($products, 1)), '2,3,4', 'prefers what is near, around the circle'],
    [join(',', pick([], 1)), '', 'recommends nothing from nothing'],
    [join(',', parse_for('x=1&for=3,,5')), '3,5', 'reads the query'],
    [join(',', parse_for('for=%00<script>')), '', 'refuses garbage'],
  );
  my $failed = 0;
  for my $t (@tests) {
    my $good = $t->[0] eq $t->[1];
    print(($good ? 'ok   ' : "FAIL ($t->[0]) ") . "$t->[2]\n");
    $failed++ unless $good;
  }
  exit($failed ? 1 : 0);
}

sub fetch_products {
  my ($carried) = @_;
  my $socket = IO::Socket::INET->new(PeerAddr => $catalog, Proto => 'tcp', Timeout => 3) or die "the catalog does not answer: $@\n";
  local $SIG{ALRM} = sub { die "the catalog is too slow\n" };
  alarm 3;
  print $socket "GET /products HTTP/1.1\r\nHost: $catalog\r\nConnection: close\r\n$carried\r\n";
  my $answer = '';
  while (length($answer) < $MAX_BODY && sysread($socket, my $chunk, 65536)) { $answer .= $chunk }
  alarm 0;
  my ($head, $body) = split /\r\n\r\n/, $answer, 2;
  die "the catalog answered " . (split /\r\n/, $head // 'nothing')[0] . "\n" unless ($head // '') =~ m{^HTTP/1\.[01] 200 };
  return parse_products($body // '');
}

sub answer {
  my ($client, $status, $body, $keep) = @_;
  my $text = join "\r\n", "HTTP/1.1 $status", 'Content-Type: application/json', 'Content-Length: ' . length($body),
    'X-Service: recommend', 'X-Release: ' . ($ENV{RELEASE} // '?'), 'X-Instance: ' . hostname(), 'Connection: ' . ($keep ? 'keep-alive' : 'close'), '', $body;
  syswrite $client, $text;
}

sub serve_one {
  my ($client, $head, $keep) = @_;
  my ($method, $path, $query) = $head =~ m{^([A-Z]+) (/[^ ?]*)(?:\?([^ ]*))? HTTP/1\.[01]\r\n} or return answer($client, '400 Bad Request', '{"error":"not HTTP"}', 0);
  return answer($client, '200 OK', '{"ok":true}', $keep) if $path eq '/healthz';
  select(undef, undef, undef, $ENV{SLOW_MS} / 1000) if $ENV{SLOW_MS};
  return answer($client, '500 Internal Server Error', '{"error":"no idea"}', $keep) if rand(100) < ($ENV{FAIL_PERCENT} || 0);
  return answer($client, '404 Not Found', '{"error":"no such thing"}', $keep) unless $path eq '/recommendations' && $method eq 'GET';
  my $carried = join '', map { "$_\r\n" } $head =~ /^((?:baggage|traceparent|tracestate):[^\r\n]*)/mig;
  my $products = eval { fetch_products($carried) };
  if (!$products) {
    print STDERR "recommend: $@";
    return answer($client, '503 Service Unavailable', '{"error":"the catalog does not answer"}', $keep);
  }
  answer($client, '200 OK', '{"products":[' . join(',', pick($products, parse_for($query))) . ']}', $keep);
}

sub serve {
  my ($client) = @_;
  setsockopt $client, IPPROTO_TCP, TCP_NODELAY, 1;
  my $buffer = '';
  local $SIG{ALRM} = sub { die "idle\n" };
  while (1) {
    while ((my $end = index $buffer, "\r\n\r\n") >= 0) {
      my $head = substr $buffer, 0, $end + 2;
      $buffer = substr $buffer, $end + 4;
      # A worker serves one connection at a time, so it keeps none: the next caller waits for it.
      serve_one($client, $head, 0);
      return;
    }
    return if length($buffer) > $MAX_HEAD;
    alarm 10;
    my $got = sysread $client, $buffer, 4096, length $buffer;
    alarm 0;
    return unless $got;
  }
}

die "recommend: CRASH_AT_START is set, so this release dies here\n" if $ENV{CRASH_AT_START};
$SIG{PIPE} = 'IGNORE';
my $listener = IO::Socket::INET->new(LocalPort => $ENV{PORT} || 8080, Proto => 'tcp', Listen => 256, ReuseAddr => 1) or die "recommend: cannot listen: $@\n";
my %workers;
sub spawn {
  my $pid = fork // die "recommend: cannot fork: $!\n";
  if ($pid == 0) {
    $SIG{TERM} = $SIG{INT} = sub { _exit(0) };
    srand;
    while (1) {
      my $client = $listener->accept or next;
      eval { serve($client) };
      alarm 0;
      close $client;
    }
  }
  $workers{$pid} = 1;
}
# The first process of a container gets only signals that it handles.
$SIG{TERM} = $SIG{INT} = sub { kill 'TERM', keys %workers; _exit(0) };
spawn() for 1 .. $WORKERS;
$| = 1;
print "recommend release ", $ENV{RELEASE} // '?', " listens\n";
while ((my $pid = wait) > 0) {
  delete $workers{$pid};
  select(undef, undef, undef, 0.2);
  spawn();
}
