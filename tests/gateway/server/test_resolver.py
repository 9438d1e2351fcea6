"""Names are looked up on threads of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.server.resolver import ResolvingLoop


@pytest.fixture
def loop() -> Iterator[ResolvingLoop]:
    loop = ResolvingLoop()
    yield loop
    loop.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer before it is set."""
    answers = threading.Event()

    def look_up(*_: Any, **__: Any) -> Any:
        answers.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield answers
    answers.set()


def test_a_name_is_looked_up(loop: ResolvingLoop) -> None:
    found = loop.run_until_complete(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    assert found == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)


def test_a_name_that_is_unknown_is_an_error(loop: ResolvingLoop, silent: threading.Event) -> None:
    silent.set()
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(loop.getaddrinfo("redis.example", 6379))


def test_all_who_ask_for_a_name_share_a_thread_and_nobody_elses(loop: ResolvingLoop, silent: threading.Event) -> None:
    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.getaddrinfo("redis.example", 6379)

    async def ask_often() -> str:
        for _ in range(3):
            await asyncio.gather(*(ask() for _ in range(20)))
        return await asyncio.to_thread(lambda: "the default pool is free")

    before = threading.active_count()
    assert loop.run_until_complete(ask_often()) == "the default pool is free"
    assert [thread.name for thread in threading.enumerate()].count("resolver") == 1
    assert threading.active_count() <= before + 2
    loop.run_until_complete(loop.shutdown_default_executor())


def test_what_comes_when_the_loop_is_closed_is_no_error(silent: threading.Event) -> None:
    loop = ResolvingLoop()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.getaddrinfo("redis.example", 6379)

    loop.run_until_complete(ask())
    loop.close()
    silent.set()
    for thread in threading.enumerate():
        if thread.name == "resolver":
            thread.join(30)
