# Prints what a survey has to know of a cluster ("cluster") or of one node ("node"), in one go; or only which nodes
# and guests there are ("nodes"). With a second argument, "versions", those too.
# Each thing is a line "KIND NAME LENGTH", then LENGTH bytes, then a newline.
use strict;
use warnings;

binmode STDOUT;

sub put {
    my ($kind, $name, $bytes) = @_;
    printf "%s %s %d\n%s\n", $kind, $name, length $bytes, $bytes;
}

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or return undef;
    local $/;
    my $bytes = <$file>;
    return defined $bytes ? $bytes : '';
}

sub entries {
    my ($folder) = @_;
    opendir my $handle, $folder or return ();
    return sort grep { !/^\.\.?$/ && !/\s/ } readdir $handle;
}

sub put_file {
    my ($name) = @_;
    my $bytes = slurp("/etc/pve/$name");
    put('file', $name, $bytes) if defined $bytes;
}

# All at once: each takes most of its time to start.
sub put_commands {
    my %argv = @_;
    my %out;
    for my $name (sort keys %argv) {
        open $out{$name}, '-|', @{$argv{$name}} or $out{$name} = undef;
    }
    for my $name (sort keys %argv) {
        my ($status, $bytes) = (-1, '');
        if (my $out = $out{$name}) {
            local $/;
            my $read = <$out>;
            $bytes = $read if defined $read;
            close $out;
            $status = $?;
        }
        put('status', $name, $status);
        put('output', $name, $bytes);
    }
}

my ($what, $detail) = @ARGV;

if ($what eq 'nodes') {
    put_file($_) for '.members', '.vmlist';
    put_file("nodes/$_/ssh_known_hosts") for entries('/etc/pve/nodes');
    put('end', 'survey', '');
    exit;
}
if ($what eq 'cluster') {
    put_file($_) for '.members', '.vmlist', 'storage.cfg', 'ha/resources.cfg', 'ha/manager_status',
        'virtual-guest/cpu-models.conf';
    for my $node (entries('/etc/pve/nodes')) {
        put_file("nodes/$node/ssh_known_hosts");
        put_file("nodes/$node/qemu-server/$_") for grep { /^[1-9]\d*\.conf$/ } entries("/etc/pve/nodes/$node/qemu-server");
    }
    put_file("mapping/$_.cfg") for 'pci', 'usb', 'directory';
    put_file("firewall/$_") for grep { /^(?:[1-9]\d*|cluster)\.fw$/ } entries('/etc/pve/firewall');
    put('ceph', $_, '') for entries('/etc/pve/priv/ceph');
    # pmxcfs takes the write bits away while the cluster has no quorum.
    my @link = lstat '/etc/pve/local';
    put('writable', 'local', @link && ($link[2] & 0200) ? 1 : 0);
    my %path = (local => '/var/lib/vz');
    my $storage;
    for my $line (split /\n/, slurp('/etc/pve/storage.cfg') // '') {
        if ($line =~ /^\s*$/) { undef $storage }
        elsif (!defined $storage && $line =~ /^\w+:\s*(\S+)/) { $storage = $1 }
        elsif (defined $storage && $line =~ /^\s+path\s+(\S+)/) { $path{$storage} //= $1 }
    }
    for my $id (sort keys %path) {
        put('snippet', "$id:snippets/$_", '') for entries("$path{$id}/snippets");
    }
}
put('bridge', $_, '') for grep { -d "/sys/class/net/$_/bridge" } entries('/sys/class/net');
for my $path ('/etc/network/interfaces', map { "/etc/network/interfaces.d/$_" } entries('/etc/network/interfaces.d')) {
    my $bytes = slurp($path);
    put('interfaces', $path, $bytes) if defined $bytes;
}
if ($detail && (slurp('/proc/cpuinfo') // '') =~ /^model name\s*:\s*(.+)$/m) {
    put('processor', 'first', $1);
}
my %commands = ('qm-list' => ['qm', 'list']);
%commands = (%commands, 'pveversion' => ['pveversion'], 'ceph-version' => ['ceph', '--version'],
    'qemu-version' => ['kvm', '--version']) if $detail;
put_commands(%commands);
put('end', 'survey', '');
