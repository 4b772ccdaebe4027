"""What the documentation names is there."""

import re
from pathlib import Path

import click
import pytest

from aiod.cli import main
from aiod.cli.serve import serve

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", page.read_text()):
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`((?:aiod|tests|scripts|systemd|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / name).exists(), name


def test_every_setting_of_serve_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for option in serve.params:
        assert isinstance(option, click.Option)
        assert f"`{option.opts[0]}`" in text, option.opts


def test_every_promise_of_recovery_names_its_tests() -> None:
    text = (ROOT / "docs" / "recovery.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    promises = [section for section in sections if section[0].isdigit()]
    assert len(promises) >= 7
    for section in promises:
        assert "`tests/" in section, section.splitlines()[0]


def test_the_recovery_table_is_told_row_for_row() -> None:
    from aiod.tasks.recovery import TABLE

    text = (ROOT / "docs" / "recovery.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len(TABLE), "docs/recovery.md tells another table"


def test_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    context = click.Context(main)
    for name in re.findall(r"^ +aiod ([a-z]+)", text, flags=re.MULTILINE):
        assert main.get_command(context, name) is not None, name
