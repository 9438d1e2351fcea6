"""A database that takes nothing holds up nobody whose use of a key is to be written to it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.pulse import Pulse
from tests.servers import wait_until
from tests.tables import locked, rows


@pytest.mark.soak
@pytest.mark.database
async def test_while_the_database_is_locked_keys_are_used_all_the_same(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    names = [f"feed {number}" for number in range(8)]  # more than there are threads for lookups
    keys = [gateway.manage("create_key", name, "--quiet").strip() for name in names]
    (worker,) = gateway.pids
    statuses: list[int] = []
    with locked(gateway.database_url), Pulse(gateway, worker) as pulse:
        async with httpx.AsyncClient(base_url=gateway.http, timeout=60) as http:
            for turn in range(4):
                for key in keys:
                    headers = {"Authorization": f"Api-Key {key}"}
                    tick = {"symbol": f"W{turn}", "price": 1}
                    response = await http.post("/api/v1/ticks", json=tick, headers=headers)
                    statuses.append(response.status_code)
                await asyncio.sleep(0.75)
    figure(f"the database is locked while the last use of keys is to be written: {pulse}")
    assert statuses == [202] * 32
    assert pulse.worst < 0.25

    def counted(query: str) -> int:
        [(number,)] = rows(gateway.database_url, f"SELECT count(*) FROM {query}")  # noqa: S608
        return int(number)

    def written() -> bool:
        used = counted("marketmux_ticks_apikey WHERE last_used_at IS NOT NULL")
        new = counted(
            "marketmux_ticks_auditentry WHERE action = 'published on a new symbol' AND actor LIKE 'key feed 0 %'"
        )
        return (used, new) == (len(keys), 4)

    await asyncio.to_thread(wait_until, written)
