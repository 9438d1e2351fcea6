"""``/livez``, ``/readyz`` and ``/healthz``: what each of them looks at, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from django.db import ProgrammingError
from django.test import AsyncClient

from bus.contract import Reason
from gateway import VERSION
from gateway.edge import probes
from ticks import lookups
from ticks.access.models import ApiKey


class Bus:
    """One that only answers pings, or does not."""

    def __init__(self, error: Exception | None = None, delay: float = 0.0, answer: Reason | None = None) -> None:
        self._error = error
        self._delay = delay
        self._answer = answer

    async def ping(self) -> Reason | None:
        await asyncio.sleep(self._delay)
        if self._error is not None:
            raise self._error
        return self._answer


def install(monkeypatch: pytest.MonkeyPatch, bus: Any) -> None:
    monkeypatch.setattr(probes, "get_bus", lambda: bus)


async def test_healthz_is_ok_if_the_bus_answers(async_client: AsyncClient) -> None:
    response = await async_client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "bus": "memory", "version": VERSION}


async def test_healthz_is_not_cached(async_client: AsyncClient) -> None:
    response = await async_client.get("/healthz")
    assert "no-store" in response.headers["Cache-Control"]


async def test_healthz_names_redis(async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "is_shared", lambda: True)
    assert (await async_client.get("/healthz")).json()["bus"] == "redis"


@pytest.mark.parametrize("bus", [Bus(ConnectionError("refused")), Bus(RuntimeError("closed")), None])
async def test_healthz_is_unavailable_if_the_bus_fails(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch, bus: Any
) -> None:
    install(monkeypatch, bus)
    response = await async_client.get("/healthz")
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.json()["status"], response.headers["Retry-After"]) == (503, "1")


async def test_healthz_does_not_wait_for_a_bus_that_hangs(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Bus(delay=60))
    monkeypatch.setattr(probes, "PING_TIMEOUT", 0.01)
    assert (await async_client.get("/healthz")).status_code == 503


# Alive


@pytest.mark.parametrize("bus", [Bus(RuntimeError("closed")), Bus(delay=60)])
async def test_livez_asks_neither_bus_nor_database(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch, bus: Any
) -> None:
    install(monkeypatch, bus)  # and pytest-django lets no test without its mark near the database
    probes.draining.set()
    response = await async_client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "alive", "version": VERSION})
    assert "no-store" in response.headers["Cache-Control"]


# Ready


@pytest.fixture(autouse=True)
def not_draining() -> Iterator[None]:
    yield
    probes.draining.clear()


@pytest.mark.django_db(transaction=True)
async def test_readyz_is_ok_if_bus_and_database_answer(async_client: AsyncClient) -> None:
    response = await async_client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "reasons": [], "version": VERSION})
    assert "no-store" in response.headers["Cache-Control"]


def fail(error: Exception) -> Any:
    def failing() -> NoReturn:
        raise error

    return failing


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [lookups.DatabaseUnavailable("away"), ProgrammingError("no such table")])
async def test_readyz_says_all_that_is_in_the_way(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    install(monkeypatch, Bus(ConnectionError("refused")))
    monkeypatch.setattr(ApiKey.objects, "exists", fail(error), raising=False)
    probes.draining.set()
    response = await async_client.get("/readyz")
    body = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (503, "application/problem+json")
    assert (body["code"], response.headers["Retry-After"]) == ("not_ready", "1")
    assert [each["code"] for each in body["reasons"]] == ["database_unavailable", "bus_unavailable", "draining"]
    assert body["detail"] == " ".join(each["detail"] for each in body["reasons"])


@pytest.mark.django_db(transaction=True)
async def test_a_gateway_that_drains_is_not_ready_and_well(async_client: AsyncClient) -> None:
    probes.draining.set()
    response = await async_client.get("/readyz")
    assert (response.status_code, [each["code"] for each in response.json()["reasons"]]) == (503, ["draining"])
    assert (await async_client.get("/healthz")).status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_while_one_of_several_hosts_is_away_a_gateway_is_ready_and_says_so(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Bus(answer=Reason.AWAY))
    response = await async_client.get("/readyz")
    assert (response.status_code, response.json()["reasons"][0]["code"]) == (200, "bus_unavailable")
