"""What the machine allows: open files, and source ports for connections to one address."""

from __future__ import annotations

import resource
from collections.abc import Callable

from gateway.loadtest.options import LoadTestError

__all__ = ["raise_file_limit", "source_address"]

OTHER_FILES = 64
"""What the process needs beside the connections: Python's own files, epoll, the publisher."""

EPHEMERAL_PORTS = 25_000
"""Connections that surely find a source port on one address (Linux has 28,232 by default)."""

Limit = tuple[int, int]


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


def source_address(index: int, connections: int, is_ipv4_loopback: bool) -> tuple[str, int] | None:
    """The address that connection number ``index`` has to bind, None where the kernel's choice is good.

    Beyond what one source address can have in ports, loopback offers the whole of 127.0.0.0/8.
    """
    if not is_ipv4_loopback or connections <= EPHEMERAL_PORTS:
        return None
    block = index // EPHEMERAL_PORTS + 1
    return f"127.0.{block >> 8}.{block & 255}", 0
