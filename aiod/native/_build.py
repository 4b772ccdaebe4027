"""Describes the extension `aiod.native._native` to cffi (API mode).

Every `src/NAME.c` is compiled, and every `src/NAME.cdef` holds the declarations of
`src/NAME.h` that Python calls; adding a concern means adding files, not editing this one.
"""

from pathlib import Path

from cffi import FFI

SOURCE = Path(__file__).parent / "src"

ffi = FFI()
_cdefs = sorted(SOURCE.glob("*.cdef"))
for _cdef in _cdefs:
    ffi.cdef(_cdef.read_text())
ffi.set_source(
    "aiod.native._native",
    "".join(f'#include "{c.stem}.h"\n' for c in _cdefs),
    sources=[
        str(c.relative_to(Path.cwd())) if c.is_relative_to(Path.cwd()) else str(c)
        for c in sorted(SOURCE.glob("*.c"))
    ],
    depends=[str(h) for h in sorted(SOURCE.glob("*.h"))],
    include_dirs=[str(SOURCE)],
    libraries=["seccomp"],
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror=implicit-function-declaration",
    ],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
