# shut_down.pl PIDFILE WORDS...: runs a command that is to end the process whose number PIDFILE holds, prints what it
# prints and ends as it ends. If that is with 0, the last line of what it prints is
#   "gone"     the process is not there any more
#   "there"    it still is, seconds later
#   "unknown"  there was no process to look at before
# 'qm status' says the same, but like each of Proxmox's commands it takes more than half a second to start, for which
# a guest on its way to another cluster would be down.
use strict;
use warnings;
use Time::HiRes qw(sleep);

my ($pid_file, @words) = @ARGV;
$| = 1;

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or return '';
    local $/;
    return <$file> // '';
}

my ($pid) = slurp($pid_file) =~ /^(\d+)/;
# The number alone could be another process's by then. A process that has begun to exit has no command line any more.
my $command_line = defined $pid ? slurp("/proc/$pid/cmdline") : '';
my $status = system { $words[0] } @words;
if ($status != 0) {
    die "$words[0]: $!\n" if $status < 0;
    exit($status & 127 ? 128 + ($status & 127) : $status >> 8);
}
my $state = $command_line eq '' ? 'unknown' : 'there';
for (my $tries = 0; $state eq 'there' && $tries < 60; ++$tries) {
    if (slurp("/proc/$pid/cmdline") ne $command_line) { $state = 'gone' }
    else { sleep 0.05 }
}
print "$state\n";
