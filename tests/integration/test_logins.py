"""Guesses of passwords, at both doors: they are throttled and logged, and the worker's processor is not theirs."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from tests.conftest import StartGateway
from tests.servers import GatewayProcess, children

DOORS = ["/admin/login/", "/api/auth/login/"]
PASSWORD = "the password of the tests"
LIMIT = 5
_MAKE_ADMIN = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("admin", password={PASSWORD!r})
"""


@pytest.fixture
def gateway(start_gateway: StartGateway) -> GatewayProcess:
    gateway = start_gateway(MARKETMUX_TRUSTED_PROXIES="127.0.0.1")
    gateway.manage("shell", "-c", _MAKE_ADMIN)
    return gateway


async def guess(
    http: httpx.AsyncClient, door: str, password: str, address: str = "203.0.113.9", accept: str = "*/*"
) -> httpx.Response:
    """A login as a browser sends it, with the cookie and the token of the form."""
    token = "t" * 32
    return await http.post(
        door,
        data={"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"},
        headers={"Cookie": f"csrftoken={token}", "X-Forwarded-For": f"6.6.6.6, {address}", "Accept": accept},
        timeout=60,
    )


@pytest.mark.parametrize("door", [pytest.param(DOORS[0], marks=pytest.mark.soak), DOORS[1]])
async def test_after_some_wrong_passwords_an_address_is_refused(gateway: GatewayProcess, door: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        # The fifth wrong one is told that it was the last.
        statuses = [(await guess(http, door, f"wrong {number}")).status_code for number in range(LIMIT)]
        assert statuses == [200] * (LIMIT - 1) + [429]
        # A right one comes too late, at either door, and hears when to come back.
        for refused in [await guess(http, other, PASSWORD) for other in DOORS]:
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "300")
            assert refused.headers["ratelimit"] == '"passwords";r=0;t=300'
            assert refused.headers["content-type"] == "text/html; charset=utf-8"
            assert "<p>Too many wrong passwords came from here. Try again in 5 minutes.</p>" in refused.text
        problem = await guess(http, door, PASSWORD, accept="application/json")
        assert problem.headers["content-type"] == "application/problem+json"
        assert (problem.json()["code"], problem.headers["retry-after"]) == ("too_many_logins", "300")
        # Others are not concerned, whatever the refused one writes into its headers.
        assert (await guess(http, door, PASSWORD, "203.0.113.10")).status_code == 302
        # Neither is the neighbour in a network of IPv6, but the same customer's next address is.
        for number in range(LIMIT):
            await guess(http, door, f"wrong {number}", f"2001:db8:1:2::{number}")
        assert (await guess(http, door, PASSWORD, "2001:db8:1:2:ffff::")).status_code == 429
        assert (await guess(http, door, PASSWORD, "2001:db8:1:3::")).status_code == 302
    log = gateway.output()
    assert "login failure by 'admin' from 203.0.113.9" in log
    assert PASSWORD not in log
    assert "wrong 1" not in log


@pytest.mark.soak
async def test_guesses_at_once_cost_the_worker_next_to_nothing(gateway: GatewayProcess) -> None:
    (worker,) = gateway.pids
    hashes: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        await guess(http, DOORS[0], "wrong", "203.0.113.1")  # what is loaded at the first request
        before = used(worker)
        for _ in range(40):
            await post(http)
        a_post = (used(worker) - before) / 40
        before = used(worker)
        guesses = [asyncio.create_task(guess(http, DOORS[n % 2], f"wrong {n}")) for n in range(16)]
        published = 0
        while not all(task.done() for task in guesses):
            await post(http)
            published += 1
            running = [pid for pid in children(worker) if nice(pid) > nice(worker)]
            hashes[len(running)] += 1
        spent = used(worker) - before
        answers = [task.result() for task in guesses]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) <= LIMIT
    assert all(answer.headers["retry-after"] for answer in refused)
    # One at a time, of low priority, in a process of its own.
    assert max(hashes) <= 1
    # Sixteen hashes were the worker's before; now its processor is for forms and rows of the table of failures.
    assert spent - published * a_post < 16 * hash_seconds() / 4


async def post(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/ticks", json={"symbol": "A", "price": 1}, timeout=60)
    assert response.status_code == 202
    await asyncio.sleep(0.05)


def hash_seconds() -> float:
    """What a hash costs on this machine, in processor time."""
    started = time.process_time()
    PBKDF2PasswordHasher().encode("a password", "a salt of the tests")
    return time.process_time() - started


def used(pid: int) -> float:
    """Processor time of a process, without that of its children, in seconds."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def nice(pid: int) -> int:
    try:
        return int(_stat(pid)[16])
    except OSError:  # it has ended
        return 0


def _stat(pid: int) -> list[str]:
    """What stands behind the command in ``/proc/<pid>/stat``: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
