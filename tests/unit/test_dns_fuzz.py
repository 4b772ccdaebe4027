"""The resolver's code under the address and undefined-behaviour sanitizers, fed with rubbish."""

import ctypes
import subprocess
from pathlib import Path

from aiod.native.network.texts import Holder, Resolver, Scope, resolver_text, table_text

SOURCE = Path(__file__).parents[2] / "aiod" / "native" / "src"
_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)
HARNESS = Path(__file__).parents[1] / "support" / "fuzzdns.c"


def _stay_in_place() -> None:
    """The sanitizer's own memory has a fixed place, where some kernels put other things (28 bits
    of randomness are fine, 32 are not); where this is not allowed, the kernel decides."""
    ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)


def test_packets_at_random(tmp_path: Path) -> None:
    table, resolver, program = (tmp_path / name for name in ("table", "resolver", "fuzz"))
    table.write_text(table_text("back", (Holder(("172.19.0.2", "fd00::2"), ("web", "db")),)))
    resolver.write_text(resolver_text(Resolver((Scope(str(table), (("a", "web"),)),))))
    sources = [SOURCE / name for name in ("dnspacket.c", "dnsnames.c", "dnsanswer.c")]
    subprocess.run(
        ["cc", "-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all", f"-I{SOURCE}", "-o", program, HARNESS, *sources],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for seed in ("1", "2", "3"):
        ran = subprocess.run(
            [program, resolver, seed, "20000"],
            env={"ASAN_OPTIONS": "detect_leaks=0"},  # that asks for ptrace(2); it frees all
            preexec_fn=_stay_in_place,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
