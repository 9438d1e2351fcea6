"""Several Redis hosts, or a cluster's primaries, of which one is killed and one stands still: what the others have goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from bus.layers import RedisLayer
from bus.redis.bus import RedisBus
from marketmux_client import BusState, Client, Snapshot, Tick
from tests.clients import RawClient, metrics, publish, tick
from tests.cluster import RedisCluster, symbols_on
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.watch import eventually
from tests.servers import GatewayProcess, RedisServer
from ticks.tick import group_name

SETTINGS: Final = "tests.faults.hosts_settings"
SYMBOLS: Final = [f"S{number}" for number in range(30)]
SECONDS: Final = 5.0
"""What a host may take that stands still: it is found out after two and a half. The machine may be busy."""


class Hosts(NamedTuple):
    """Three of them, which symbols are on each, how many hosts each is to a gateway, and how that is started."""

    servers: Sequence[RedisServer]
    symbols: list[list[str]]
    each: int
    start: Callable[[StartGateway], GatewayProcess]


def _several(directory: Path) -> Hosts:
    servers = []
    for number in range(3):
        (directory / f"redis{number}").mkdir()
        servers.append(RedisServer(directory / f"redis{number}"))
        servers[-1].start()
    bus: RedisBus = RedisLayer(hosts=[server.url for server in servers])._get_layer().bus
    symbols: list[list[str]] = [[] for _ in servers]
    for symbol in SYMBOLS:
        symbols[bus.host_of(group_name(symbol))].append(symbol)
    urls = " ".join(server.url for server in servers)
    return Hosts(
        servers,
        symbols,
        1,
        lambda start: start(servers[0].url, DJANGO_SETTINGS_MODULE=SETTINGS, MARKETMUX_TEST_HOSTS=urls),
    )


async def _primaries(directory: Path) -> Hosts:
    """Of a cluster without replicas, in which nobody takes the place of who is away."""
    cluster = RedisCluster(directory / "cluster", replicas=False)
    cluster.start()
    layer: Any = RedisLayer(hosts=[cluster.url])
    await layer.bus.publish({group_name(symbol): [{"type": "tick"}] for symbol in SYMBOLS})
    await layer.flush()
    symbols = [symbols_on(node, SYMBOLS) for node in cluster.nodes]
    cluster.flush()
    return Hosts(cluster.nodes, symbols, len(layer.bus.shards) // 3, lambda start: start(cluster.url))


@pytest.fixture(params=["several", pytest.param("cluster", marks=pytest.mark.soak)])
async def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hosts]:
    hosts = _several(tmp_path) if request.param == "several" else await _primaries(tmp_path)
    yield hosts
    for server in hosts.servers:
        server.kill()


@pytest.fixture
def gateway(start_gateway: StartGateway, hosts: Hosts) -> GatewayProcess:
    return hosts.start(start_gateway)


@pytest.fixture
async def http(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.http, timeout=30) as http:
        yield http


@pytest.fixture
def watched(gateway: GatewayProcess, hosts: Hosts) -> Iterator[list[RawClient]]:
    """A client of each host's symbols alone, one of all symbols, and one of everything."""
    clients = [RawClient(gateway, *symbols) for symbols in (*hosts.symbols, SYMBOLS, ["*"])]
    yield clients
    for client in clients:
        client.close()


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_what_is_on_the_other_hosts_is_served(
    gateway: GatewayProcess, hosts: Hosts, http: httpx.AsyncClient, watched: list[RawClient], fault: str
) -> None:
    gone, there = hosts.symbols[0], [*hosts.symbols[1], *hosts.symbols[2]]
    await publish(http, [tick(symbol, 1) for symbol in SYMBOLS])
    for client, symbols in zip(watched[:3], hosts.symbols, strict=True):
        _prices(client, symbols, 1)
    _prices(watched[3], SYMBOLS, 1)
    _prices(watched[4], SYMBOLS, 1)
    _take_away(hosts.servers[0], fault)

    # Who is told, and of what
    for client in (watched[0], watched[3], watched[4]):
        away: list[str] = []
        while away != sorted(gone):  # a primary's buckets are found to be away one after the other
            message = (await asyncio.to_thread(client.read_until, ["bus"]))[-1]
            assert message["connected"] is False
            away = sorted(message["symbols"])
            assert set(away) <= set(gone)
    held = metrics(gateway)
    assert held["bus_connected"] == 0
    assert held["bus_hosts_away"] == hosts.each
    health = await http.get("/healthz")
    assert (health.status_code, health.json()["status"], health.json()["code"]) == (200, "degraded", "bus_unavailable")

    # Publishing: with a key and without, of one host and of all
    keyed = [await _post(http, [tick(symbol, 2)], key=f"{symbol}-2") for symbol in there]
    assert {answer.status_code for answer in keyed} == {202}
    mixed = await _post(http, [tick(symbol, 3) for symbol in SYMBOLS], key="mixed")
    assert mixed.status_code == 503
    assert sorted(mixed.json()["symbols"]) == sorted(gone)
    assert sorted((await _post(http, [tick(symbol, 9) for symbol in gone])).json()["symbols"]) == sorted(gone)
    for client, symbols in zip(watched[1:3], hosts.symbols[1:], strict=True):
        heard = _prices(client, symbols, 3)
        assert all(message["type"] in ("tick", "heartbeat") for message in heard)
    _prices(watched[3], there, 3)
    _prices(watched[4], there, 3)

    # Reading
    listed = (await http.get("/api/v1/ticks?page_size=1000")).json()
    assert (listed["count"], listed["incomplete"]) == (len(there), True)
    assert {entry["symbol"]: entry["price"] for entry in listed["results"]} == dict.fromkeys(there, 3)
    assert (await http.get(f"/api/v1/ticks/{there[0]}")).json()["price"] == 3
    refused = await http.get(f"/api/v1/ticks/{gone[0]}")
    assert (refused.status_code, refused.json()["symbols"]) == (503, [gone[0]])

    # Subscribing: those of the host that is away are taken, and told of
    began = time.monotonic()
    with RawClient(gateway, there[0], "NEW", gone[0]) as late, RawClient(gateway, there[0]) as glad:
        assert time.monotonic() - began < SECONDS
        told = late.read_until(["bus"])[-1]
        assert gone[0] in told["symbols"]
        assert there[0] not in told["symbols"]
        await publish(http, [tick(there[0], 4)])
        heard = _prices(glad, there[:1], 4)
        assert not any(message["type"] == "bus" for message in heard)
        _prices(late, there[:1], 4)
        with RawClient(gateway, "*") as everything:
            assert sorted(everything.read_until(["bus"])[-1]["symbols"]) == sorted({*gone, *told["symbols"]})
            _bring_back(hosts.servers[0], fault)
            await _until_back(everything)

        # Everything is as it was, and a retry completes what was done in part
        for client in (watched[0], watched[3], watched[4], late):
            await _until_back(client)
        again = await _post(http, [tick(symbol, 3) for symbol in SYMBOLS], key="mixed")
        assert again.status_code == 202
        _prices(watched[0], gone, 3)
        _prices(late, gone[:1], 3)
        repeated = await _post(http, [tick(symbol, 3) for symbol in SYMBOLS], key="mixed")
        assert repeated.headers["Idempotency-Replayed"] == "true"
    latest = (await http.get("/api/v1/ticks?page_size=1000")).json()
    assert "incomplete" not in latest
    prices = {entry["symbol"]: entry["price"] for entry in latest["results"]}
    assert prices == {**dict.fromkeys(SYMBOLS, 3), there[0]: 4}
    assert "Traceback" not in gateway.output()
    figure(f"one of three hosts {fault}: {len(there)} keyed POSTs of the others' symbols were all answered 202")


