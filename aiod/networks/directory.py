"""All networks, and all ends of them, in memory.

Owns look-up by id, name and prefix, in dockerd's order and words; must not know SQL, nor what a
container is.
"""

from collections.abc import Iterable

from aiod.errors import InvalidParameterError, NotFoundError
from aiod.store.networkrecords import EndpointRecord, NetworkRecord


class Directory:
    """What there is; `ends` are by container and network."""

    def __init__(self) -> None:
        self.by_id: dict[str, NetworkRecord] = {}
        self._names: dict[str, str] = {}
        self._ends: dict[str, dict[str, EndpointRecord]] = {}

    def add(self, network: NetworkRecord) -> None:
        """Take a network in, or its newer record."""
        self.by_id[network.id] = network
        self._names[network.name] = network.id

    def drop(self, network: NetworkRecord) -> None:
        """Forget a network."""
        self.by_id.pop(network.id, None)
        self._names.pop(network.name, None)

    def named(self, name: str) -> NetworkRecord | None:
        """The network of that very name."""
        return self.by_id.get(self._names.get(name, ""))

    def find(self, reference: str) -> NetworkRecord:
        """By full id, name, or the beginning of one id only. Raises NotFoundError."""
        exact = self.by_id.get(reference) or self.named(reference)
        if exact is not None:
            return exact
        found = [one for id_, one in self.by_id.items() if reference and id_.startswith(reference)]
        if len(found) > 1:
            raise InvalidParameterError(
                f"network {reference} is ambiguous ({len(found)} matches found based on ID prefix)"
            )
        if not found:
            raise NotFoundError(f"network {reference} not found")
        return found[0]

    def network_of(self, endpoint: EndpointRecord) -> NetworkRecord:
        """The network that an end belongs to, or one made anew under its name.

        Raises NotFoundError.
        """
        found = self.by_id.get(endpoint.network_id) or self.named(endpoint.network_name)
        if found is None:
            raise NotFoundError(f"network {endpoint.network_name} not found")
        return found

    def ends_of(self, container_id: str) -> list[EndpointRecord]:
        """A container's ends of networks, in the order in which they were joined."""
        return sorted(self._ends.get(container_id, {}).values(), key=lambda end: end.place)

    def ends_on(self, network_id: str) -> list[EndpointRecord]:
        """All ends of one network."""
        found = (ends.get(network_id) for ends in self._ends.values())
        return [end for end in found if end is not None]

    def all_ends(self) -> list[EndpointRecord]:
        """All ends of all networks."""
        return [end for ends in self._ends.values() for end in ends.values()]

    def put(self, endpoints: Iterable[EndpointRecord]) -> None:
        """Take ends in, or their newer records."""
        for end in endpoints:
            self._ends.setdefault(end.container_id, {})[end.network_id] = end

    def take_out(self, container_id: str, network_id: str) -> None:
        """Forget an end."""
        self._ends.get(container_id, {}).pop(network_id, None)

    def forget(self, container_id: str) -> None:
        """Forget all ends of a container."""
        self._ends.pop(container_id, None)
