from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from ticks import keys, lookups
from ticks.identity import UNKNOWN, Identity, InvalidKey, aidentify, identify, key_in_header, may_publish, may_subscribe
from ticks.models import ApiKey


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    keys._cache.clear()
    yield
    keys._cache.clear()


# The header


def test_the_key_is_the_word_after_the_scheme() -> None:
    assert key_in_header(b"Api-Key mmx_abc") == "mmx_abc"


def test_the_scheme_is_not_case_sensitive() -> None:
    assert key_in_header(b"api-key  mmx_abc ") == "mmx_abc"


@pytest.mark.parametrize("header", [b"", b"Bearer abc", b"Basic abc", b"Api-Keys abc"])
def test_another_scheme_holds_no_key(header: bytes) -> None:
    assert key_in_header(header) is None


@pytest.mark.parametrize("header", [b"Api-Key", b"Api-Key ", b"Api-Key a b", b"Api-Key \xe9"])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidKey, match="Authorization: Api-Key <key>"):
        key_in_header(header)


# Who it is


@pytest.mark.django_db
def test_a_key_identifies_its_holder() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    assert identify(f"Api-Key {plaintext}".encode()) == Identity(key=key)


@pytest.mark.django_db
def test_a_key_that_is_unknown_is_invalid() -> None:
    with pytest.raises(InvalidKey, match="unknown or revoked"):
        identify(b"Api-Key mmx_guess")


@pytest.mark.parametrize("header", [b"", b"Bearer abc"])
def test_without_a_key_it_is_unknown_who_asks(header: bytes) -> None:
    assert identify(header) == UNKNOWN


@pytest.mark.django_db(transaction=True)
async def test_a_key_is_found_from_the_event_loop() -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    assert await aidentify(f"Api-Key {plaintext}".encode()) == Identity(key=key)
    with pytest.raises(InvalidKey):
        await aidentify(b"Api-Key mmx_guess")


@pytest.mark.django_db(transaction=True)
async def test_a_cached_key_is_found_without_leaving_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    header = f"Api-Key {plaintext}".encode()
    await aidentify(header)
    monkeypatch.setattr(lookups, "ask", _must_not_be_called)
    assert await aidentify(header) == Identity(key=key)


def _must_not_be_called(*_: Any) -> Any:
    raise AssertionError("left the event loop")


# What it allows

KEY_HOLDER = Identity(key=ApiKey(name="feed"))
USER = Identity(user=User(username="ada"))


@pytest.mark.parametrize(
    ("who", "publishes", "subscribes"), [(KEY_HOLDER, True, True), (USER, False, True), (UNKNOWN, False, False)]
)
def test_a_key_publishes_and_subscribes_and_a_login_subscribes(
    who: Identity, publishes: bool, subscribes: bool
) -> None:
    assert (may_publish(who), may_subscribe(who)) == (publishes, subscribes)


@pytest.mark.parametrize("who", [KEY_HOLDER, USER, UNKNOWN])
def test_where_anonymous_is_on_anybody_may_do_both(who: Identity, settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert may_publish(who)
    assert may_subscribe(who)
