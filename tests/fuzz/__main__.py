"""`python -m tests.fuzz DESCRIPTION [--requests N] [--seed S] [--only PATTERN]`

Makes requests from an Engine API description (Swagger 2.0) with schemathesis, sends them to a
daemon of its own, and prints every answer that is a 5xx (501 names what is not supported, and a
daemon may not reach a registry) or not of the described shape. To be run as root in a network
namespace of its own: `unshare -n python -m tests.fuzz ...`; it talks over loopback.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.fuzz import description
from tests.support.daemon import AiodDaemon

for media_type in ("application/x-tar", "application/octet-stream", "application/tar"):
    schemathesis.serializer(media_type)(lambda context, value: str(value).encode())

_SECONDS = 5.0
_SECONDS_OF_WAITS = 0.2  # those for a container that goes on
# What may be asked to take for ever is asked not to.
_ENDING: dict[str, dict[str, object]] = {
    "stop": {"t": 0},
    "restart": {"t": 0},
    "logs": {"follow": False},
    "stats": {"stream": False, "one-shot": True},
}
_PORT = 20375
_AS_DOCKERD = (
    "is not paused",  # of unpause
    "cannot connect",  # to a registry: there is none in this namespace
    "not a swarm manager",
)
_KNOWN = ("created", "running", "exited", "base")


@dataclass
class Findings:
    """What came of all requests."""

    sent: int = 0
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    silent: collections.Counter[str] = field(default_factory=collections.Counter)

    def note(self, operation: str, kind: str, example: str) -> None:
        """Keep the first example of each kind of problem of an operation."""
        self.problems.setdefault((operation, kind), example)


class Fuzzer:
    """Requests to one daemon."""

    def __init__(self, base_url: str, daemon: AiodDaemon) -> None:
        self.base_url = base_url
        self.daemon = daemon
        self.findings = Findings()
        self.session = requests.Session()

    def populate(self) -> None:
        """One container of each state, as far as they are not there any more."""
        with self.daemon.api() as api:
            for container in api.containers():
                if container["Names"][0] not in ("/created", "/running", "/exited"):
                    api.send("DELETE", f"/containers/{container['Id']}", force="1", v="1")
            for name in ("created", "running", "exited"):
                body = {
                    "Image": "base",
                    "Cmd": ["sleep", "1000"],
                    "HostConfig": {"NetworkMode": "none"},
                }
                if api.send("GET", f"/containers/{name}/json").status != 200:
                    api.send("POST", "/containers/create", body, name=name)
                if name != "created":
                    api.send("POST", f"/containers/{name}/start")
                if name == "exited":
                    api.send("POST", f"/containers/{name}/kill")

    def run(self, operation: Any, count: int, seed: int) -> None:
        """`count` requests of one operation."""
        label = f"{operation.method.upper()} {operation.path}"
        names = strategies.sampled_from(_KNOWN)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count, deadline=None, database=None, print_blob=False,
            phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(), known=names, use=strategies.booleans())
        def once(case: Any, known: str, use: bool) -> None:
            for key in ("id", "name"):
                if use and key in (case.path_parameters or {}):
                    case.path_parameters[key] = known
            for name, value in _ENDING.get(label.rpartition("/")[2], {}).items():
                case.query = {**(case.query or {}), name: value}
            self._send(label, case)

        once()

    def _send(self, label: str, case: Any) -> None:
        self.findings.sent += 1
        seconds = _SECONDS_OF_WAITS if label.endswith("/wait") else _SECONDS
        try:
            response = case.call(base_url=self.base_url, session=self.session, timeout=seconds)
        except requests.Timeout:
            self.findings.silent[label] += 1
            return
        except requests.RequestException as error:
            if "Read timed out" in str(error):  # the head came, and no end
                self.findings.silent[label] += 1
                return
            self.findings.note(
                label, f"no answer: {type(error).__name__}", f"{case.as_curl_command()}\n{error}"
            )
            return
        self.findings.statuses[f"{label} {response.status_code}"] += 1
        if response.status_code == 501 or (
            response.status_code >= 500 and any(words in response.text for words in _AS_DOCKERD)
        ):
            return
        try:
            case.validate_response(
                response,
                checks=[not_a_server_error, response_schema_conformance],
            )
        except FailureGroup as group:
            for failure in group.exceptions:
                self._note(label, case, response, failure)
        except Failure as failure:
            self._note(label, case, response, failure)

    def _note(self, label: str, case: Any, response: Any, failure: Any) -> None:
        kind = f"{response.status_code} {failure.title}"
        if response.status_code >= 500:
            kind += f": {response.text[:90]}"
        elif "schema" in failure.title.lower():
            kind += f": {str(failure.message)[:160]}"
        self.findings.note(label, kind, f"{case.as_curl_command()[:1500]}\n{response.text[:600]}")


def main() -> None:
    """Run it; exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("description", type=Path)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    schema = schemathesis.openapi.from_dict(description.read(asked.description))
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [one for one in operations if asked.only in f"{one.method.upper()} {one.path}"]
    with tempfile.TemporaryDirectory(prefix="fz") as directory:
        daemon = AiodDaemon(Path(directory) / "d")
        daemon.flags = [
            *("--host", f"tcp://127.0.0.1:{_PORT}", "--allow-insecure-tcp"),
            *("--max-download-attempts", "1"),
        ]
        daemon.start()
        try:
            fuzzer = Fuzzer(f"http://127.0.0.1:{_PORT}/v1.51", daemon)
            for operation in operations:
                print(operation.method.upper(), operation.path, file=sys.stderr)
                fuzzer.populate()
                fuzzer.run(operation, max(1, asked.requests // len(operations)), asked.seed)
                assert daemon.process is not None
                if daemon.process.poll() is not None:
                    print("the daemon ended", daemon.log_tail())
                    break
        finally:
            print(daemon.log_tail(3000))
            daemon.destroy()
    found = fuzzer.findings
    for status, count in sorted(found.statuses.items()):
        print(f"{count:7} {status}")
    for label, count in found.silent.items():
        print(f"{count:7} {label} without an end in {_SECONDS} s")
    for (label, kind), example in found.problems.items():
        print(f"\n== {label}: {kind}\n{example}")
    print(json.dumps({"requests": found.sent, "problems": len(found.problems)}))
    sys.exit(1 if found.problems else 0)


main()
