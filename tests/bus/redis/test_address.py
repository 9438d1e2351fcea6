"""Where a Redis is: what URLs stand for, and what is said of those that make no sense."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from bus.layers import RedisLayer
from bus.redis.address import Secured, cluster_of, make_pool, parse
from bus.redis.names import default_namespace
from tests.integration.tls import certificate_in


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://", {}),
        ("redis://h", {"host": "h"}),
        ("redis://u:p%40@h:6380/3", {"username": "u", "password": "p@", "host": "h", "port": 6380, "db": 3}),
        (
            "rediss://h?ssl_check_hostname=0",
            {"host": "h", "connection_class": Secured, "ssl_check_hostname": False},
        ),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "connection_class": UnixDomainSocketConnection}),
    ],
)
def test_a_plain_url_is_redis_pys(url: str, host: dict[str, Any]) -> None:
    assert parse(url) == host


def test_a_sentinel_url_names_sentinels_service_and_database() -> None:
    host = parse("redis+sentinel://u:p%2F@a,b:26380,[::1]:3/tick%20s/2?sentinel_password=s&sentinel_username=w")
    assert host == {
        "master_name": "tick s",
        "sentinels": [("a", 26379), ("b", 26380), ("::1", 3)],
        "sentinel_kwargs": {"username": "w", "password": "s"},
        "username": "u",
        "password": "p/",
        "db": 2,
    }
    pool = make_pool({"address": "redis+sentinel://a,b/ticks"})
    assert isinstance(pool, SentinelConnectionPool)
    assert [sentinel.connection_pool.connection_kwargs["host"] for sentinel in pool.sentinel_manager.sentinels] == [
        "a",
        "b",
    ]


def test_tls_is_for_redis_and_sentinels_alike() -> None:
    host = parse("rediss+sentinel://a/ticks?ssl_ca_certs=/ca.pem")
    assert host["sentinel_kwargs"] == {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    pool: Any = make_pool({"address": "rediss+sentinel://a/ticks?ssl_ca_certs=/ca.pem"})
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert pool.sentinel_manager.sentinels[0].connection_pool.connection_class is SSLConnection


def test_a_cluster_url_names_nodes_and_what_all_connections_share() -> None:
    host = cluster_of({"address": "rediss+cluster://u:p%2F@a,b:7001,[::1]:3?ssl_ca_certs=/ca.pem&buckets=24"})
    assert host is not None
    assert host.seeds == [("a", 6379), ("b", 7001), ("::1", 3)]
    assert host.options == {
        "username": "u",
        "password": "p/",
        "connection_class": Secured,
        "ssl_ca_certs": "/ca.pem",
        "db": 0,
    }
    assert host.buckets == 24
    assert default_namespace({"address": "redis+cluster://a"}) == "marketmux.0"


@pytest.mark.parametrize(
    "host", [{"address": "redis://h"}, {"address": "redis+sentinel://a/t"}, {"host": "h", "port": 1}]
)
def test_nothing_else_is_a_cluster(host: dict[str, Any]) -> None:
    assert cluster_of(host) is None


async def test_a_cluster_stands_for_itself() -> None:
    layer: Any = RedisLayer(hosts=["redis+cluster://a", "redis://b"])
    with pytest.raises(ValueError, match="nothing beside it"):
        _ = layer.bus


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:6379", "begin with"),
        ("http://h", "begin with"),
        ("redis+sentinels://h/ticks", "begin with"),
        ("redis+cluster://a,b/1", "database 0 only"),
        ("redis+cluster://a/x", "number"),
        ("redis+cluster://a:b", "port"),
        ("redis+cluster://a?buckets=0", "buckets"),
        ("redis+cluster://a?buckets=x", "buckets"),
        ("redis+cluster://a?nonsense=1", "nonsense"),
        ("redis://h:port", "port"),
        ("redis://h:70000", "port"),
        ("redis://h/ticks", "number"),
        ("redis://h/0/1", "number"),
        ("redis://h/-1", "number"),
        ("redis://a:1,b:2/0", "several hosts"),
        ("redis://h?nonsense=1", "nonsense"),
        ("redis://h?health_check_interval=soon", "health_check_interval"),
        ("unix://", "path"),
        ("redis+sentinel://a,b", "service is missing"),
        ("redis+sentinel://a,b/", "service is missing"),
        ("redis+sentinel://a,,b/ticks", "host is missing"),
        ("redis+sentinel:///ticks", "host is missing"),
        ("redis+sentinel://a:b/ticks", "port"),
        ("redis+sentinel://a/ticks/x", "number"),
        ("redis+sentinel://a/ticks?sentinel_pasword=x", "sentinel_pasword"),
        ("redis+sentinel://a/ticks?nonsense=1", "nonsense"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(url)


@pytest.mark.parametrize("url", ["redis://u:secret/1@h", "redis+sentinel://u:secret/1@h/ticks", "redis://u:se#cret@h"])
def test_no_part_of_a_password_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded") as raised:
        parse(url)
    assert "secr" not in str(raised.value)
    assert "cret" not in str(raised.value)


def test_connections_over_tls_share_a_context_until_a_file_of_it_changes(tmp_path: Path) -> None:
    """To make one takes tens of milliseconds, in which the loop stands still."""
    certificate = certificate_in(tmp_path)
    pools: list[Any] = [
        make_pool({"address": f"rediss://{host}?ssl_ca_certs={certificate}"}) for host in ("one", "u:p@two:7")
    ]
    node = cluster_of({"address": f"rediss+cluster://three?ssl_ca_certs={certificate}"})
    assert node is not None
    pools.append(make_pool({**node.options, "host": "three", "port": 7_001}))

    def contexts() -> set[int]:
        return {id(pool.make_connection().ssl_context.get()) for pool in pools}

    kept = contexts()
    assert len(kept) == 1
    assert contexts() == kept
    os.utime(certificate, (1, 1))
    assert contexts().isdisjoint(kept)
    lax: Any = make_pool({"address": "rediss://one?ssl_cert_reqs=none"})
    assert lax.make_connection().ssl_context.get().verify_mode is ssl.CERT_NONE
