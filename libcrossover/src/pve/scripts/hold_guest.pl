# hold_guest.pl freeze|pause VMID SECONDS SILENCE: keeps a running guest from writing, waits, and lets it go on. It runs on
# the guest's node so that nothing that happens elsewhere can leave the guest frozen or paused: it lets go when its input
# ends or has a line other than "beat", when it has had no "beat" for SILENCE seconds (the input of a host that lost its
# power does not end for hours), when a signal ends it, and at the latest when SECONDS have passed.
#
# It first prints one of
#   held              it is frozen or paused now
#   already STATE     (pause) it did not run before, so nothing was done and nothing will be
#   refused TEXT      it cannot be frozen or paused; it runs on
#   late              freezing or pausing it took longer than SECONDS; it goes on again
# and after "held" or "already"
#   released SECONDS  how long it was held, at most
#   expired SECONDS   the same; the time had run out
#   silent SECONDS    the same; there was no beat for too long
#   lost TEXT         somebody else let it go on before
# or, instead of any of these, "stuck TEXT" if the guest does not confirm that it goes on. It then goes on trying, as
# long as the guest's QEMU is there.
#
# To freeze it talks to the agent's own socket as PVE does, one connection per command, so that `qm guest cmd` is not kept
# waiting; where the socket cannot be opened, `qm guest cmd` does it. To pause it talks to QEMU's monitor, which serves one
# client at a time, and keeps that connection until the guest goes on: nobody else can keep it paused by being served, and
# `qm`, which takes seconds to start on a busy node, is only asked where the monitor cannot be.
use strict;
use warnings;
use Errno;
use IO::Handle;
use IO::Select;
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();
use Socket;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my ($way, $vmid, $seconds, $silence) = @ARGV;
my ($agent_path, $monitor_path) = map { "/var/run/qemu-server/$vmid.$_" } 'qga', 'qmp';
$| = 1;
$SIG{PIPE} = 'IGNORE';
my $told_to_end = 0;
$SIG{$_} = sub { $told_to_end = 1 } for qw(HUP INT TERM);
my $failure = '';

# Not the time of day, which somebody may set.
sub now() { return clock_gettime(CLOCK_MONOTONIC) }

sub fail { ($failure) = @_; return undef }

# Runs qm to its end; returns what it prints, or undef if it failed or did not end in time. Then it is killed if it may be:
# what changes a guest would do so later all the same.
sub qm {
    my ($until, $may_be_killed, @words) = @_;
    pipe(my $out, my $out_end) && pipe(my $err, my $err_end) or return fail("qm: $!");
    my $pid = fork // return fail("qm: $!");
    if (!$pid) {
        # Signals to this script's group are not for it.
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(PIPE HUP INT TERM);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>&', $out_end;
        open STDERR, '>&', $err_end;
        no warnings 'exec';
        exec 'qm', @words or print STDERR "qm: $!\n";
        POSIX::_exit(127);
    }
    close $_ for $out_end, $err_end;
    my %text = ($out => '', $err => '');
    my $open = IO::Select->new($out, $err);
    while ($open->count) {
        my $left = $until - now;
        if ($left <= 0) {
            if ($may_be_killed) { kill KILL => $pid; waitpid $pid, 0 }
            return fail("'qm @words' does not end");
        }
        for my $stream ($open->can_read($left)) {
            my $count = sysread $stream, $text{$stream}, 65536, length $text{$stream};
            next if !defined $count && $!{EINTR};
            $open->remove($stream) if !$count;
        }
    }
    1 while waitpid($pid, 0) < 0 && $!{EINTR};
    return $text{$out} if $? == 0;
    return fail($text{$err} =~ /([^\n]+)\n*\z/ ? $1 : "'qm @words' failed");
}

# The agent's or the monitor's socket, or undef. QEMU lets one client in at a time and a few wait.
sub open_socket {
    my ($socket_path, $until) = @_;
    socket my $socket, AF_UNIX, SOCK_STREAM, 0 or return fail($!);
    $socket->blocking(0);
    until (connect $socket, pack_sockaddr_un($socket_path)) {
        return fail($!) if !$!{EAGAIN} && !$!{EINTR};
        # There is one, so qm would wait like us.
        return $socket if now >= $until;
        sleep 0.05;
    }
    $socket->blocking(1);
    return $socket;
}

