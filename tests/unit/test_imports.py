"""What a daemon does not import as it starts, because it costs and may not be needed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["pyroute2", "aiod.native._nftables"])
def test_a_starting_daemon_imports_no(module: str) -> None:
    script = (
        f"import sys, aiod.daemon; sys.exit(any(m.startswith({module!r}) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
