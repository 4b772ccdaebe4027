"""What a container's resolver answers by itself: packets in, packets out, no socket."""

import struct
from pathlib import Path

import pytest

from aiod.native._native import ffi, lib
from aiod.native.network.texts import Holder, Resolver, Scope, Server, resolver_text, table_text
from tests.support import dnspackets as dns


class Resolving:
    """A resolver's file with two networks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.file = directory / "resolver"
        scopes = []
        for name, holders in NETWORKS.items():
            (directory / name).write_text(table_text(name, holders))
            scopes.append(Scope(str(directory / name), LINKS.get(name, ())))
        self.file.write_text(resolver_text(Resolver(tuple(scopes), (Server("1.2.3.4"),))))

    def raw(self, packet: bytes, limit: int = 65535, turn: int = 0) -> bytes | int:
        """The answer, or why there is none."""
        made = ffi.new("uint8_t[65536]")
        length = lib.aiod_dns_answer(
            str(self.file).encode(), packet, len(packet), limit, turn, made
        )
        return bytes(ffi.buffer(made, length)) if length > 0 else int(length)

    def ask(self, name: str, kind: int = dns.A, turn: int = 0) -> tuple[str, ...] | None:
        """The records; None for a name that others are asked for."""
        got = self.raw(dns.question(name, kind), turn=turn)
        if isinstance(got, int):
            assert got == lib.AIOD_DNS_FORWARD
            return None
        assert dns.answer(got).code == dns.NOERROR
        return dns.answer(got).records


NETWORKS = {
    "front.office": (
        Holder(("172.18.0.2", "fd00:18::2"), ("web", "0123456789ab", "app", "app")),
        Holder(("172.18.0.3",), ("Web2", "app")),
        Holder(("172.18.0.4",), ("both",)),
    ),
    "back": (
        Holder(("172.19.0.2",), ("db", "web")),
        Holder(("172.19.0.3", "fd00:19::3"), ("both",)),
        Holder(("172.19.0.9",), ("bad name", "kept")),
    ),
}
LINKS = {"back": (("store", "db"), ("web2", "db"))}


@pytest.fixture
def resolving(tmp_path: Path) -> Resolving:
    return Resolving(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("web", dns.A, ("172.18.0.2",)),
        ("web.", dns.A, ("172.18.0.2",)),
        ("WEB", dns.A, ("172.18.0.2",)),
        ("0123456789ab", dns.A, ("172.18.0.2",)),
        ("web", dns.AAAA, ("fd00:18::2",)),
        ("web2", dns.A, ("172.19.0.2",)),  # a private name goes first
        ("web2.front.office", dns.A, ("172.18.0.3",)),
        ("web2.front.office", dns.AAAA, ()),
        ("web.back", dns.A, ("172.19.0.2",)),
        ("web.BACK.", dns.A, ("172.19.0.2",)),
        ("store", dns.A, ("172.19.0.2",)),
        ("store.back", dns.A, ("172.19.0.2",)),
        ("store.front.office", dns.A, None),
        ("both", dns.A, ("172.18.0.4",)),
        ("both", dns.AAAA, ("fd00:19::3",)),  # the first network that has one
        ("db", dns.AAAA, ()),
        ("db", dns.TXT, ()),
        ("web", dns.ANY, ("172.18.0.2", "fd00:18::2")),
        ("kept", dns.A, ("172.19.0.9",)),
        ("nobody", dns.A, None),
        ("web.nowhere", dns.A, None),
        (".back", dns.A, None),
        ("back", dns.A, None),
        ("", dns.A, None),
        ("2.0.18.172.in-addr.arpa", dns.PTR, ("web.front.office",)),
        ("2.0.19.172.in-addr.arpa", dns.PTR, ("db.back",)),
        ("2.0.18.172.in-addr.arpa", dns.A, ()),
        ("2.0.18.172.in-addr.arpa.x", dns.PTR, None),
        ("2.0.18.999.in-addr.arpa", dns.PTR, None),
        ("7.0.18.172.in-addr.arpa", dns.PTR, None),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa",
            dns.PTR,
            ("web.front.office",),
        ),
        ("x.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa", dns.PTR, None),
    ],
)
def test_look_up(
    resolving: Resolving, name: str, kind: int, records: tuple[str, ...] | None
) -> None:
    assert resolving.ask(name, kind) == records


def test_the_holders_of_a_name_take_turns(resolving: Resolving) -> None:
    assert resolving.ask("app", turn=0) == ("172.18.0.2", "172.18.0.3")
    assert resolving.ask("app", turn=1) == ("172.18.0.3", "172.18.0.2")


def test_a_replaced_table_holds_at_once(resolving: Resolving, tmp_path: Path) -> None:
    assert resolving.ask("late") is None
    (tmp_path / "new").write_text(table_text("back", (Holder(("172.19.0.5",), ("late",)),)))
    (tmp_path / "new").rename(tmp_path / "back")
    assert resolving.ask("late") == ("172.19.0.5",)
    (tmp_path / "back").unlink()
    assert resolving.ask("late") is None


def test_a_question_is_answered_as_it_was_asked(resolving: Resolving) -> None:
    asked = dns.question("wEb", identity=0xABCD)
    got = resolving.raw(asked)
    assert isinstance(got, bytes)
    assert got[12 : len(asked)] == asked[12:]
    assert dns.answer(got).identity == 0xABCD


@pytest.mark.parametrize(("edns", "limit"), [(0, 512), (100, 512), (1232, 1232), (65000, 4096)])
def test_what_does_not_fit_is_cut_and_said_so(tmp_path: Path, edns: int, limit: int) -> None:
    holders = [Holder((f"10.0.{n // 250}.{n % 250}",), (f"n{n}", "many")) for n in range(400)]
    (tmp_path / "table").write_text(table_text("net", holders))
    resolving = Resolving(tmp_path)
    resolving.file.write_text(resolver_text(Resolver((Scope(str(tmp_path / "table")),))))
    asked = dns.question("many", edns=edns)
    assert lib.aiod_dns_limit(asked, len(asked)) == limit
    got = resolving.raw(asked, limit)
    assert isinstance(got, bytes)
    assert limit - 16 < len(got) <= limit
    assert dns.answer(got).truncated
    assert dns.answer(got).edns == (4096 if edns else None)
    whole = resolving.raw(asked)
    assert isinstance(whole, bytes)
    assert not dns.answer(whole).truncated
    assert len(dns.answer(whole).records) == 400


_WEB = dns.question("web")


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"", None),
        (_WEB[:11], None),
        (dns.reply(_WEB), None),  # an answer is no question
        (_WEB[:-3], dns.FORMERR),
        (_WEB[:2] + b"\x28" + _WEB[3:], dns.NOTIMP),  # an update
        (_WEB[:4] + b"\0\0" + _WEB[6:], dns.FORMERR),
        (_WEB[:4] + b"\0\2" + _WEB[6:], dns.FORMERR),
        (_WEB[:12] + b"\xc0\x0c\0\1\0\1", dns.FORMERR),  # a name that is its own end
        (_WEB[:10] + b"\0\1" + _WEB[12:], dns.FORMERR),  # a record that is not there
        (_WEB[:12] + b"\x3f" + b"a" * 10, dns.FORMERR),
        (_WEB[:12] + b"".join(b"\x3f" + b"a" * 63 for _ in range(5)) + b"\0\0\1\0\1", dns.FORMERR),
    ],
)
def test_packets_that_are_none(resolving: Resolving, packet: bytes, code: int | None) -> None:
    got = resolving.raw(packet)
    if code is None:
        assert got == lib.AIOD_DNS_DROP
    else:
        assert isinstance(got, bytes)
        assert dns.answer(got).code == code


def test_labels_that_no_table_can_hold_are_no_names(resolving: Resolving) -> None:
    dotted = _WEB[:12] + b"\x08web.back\0" + _WEB[17:]
    assert resolving.raw(dotted) == lib.AIOD_DNS_FORWARD
    spaced = _WEB[:12] + b"\x07a web b\0" + _WEB[17:]
    assert resolving.raw(spaced) == lib.AIOD_DNS_FORWARD


def test_another_class_is_asked_elsewhere(resolving: Resolving) -> None:
    assert resolving.raw(_WEB[:-2] + struct.pack(">H", 3)) == lib.AIOD_DNS_FORWARD


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (dns.reply(_WEB), True),
        (dns.reply(dns.question("WeB")), True),
        (dns.reply(dns.question("web", identity=8)), False),
        (dns.reply(dns.question("wex")), False),
        (dns.reply(dns.question("web", dns.AAAA)), False),
        (_WEB, False),
        (dns.reply(_WEB)[:11], False),
        (dns.reply(_WEB)[:20], False),
        (_WEB[:2] + b"\x81\x85" + bytes(8), True),  # refused, without the question
        (_WEB[:2] + b"\x81\x80" + bytes(8), False),
    ],
)
def test_which_answers_are_believed(answer: bytes, fits: bool) -> None:
    assert bool(lib.aiod_dns_matches(_WEB, len(_WEB), answer, len(answer), 7)) is fits
