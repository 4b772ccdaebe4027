"""A certificate authority of the suite's own, made with the openssl command.

Everything is for loopback and the names below `.test`.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.binaries import require

_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test,DNS:mirror.test"


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run openssl; its output."""
    command = [require("openssl"), *map(str, arguments)]
    return subprocess.run(command, input=stdin, check=True, capture_output=True, timeout=60).stdout


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two files in PEM."""

    certificate: Path
    key: Path

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return openssl("dgst", "-sha256", "-sign", self.key, stdin=data)

    def der(self) -> bytes:
        """The certificate in DER."""
        return openssl("x509", "-in", self.certificate, "-outform", "DER")


class Authority(Certificate):
    """Signs server certificates; `certificate` is what clients must trust."""

    def issue(self, name: str) -> Certificate:
        """A certificate for the suite's names, next to the authority's."""
        made = Certificate(
            self.certificate.with_name(f"{name}.crt"), self.key.with_name(f"{name}.key")
        )
        request = openssl(
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            made.key,
            "-subj",
            f"/CN={name}",
        )
        extensions = self.certificate.with_name(f"{name}.ext")
        extensions.write_text(_NAMES)
        openssl(
            "x509", "-req", "-days", "2", "-CA", self.certificate, "-CAkey", self.key,
            "-CAcreateserial", "-extfile", extensions, "-out", made.certificate, stdin=request,
        )  # fmt: skip
        return made


def authority(directory: Path, name: str = "ca") -> Authority:
    """A new authority with its files in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Authority(directory / f"{name}.crt", directory / f"{name}.key")
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", f"/CN={name} of the suite", "-keyout", made.key, "-out", made.certificate,
    )  # fmt: skip
    return made
