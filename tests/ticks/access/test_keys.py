from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from ticks.access import keys
from ticks.access.grant import Grant
from ticks.access.keys import KeyCache, grant_of_key
from ticks.access.models import ApiKey, Change, key_digest


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    keys.forget()
    yield
    keys.forget()


# Looking keys up


@pytest.mark.django_db
def test_a_key_is_looked_up_in_the_database_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    with django_assert_num_queries(1):
        assert grant_of_key(plaintext) == grant_of_key(plaintext) == key.grant(key.digest)


@pytest.mark.django_db
def test_a_new_key_works_although_it_was_tried_before() -> None:
    key = ApiKey(name="feed")
    plaintext = key.draw()
    assert grant_of_key(plaintext) is None
    key.save()
    assert grant_of_key(plaintext) is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["revoked", "deleted", "expired"])
def test_a_key_that_ends_in_this_process_stops_working_at_once(how: str) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    grant = grant_of_key(plaintext)
    assert grant is not None
    match how:
        case "revoked":
            key.active = False
            key.save(update_fields=["active"])
        case "deleted":
            ApiKey.objects.all().delete()
        case "expired":
            key.expires_at = timezone.now()
            key.save()
    assert grant_of_key(plaintext) is None
    assert grant.renew is not None
    assert grant.renew() is None
    assert set(Change.objects.values_list("subject", flat=True)) == set(grant.stands_on)


@pytest.mark.django_db(transaction=True)
def test_a_lookup_during_the_transaction_that_revokes_does_not_keep_the_key() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    with transaction.atomic():
        key.active = False
        key.save()
        # What another thread reads before the commit.
        keys._cache.fetch(plaintext, lambda _: Grant("key:1"))
    assert grant_of_key(plaintext) is None


@pytest.mark.django_db
def test_what_a_key_may_is_narrowed() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    grant = grant_of_key(plaintext)
    key.subscribe = "BTC-*"
    key.save()
    assert grant is not None
    assert grant.renew is not None
    renewed = grant.renew()
    assert renewed is not None
    assert str(renewed.subscribe) == "BTC-*"


@pytest.mark.django_db
def test_while_a_secret_is_rotated_both_are_valid() -> None:
    key, before = ApiKey.objects.issue("feed")
    after = key.rotate(timedelta(hours=1))
    key.save()
    old, new = grant_of_key(before), grant_of_key(after)
    assert old is not None
    assert new is not None
    assert new.expires is None
    assert old.expires == pytest.approx(time.time() + 3_600, abs=60)
    assert old.owner == new.owner
    key.previous_until = timezone.now()
    key.save()
    assert grant_of_key(before) is None
    assert grant_of_key(after) is not None


@pytest.mark.parametrize("field", ["publish", "subscribe", "read"])
def test_what_is_no_pattern_is_no_field(field: str) -> None:
    with pytest.raises(ValidationError, match=r"Not a pattern: .*A\*\*"):
        ApiKey(name="feed", prefix="x", digest="x", **{field: "A**"}).clean_fields()


# The cache


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def finder(grant: Grant | None) -> Callable[[str], Grant | None]:
    return lambda _: grant


def test_a_cached_key_is_asked_for_again_after_a_time() -> None:
    clock = Clock()
    cache = KeyCache(5.0, 10, clock)
    cache.fetch("feed", finder(grant := Grant("key:1")))
    clock.now += 4.9
    assert cache.get("feed") is grant
    clock.now += 0.1
    assert cache.get("feed") is None


def test_a_cached_key_does_not_outlive_itself() -> None:
    clock = Clock()
    cache = KeyCache(5.0, 10, clock)
    cache.fetch("feed", finder(Grant("key:1", expires=102.0)))
    clock.now = 102.0
    assert cache.get("feed") is None


def test_use_does_not_make_a_cached_key_last_longer() -> None:
    clock = Clock()
    cache = KeyCache(5.0, 10, clock)
    cache.fetch("feed", finder(Grant("key:1")))
    clock.now += 4.0
    cache.fetch("feed", finder(Grant("key:1")))
    clock.now += 2.0
    assert cache.fetch("feed", finder(None)) is None


def test_the_cache_holds_a_bounded_number_of_keys() -> None:
    cache = KeyCache(5.0, 2)
    grants = [Grant(f"key:{number}") for number in range(3)]
    for grant in grants:
        cache.fetch(grant.owner, finder(grant))
    assert [cache.get(grant.owner) for grant in grants] == [None, grants[1], grants[2]]


def test_a_key_revoked_while_it_is_looked_up_is_not_cached() -> None:
    cache = KeyCache(5.0, 10)

    def find(_: str) -> Grant:
        cache.clear()
        return Grant("key:1")

    cache.fetch("feed", find)
    assert cache.get("feed") is None


def test_a_digest_is_no_plaintext() -> None:
    assert key_digest("mmx_abc") != "mmx_abc"
