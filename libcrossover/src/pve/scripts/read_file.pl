# read_file.pl PATH: prints "absent", or "present TIME" and then the file's bytes.
use strict;
use warnings;

binmode STDOUT;
my ($path) = @ARGV;
my $file;
if (!open $file, '<:raw', $path) {
    if ($!{ENOENT}) { print "absent\n"; exit 0 }
    die "cannot open $path: $!\n";
}
my $time = (stat $file)[9];
local $/;
my $bytes = <$file>;
die "cannot read $path: $!\n" if !defined $bytes && $!;
print "present $time\n", defined $bytes ? $bytes : '';
