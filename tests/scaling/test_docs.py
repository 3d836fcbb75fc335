"""docs/SCALING.md shows what the records say."""

import re

import pytest
from conftest import REPOSITORY

DOCUMENT = (REPOSITORY / "docs/SCALING.md").read_text()


def test_the_command_in_the_document_prints_its_tables(study):
    (command,) = re.findall("^scripts/scaling (benches.*)$", DOCUMENT, re.MULTILINE)
    folder, *_ = command.split()
    printed = study.run(REPOSITORY / folder).stdout
    assert printed.count("### ") == 4
    assert printed.strip() in DOCUMENT


def test_phases_in_the_document_add_up_to_the_wall_time_beside_them():
    texts = re.findall(r"(?:^\|.*\n)+", DOCUMENT, re.MULTILINE)
    tables = [[[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()] for text in texts]
    for (header, _, *walls), (phases, _, *parts) in zip(tables[::2], tables[1::2], strict=True):
        first, last = phases.index("read, s"), phases.index("wait, s") + 1
        for wall, part in zip(walls, parts, strict=True):
            # each number has three digits
            assert sum(map(float, part[first:last])) == pytest.approx(float(wall[header.index("wall, s")]), rel=0.01)


def test_pictures_in_the_document_are_there():
    pictures = re.findall(r"\]\((img/.*?)\)", DOCUMENT)
    assert len(pictures) == 4
    for picture in pictures:
        for kind in (".png", ".svg"):
            assert (REPOSITORY / "docs" / picture).with_suffix(kind).stat().st_size > 10_000
