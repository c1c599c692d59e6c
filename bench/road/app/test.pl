use strict; use warnings;
require './server.pl';
my $answer = answer();
my ($length, $body) = $answer =~ /Content-Length: (\d+)\r\n.*?\r\n\r\n(.*)/s;
die "the length is wrong: $answer" unless $length == length($body);
die "no greeting: $body" unless $body =~ /^release \d+\n$/;
print "ok\n";
