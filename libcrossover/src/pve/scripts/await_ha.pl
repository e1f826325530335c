# await_ha.pl STATUS RESOURCE present|absent SECONDS: waits until high availability's manager, whose state the file STATUS
# holds, counts RESOURCE ("vm:100") among its services, or does not any more. Prints "noticed" or "late".
# A resource whose state is "ignored" is none of its services, and neither is one that it has not seen yet. Without
# STATUS there never was a manager.
use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(sleep clock_gettime CLOCK_MONOTONIC);

my ($path, $resource, $wanted, $seconds) = @ARGV;

sub counts {
    open my $file, '<:raw', $path or return $!{ENOENT} ? 0 : die "cannot open $path: $!\n";
    my $bytes = do { local $/; <$file> } // '';
    return 0 if $bytes !~ /\S/;
    return exists decode_json($bytes)->{service_status}{$resource};
}

my $until = clock_gettime(CLOCK_MONOTONIC) + $seconds;
until ((counts() ? 'present' : 'absent') eq $wanted) {
    if (clock_gettime(CLOCK_MONOTONIC) >= $until) { print "late\n"; exit 0 }
    sleep 0.2;
}
print "noticed\n";
