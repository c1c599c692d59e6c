# GET anything: the greeting. `server.pl check PORT` asks a running one, as a health check.
use strict; use warnings; use IO::Socket::INET;
BEGIN { my ($folder) = __FILE__ =~ m{^(.*)/}; require(($folder // '.') . '/greeting.pl') }

sub answer { my $text = greeting() . "\n"; "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($text) . "\r\nConnection: close\r\n\r\n$text" }

sub check {
  my ($port) = @_;
  my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 2) or return 0;
  print $server "GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n";
  return (<$server> // '') =~ / 200 /;
}

sub serve {
  $SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';
  my $listener = IO::Socket::INET->new(LocalPort => $ENV{PORT} // 8080, Listen => 128, ReuseAddr => 1) or die "listen: $!";
  while (1) {
    my $client = $listener->accept or next;
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    print $client answer();
    close $client;
  }
}

if (!caller) { (shift // '') eq 'check' ? exit(check(shift) ? 0 : 1) : serve() }
1;
