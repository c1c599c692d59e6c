# Says hello to who asks over HTTP on port 8080. With `check`: whether one that does so runs here.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{TERM} = sub { exit 0 };
if (@ARGV) {
  exit(IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 8080, Timeout => 1) ? 0 : 1);
}
my $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 64, ReuseAddr => 1) or die "port 8080: $@";
while (1) {
  my $client = $listener->accept or next;
  local $SIG{ALRM} = sub { $client->close };
  alarm 5;  # a client that says nothing does not keep the others waiting for ever
  while (defined(my $line = <$client>)) { last if $line =~ /^\r?\n$/ }
  my $text = "Hello from Naru.\n";
  print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($text) . "\r\nConnection: close\r\n\r\n$text";
  alarm 0;
  $client->close;
}
