"""Volumes on a real Ceph: lists, names, allocation, rescan, snapshots, templates and clones, destroy."""
import json
import re


def test_list_alloc_free(ceph_node, transcript):
    node = ceph_node
    node.write("etc/pve/nodes/pve1/lxc/102.conf", "hostname: c\n")
    for name, size in (("base-9000-disk-0", 1024), ("vm-100-cloudinit", 4), ("vm-100-disk-0", 4096),
                       ("vm-100-disk-0-data", 1024), ("vm-102-disk-0", 8192), ("unrelated", 1), ("vm-abc-disk-0", 1)):
        node.rbd("create", "--size", str(size), name)
    node.rbd("snap create", "base-9000-disk-0@__base__")
    node.rbd("snap protect", "base-9000-disk-0@__base__")
    node.rbd("clone", "base-9000-disk-0@__base__", "vm-100-disk-3", "--dest-namespace", node.namespace)
    node.rbd("snap create", "vm-100-disk-0@mirror-x")
    t = transcript("pvesm-list-rescan.txt")
    for command in ("pvesm list rbd", "pvesm list rbd --vmid 100", "pvesm list rbd --content images", "pvesm list nosuch"):
        t.step(node, command)
    t.step(node, "pvesm alloc rbd 100  4G", arguments=["pvesm", "alloc", "rbd", "100", "", "4G"])
    t.step(node, "pvesm alloc rbd 100 vm-100-disk-0-copy 1G")
    t.step(node, "pvesm alloc rbd 100 foo 1G")
    assert node.good("pvesm free rbd:vm-100-disk-0") == "Removed volume 'rbd:vm-100-disk-0'\n"
    output, code = node.run("pvesm free rbd:base-9000-disk-0")
    assert code == 0 and "linked clones" in output, "a failed removal ends with 0"
    content = json.loads(node.good("pvesh get /nodes/pve1/storage/rbd/content --vmid 100 --output-format json"))
    by_name = {entry["name"]: entry for entry in content}
    assert by_name["vm-100-disk-3"] == {"content": "images", "format": "raw", "name": "vm-100-disk-3", "vmid": 100,
                                        "parent": "base-9000-disk-0@__base__", "size": 1 << 30,
                                        "volid": "rbd:base-9000-disk-0/vm-100-disk-3"}
    assert re.search(r"(?m)^rbd +rbd +active +\d+ +\d+ +\d+ +[\d.]+%$", node.good("pvesm status"))


def test_rescan(ceph_node, transcript):
    """As in the transcript, on one storage, with the removal that failed there succeeding - in the dry run too."""
    node = ceph_node
    for name, size in (("vm-100-disk-0", 4096), ("vm-100-disk-3", 1024), ("vm-100-cloudinit", 4)):
        node.rbd("create", "--size", str(size), name)
    before = "name: x\nmemory: 512\nboot: order=scsi0\nscsi0: rbd:vm-100-disk-0,size=1G\nunused3: rbd:vm-100-disk-0\n"
    node.vm(100, before)
    expected = ["rescan volumes...", "VM 100 (scsi0): size of disk 'rbd:vm-100-disk-0' updated from 1G to 4G",
                "VM 100 remove entry 'unused3', its volume 'rbd:vm-100-disk-0' is in use",
                "found unused cloudinit disk 'rbd:vm-100-cloudinit', removing it",
                "VM 100 add unreferenced volume 'rbd:vm-100-disk-3' as 'unused0' to config"]
    note = "NOTE: running in dry-run mode, won't write changes out!"
    assert node.good("qm rescan --vmid 100 --dryrun 1").splitlines() == [note, *expected]
    assert node.conf(100) == before
    assert "vm-100-cloudinit" not in node.rbd("ls")
    assert node.good("qm rescan --vmid 100").splitlines() == [line for line in expected if "cloudinit" not in line]
    assert node.conf(100) == ("boot: order=scsi0\nmemory: 512\nname: x\nscsi0: rbd:vm-100-disk-0,size=4G\n"
                              "unused0: rbd:vm-100-disk-3\n")