@pytest.mark.soak
@pytest.mark.parametrize("hosts", ["several"], indirect=True)
async def test_one_is_killed_and_one_stands_still(
    gateway: GatewayProcess, hosts: Hosts, http: httpx.AsyncClient
) -> None:
    """What a cluster does with a primary that is left alone is in tests/bus/test_cluster.py."""
    await publish(http, [tick(symbol, 1) for symbol in SYMBOLS])
    living = hosts.symbols[2]
    with RawClient(gateway, *SYMBOLS) as client, RawClient(gateway, *living) as glad:
        hosts.servers[0].kill()
        hosts.servers[1].pause()
        gone = sorted([*hosts.symbols[0], *hosts.symbols[1]])
        while sorted(client.read_until(["bus"])[-1]["symbols"]) != gone:
            pass
        await publish(http, [tick(symbol, 2) for symbol in living])
        _prices(client, living, 2)
        heard = _prices(glad, living, 2)
        assert not any(message["type"] == "bus" for message in heard)
        assert (await http.get("/healthz")).status_code == 200

        # All of them away is as with one: nobody has to be told which
        hosts.servers[2].kill()
        for one in (client, glad):
            assert one.read_until(["bus"])[-1] == {"type": "bus", "connected": False}
        assert (await http.get("/healthz")).status_code == 503
        hosts.servers[1].resume()
        assert sorted(client.read_until(["bus"])[-1]["symbols"]) == sorted([*hosts.symbols[0], *living])
        hosts.servers[0].start()
        hosts.servers[2].start()
        for one in (client, glad):
            while one.read_until(["bus"])[-1] != {"type": "bus", "connected": True}:
                pass


