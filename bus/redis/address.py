"""Where a Redis is: a URL, or what channels_redis takes as a host; and the pool that makes connections to it.

Beside redis-py's own URLs: ``redis+sentinel://user:password@host:port,host:port/service/db``. User and password are
Redis's own; ``sentinel_username`` and ``sentinel_password`` in the query are the Sentinels'. With ``rediss+sentinel://``
both are reached over TLS.

A cluster is ``redis+cluster://user:password@host:port,host:port``, or ``rediss+cluster://``: some of its nodes, which
are asked for the others. ``buckets`` in the query is how many parts what the bus keeps is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from channels_redis.utils import create_pool
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.connection import RedisSSLContext, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bus.redis.connection import ESTABLISH_SECONDS

__all__ = ["ClusterHost", "Secured", "cluster_of", "make_pool", "parse"]

_SENTINEL_SECONDS: Final = 1.0
"""How long a Sentinel may take for each round trip before another one is asked."""
_SENTINEL_PORT: Final = 26_379
_CLUSTER_PORT: Final = 6_379
_SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    *(f"redis{s}+{kind}" for kind in ("sentinel", "cluster") for s in ("", "s")),
)
_BUCKETS: Final = 6
"""Each is a script call for a batch that has something of it, and the most primaries that can share the load."""
_MOST_BUCKETS: Final = 1_024


class ClusterHost(NamedTuple):
    """A cluster: some of its nodes, what connections to any of them have in common, and how many buckets it has."""

    seeds: Sequence[tuple[str, int]]
    options: Mapping[str, Any]
    buckets: int


def cluster_of(host: Mapping[str, Any]) -> ClusterHost | None:
    """The cluster that a host is; None if it is none; ``ValueError`` if its URL makes no sense."""
    address = host.get("address", "")
    if not isinstance(address, str) or "+cluster:" not in address:
        return None
    found = parse(address)
    rest = {name: value for name, value in host.items() if name != "address"}
    seeds, buckets = found.pop("nodes"), found.pop("buckets")
    return ClusterHost(seeds, {**found, **rest}, buckets)


def make_pool(host: Mapping[str, Any]) -> ConnectionPool:
    """Makes the connections to a host; ``ValueError`` if its URL makes no sense.

    All that wait for Redis here have time-outs of their own (bus/redis/connection.py).
    """
    options = {"socket_timeout": None, "socket_connect_timeout": ESTABLISH_SECONDS, **host}
    if "address" in options:
        options |= parse(options.pop("address"))
    if "master_name" in options:
        # One that is gone must not take the time that the others need.
        patience = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS}
        given = options.get("sentinel_kwargs") or {}
        options["sentinel_kwargs"] = {**patience, "retry": Retry(NoBackoff(), 0), **given}
    pool: ConnectionPool = create_pool(options)
    return pool


def parse(url: str) -> dict[str, Any]:
    """The host that a URL stands for; ``ValueError`` says what is wrong with it, without its passwords."""
    parts = urlsplit(url.strip())
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"it has to begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.scheme.endswith("+sentinel"):
        return _sentinel(parts)
    if parts.scheme.endswith("+cluster"):
        return _cluster(parts)
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("unix:// is to be followed by the path of a socket")
    else:
        if "," in parts.netloc.rpartition("@")[2]:
            raise ValueError("it names several hosts, which only redis+sentinel:// and redis+cluster:// can")
        _address(parts.netloc, 6_379)
        _database(parts.path.removeprefix("/"))
    return _options(url.strip())


def _sentinel(parts: SplitResult) -> dict[str, Any]:
    credentials, at, hosts = parts.netloc.rpartition("@")
    sentinels = [_address(host, _SENTINEL_PORT) for host in hosts.split(",")]
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise ValueError("the name of the service is missing: redis+sentinel://host:port,host:port/service")
    query = dict(parse_qsl(parts.query))
    theirs = {name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name.startswith("sentinel_")}
    if unknown := theirs.keys() - {"username", "password"}:
        raise ValueError(f"there is no option sentinel_{min(unknown)}")
    scheme = parts.scheme.partition("+")[0]
    options = _options(f"{scheme}://{credentials}{at}host/{_database(database)}?{urlencode(query)}")
    kind = options.pop("connection_class", Connection)
    del options["host"]
    secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if issubclass(kind, SSLConnection):
        options["ssl"] = secure["ssl"] = True
    return {
        **options,
        "master_name": unquote(service),
        "sentinels": sentinels,
        "sentinel_kwargs": {**secure, **theirs},
    }


def _cluster(parts: SplitResult) -> dict[str, Any]:
    credentials, at, hosts = parts.netloc.rpartition("@")
    nodes = [_address(host, _CLUSTER_PORT) for host in hosts.split(",")]
    if _database(parts.path.removeprefix("/")):
        raise ValueError("a cluster has the database 0 only")
    query = dict(parse_qsl(parts.query))
    buckets = query.pop("buckets", str(_BUCKETS))
    if not (buckets.isascii() and buckets.isdigit() and 1 <= int(buckets) <= _MOST_BUCKETS):
        raise ValueError(f"buckets has to be a number from 1 to {_MOST_BUCKETS}")
    scheme = parts.scheme.partition("+")[0]
    options = _options(f"{scheme}://{credentials}{at}host/0?{urlencode(query)}")
    del options["host"]
    return {**options, "nodes": nodes, "buckets": int(buckets)}


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_url(url))
    kind = options.get("connection_class", Connection)
    settings = {name: value for name, value in options.items() if name not in ("connection_class", "max_connections")}
    try:
        kind(**settings)
    except (TypeError, RedisError) as error:
        raise ValueError(f"an option is unknown or has a value that it cannot have: {error}") from None
    if kind is SSLConnection:
        options["connection_class"] = Secured
    return options


class Secured(SSLConnection):
    """redis-py makes a TLS context for each connection, which takes tens of milliseconds, and the loop stands still
    meanwhile. Here connections with the same settings share one, until one of its files changes.
    """

    _contexts: ClassVar[dict[tuple[object, ...], RedisSSLContext]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        settings = [(name, str(value)) for name, value in sorted(options.items()) if name.startswith("ssl_")]
        key = (*settings, *map(_changed, (self.keyfile, self.certfile, self.ca_certs)))
        self.ssl_context = self._contexts.setdefault(key, self.ssl_context)


def _changed(path: str | None) -> int:
    """When a file was, in ns; 0 if there is none, which redis-py will complain of."""
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:
        return 0


def _address(netloc: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        # The error would quote it, and it may be a part of a password.
        raise ValueError(
            "the port is not a number up to 65535 (in a password, / ? # @ and % have to be percent-encoded)"
        ) from None
    if not host and default_port == _SENTINEL_PORT:
        raise ValueError("a Sentinel's host is missing")
    return unquote(host or "localhost"), port or default_port


def _database(path: str) -> int:
    if path and not (path.isascii() and path.isdigit()):
        raise ValueError("what follows the last / is the database, and has to be a number")
    return int(path or 0)
