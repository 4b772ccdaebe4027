"""Builds the native parts; everything else about the package is in pyproject.toml."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("aiod/native")
PROGRAM = PACKAGE / "docker-init"
SOURCE = PACKAGE / "init" / "init.c"
FLAGS = ("-std=gnu11", "-Os", "-Wall", "-Wextra", "-static", "-s")


class BuildNative(build_ext):
    """The extensions, and the init of containers, which is a program of its own."""

    def run(self) -> None:
        """Build; without a static C library there is no init, and asking for it is refused."""
        super().run()
        in_place = self.inplace or self.editable_mode
        target = PROGRAM if in_place else Path(self.build_lib) / PROGRAM
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        made = target.with_suffix(".new")
        done = subprocess.run([*compiler, *FLAGS, "-o", made, SOURCE], check=False)
        if done.returncode == 0:
            made.replace(target)
        else:
            print("warning: no docker-init: is the static C library there?", file=sys.stderr)


setup(
    cmdclass={"build_ext": BuildNative},
    cffi_modules=["aiod/native/_build.py:ffi", "aiod/native/_build_nft.py:ffi"],
)
