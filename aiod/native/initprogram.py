"""Where the container's init is that `HostConfig.Init` asks for: a static program beside this file.

It is built with the extension, where the C library can be linked statically. Must not know what
it is used for.
"""

from pathlib import Path

PROGRAM = Path(__file__).parent / "docker-init"
IS_THERE = PROGRAM.is_file()
