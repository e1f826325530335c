# replace_file.pl LOCK PATH EXPECT LENGTH WAIT: puts a new file in the place of PATH in one step, while holding PVE's own
# flock on LOCK ("-": none), if the file still is what the caller saw.
#   EXPECT  "absent", "any", "bytes", or a modification time that has to be the same as well
#   LENGTH  how many bytes of standard input are the expected content; the rest is the new one
#   WAIT    seconds to wait for the flock
# Prints "written TIME", "changed" (not what was expected), "exists" (the cluster refuses a second file of that VMID) or
# "locked" (the flock stayed taken).
use strict;
use warnings;
use Errno;
use Fcntl qw(:DEFAULT :flock);
use File::Basename qw(dirname);
use Time::HiRes qw(time sleep);

my ($lock_path, $path, $expect, $length, $wait) = @ARGV;
binmode STDIN;
my $input = do { local $/; <STDIN> };
$input = '' if !defined $input;
die "standard input ended early\n" if length $input < $length;
my $old = substr $input, 0, $length;
my $new = substr $input, $length;

my $lock;
if ($lock_path ne '-') {
    mkdir dirname($lock_path);
    open $lock, '>>', $lock_path or die "cannot open $lock_path: $!\n";
    my $deadline = time + $wait;
    until (flock $lock, LOCK_EX | LOCK_NB) {
        if (time >= $deadline) { print "locked\n"; exit 0 }
        sleep 0.05;
    }
}

sub is_expected {
    return 1 if $expect eq 'any';
    my $file;
    if (!open $file, '<:raw', $path) {
        die "cannot open $path: $!\n" if !$!{ENOENT};
        return $expect eq 'absent';
    }
    return 0 if $expect eq 'absent';
    my $time = (stat $file)[9];
    my $bytes = do { local $/; <$file> };
    $bytes = '' if !defined $bytes;
    return $bytes eq $old && ($expect eq 'bytes' || $expect eq $time);
}

if (!is_expected()) { print "changed\n"; exit 0 }

my $temporary = "$path.tmp.$$";
sysopen my $file, $temporary, O_WRONLY | O_CREAT | O_EXCL, 0640 or die "cannot create $temporary: $!\n";
binmode $file;
if (!(print {$file} $new) || !close $file) {
    my $why = "$!";
    unlink $temporary;
    die "cannot write $temporary: $why\n";
}
if (!rename $temporary, $path) {
    my ($taken, $why) = ($!{EEXIST}, "$!");
    unlink $temporary;
    if ($taken) { print "exists\n"; exit 0 }
    die "cannot rename $temporary to $path: $why\n";
}
my $time = (stat $path)[9];
print "written $time\n";
