# The line that every release of the benchmark changes.
sub greeting { "release 0" }
1;
