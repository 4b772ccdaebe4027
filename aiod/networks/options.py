"""The options of the drivers: which there are, and what may be their values.

Pure; dockerd's words, but for options that it has and aiod does not: those are refused by name.
What neither knows is kept and shown, as dockerd does.
"""

import ipaddress
import re
from collections.abc import Mapping

from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.networks import model

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_LARGEST_MTU = 65535
_LONGEST_NAME = 15  # bytes of a link's name: IFNAMSIZ without its end
_MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
_IPVLAN_MODES = ("l2", "l3", "l3s")
_GATEWAY_MODES = ("nat", "nat-unprotected")
_ABSENT_MODES = ("isolated", "routed")
_ABSENT = (
    "com.docker.network.bridge.inhibit_ipv4",
    "com.docker.network.bridge.trusted_host_interfaces",
    "com.docker.network.host_ipv4",
    "com.docker.network.host_ipv6",
)


def check(driver: str, options: Mapping[str, str]) -> None:
    """Raise InvalidParameterError for a value that means nothing, UnsupportedError for options."""
    if driver == model.BRIDGE:
        _check_bridge(options)
    elif driver == model.MACVLAN:
        _check_mode(driver, options.get(model.MACVLAN_MODE, ""), _MACVLAN_MODES)
    elif driver == model.IPVLAN:
        _check_mode(driver, options.get(model.IPVLAN_MODE, ""), _IPVLAN_MODES)
        if options.get("ipvlan_flag", "bridge") != "bridge":
            raise UnsupportedError("the option ipvlan_flag is not supported by aiod")
    if options.get(model.PARENT) == "lo":
        raise InvalidParameterError(f"loopback interface is not a valid {driver} parent link")
    _check_mtu(options.get(model.MTU, ""))


def _check_bridge(options: Mapping[str, str]) -> None:
    for name in _ABSENT:
        if name in options:
            raise UnsupportedError(f"the option {name} is not supported by aiod")
    for name in (model.ICC, model.MASQUERADE):
        if name in options and options[name] not in _TRUE | _FALSE:
            raise _unparsable(name, options[name], _go_text("ParseBool", options[name]))
    for name in model.GATEWAY_MODES:
        mode = options.get(name, "nat")
        if mode in _ABSENT_MODES:
            raise UnsupportedError(f"the option {name}={mode} is not supported by aiod")
        if mode not in _GATEWAY_MODES:
            raise InvalidParameterError(f"unknown gateway mode {mode}")
    binding = options.get(model.BINDING)
    if binding is not None and not _is_address(binding):
        raise _unparsable(model.BINDING, binding, "nil ip")
    check_link_name(options.get(model.LINK_NAME, ""))
    check_link_name(options.get(model.PREFIX, ""))


def _check_mtu(text: str) -> None:
    if not text:
        return
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise _unparsable(model.MTU, text, _go_text("Atoi", text))
    if not 0 <= int(text) <= _LARGEST_MTU:
        raise InvalidParameterError(f"invalid MTU number: {text}")


def _check_mode(driver: str, mode: str, known: tuple[str, ...]) -> None:
    if mode and mode not in known:
        raise InvalidParameterError(
            f"requested {driver} mode '{mode}' is not valid, "
            f"'{known[0]}' mode is the {driver} driver default"
        )


def check_link_name(name: str) -> None:
    """Raise InvalidParameterError for what cannot be a link's; empty is no name."""
    wrong = re.search(r"[\s/:%]", name) or (name and not name.isprintable())
    if wrong or len(name.encode()) > _LONGEST_NAME or name in (".", ".."):
        raise InvalidParameterError(f"invalid interface name: {name!r}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _go_text(call: str, text: str) -> str:
    return f'strconv.{call}: parsing "{text}": invalid syntax'


def _unparsable(name: str, value: str, why: str) -> InvalidParameterError:
    return InvalidParameterError(f"failed to parse {name} value: {value} ({why})")
