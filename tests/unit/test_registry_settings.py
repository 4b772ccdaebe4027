"""Settings of registries: what a file may say, and the words for what it may not."""

from pathlib import Path

import click
import pytest

from aiod.cli.serve import configuration
from aiod.config import RegistryHost

GOOD = """
insecure-registries = ["10.0.0.0/8", "r.lan:5000"]
registry_mirrors = ["https://m.lan"]
max_concurrent_downloads = 7
search_index = "https://index.lan"
[registries."x.lan:1"]
mirrors = ["http://y.lan"]
ca = "/ca.pem"
insecure = true
"""


def test_file_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text(GOOD)
    flags = {"max_concurrent_uploads": 2, "max_concurrent_downloads": 9, "registry_mirrors": ()}
    found = configuration(file, flags).registries
    assert found.insecure == ("10.0.0.0/8", "r.lan:5000")
    assert found.mirrors_of("docker.io") == ("https://m.lan",)
    assert (found.downloads, found.uploads, found.attempts) == (9, 2, 5)
    assert found.host("x.lan:1") == RegistryHost(("http://y.lan",), True, Path("/ca.pem"))
    assert found.search_index == "https://index.lan"
    assert found.mirrors_of("x.lan:1") == ("http://y.lan",)


BAD = {
    'registry_mirrors = ["m.lan"]': "registry_mirrors: 'm.lan' is not the URL",
    'registry_mirrors = ["http://u:p@m.lan"]': "is not the URL of a registry",
    'insecure_registries = "x"': "insecure_registries: expected a list of str",
    'insecure_registries = ["10.0.0.0/99"]': "insecure_registries: ",
    "max_concurrent_downloads = 0": "expected a number from 1 to 100",
    "max_concurrent_downloads = true": "expected a number from 1 to 100",
    'search_index = "index.lan"': "search_index: 'index.lan' is not the URL",
    "registry_certificates = 1": "registry_certificates: expected str",
    "registries = 1": "registries: expected a table for each host",
    '[registries."x"]\nmirror = []': 'registries."x": expected a table of ca, insecure, mirrors',
    '[registries."x"]\ninsecure = 1': 'registries."x".insecure: expected bool',
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text(text)
    with pytest.raises(click.UsageError) as caught:
        configuration(file, {})
    assert BAD[text] in caught.value.message
