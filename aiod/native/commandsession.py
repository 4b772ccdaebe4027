"""What every command of `aiod-runtime` has: the runtime, and where errors are told.

Must not know the commands.
"""

import datetime
import json
import sys

import msgspec

from aiod.native.lifecycle import Runtime


class Session(msgspec.Struct, frozen=True):
    """The options before the command."""

    runtime: Runtime
    log: str
    log_format: str

    def report(self, error: Exception) -> None:
        """Tell people, and the log that the caller reads."""
        message = str(error)
        print(f"aiod-runtime: {message}", file=sys.stderr)
        if not self.log:
            return
        time = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.log_format == "json":
            line = json.dumps({"level": "error", "msg": message, "time": time})
        else:
            line = f"time={json.dumps(time)} level=error msg={json.dumps(message)}"
        with open(self.log, "a") as file:
            file.write(line + "\n")