# Sends one command; returns the reply's line, or undef if none came in time.
sub converse {
    my ($socket, $command, $until) = @_;
    my $id = int(rand(1 << 30)) + 1;
    my $request = qq({"execute":"guest-sync-delimited","arguments":{"id":$id}}\n{"execute":"guest-$command"}\n);
    return fail('its agent does not answer') if now >= $until;
    defined syswrite $socket, $request or return fail("writing to its agent failed: $!");
    my $select = IO::Select->new($socket);
    my $bytes = '';
    my $synced = 0;
    while (1) {
        my $left = $until - now;
        return fail('its agent does not answer') if $left <= 0;
        $select->can_read($left) or next;
        my $read = sysread $socket, $bytes, 65536, length $bytes;
        if (!defined $read && $!{EINTR}) { next }
        return fail('its agent closed the connection') if !$read;
        # What stands before the 0xFF byte was left over from an earlier conversation.
        if (!$synced && $bytes =~ s/^.*\xFF\s*\{"return":\s*$id\s*\}\s*\n//s) { $synced = 1 }
        return $1 if $synced && $bytes =~ /^([^\n]+)\n/;
    }
}

# What the agent answers: { value } or, if that is an error, { error, class }. undef if it does not; qm, which takes its
# time to start, is waited for until $qm_until.
sub ask {
    my ($command, $until, $qm_until) = @_;
    my $reply;
    if (my $socket = open_socket($agent_path, $until)) {
        $reply = converse($socket, $command, $until) // return undef;
    } else {
        my $why = "its agent's socket cannot be opened: $failure";
        # qm ends with 0 whatever the agent answers.
        $reply = qm($qm_until // $until, 1, 'guest', 'cmd', $vmid, $command) // return fail("$why; $failure");
    }
    if ($reply =~ /^\s*\{\s*"error"\s*:/) {
        my ($class) = $reply =~ /"class"\s*:\s*"([^"]*)"/;
        my ($text) = $reply =~ /"desc"\s*:\s*"((?:[^"\\]|\\.)*)"/;
        return { error => $text // 'it answers with an error', class => $class // '' };
    }
    return { value => $reply =~ /"return"\s*:\s*"?([^"}]*)/ ? $1 : $reply =~ /(\S+)/ ? $1 : '' };
}

