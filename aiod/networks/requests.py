"""What a client asks a network to be (Engine API v1.51, `NetworkCreateRequest`).

Owns the shapes, with the API's own names; must not judge them.
"""

import msgspec


class PoolRequest(msgspec.Struct, frozen=True):
    """Addresses of one family."""

    Subnet: str = ""
    IPRange: str = ""
    Gateway: str = ""
    AuxiliaryAddresses: dict[str, str] | None = None


class IpamRequest(msgspec.Struct, frozen=True):
    """Who gives addresses away, and of which pools."""

    Driver: str = ""
    Options: dict[str, str] | None = None
    Config: list[PoolRequest] | None = None


class LenderRequest(msgspec.Struct, frozen=True):
    """The name of a network that lends its settings."""

    Network: str = ""


class NetworkRequest(msgspec.Struct, frozen=True):
    """The body of a create; `CheckDuplicate` is of old clients: names are always checked."""

    Name: str = ""
    CheckDuplicate: bool = False
    Driver: str = ""
    Scope: str = ""
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigOnly: bool = False
    ConfigFrom: LenderRequest = LenderRequest()
    IPAM: IpamRequest = IpamRequest()
    EnableIPv4: bool | None = None
    EnableIPv6: bool | None = None
    Options: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