@pytest.mark.soak
async def test_nobody_waits_for_a_host_that_has_just_stopped(
    gateway: GatewayProcess, hosts: Hosts, http: httpx.AsyncClient
) -> None:
    """Before it is known to be away: who subscribes to its symbols waits, others do not."""
    hosts.servers[0].pause()
    with RawClient(gateway) as waiting, RawClient(gateway) as other:
        _subscribe(waiting, hosts.symbols[0])
        began = time.monotonic()
        for symbol in hosts.symbols[1]:
            _subscribe(other, [symbol])
            other.read_until(["subscribed"])
        took = time.monotonic() - began
        answer = waiting.read_until(["subscribed"])[-1]
        assert set(map(str, answer["positions"])) == set(hosts.symbols[0])
        assert {position["epoch"] for position in answer["positions"].values()} == {""}
        assert time.monotonic() - began > took
        hosts.servers[0].resume()
        while waiting.read_until(["bus"])[-1] != {"type": "bus", "connected": True}:
            pass
        await publish(http, [tick(symbol, 1) for symbol in hosts.symbols[0]])
        _prices(waiting, hosts.symbols[0], 1)


@pytest.mark.soak
async def test_the_python_client_has_the_symbols_that_are_served(
    gateway: GatewayProcess, hosts: Hosts, http: httpx.AsyncClient
) -> None:
    await publish(http, [tick(symbol, 1) for symbol in SYMBOLS])
    hosts.servers[0].kill()
    await eventually(lambda: metrics(gateway)["bus_hosts_away"] == hosts.each)
    gone, there = hosts.symbols[0][0], hosts.symbols[1][0]
    events: list[Any] = []
    async with Client(gateway.ws) as client:
        await client.subscribe(gone, there)

        async def read() -> None:
            async for event in client:
                events.append(event)  # noqa: PERF401 - read while it grows

        reading = asyncio.create_task(read())
        await eventually(lambda: any(isinstance(event, BusState) for event in events))
        state = next(event for event in events if isinstance(event, BusState))
        assert (state.connected, state.symbols) == (False, frozenset([gone]))
        assert _is_fresh(client, there)
        assert not _is_fresh(client, gone)
        hosts.servers[0].start()
        await eventually(lambda: events[-1] == BusState(True))
        await publish(http, [tick(gone, 2)])
        await eventually(lambda: any(isinstance(event, Tick | Snapshot) and event.price == 2 for event in events))
        assert _is_fresh(client, gone)
        reading.cancel()
    prices = [(event.symbol, event.price) for event in events if isinstance(event, Tick | Snapshot)]
    assert prices == [(there, Decimal(1)), (gone, Decimal(2))]


def _is_fresh(client: Client, symbol: str) -> bool:
    latest = client.latest(symbol)
    return latest is not None and not latest.is_stale


def _take_away(server: RedisServer, fault: str) -> None:
    if fault == "killed":
        server.kill()
    else:
        server.pause()


async def _until_back(client: RawClient) -> None:
    """Reads until all is there: a primary's buckets come back one after the other, and what is still away is named."""
    away: set[str] | None = None
    while (message := (await asyncio.to_thread(client.read_until, ["bus"]))[-1]) != {"type": "bus", "connected": True}:
        assert away is None or set(message["symbols"]) < away
        away = set(message["symbols"])


def _bring_back(server: RedisServer, fault: str) -> None:
    if fault == "killed":
        server.start()
    else:
        server.resume()


async def _post(http: httpx.AsyncClient, ticks: list[dict[str, Any]], key: str | None = None) -> httpx.Response:
    return await http.post("/api/v1/ticks", json=ticks, headers={} if key is None else {"Idempotency-Key": key})


def _subscribe(client: RawClient, symbols: list[str]) -> None:
    names = ",".join(f'"{symbol}"' for symbol in symbols)
    client.send(f'{{"action":"subscribe","symbols":[{names}]}}'.encode())


def _prices(client: RawClient, symbols: list[str], price: int) -> list[Any]:
    """Reads until each of the symbols has that price; what was heard on the way."""
    missing, heard = set(symbols), []
    while missing:
        heard.append(client.read())
        if heard[-1].get("price") == price:
            missing.discard(heard[-1]["symbol"])
    return heard
