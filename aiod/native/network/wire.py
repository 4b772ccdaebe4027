"""pyroute2's message classes, without the rest of pyroute2.

Owns the way they are imported. The package's own `__init__` imports all it has (asyncio servers,
databases, every protocol): measured, 64 ms of processor time and 11 MB, for every daemon and in
every shim's template, beside 9 ms and 1.5 MB for the three messages that are needed. They are
therefore imported below an empty package of that name, which is taken away again afterwards:
whoever wants the whole of pyroute2 in the same process imports it as ever.
"""

import importlib.util
import sys
import types
from typing import Any

__all__ = ["ifaddrmsg", "ifinfmsg", "rtmsg"]


def _bare_package() -> types.ModuleType | None:
    found = importlib.util.find_spec("pyroute2")
    if "pyroute2" in sys.modules or found is None or found.submodule_search_locations is None:
        return None
    bare = types.ModuleType("pyroute2")
    bare.__path__ = list(found.submodule_search_locations)
    bare.__spec__ = found
    return bare


_bare = _bare_package()
if _bare is not None:
    sys.modules["pyroute2"] = _bare
try:
    from pyroute2.netlink.rtnl import ifaddrmsg as _addresses
    from pyroute2.netlink.rtnl import ifinfmsg as _links
    from pyroute2.netlink.rtnl import rtmsg as _routes
finally:
    if _bare is not None:
        del sys.modules["pyroute2"]

ifaddrmsg: Any = _addresses.ifaddrmsg
ifinfmsg: Any = _links.ifinfmsg
rtmsg: Any = _routes.rtmsg