sub value { my ($answer) = @_; return $answer && $answer->{value} // '' }

my $deadline;
my $frozen = 0;    # file systems
my $lost;          # who else let the guest go on
my $released;      # when it went on

# One attempt; true once the guest says that it is thawed.
sub thaw {
    my $thawed = ask('fsfreeze-thaw', now + 30, now + 190);
    my $at = now;
    if (!$released) {
        # Windows holds its writes for ten seconds at most.
        my $error = $thawed && $thawed->{error} // '';
        $lost = $error if $error =~ /couldn't hold writes/;
        $lost = 'somebody else thawed it' if $frozen && value($thawed) eq '0';
    }
    $released = $at;
    return value(ask('fsfreeze-status', now + 10)) eq 'thawed';
}

my $monitor;    # the connection to QEMU's, while it is used
my $monitored = '';    # what came over it and was not read yet

# The monitor's next message that is no event, or undef if none came in time.
sub hear {
    my ($until) = @_;
    my $select = IO::Select->new($monitor);
    while (1) {
        while ($monitored =~ s/^([^\n]*)\n//) {
            my $message = eval { JSON::PP::decode_json($1) };
            return $message if ref $message eq 'HASH' && !exists $message->{event};
        }
        my $left = $until - now;
        return fail('its QEMU does not answer') if $left <= 0;
        $select->can_read($left) or next;
        my $read = sysread $monitor, $monitored, 65536, length $monitored;
        next if !defined $read && $!{EINTR};
        return fail('its QEMU closed the connection') if !$read;
    }
}

# What QEMU returns to a command, or undef. A connection on which something went wrong is not used any more.
sub command {
    my ($command, $until) = @_;
    my $request = qq({"execute":"$command"}\n);
    my $sent = syswrite $monitor, $request;
    my $answer = defined $sent && $sent == length $request ? hear($until) : fail("writing to its QEMU failed: $!");
    return $answer->{return} if $answer && exists $answer->{return};
    fail("its QEMU refuses '$command': " . ($answer->{error}{desc} // 'without a reason')) if $answer;
    $monitor = undef;
    return undef;
}

# True once QEMU takes our commands, and nobody else's.
sub open_monitor {
    my $until = now + 5;
    $monitor = open_socket($monitor_path, $until) // return 0;
    my $greeting = hear($until);
    return 1 if $greeting && exists $greeting->{QMP} && defined command('qmp_capabilities', $until);
    $monitor = undef;
    return 0;
}

# "running", "paused"... or undef.
sub state_by_monitor {
    my $status = command('query-status', now + 10) // return undef;
    return $status->{status} // fail('its QEMU does not say what state it is in');
}

sub state_of_guest {
    if ($monitor) {
        my $state = state_by_monitor();
        return $state if defined $state;
    }

    my $said = qm(now + 30, 1, 'status', $vmid) // return undef;
    return $said =~ /^status: (\S+)/m ? $1 : fail("'qm status' says '$said'");
}

# One attempt; true once the guest is not paused any more. What else may have become of it is not from here.
sub resume {
    qm(now + 60, 0, 'resume', $vmid) if !$monitor || !defined command('cont', now + 10);
    $released = now;
    my $state = state_of_guest();
    return defined $state && $state ne 'paused';
}

my $let_go = $way eq 'freeze' ? \&thaw : \&resume;

# True once the guest goes on. If it does not within a minute, whoever waits is told, and it is tried in the background.
sub let_go {
    my $until = now + 60;
    while (now < $until) {
        return 1 if $let_go->();
        sleep 0.1;
    }
    print "stuck $failure\n";
    return 0 if fork;
    POSIX::setsid();
    open STDIN, '<', '/dev/null';
    open $_, '>', '/dev/null' for \*STDOUT, \*STDERR;
    sleep 1 while is_there() && !$let_go->();
    exit 0;
}

# What is open below /proc stays that process's when its number becomes another's, and cannot be read once it has ended.
my $qemu = open_qemu();

sub open_qemu {
    open my $file, '<', "/var/run/qemu-server/$vmid.pid" or return undef;
    my ($pid) = (<$file> // '') =~ /^(\d+)/ or return undef;
    open my $stat, '<', "/proc/$pid/stat" or return undef;
    return $stat;
}

sub is_there { return $qemu && sysseek($qemu, 0, 0) && sysread $qemu, my $stat, 1 }

# Waits until the guest is to be let go of, and returns why.
sub wait_for_end {
    my $input = IO::Select->new(\*STDIN);
    my $heard = now;
    my $line = '';
    until ($told_to_end) {
        my $now = now;
        return 'expired' if $now >= $deadline;
        my $patience = max(0, $heard + $silence - $now);
        # A signal between the question above and the wait must not be waited out.
        if ($input->can_read(min(1, $patience, $deadline - $now))) {
            my $count = sysread STDIN, $line, 4096, length $line;
            next if !defined $count && $!{EINTR};
            last if !$count;
            $heard = now;
            $line =~ s/\A(?:beat\n)+//;
            last if $line =~ /\n/;
        } elsif (!$patience) {
            return 'silent';
        }
    }
    return 'released';
}

sub end { print "@_\n"; exit 0 }

my $begin;
my $already;

if ($way eq 'freeze') {
    # An agent that is not there is told from one that is slow to freeze, and a freeze of ours from somebody else's.
    my $status = ask('fsfreeze-status', now + 3, now + 10) // end("refused $failure");
    end("refused $status->{error}") if exists $status->{error};
    end('refused its file systems are frozen already, by somebody else') if value($status) eq 'frozen';
    $begin = now;
    $deadline = $begin + $seconds;
    my $answer = ask('fsfreeze-freeze', $deadline);
    if (!$answer) { let_go() && print "late\n"; exit 0 }
    if (exists $answer->{error} || $answer->{value} !~ /^\d+$/) {
        my $why = $answer->{error} // "its agent answers '$answer->{value}'";
        # A frozen agent takes no such command: somebody else was quicker, and it is not ours to thaw. Otherwise some
        # file systems may be frozen.
        end("refused $why") if ($answer->{class} // '') eq 'CommandNotFound';
        let_go() && print "refused $why\n";
        exit 0;
    }
    $frozen = $answer->{value};
} else {
    open_monitor();
    my $state = state_of_guest() // end("refused $failure");
    $begin = now;
    $deadline = $begin + $seconds;
    if ($state ne 'running') {
        $already = $state;
        $monitor = undef;
    } elsif ($monitor) {
        if (!defined command('stop', $deadline)) {
            my $why = $failure;
            let_go() && print now >= $deadline ? "late\n" : "refused $why\n";
            exit 0;
        }
    } elsif (!defined qm(now + 60, 0, 'suspend', $vmid)) {
        my $why = $failure;
        # PVE refused before it asked QEMU: whoever paused the guest meanwhile, it was not us.
        end("refused $why") if $why =~ /^(?:VM is locked|can't lock file|VM $vmid not running|Configuration file)/;
        let_go() && print "refused $why\n";
        exit 0;
    }
    if (now >= $deadline && !defined $already) { let_go() && print "late\n"; exit 0 }
}
print defined $already ? "already $already\n" : "held\n";

my $why = wait_for_end();
if (defined $already) {
    my $state = state_of_guest() // end("lost $failure");
    end("lost it was $already and is $state now") if $state ne $already;
    end("$why 0");
}
let_go() || exit 0;
end("lost $lost") if defined $lost;
end(sprintf '%s %.3f', $why, $released - $begin);
