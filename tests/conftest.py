"""Fixtures that start real servers (tests/servers.py) and stop them again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from tests.cluster import RedisCluster
from tests.database import drop_audit_triggers
from tests.environment import cannot
from tests.servers import TEST_DATABASE_URL, GatewayProcess, RedisServer, ServerKind, live_gateways, migrate

OUTPUT_SHOWN = 20_000

# A shell without job control starts what runs in the background with SIGINT ignored, and that is inherited: the servers
# and commands that tests interrupt would never notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason to fail.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=200
)
hypothesis.settings.load_profile("tests")


SERVERS = {
    "shared_redis",
    "redis_server",
    "shared_valkey",
    "shared_valkey_cluster",
    "shared_cluster",
    "redis_cluster",
    "migrated_database",
    "chromium",
}
"""What every fixture that starts a server, or a browser, is made from."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs servers of its own: by its folder, its fixtures, or a parameter that asks for one.

    What is about SQLite is left out where tests run on PostgreSQL.
    """
    about_sqlite = pytest.mark.skip("is about SQLite")
    for item in items:
        if TEST_DATABASE_URL in os.environ and item.get_closest_marker("sqlite"):
            item.add_marker(about_sqlite)
        if isinstance(item, pytest.Function) and _needs_servers(item):
            item.add_marker(pytest.mark.servers)
        elif item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)


def _needs_servers(item: pytest.Function) -> bool:
    folder = item.path.parent.name
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        folder in {"faults", "integration"}
        or not SERVERS.isdisjoint(item.fixturenames)
        or not {"redis", "valkey", "cluster", "valkey_cluster"}.isdisjoint(map(str, parameters))
    )


class StartGateway(Protocol):
    """Starts a gateway that is stopped at the end of the test; see :class:`GatewayProcess` for the arguments."""

    def __call__(
        self,
        redis_url: str | None = None,
        workers: int = 1,
        server: ServerKind = "serve",
        arguments: tuple[str, ...] = (),
        ready: bool = True,
        *,
        checks: bool = False,
        **environment: str,
    ) -> GatewayProcess: ...


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_keepdb: bool) -> bool:
    """A PostgreSQL of the tests' own is thrown away whole; until then threads of theirs are connected to it."""
    return django_db_keepdb or TEST_DATABASE_URL in os.environ


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """pytest-django's, without the triggers that let nobody empty the audit log."""
    with django_db_blocker.unblock():
        drop_audit_triggers()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis that most tests share; use ``redis_url``, which hands it over empty."""
    redis = _redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Valkey, for what holds on it as well as on Redis."""
    valkey = RedisServer(tmp_path_factory.mktemp("valkey"), binary=_valkey())
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def valkey_url(shared_valkey: RedisServer) -> str:
    """The URL of a real Valkey without a key in it."""
    shared_valkey.flush()
    return shared_valkey.url


def _valkey() -> str:
    binary = shutil.which("valkey-server")
    if binary is None:
        pytest.skip("needs valkey-server on PATH")
    return binary


@pytest.fixture(scope="session")
def shared_valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries of Valkey's."""
    cluster = RedisCluster(tmp_path_factory.mktemp("valkey") / "cluster", binary=_valkey(), replicas=False)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def valkey_cluster_url(shared_valkey_cluster: RedisCluster) -> str:
    """The URL of a real Valkey Cluster without a key in it."""
    shared_valkey_cluster.flush()
    return shared_valkey_cluster.url


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries with a replica each, which nobody harms; use ``cluster_url``, which hands it over empty."""
    cluster = _cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster_url(shared_cluster: RedisCluster) -> str:
    """The URL of a real Redis Cluster without a key in it."""
    shared_cluster.flush()
    return shared_cluster.url


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries with a replica each of the test's own, to be done to what it likes."""
    cluster = _cluster(tmp_path / "cluster")
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of a real Redis without a key in it."""
    shared_redis.flush()
    return shared_redis.url


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, running, to be stopped, killed or frozen."""
    redis = _redis(tmp_path)
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no rows of ours; gateways get copies."""
    database = tmp_path_factory.mktemp("database") / "db.sqlite3"
    migrate(database)
    return database


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """One worker on the in-memory bus, shared by the tests of a module."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), database=migrated_database)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def start_gateway(tmp_path: Path, migrated_database: Path) -> Iterator[StartGateway]:
    """Starts gateways, as many as the test likes, each with a database of its own."""
    started: list[GatewayProcess] = []
    numbers = itertools.count(1)

    def start(
        redis_url: str | None = None,
        workers: int = 1,
        server: ServerKind = "serve",
        arguments: tuple[str, ...] = (),
        ready: bool = True,
        *,
        checks: bool = False,
        **environment: str,
    ) -> GatewayProcess:
        process = GatewayProcess(
            tmp_path / f"gateway{next(numbers)}",
            server=server,
            workers=workers,
            redis_url=redis_url,
            arguments=arguments,
            database=migrated_database,
            checks=checks,
            **environment,
        )
        started.append(process)
        process.start(ready)
        return process

    yield start
    _stop_all(started)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failing test's report what its gateways printed."""
    report = yield
    if report.failed:
        for process in live_gateways():
            report.sections.append((f"output of the gateway at {process.http}", process.output()[-OUTPUT_SHOWN:]))
    return report


def _redis(directory: Path) -> RedisServer:
    try:
        return RedisServer(directory)
    except FileNotFoundError as error:
        cannot(f"needs a real Redis: {error}")


def _cluster(directory: Path) -> RedisCluster:
    try:
        cluster = RedisCluster(directory)
    except FileNotFoundError as error:
        cannot(f"needs a real Redis: {error}")
    if cluster.nodes[0].version < (7,):
        cannot("needs Redis 7, which has sharded pub/sub")
    return cluster


def _stop_all(processes: list[GatewayProcess]) -> None:
    try:
        for process in processes:
            process.stop()
    finally:
        for process in processes:
            process.kill()
