"""Configurations come out as they went in."""

import hashlib
import json
import pathlib
import pickle

import pytest

from crossover import Error, VmConfig

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[1] / "data/pve-configs").glob("*.conf"))


def test_there_are_configurations():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_round_trip(path):
    content = path.read_bytes()
    config = VmConfig(content)
    assert config.to_bytes() == bytes(config) == content
    assert VmConfig(content.decode("utf-8", "surrogateescape")) == config
    assert VmConfig(bytearray(content)) == VmConfig(memoryview(content)) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert eval(repr(config)) == config
    assert config.digest() == hashlib.sha1(content).hexdigest()
    config.replace_main_lines(config.main_lines())
    assert config.to_bytes() == content


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_pve_reads(path):
    config = VmConfig(path.read_bytes())
    real = json.loads(path.with_suffix(".parsed.json").read_text())
    newer = {entry.key for entry in config.main.entries if entry.newer}
    assert set(config.keys()) - newer == set(real["conf"]) - {"description"}
    for key, value in real["conf"].items():
        if key == "description":
            assert config.description.rstrip("\n") == value.rstrip("\n")
        else:
            assert config.get(key) == str(value)
    assert set(config.snapshot_names()) == set(real["snapshots"])
    for name, snapshot in real["snapshots"].items():
        section = config.section("snapshot", name)
        assert (section.kind, section.name) == ("snapshot", name)
        assert set(section.keys()) == set(snapshot) - {"description"}
    if real["pending"]:
        assert set(config.section("pending").keys()) == set(real["pending"]) - {"description"}


def test_a_change_is_one_line():
    config = VmConfig(b"# hello%20there\r\nname: web\r\n\r\nmemory:  512\n[snap]\nmemory: 1\n")
    assert config.description.strip() == "hello there"
    config.set("memory", "1024")
    assert config.to_bytes() == b"# hello%20there\r\nname: web\r\n\r\nmemory:  1024\n[snap]\nmemory: 1\n"
    assert (config.get("memory"), config.name, config.display_name(7)) == ("1024", "web", "web")
    assert config.section("snapshot", "snap").get("memory") == "1"
    assert [section.kind for section in config.sections] == ["main", "snapshot"]
    assert config.main.entries[0].line == 2
    assert config.remove("name") and not config.remove("name")
    assert config.display_name(7) == "VM 7"
    assert config.remove_section("snapshot", "snap") and not config.keep_only_main()
    assert config.section("snapshot", "snap") is None


def test_flags_tags_and_warnings():
    config = VmConfig("tags: a;B\nonboot: 1\nfoo: bar\n")
    assert config.tags == {"a", "B"}
    assert config.has_tag("b") and not config.has_tag("b", case_sensitive=True)
    assert config.flag("onboot", False) and config.flag("agent", True)
    (warning,) = config.warnings
    assert (warning.line, warning.key) == (3, "foo") and "unknown setting" in warning.reason
    assert config.get("foo") is None and config.main.entries[2].dropped


def test_a_line_of_a_newer_pve_counts_for_its_volume():
    config = VmConfig("scsi0: data:vm-100-disk-0,unheard-of=1\n")
    (entry,) = config.main.entries
    assert entry.newer and not entry.dropped and config.get("scsi0") == "data:vm-100-disk-0,unheard-of=1"
    assert len(config.warnings) == 1


def test_bytes_that_are_no_utf8_are_kept():
    config = VmConfig(b"# caf\xe9\nargs: \xff\xfe\n")
    assert config.get("args") == "\udcff\udcfe"
    config.set("args", config.get("args") + "x")
    assert config.to_bytes() == b"# caf\xe9\nargs: \xff\xfex\n"


def test_misuse():
    config = VmConfig()
    assert config.to_bytes() == b""
    with pytest.raises(Error) as caught:
        config.set("memory", "1\nargs: evil")
    assert caught.value.code == "usage" and config.to_bytes() == b""
    with pytest.raises(Error):
        config.replace_main_lines(["more", "than", "before"])
    with pytest.raises(ValueError, match="no kind of section"):
        config.section("snapshots")
    for wrong in (5, None, ["a"]):
        with pytest.raises(TypeError):
            VmConfig(wrong)
    with pytest.raises(TypeError):
        hash(config)
