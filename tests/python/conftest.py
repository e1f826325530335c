"""What several tests need."""

import pathlib
import re

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def source():
    """The project's folder."""
    return SOURCE


@pytest.fixture
def members_of(source):
    """The members of a struct in a public header, with what stands after '=' (None without)."""

    def read(header, struct):
        text = (source / "libcrossover/include/crossover" / header).read_text()
        body = re.search(r"struct %s \{\n(.*?)\n\};" % struct, text, re.DOTALL).group(1)
        found = {}
        for line in body.splitlines():
            match = re.match(r"  [\w:<>, ]+? (\w+)(?: = ([^;]+)|\{[^}]*\})?;", line)
            if match:
                found[match.group(1)] = match.group(2)
        return found

    return read


@pytest.fixture
def enumerators_of(source):
    """The names in an enum of a public header."""

    def read(header, enum):
        text = (source / "libcrossover/include/crossover" / header).read_text()
        body = re.search(r"enum class %s \{\n(.*?)\n\};" % enum, text, re.DOTALL).group(1)
        return re.findall(r"^  (\w+),", body, re.MULTILINE)

    return read
