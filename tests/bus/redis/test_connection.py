"""What comes on a connection is handed over at once, and its end is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Connection, ConnectionPool

from bus.redis.connection import Incoming, abort, connect


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    pool = ConnectionPool.from_url(redis_url)
    made = await connect(pool)
    yield made
    await abort(made)
    await pool.aclose()


def send(connection: Connection, *command: Any) -> None:
    assert connection._writer is not None
    connection._writer.writelines(connection.pack_command(*command))


async def test_no_task_stands_between_what_comes_and_who_takes_it(connection: Connection) -> None:
    came = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(
        Incoming(connection, lambda data: came.set_result((data, asyncio.current_task()))).read()
    )
    send(connection, "PING")
    async with asyncio.timeout(30):
        assert await came == (b"+PONG\r\n", None)
    reading.cancel()


async def test_an_answer_lets_what_comes_in_the_same_turn_go_first(connection: Connection) -> None:
    came: list[bytes] = []
    answers, ticks = Incoming(connection, came.append, is_polite=True), Incoming(connection, came.append)
    answers.data_received(b"an answer")
    answers.data_received(b"the next")
    ticks.data_received(b"a tick")
    await asyncio.sleep(0)
    assert came == [b"a tick", b"an answer", b"the next"]


async def test_what_was_read_ahead_is_handed_over_first(connection: Connection) -> None:
    assert connection._reader is not None
    connection._reader.feed_data(b"+before\r\n")
    came: list[bytes] = []
    reading = asyncio.create_task(Incoming(connection, came.append).read())
    send(connection, "QUIT")
    async with asyncio.timeout(30):
        await reading  # Redis closes the connection
    assert came == [b"+before\r\n", b"+OK\r\n"]


@pytest.mark.parametrize("is_polite", [False, True])
async def test_who_takes_it_may_end_the_connection(connection: Connection, is_polite: bool) -> None:
    def take(_: bytes) -> None:
        raise ValueError("enough")

    send(connection, "PING")
    async with asyncio.timeout(30):
        with pytest.raises(ValueError, match="enough"):
            await Incoming(connection, take, is_polite=is_polite).read()
    assert connection._writer is not None
    assert connection._writer.transport.is_closing()


async def test_of_a_connection_that_is_closed_nothing_is_awaited(connection: Connection) -> None:
    assert connection._writer is not None
    connection._writer.transport.abort()
    async with asyncio.timeout(30):
        await Incoming(connection, print).read()


async def test_who_writes_waits_while_the_socket_is_full(connection: Connection) -> None:
    assert connection._writer is not None
    reading = asyncio.create_task(Incoming(connection, lambda _: None).read())
    await asyncio.sleep(0)
    connection._writer.transport.get_protocol().pause_writing()
    draining = asyncio.create_task(connection._writer.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    connection._writer.transport.get_protocol().resume_writing()
    async with asyncio.timeout(30):
        await draining
    reading.cancel()
