"""``manage.py serve`` as its operator meets it: start, refusals, workers that die, and the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets import ConnectionClosed
from websockets.asyncio.client import connect

from tests.conftest import StartGateway
from tests.servers import GatewayProcess, ServerKind, is_running, wait_until

READY = "MarketMux is ready at {}/ ({})"
REASON = "The gateway stops or restarts."


def is_healthy(gateway: GatewayProcess) -> bool:
    try:
        return httpx.get(f"{gateway.http}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def assert_ends_cleanly(gateway: GatewayProcess, workers: list[int]) -> None:
    assert gateway.wait() == 0
    assert not [pid for pid in workers if is_running(pid)]
    assert "Traceback" not in gateway.output()


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def feeding_gateway(tmp_path: Path, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway that publishes made-up ticks, many a second."""
    arguments = ("--feed", "--feed-rate=2000")
    process = GatewayProcess(tmp_path, database=migrated_database, checks=True, arguments=arguments)
    process.manage("seed_instruments")
    process.start()
    yield process
    process.stop()


# Start


def test_says_where_it_is_ready(gateway: GatewayProcess) -> None:
    gateway.wait_for_output(READY.format(gateway.http, "1 worker, in-memory bus"))


def test_answers_health_checks(gateway: GatewayProcess) -> None:
    assert httpx.get(f"{gateway.http}/healthz").json()["status"] == "ok"


def test_names_itself_in_the_server_header(gateway: GatewayProcess) -> None:
    assert httpx.get(f"{gateway.http}/healthz").headers["server"] == "marketmux"


def test_a_port_of_zero_is_any_free_port(start_gateway: StartGateway) -> None:
    gateway = start_gateway(arguments=("--port=0",), ready=False)
    gateway.wait_for_output("ready at")
    gateway.port = int(gateway.output().rpartition("127.0.0.1:")[2].partition("/")[0])
    assert is_healthy(gateway)


def test_listens_on_ipv6(start_gateway: StartGateway) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    gateway = start_gateway(arguments=("--host=::1",), ready=False)
    gateway.wait_for_output(READY.format(f"http://[::1]:{gateway.port}", "1 worker, in-memory bus"))
    assert httpx.get(f"http://[::1]:{gateway.port}/healthz", headers={"host": "localhost"}).status_code == 200


