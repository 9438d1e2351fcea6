"""Cookies of sessions that do not exist: they cost no query each, and are as if they had not been sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from ticks import lookups
from ticks.access import sessions
from ticks.access.sessions import OnlyOpenSessions, is_open, session_in
from ticks.access.shares import limited

Headers = list[tuple[bytes, bytes]]


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    sessions._known.clear()
    yield
    sessions._known.clear()


def session_of(name: str) -> str:
    client = Client()
    client.force_login(User.objects.create_user(name))
    return client.cookies["sessionid"].value


@pytest.mark.parametrize(
    ("cookies", "session"),
    [([], ""), ([b"a=b"], ""), ([b"sessionid=x"], "x"), ([b"a=b; sessionid=x;c"], "x"),
     ([b"sessionid=x", b"sessionid=y"], "y"), ([b"\xff=\xfe; sessionid=x"], "x"), ([b"sessionid="], "")],
)  # fmt: skip
def test_the_session_is_the_one_that_django_reads(cookies: list[bytes], session: str) -> None:
    assert session_in([(b"host", b"x"), *((b"cookie", cookie) for cookie in cookies)]) == session


@pytest.mark.django_db(transaction=True)
async def test_made_up_sessions_are_counted_and_share_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    session = await sync_to_async(session_of)("alice")
    asked = []

    async def ask(question: Any, *names: Any) -> Any:
        asked.append(names)
        return await sync_to_async(question)(*names)

    monkeypatch.setattr(lookups, "ask", ask)
    before = limited["unknown_sessions"]
    answers = await asyncio.gather(is_open(session), *(is_open(f"made up {number}") for number in range(300)))
    assert (answers[0], set(answers[1:])) == (True, {False})
    assert limited["unknown_sessions"] == before + 300
    assert len(asked) == 1
    assert await is_open(session)
    assert len(asked) == 1


@pytest.mark.parametrize("engine", ["cache", "signed_cookies", "file"])
async def test_where_sessions_are_not_in_the_database_it_is_not_asked(settings: Settings, engine: str) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    assert await is_open("made up")


async def passed_on(*cookies: bytes) -> Headers:
    """The headers that Django would see."""
    seen: list[Headers] = []

    async def django(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["headers"])

    headers = [(b"host", b"x"), *((b"cookie", cookie) for cookie in cookies)]
    await OnlyOpenSessions(django)({"headers": headers}, None, None)
    return seen[0]


@pytest.mark.django_db(transaction=True)
async def test_the_cookie_of_a_session_that_does_not_exist_is_dropped() -> None:
    session = (await sync_to_async(session_of)("alice")).encode()
    assert await passed_on(b"csrftoken=t; sessionid=made-up;a=b") == [(b"host", b"x"), (b"cookie", b"csrftoken=t;a=b")]
    assert await passed_on(b"a=b", b"sessionid=made-up") == [(b"host", b"x"), (b"cookie", b"a=b")]
    assert (b"cookie", b"a=b; sessionid=" + session) in await passed_on(b"a=b; sessionid=" + session)


@pytest.mark.django_db(transaction=True)
async def test_an_unanswered_question_drops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(*_: Any) -> Any:
        raise lookups.DatabaseUnavailable

    monkeypatch.setattr(lookups, "ask", ask)
    assert (b"cookie", b"sessionid=x") in await passed_on(b"sessionid=x")
