"""What the machine allows: open files, and source ports for connections to one address."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gateway.loadtest.options import LoadTestError

__all__ = ["Part", "parts", "raise_file_limit"]

OTHER_FILES: Final = 64
"""What the process needs beside the connections: Python's own files, epoll, the publisher."""

PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")

PORTS_USED: Final = 0.9
"""Of the ports of an address; the kernel searches long for the last free one."""

MOST: Final = 25_000
"""Clients of a part: more would be more than one process reads in time."""

MOST_PARTS: Final = 64

Limit = tuple[int, int]


class Part(NamedTuple):
    """Some of the clients, by their numbers, and the address that their connections come from: None if the kernel's
    choice is good."""

    numbers: range
    source: tuple[str, int] | None = None


def parts(
    connections: int,
    is_ipv4_loopback: bool,
    get: Callable[[int], Limit] = resource.getrlimit,
    change: Callable[[int, Limit], None] = resource.setrlimit,
    ports: int | None = None,
) -> list[Part]:
    """Equal parts of ``connections``, few enough clients each for one process and one source address.

    Each is for a process of its own, with open files of its own: this process's limit is raised, and those that it
    starts have the same. On loopback each has an address of its own, as all of 127.0.0.0/8 is this machine.
    :class:`LoadTestError` with what to do about it if there is no room for that many.
    """
    ports = _ports() if ports is None else ports
    if connections > ports and not is_ipv4_loopback:
        raise LoadTestError(
            f"{connections:,} connections to one address need as many source ports, and this machine has {ports:,}. "
            'Widen them with: sysctl -w net.ipv4.ip_local_port_range="1024 65535", or use more machines'
        )
    per_process = min(MOST, ports, connections)
    try:
        raise_file_limit(per_process, get, change)
    except LoadTestError:
        _, hard = get(resource.RLIMIT_NOFILE)
        per_process = hard - OTHER_FILES  # and more processes
        if per_process * MOST_PARTS < connections:
            raise_file_limit(connections, get, change)
        change(resource.RLIMIT_NOFILE, (hard, hard))
    count = -(-connections // per_process)
    if count > MOST_PARTS:
        raise LoadTestError(f"At most {MOST_PARTS * per_process:,} connections can be opened from here.")
    bounds = [connections * number // count for number in range(count + 1)]
    return [
        Part(range(start, end), (f"127.0.0.{number + 1}", 0) if is_ipv4_loopback and count > 1 else None)
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
    ]


def _ports() -> int:
    first, last = map(int, PORT_RANGE.read_text().split())
    return int((last - first + 1) * PORTS_USED)


def raise_file_limit(
    connections: int,
    get: Callable[[int], Limit] = resource.getrlimit,
    change: Callable[[int, Limit], None] = resource.setrlimit,
) -> None:
    """Makes room for ``connections`` sockets, or :class:`LoadTestError` with what to do about it."""
    needed = connections + OTHER_FILES
    soft, hard = get(resource.RLIMIT_NOFILE)
    if _allows(soft, needed):
        return
    try:
        # Only root may pass the hard limit, and the kernel's fs.nr_open is above even that.
        change(resource.RLIMIT_NOFILE, (needed, hard if _allows(hard, needed) else needed))
    except (ValueError, OSError):
        raise LoadTestError(
            f"{connections:,} connections need {needed:,} open files, but the limit is {_text(soft)} (hard limit "
            f"{_text(hard)}). Raise it with: ulimit -n {needed} (for a user: 'nofile' in /etc/security/limits.conf; "
            f"systemd: LimitNOFILE={needed}; Docker: --ulimit nofile={needed})"
        ) from None


def _allows(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def _text(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"