@pytest.mark.soak
def test_takes_as_many_open_files_as_it_may(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    limits = Path(f"/proc/{gateway.pids[0]}/limits").read_text().splitlines()
    soft, hard = next(line for line in limits if line.startswith("Max open files")).split()[3:5]
    assert soft == hard


@pytest.mark.parametrize("server", ["daphne", "runserver", "uvicorn"])
def test_other_servers_answer_health_checks_too(start_gateway: StartGateway, server: ServerKind) -> None:
    assert is_healthy(start_gateway(server=server))


async def test_the_feed_makes_prices_move(feeding_gateway: GatewayProcess) -> None:
    async with connect(feeding_gateway.ws) as client:
        await client.send('{"action": "subscribe", "symbol": "AAPL"}')
        messages = [json.loads(await client.recv()) for _ in range(20)]
    assert len({message["price"] for message in messages if message["type"] == "tick"}) > 1


# Refusals


def refusal(gateway: GatewayProcess) -> str:
    """What a gateway that does not start says last."""
    assert gateway.wait() == 1
    assert "Traceback" not in gateway.output()
    return gateway.output().splitlines()[-1]


def test_a_busy_port_is_one_clear_line(start_gateway: StartGateway) -> None:
    with listening() as port:
        gateway = start_gateway(arguments=(f"--port={port}",), ready=False)
        said = f"CommandError: Cannot listen on 127.0.0.1 port {port}: Address already in use. Another program listens"
        assert refusal(gateway).startswith(said)


@pytest.mark.soak
def test_a_port_that_other_workers_share_is_busy(start_gateway: StartGateway, redis_url: str) -> None:
    first = start_gateway(redis_url, workers=2)
    second = start_gateway(redis_url, workers=2, arguments=(f"--port={first.port}",), ready=False)
    assert "Address already in use" in refusal(second)


def test_an_address_of_another_machine_is_refused(start_gateway: StartGateway) -> None:
    assert "Cannot listen on 192.0.2.1" in refusal(start_gateway(arguments=("--host=192.0.2.1",), ready=False))


def test_a_system_check_that_fails_is_a_reason_not_to_start(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ready=False, checks=True, MARKETMUX_ALLOWED_ORIGINS="example.com")
    assert gateway.wait() == 1
    assert "(ticks.E003) MARKETMUX_ALLOWED_ORIGINS has an entry that is not an origin" in gateway.output()


def test_several_workers_need_redis(start_gateway: StartGateway) -> None:
    assert refusal(start_gateway(workers=2, ready=False)).startswith("CommandError: --workers 2 needs REDIS_URL")


def test_a_database_without_tables_is_a_warning_with_the_remedy(start_gateway: StartGateway) -> None:
    gateway = start_gateway(DATABASE_URL="sqlite://:memory:")
    assert "The database lacks" in gateway.output()
    assert "python manage.py migrate" in gateway.output()


def test_a_worker_that_cannot_start_ends_it(start_gateway: StartGateway, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from tests.gateway_settings import *\nASGI_APPLICATION = 'nowhere.application'\n"
    )
    gateway = start_gateway(DJANGO_SETTINGS_MODULE="broken", PYTHONPATH=str(tmp_path), ready=False)
    assert gateway.wait() == 1
    assert gateway.output().count("Worker 0 could not start: it ended with exit code 1") == 1


# Workers


def serving_workers(gateway: GatewayProcess, connections: int = 64) -> set[int]:
    """The workers that answer on so many connections, all open at once."""
    with contextlib.ExitStack() as clients:
        for _ in range(connections):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        accepted = _sockets_on(gateway.port)
        return {pid for pid in gateway.pids if accepted & _sockets_of(pid)}


def _sockets_on(port: int) -> set[str]:
    """The established connections whose local port this is, as /proc names them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}


def _sockets_of(pid: int) -> set[str]:
    return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}


def test_two_workers_share_the_port(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("(2 workers, Redis bus)")
    assert serving_workers(gateway) == set(gateway.pids)


@pytest.mark.soak
def test_workers_share_a_made_up_secret_key(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2, SECRET_KEY="")
    keys = {_environment_of(pid)["SECRET_KEY"] for pid in gateway.pids}
    assert len(keys) == 1
    assert len(keys.pop()) >= 50


@pytest.mark.soak
def test_a_killed_worker_is_replaced(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    killed, other = gateway.pids
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(gateway.pids) == 2 and killed not in gateway.pids, 30)
    assert other in gateway.pids
    wait_until(lambda: serving_workers(gateway) == set(gateway.pids), 30)
    assert gateway.output().count("was killed by SIGKILL; starting another") == 1


@pytest.mark.soak
def test_clients_wait_for_the_replacement_rather_than_being_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    os.kill(gateway.pids[0], signal.SIGKILL)
    assert httpx.get(f"{gateway.http}/healthz", timeout=30).status_code == 200


def test_the_others_serve_who_comes_before_there_is_a_replacement(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    killed, _ = before = gateway.pids
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(set(gateway.pids) - set(before)) == 1)
    [replacement] = set(gateway.pids) - set(before)
    os.kill(replacement, signal.SIGSTOP)
    for _ in range(20):  # half of them by the socket of the one that was killed
        assert httpx.get(f"{gateway.http}/healthz", timeout=10).status_code == 200
    os.kill(replacement, signal.SIGCONT)
    wait_until(lambda: serving_workers(gateway) == set(gateway.pids), 60)


# The end


def test_sigterm_ends_everything(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2)
    workers = gateway.pids
    assert len(workers) == 2
    gateway.signal(signal.SIGTERM)
    assert_ends_cleanly(gateway, workers)


def test_ctrl_c_ends_everything(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    workers = gateway.pids
    gateway.interrupt()
    assert_ends_cleanly(gateway, workers)


def test_ctrl_c_while_it_starts(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ready=False)
    wait_until(lambda: bool(gateway.pids))  # the worker is there and loads the application
    workers = gateway.pids
    gateway.interrupt()
    assert_ends_cleanly(gateway, workers)


def test_workers_end_when_the_supervisor_is_killed(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    workers = gateway.pids
    assert workers
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    wait_until(lambda: not any(is_running(pid) for pid in workers))


async def test_websocket_clients_are_told_to_come_back(feeding_gateway: GatewayProcess) -> None:
    async with connect(feeding_gateway.ws) as client:
        await client.send('{"action": "subscribe", "symbol": "AAPL"}')
        while json.loads(await client.recv())["type"] != "tick":
            pass
        feeding_gateway.signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionClosed):
            while True:
                last = json.loads(await client.recv())
    assert last == {"type": "closing", "code": 1012, "reason": REASON, "reconnect": True, "wait": 0}
    assert (client.close_code, client.close_reason) == (1012, REASON)
    assert feeding_gateway.wait() == 0


def _environment_of(pid: int) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(variable.split("=", 1) for variable in variables)


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
