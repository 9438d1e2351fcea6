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
from ticks.access import keys, users
from ticks.access.door import InvalidCredential, anonymous, find_from_loop, of_header, shown
from ticks.access.grant import NOBODY, Grant, Scope
from ticks.access.models import ApiKey
from ticks.access.patterns import ALL
from ticks.access.shares import limited


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    keys.forget()
    users.forget()
    yield
    keys.forget()
    users.forget()


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


# The header


@pytest.mark.parametrize("header", [b"", b"Basic abc", b"Api-Keys abc"])
def test_another_scheme_holds_no_credential(header: bytes) -> None:
    assert of_header(header) is None


@pytest.mark.parametrize("header", [b"Api-Key", b"Api-Key ", b"Api-Key a b", b"Api-Key \xe9"])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidCredential, match="Authorization: Api-Key <key>"):
        of_header(header)


# Who it is


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Api-Key {}", "api-key  {} "])
def test_a_key_is_found_with_what_it_allows(header: str) -> None:
    key, plaintext = ApiKey.objects.issue("feed", publish="BTC-*", read="")
    grant = of_header(header.format(plaintext).encode())
    assert grant is not None
    assert (grant.owner, str(grant.publish), str(grant.subscribe), str(grant.read)) == (
        f"key:{key.pk}",
        "BTC-*",
        "*",
        "",
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_wrong_key_is_refused_though_a_session_would_do(settings: Settings, anonymous: bool) -> None:
    settings.MARKETMUX_ANONYMOUS = anonymous
    user = await sync_to_async(User.objects.create_superuser)("root")
    session = await sync_to_async(session_of)(user)
    assert (await find_from_loop(b"", session)).owner.startswith("user:")
    with pytest.raises(InvalidCredential, match="unknown, revoked or expired"):
        await find_from_loop(b"Api-Key mmx_guess", session)


@pytest.mark.django_db(transaction=True)
async def test_a_session_that_has_ended_is_none() -> None:
    assert await find_from_loop(b"", "guess") == NOBODY


async def test_who_shows_nothing_may_do_nothing() -> None:
    assert await find_from_loop(b"") == await find_from_loop(b"Basic abc") == NOBODY


def test_where_anonymous_is_on_everybody_may_do_everything_and_is_told_apart_by_address(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    one, other = anonymous("192.0.2.1"), anonymous("192.0.2.2")
    assert all(one.of(scope) == ALL for scope in Scope)
    assert one.owner != other.owner


@pytest.mark.django_db(transaction=True)
async def test_a_key_is_found_from_the_event_loop() -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    assert (await find_from_loop(f"Api-Key {plaintext}".encode())).owner == f"key:{key.pk}"
    with pytest.raises(InvalidCredential):
        await find_from_loop(b"Api-Key mmx_guess")


@pytest.mark.django_db(transaction=True)
async def test_a_session_is_found_from_the_event_loop() -> None:
    user = await sync_to_async(User.objects.create_superuser)("root")
    session = await sync_to_async(session_of)(user)
    assert (await find_from_loop(b"", session)).owner == f"user:{user.pk}"


@pytest.mark.django_db(transaction=True)
async def test_a_cached_key_is_found_without_leaving_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    header = f"Api-Key {plaintext}".encode()
    await find_from_loop(header)
    monkeypatch.setattr(lookups, "ask", _must_not_be_called)
    assert (await find_from_loop(header, "a session")).owner == f"key:{key.pk}"


@pytest.mark.django_db(transaction=True)
async def test_unknown_keys_are_counted_and_share_a_query_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    old = await sync_to_async(rotated)(key)
    asked = []

    async def ask(question: Any, *names: Any) -> Any:
        asked.append(names)
        return await sync_to_async(question)(*names)

    monkeypatch.setattr(lookups, "ask", ask)
    before = limited["unknown_keys"]
    made_up = [f"Api-Key mmx_{number}".encode() for number in range(300)]
    keys_of = [f"Api-Key {plaintext}".encode(), f"Api-Key {old}".encode()]
    found = await asyncio.gather(*map(shown, made_up + keys_of), return_exceptions=True)
    assert {type(one) for one in found[:300]} == {InvalidCredential}
    assert [one.owner for one in found[300:] if isinstance(one, Grant)] == [f"key:{key.pk}"] * 2
    assert limited["unknown_keys"] == before + 300
    assert len(asked) == 1


def rotated(key: ApiKey) -> str:
    plaintext = key.rotate()
    key.save()
    return plaintext


@pytest.mark.django_db(transaction=True)
async def test_a_key_works_at_once_though_it_was_tried_before() -> None:
    key = ApiKey(name="feed")
    header = f"Api-Key {key.draw()}".encode()
    with pytest.raises(InvalidCredential):
        await shown(header)
    await sync_to_async(key.save)()
    assert await shown(header)


def _must_not_be_called(*_: Any) -> Any:
    raise AssertionError("left the event loop")
