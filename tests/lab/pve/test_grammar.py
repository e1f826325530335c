"""The configuration grammar against what PVE's own parser read of the same files, and what its writer makes of them."""
import json

import pytest
from pvetest import LAB
from standin import drives, grammar

GOLDEN = LAB.parent / "data" / "pve-configs"
FILES = sorted(GOLDEN.glob("*.conf"))


@pytest.mark.skipif(not FILES, reason="tests/data/pve-configs is not there")
def test_golden_files():
    for number, file in enumerate(FILES):
        config = grammar.parse(file.read_bytes(), 100 + number)
        wanted = json.loads(file.with_suffix(".parsed.json").read_text())
        assert config.main == wanted["conf"], file.name
        assert (config.pending, config.snapshots, config.special) == (wanted["pending"], wanted["snapshots"], wanted["special"])
        assert (config.digest, config.warnings) == (wanted["digest"], wanted["warnings"])
        volumes = json.loads(file.with_suffix(".volumes.json").read_text())["volumes"]
        found = dict(drives.each(config.main, unused=True))
        for key, drive in found.items():
            shown = {name: value for name, value in volumes[key].items()
                     if name[0] != "_" and name not in ("index", "interface")}
            assert drive == shown, key
            assert drives.is_cdrom(drive) == bool(volumes[key]["_cdrom"])
            assert drives.is_cloudinit(drive) == bool(volumes[key]["_cloudinit"])
        assert found.keys() == volumes.keys()


def test_a_file_pve_wrote_is_written_unchanged():
    raw = (b"#a%3Ab 100%25\n#%C3%BC\nagent: 1\nmemory: 512\nparent: s1\nscsi0: rbd:vm-1-disk-0,size=10240M\n\n"
           b"[PENDING]\ndelete: agent\nmemory: 1024\n\n[special:cloudinit]\nname: x\n\n"
           b"[s1]\n#before\nmemory: 512\nsnaptime: 1700000001\n")
    config = grammar.parse(raw, 100)
    assert config.warnings == []
    assert grammar.write(config) == raw


def test_what_a_rewrite_loses():
    raw = (b"name: x\nnosuch: 1\nonboot: maybe\nscsi0: rbd:vm-1-disk-0,newopt=1\nnot a line\n[un known]\nmemory: 1\n\n[PENDING]\n"
           b"cores: 2\n")
    config = grammar.parse(raw, 100)
    assert [warning.split(" - ")[1] for warning in config.warnings] == [
        "unable to parse value of 'nosuch'", "unable to parse value of 'onboot'", "unable to parse value of 'scsi0'",
        "unable to parse config: not a line", "ignore config section: [un known]"]
    assert grammar.write(config) == b"name: x\n\n[PENDING]\ncores: 2\n"


def test_enumerations_are_not_checked_on_reading():
    assert grammar.parse(b"lock: whatever\n", 100).main == {"lock": "whatever"}


def test_sizes():
    for text, size, shown in (("10240M", 10 << 30, "10G"), ("528K", 528 << 10, "528K"), ("1T", 1 << 40, "1T"), ("0", 0, "0"),
                              ("4MiB", 4 << 20, "4M"), ("1000", 1000, "1000"), ("2048T", 2048 << 40, "2048T")):
        assert drives.parse_size(text) == size
        assert drives.format_size(size) == shown


def test_drive_lines():
    drive = drives.parse("scsi0", "backup=no,volume=a.b-c_d:vm-1-disk-0,size=1024K,iothread=on")
    assert drives.write(drive) == "a.b-c_d:vm-1-disk-0,backup=0,iothread=1,size=1M"
    with pytest.raises(ValueError):
        drives.parse("efidisk0", "a:vm-1-disk-0,backup=0")
    assert drives.keys({"sata0": "", "virtio1": "", "scsi10": "", "scsi2": "", "ide2": "", "efidisk0": "", "scsihw": "",
                        "unused0": ""}) == ["ide2", "scsi2", "scsi10", "virtio1", "sata0", "efidisk0"]
