"""Looks at a machine and says what of it keeps aiod from running, and what to do about that.

Owns the order of the probes and the verdict; each module holds the probes of one topic. A probe
tries the thing itself in a child process and undoes it. Must not know daemons from the inside:
what it says of one, it asks like any client.
"""

from aiod.doctor import cgroups, host, kernel, networks
from aiod.doctor.findings import Finding, Subject, Verdict

PROBES = (*kernel.PROBES, *cgroups.PROBES, *networks.PROBES, *host.PROBES)


def examine(subject: Subject) -> list[Finding]:
    """Everything there is to say, in order; blocking, a second or two at most."""
    return [probe.run(subject) for probe in PROBES]


def can_run(findings: list[Finding]) -> bool:
    """Whether nothing that aiod needs is missing."""
    return all(finding.verdict is not Verdict.MISSING for finding in findings)
