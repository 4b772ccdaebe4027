"""The compiled extension of `_build_nft.py`: libnftables."""

from typing import Any

ffi: Any
lib: Any
