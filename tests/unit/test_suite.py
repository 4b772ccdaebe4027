"""The suite's own promises."""

import pytest

from tests.support import binaries

ABSENT = "a-program-that-nobody-has"


def test_an_absent_program_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=f"apt-get install {ABSENT}"):
        binaries.require(ABSENT)


def test_an_absent_program_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"apt-get install {ABSENT}"):
        binaries.require(ABSENT)
