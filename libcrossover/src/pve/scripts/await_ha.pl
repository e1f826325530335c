# await_ha.pl STATUS RESOURCE present|absent SECONDS: waits until high availability's manager, whose state the file STATUS
# holds, counts RESOURCE ("vm:100") among its services, or does not any more. Prints "noticed" or "late".
# While high availability is disarmed and its mode is to ignore, no resource is its service, whatever is wanted.
# A resource whose state is "ignored" is none of its services, and neither is one that it has not seen yet. Without
# STATUS there never was a manager.
use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(sleep clock_gettime CLOCK_MONOTONIC);

my ($path, $resource, $wanted, $seconds) = @ARGV;

sub noticed {
    my $status = {};
    if (open my $file, '<:raw', $path) {
        my $bytes = do { local $/; <$file> } // '';
        $status = decode_json($bytes) if $bytes =~ /\S/;
    } elsif (!$!{ENOENT}) {
        die "cannot open $path: $!\n";
    }
    my $disarm = $status->{disarm} // {};
    return 1 if ($disarm->{mode} // '') eq 'ignore' && ($disarm->{state} // '') eq 'disarmed';
    return (exists $status->{service_status}{$resource} ? 'present' : 'absent') eq $wanted;
}

my $until = clock_gettime(CLOCK_MONOTONIC) + $seconds;
until (noticed()) {
    if (clock_gettime(CLOCK_MONOTONIC) >= $until) { print "late\n"; exit 0 }
    sleep 0.2;
}
print "noticed\n";