def test_snapshot_rollback_delete(ceph_node, transcript):
    node = ceph_node
    for name in ("vm-100-disk-0", "vm-100-cloudinit"):
        node.rbd("create", "--size", "4", name)
    node.vm(100, "boot: order=scsi0\nide2: rbd:vm-100-cloudinit,media=cdrom\nmemory: 512\nname: x\n"
                 "scsi0: rbd:vm-100-disk-0,size=4M\n")
    t = transcript("pvesm-list-rescan.txt")
    t.step(node, "qm snapshot 100 s1")
    assert re.fullmatch(r"boot: order=scsi0\nide2: rbd:vm-100-cloudinit,media=cdrom\nmemory: 512\nname: x\nparent: s1\n"
                        r"scsi0: rbd:vm-100-disk-0,size=4M\n\n\[s1\]\nboot: order=scsi0\n"
                        r"ide2: rbd:vm-100-cloudinit,media=cdrom\nmemory: 512\nname: x\nscsi0: rbd:vm-100-disk-0,size=4M\n"
                        r"snaptime: \d+\n", node.conf(100))
    t.step(node, "qm listsnapshot 100")
    node.good("qm set 100 --name changed")
    node.good("qm snapshot 100 s2 --description 'a note'")
    assert "s2" in node.rbd("snap ls", "vm-100-disk-0") and "parent: s1\n" in node.conf(100).partition("[s2]")[2]
    node.good("qm rollback 100 s1")
    assert "name: x\nparent: s1\n" in node.conf(100).partition("[")[0]
    node.good("qm delsnapshot 100 s1")
    assert "s1" not in node.conf(100) and "s1" not in node.rbd("snap ls", "vm-100-disk-0")


def test_create_template_clone_destroy(ceph_node):
    node = ceph_node
    output = node.good("qm create 100 --name tpl --memory 256 --scsi0 rbd:0.0078125 --efidisk0 rbd:1,efitype=4m "
                       "--tpmstate0 rbd:1,version=v2.0 --ide2 rbd:cloudinit --net0 virtio,bridge=vmbr0 --tags 'B a'")
    assert output.splitlines() == ["scsi0: successfully created disk 'rbd:vm-100-disk-0,size=8M'",
                                   "efidisk0: successfully created disk 'rbd:vm-100-disk-1,efitype=4m,size=1M'",
                                   "tpmstate0: successfully created disk 'rbd:vm-100-disk-2,size=4M,version=v2.0'"]
    conf = node.conf(100)
    for line in ("boot: order=scsi0;ide2;net0", "ide2: rbd:vm-100-cloudinit,media=cdrom", "tags: a;b"):
        assert f"\n{line}\n" in f"\n{conf}"
    assert re.search(r"(?m)^net0: virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0$", conf)
    node.good("qm template 100")
    assert "scsi0: rbd:base-100-disk-0,size=8M\n" in node.conf(100)
    node.good("qm clone 100 101 --name linked")
    assert "scsi0: rbd:base-100-disk-0/vm-101-disk-0,size=8M\n" in node.conf(101)
    assert "rbd:base-100-disk-0/vm-101-disk-0 " in node.good("pvesm list rbd --vmid 101")
    assert "still in use by linked clone" in node.run("qm destroy 100")[0]
    node.good("qm clone 101 102 --full")
    assert "scsi0: rbd:vm-102-disk-0,size=8M\n" in node.conf(102)
    for vmid in (101, 102, 100):
        node.good(f"qm destroy {vmid}")
    assert node.rbd("ls") == ""


def test_destroy_frees_what_carries_its_number(ceph_node):
    node = ceph_node
    for name in ("vm-200-disk-0", "vm-200-disk-7", "vm-300-disk-0"):
        node.rbd("create", "--size", "1", name)
    node.rbd("snap create", "vm-200-disk-0@mirror-x")
    node.vm(200, "scsi0: rbd:vm-200-disk-0\nscsi1: rbd:vm-300-disk-0\nscsi2: rbd:base-9/vm-200-disk-1\nscsi3: rbd:vm-200-disk-5\n"
                 "unused0: rbd:vm-200-disk-7\n")
    output = node.good("qm destroy 200")
    assert ("WARN: failed to get path and owner of volume 'rbd:base-9/vm-200-disk-1': unable to parse rbd volume name "
            "'base-9/vm-200-disk-1'\n") in output
    assert "WARN: Could not remove disk 'rbd:vm-200-disk-5', check manually: " in output
    assert output.endswith("Task finished with 2 warning(s)!\n")
    assert node.rbd("ls") == "vm-300-disk-0\n"


def test_unused_and_deleted_disks(ceph_node):
    node = ceph_node
    node.vm(100, "name: x\n")
    assert node.good("qm set 100 --scsi0 rbd:0.00390625,discard=on").splitlines() == [
        "update VM 100: -scsi0 rbd:0.00390625,discard=on",
        "scsi0: successfully created disk 'rbd:vm-100-disk-0,discard=on,size=4M'"]
    node.good("qm set 100 --delete scsi0")
    assert node.conf(100) == "name: x\nunused0: rbd:vm-100-disk-0\n"
    node.good("qm set 100 --scsi1 rbd:vm-100-disk-0")
    assert node.conf(100) == "name: x\nscsi1: rbd:vm-100-disk-0,size=4M\n"
    node.good("qm set 100 --delete scsi1")
    node.good("qm set 100 --delete unused0")
    assert node.conf(100) == "name: x\n" and node.rbd("ls") == ""
