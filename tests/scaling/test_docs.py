"""docs/SCALING.md shows what the records say."""

import re

from conftest import REPOSITORY

DOCUMENT = (REPOSITORY / "docs/SCALING.md").read_text()


def test_the_command_in_the_document_prints_its_tables(study):
    (command,) = re.findall("^scripts/scaling (benches.*)$", DOCUMENT, re.MULTILINE)
    folder, *_ = command.split()
    printed = study.run(REPOSITORY / folder).stdout
    assert printed.count("### ") == 4
    assert printed.strip() in DOCUMENT


def test_pictures_in_the_document_are_there():
    pictures = re.findall(r"\]\((img/.*?)\)", DOCUMENT)
    assert len(pictures) == 4
    for picture in pictures:
        for kind in (".png", ".svg"):
            assert (REPOSITORY / "docs" / picture).with_suffix(kind).stat().st_size > 10_000
