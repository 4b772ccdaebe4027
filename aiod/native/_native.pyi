"""The compiled extension: `src/*.cdef` is its interface, which cffi checks at run time."""

from typing import Any

ffi: Any
lib: Any
