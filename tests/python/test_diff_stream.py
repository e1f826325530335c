"""Diff streams are read strictly and written byte for byte."""

import io

import pytest

from crossover import DiffData, DiffHeader, DiffStream, DiffZero, Error

# Those of tests/unit/stream.
GOLDEN = {
    "v1": b"rbd diff v1\n"
    b"f\x01\0\0\0a"
    b"t\x02\0\0\0b2"
    b"s\x08\x07\x06\x05\x04\x03\x02\x01"
    b"w\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0xyz"
    b"z\x04\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0"
    b"e",
    "v2": b"rbd diff v2\n"
    b"f\x05\0\0\0\0\0\0\0\x01\0\0\0a"
    b"t\x06\0\0\0\0\0\0\0\x02\0\0\0b2"
    b"p\x08\0\0\0\0\0\0\0\x01"
    b"s\x08\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01"
    b"w\x13\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0xyz"
    b"z\x10\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0"
    b"e",
}
RECORDS = [DiffData(1, b"xyz"), DiffZero(4, 0x100000000)]


class Slow:
    """A file that gives and takes one byte at a time."""

    def __init__(self, content=b""):
        self.content = io.BytesIO(content)
        self.written = b""

    def read(self, size):
        return self.content.read(min(size, 1))

    def write(self, data):
        self.written += data[:1]
        return 1


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


def header(version):
    return DiffHeader(0x0102030405060708, "a", "b2", True if version == "v2" else None)


@pytest.mark.parametrize("source", [bytes, bytearray, memoryview, io.BytesIO, Slow])
def test_golden_streams_are_read(version, source):
    stream = DiffStream(source(GOLDEN[version]))
    assert stream.format == version
    assert stream.header == header(version)
    assert iter(stream) is stream
    assert list(stream) == RECORDS
    assert list(stream) == []
    assert stream.header == header(version)


@pytest.mark.parametrize("file", [io.BytesIO, Slow])
def test_golden_streams_are_written(version, file):
    out = file()
    assert DiffStream.write(out, header(version), RECORDS, version) == len(GOLDEN[version])
    assert (out.getvalue() if file is io.BytesIO else out.written) == GOLDEN[version]


def test_a_reader_can_be_written(version):
    stream = DiffStream(GOLDEN[version])
    out = io.BytesIO()
    DiffStream.write(out, stream.header, stream, stream.format)
    assert out.getvalue() == GOLDEN[version]


def test_a_stream_that_ends_early_is_refused_at_every_byte(version):
    for length in range(len(GOLDEN[version])):
        stream = DiffStream(GOLDEN[version][:length])
        seen = []
        with pytest.raises(Error) as caught:
            for record in stream:
                seen.append(record)
        assert caught.value.code == "format"
        assert f"at byte {length}: the stream ends" in str(caught.value)
        assert seen == RECORDS[: len(seen)]
        with pytest.raises(Error):
            next(stream)


def test_what_follows_the_end_is_refused_after_the_records(version):
    stream = DiffStream(GOLDEN[version] + b"e")
    assert [next(stream), next(stream)] == RECORDS
    with pytest.raises(Error, match="after the end"):
        next(stream)


def test_garbage_is_refused():
    for garbage in (b"", b"rbd diff v3\n", b"\0" * 100):
        with pytest.raises(Error):
            DiffStream(garbage).header
        with pytest.raises(Error):
            DiffStream(garbage).format


def test_sources_that_are_none():
    for wrong in (None, 5, "rbd diff v1\n"):
        with pytest.raises(TypeError):
            DiffStream(wrong)
    with pytest.raises(TypeError, match="bytes, not str"):
        list(DiffStream(io.StringIO("rbd diff v1\n")))

    class Broken:
        def read(self, size):
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(DiffStream(Broken()))


def test_a_long_record():
    content = bytes(range(256)) * 4096
    out = io.BytesIO()
    DiffStream.write(out, DiffHeader(len(content)), [DiffData(0, content)])
    (record,) = DiffStream(out.getvalue())
    assert record == DiffData(0, content)


def test_names_of_any_bytes():
    out = io.BytesIO()
    DiffStream.write(out, DiffHeader(1, end_snapshot="caf\udce9"), [])
    assert b"caf\xe9" in out.getvalue()
    assert DiffStream(out.getvalue()).header.end_snapshot == "caf\udce9"


@pytest.mark.parametrize(
    "records",
    [
        [DiffZero(8, 4), DiffZero(4, 4)],
        [DiffZero(0, 4), DiffData(3, b"x")],
        [DiffData(0, b"")],
        [DiffZero(0, 0)],
        [DiffZero(0, 17)],
        [DiffZero(2**64 - 1, 2)],
    ],
)
def test_records_that_make_no_stream(records):
    out = io.BytesIO()
    with pytest.raises(Error) as caught:
        DiffStream.write(out, DiffHeader(16), records)
    assert caught.value.code == "usage"
    with pytest.raises(Error):
        list(DiffStream(out.getvalue()))


def test_misuse_of_write():
    with pytest.raises(ValueError, match="v1 or v2"):
        DiffStream.write(io.BytesIO(), DiffHeader(1), [], "v3")
    with pytest.raises(TypeError, match="DiffData or DiffZero"):
        DiffStream.write(io.BytesIO(), DiffHeader(1), [b"x"])
    with pytest.raises(TypeError):
        DiffData(0, "text")
    with pytest.raises(TypeError):
        DiffData(0, 5)
    with pytest.raises(TypeError):
        DiffZero(-1, 5)
    with pytest.raises(Error):
        DiffStream.write(io.BytesIO(), DiffHeader(1, end_snapshot="a", end_protected=True), [], "v1")

    class Full:
        def write(self, data):
            return None

    with pytest.raises(OSError):
        DiffStream.write(Full(), DiffHeader(1), [])

    def records():
        yield DiffZero(0, 1)
        raise LookupError("no more")

    out = io.BytesIO()
    with pytest.raises(LookupError):
        DiffStream.write(out, DiffHeader(16), records())
    with pytest.raises(Error):
        list(DiffStream(out.getvalue()))


def test_records_are_values():
    assert repr(DiffData(1, b"x")) == "DiffData(offset=1, data=b'x')"
    assert eval(repr(header("v2"))) == header("v2")
    assert DiffZero(1, 2) != DiffZero(1, 3) and DiffZero(1, 2) != DiffData(1, b"xx")
    assert len({DiffZero(1, 2), DiffZero(1, 2)}) == 1
    with pytest.raises(AttributeError):
        DiffZero(1, 2).offset = 3
    match DiffZero(1, 2):
        case DiffData(_, _):
            raise AssertionError
        case DiffZero(offset, length):
            assert (offset, length) == (1, 2)
