"""Port specifications of EXPOSE: `80`, `53/udp`, `8000-8005/tcp`.

Sans-I/O; must not know who exposes them.
"""

from aiod.errors import InvalidParameterError

_PROTOCOLS = ("tcp", "udp", "sctp")


def exposed(spec: str) -> list[str]:
    """Every port of `spec` as `port/protocol`. Raises InvalidParameterError."""
    ports, _, protocol = spec.partition("/")
    container = ports.rpartition(":")[2]
    first, dash, last = container.partition("-")
    if not container:
        raise InvalidParameterError(f"No port specified: {spec}<empty>")
    numbers = [first, last if dash else first]
    if not all(number.isascii() and number.isdigit() and int(number[:6]) < 1 << 16
               for number in numbers) or int(numbers[0]) > int(numbers[1]):  # fmt: skip
        raise InvalidParameterError(f"Invalid containerPort: {container}")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidParameterError(f"Invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in range(int(numbers[0]), int(numbers[1]) + 1)]
