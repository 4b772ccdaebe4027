"""Whose chains drop what is forwarded, of those that nft lists."""

from aiod.doctor.networks import dropping_chains

LISTING = """\
table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain INPUT {
		type filter hook input priority filter; policy drop;
	}
	chain DOCKER-USER {
	}
}
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy drop;
	}
}
table inet aiod {
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
}
"""


def test_those_that_drop_by_their_policy() -> None:
    assert dropping_chains(LISTING) == ["ip filter FORWARD", "inet firewalld filter_FORWARD"]
    assert dropping_chains("") == []
