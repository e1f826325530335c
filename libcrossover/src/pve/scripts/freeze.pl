# freeze.pl VMID SECONDS: freezes a guest's file systems, waits, and thaws. It runs on the guest's node so that nothing
# that happens elsewhere can leave the guest frozen: it thaws when its input ends, when it is told to by a line "thaw",
# when a signal ends it, and at the latest when SECONDS have passed.
# Prints "frozen N" (or "refused TEXT", "silent TEXT", "late"), and at the end "thawed SECONDS" (or "expired SECONDS" if
# the time had run out, or "stuck TEXT" if the guest does not confirm that it is thawed).
# It talks to the agent's own socket as PVE does, one connection per command, so that `qm guest cmd` is not kept waiting.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(time sleep);

my ($vmid, $seconds) = @ARGV;
my $socket_path = "/var/run/qemu-server/$vmid.qga";
$| = 1;
$SIG{PIPE} = 'IGNORE';
my $told_to_end = 0;
$SIG{$_} = sub { $told_to_end = 1 } for qw(HUP INT TERM);

# Sends one command; returns the reply's line, or undef with the reason in $silent if none came in time.
my $silent = '';
sub ask {
    my ($command, $until) = @_;
    my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $socket_path);
    if (!$socket) { $silent = "its agent's socket cannot be opened: $!"; return undef }
    my $id = int(rand(1 << 30)) + 1;
    my $request = qq({"execute":"guest-sync-delimited","arguments":{"id":$id}}\n{"execute":"guest-$command"}\n);
    if (!defined syswrite $socket, $request) { $silent = "writing to its agent failed: $!"; return undef }
    my $select = IO::Select->new($socket);
    my $bytes = '';
    my $synced = 0;
    while (1) {
        my $left = $until - time;
        if ($left <= 0) { $silent = 'its agent does not answer'; return undef }
        $select->can_read($left) or next;
        my $read = sysread $socket, $bytes, 65536, length $bytes;
        if (!defined $read && $!{EINTR}) { next }
        if (!$read) { $silent = 'its agent closed the connection'; return undef }
        # What stands before the 0xFF byte was left over from an earlier conversation.
        if (!$synced && $bytes =~ s/^.*\xFF\s*\{"return":\s*$id\s*\}\s*\n//s) { $synced = 1 }
        return $1 if $synced && $bytes =~ /^([^\n]+)\n/;
    }
}

sub description { my ($reply) = @_; return $reply =~ /"desc":\s*"((?:[^"\\]|\\.)*)"/ ? $1 : $reply }

# Thaws until the guest says that it is thawed; true if it does before the time is up.
sub thaw {
    my $until = time + 180;
    while (time < $until) {
        ask('fsfreeze-thaw', $until);
        my $status = ask('fsfreeze-status', time + 10);
        return 1 if defined $status && $status =~ /"return":\s*"thawed"/;
        sleep 0.1;
    }
    return 0;
}

# An agent that is not there is told from one that is slow to freeze.
if (!defined ask('ping', time + 3)) { print "silent $silent\n"; exit 0 }

my $begin = time;
my $deadline = $begin + $seconds;
my $reply = ask('fsfreeze-freeze', $deadline);
if (!defined $reply) {
    print thaw() ? "late\n" : "stuck $silent\n";
    exit 0;
}
if ($reply !~ /"return":\s*(\d+)/) {
    # A freeze can fail half way, with some file systems frozen. One that somebody else froze before is not ours to thaw.
    my $why = description($reply);
    my $already = $why =~ /has been disabled|already frozen/;
    if ($already || thaw()) { print "refused $why\n" } else { print "stuck $why\n" }
    exit 0;
}
print "frozen $1\n";

my $input = IO::Select->new(\*STDIN);
my $expired = 0;
until ($told_to_end) {
    my $left = $deadline - time;
    if ($left <= 0) { $expired = 1; last }
    last if $input->can_read($left);
}
my $thawed = thaw();
my $held = time - $begin;
printf "%s\n", !$thawed ? "stuck $silent" : $expired ? sprintf('expired %.3f', $held) : sprintf('thawed %.3f', $held);
