# replace_file.pl LOCK PATH EXPECT LENGTH WAIT [HOLD SILENCE]: puts a new file in the place of PATH in one step, while holding
# PVE's own flock on LOCK ("-": none, and PATH's folder is made if it is not there), if the file still is what the caller
# saw.
#   EXPECT  "absent", "any", "bytes", or a modification time that has to be the same as well
#   LENGTH  how many bytes of standard input are the expected content; the rest is the new one
#   WAIT    seconds to wait for the flock
#   HOLD    the new file is HOLD bytes long and is to stay only as long as somebody wants it: when standard input ends, has
#           a line other than "beat" or had no "beat" for SILENCE seconds (the input of a host that lost its power does
#           not end for hours), or a signal ends this program, the old content is put back, unless somebody has changed
#           the file meanwhile
# Prints "written TIME", "changed" (not what was expected), "exists" (the cluster refuses a second file of that VMID) or
# "locked" (the flock stayed taken). With HOLD, "written" is followed by such a line on the putting back,
# which "silent" stands before if there was no beat for too long.
use strict;
use warnings;
use Errno;
use Fcntl qw(:DEFAULT :flock);
use File::Basename qw(dirname);
use IO::Select;
use List::Util qw(max min);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my ($lock_path, $path, $expect, $length, $wait, $hold, $silence) = @ARGV;
die "EXPECT is not understood\n" if $expect !~ /\A(?:absent|any|bytes|-?[0-9]+)\z/;
$| = 1;
binmode STDIN;
my $input = '';
if (defined $hold) {
    while (length $input < $length + $hold) {
        sysread STDIN, $input, $length + $hold - length $input, length $input or last;
    }
} else {
    local $/;
    $input = <STDIN> // '';
}
die "standard input ended early\n" if length $input < $length + ($hold // 0);
my $old = substr $input, 0, $length;
my $new = substr $input, $length;

# Not the time of day, which somebody may set.
sub now() { return clock_gettime(CLOCK_MONOTONIC) }

sub is_expected {
    my ($expected, $bytes_expected) = @_;
    return 1 if $expected eq 'any';
    my $file;
    if (!open $file, '<:raw', $path) {
        die "cannot open $path: $!\n" if !$!{ENOENT};
        return $expected eq 'absent';
    }
    return 0 if $expected eq 'absent';
    my $time = (stat $file)[9];
    my $bytes = do { local $/; <$file> };
    $bytes = '' if !defined $bytes;
    return $bytes eq $bytes_expected && ($expected eq 'bytes' || $expected eq $time);
}

# Returns the line to print, without its newline.
sub replace {
    my ($expected, $from, $to) = @_;
    my $lock;
    if ($lock_path ne '-') {
        mkdir dirname($lock_path);
        open $lock, '>>', $lock_path or die "cannot open $lock_path: $!\n";
        my $deadline = now + $wait;
        until (flock $lock, LOCK_EX | LOCK_NB) {
            return 'locked' if now >= $deadline;
            sleep 0.05;
        }
    }
    return 'changed' if !is_expected($expected, $from);
    # A guest's folder is its node's; the folder of firewall rules is made when the first are written.
    mkdir dirname($path) if $lock_path eq '-';
    my $temporary = "$path.tmp.$$";
    sysopen my $file, $temporary, O_WRONLY | O_CREAT | O_EXCL, 0640 or die "cannot create $temporary: $!\n";
    binmode $file;
    if (!(print {$file} $to) || !close $file) {
        my $why = "$!";
        unlink $temporary;
        die "cannot write $temporary: $why\n";
    }
    if (!rename $temporary, $path) {
        my ($taken, $why) = ($!{EEXIST}, "$!");
        unlink $temporary;
        return 'exists' if $taken;
        die "cannot rename $temporary to $path: $why\n";
    }
    return 'written ' . (stat $path)[9];
}

my $told_to_end = 0;
if (defined $hold) {
    # Whoever it was started by may be gone by the time there is something to print.
    $SIG{PIPE} = 'IGNORE';
    $SIG{$_} = sub { $told_to_end = 1 } for qw(HUP INT TERM);
}
my $answer = replace($expect, $old, $new);
print "$answer\n";
exit 0 if !defined $hold || $answer !~ /^written (.*)/;
my $written = $1;

# Waits until the old content is to be put back; true if that is because there was no beat.
sub wait_for_end {
    my $input = IO::Select->new(\*STDIN);
    my $heard = now;
    my $line = '';
    until ($told_to_end) {
        my $patience = max(0, $heard + $silence - now);
        # A signal between the question above and the wait must not be waited out.
        if ($input->can_read(min(1, $patience))) {
            my $count = sysread STDIN, $line, 4096, length $line;
            next if !defined $count && $!{EINTR};
            last if !$count;
            $heard = now;
            $line =~ s/\A(?:beat\n)+//;
            last if $line =~ /\n/;
        } elsif (!$patience) {
            return 1;
        }
    }
    return 0;
}

my $silent = wait_for_end();
# A configuration that keeps the lock would keep the guest from its owner: PVE's own commands give the flock back soon.
my $deadline = now + 180;
do { $answer = replace($written, $new, $old) } while $answer eq 'locked' && now < $deadline;
print $silent ? 'silent ' : '', "$answer\n";
