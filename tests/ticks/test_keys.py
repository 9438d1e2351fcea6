from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from ticks import keys
from ticks.keys import KeyCache, find_key
from ticks.models import ApiKey


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    keys._cache.clear()
    yield
    keys._cache.clear()


# Looking keys up


@pytest.mark.django_db
def test_a_key_is_looked_up_in_the_database_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    with django_assert_num_queries(1):
        assert find_key(plaintext) == find_key(plaintext) == key


@pytest.mark.django_db
def test_a_new_key_works_although_it_was_tried_before() -> None:
    key = ApiKey(name="feed")
    plaintext = key.draw()
    assert find_key(plaintext) is None
    key.save()
    assert find_key(plaintext) == key


@pytest.mark.django_db(transaction=True)
def test_a_key_revoked_in_this_process_stops_working_at_once() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    find_key(plaintext)
    key.active = False
    key.save(update_fields=["active"])
    assert find_key(plaintext) is None


@pytest.mark.django_db(transaction=True)
def test_a_key_deleted_in_this_process_stops_working_at_once() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    find_key(plaintext)
    ApiKey.objects.all().delete()
    assert find_key(plaintext) is None
    assert key.name == "feed"


@pytest.mark.django_db(transaction=True)
def test_a_lookup_during_the_transaction_that_revokes_does_not_keep_the_key() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    with transaction.atomic():
        key.active = False
        key.save()
        # What another thread reads before the commit.
        keys._cache.fetch(plaintext, lambda _: key)
    assert find_key(plaintext) is None


# The cache


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn() -> tuple[str, ApiKey]:
    key = ApiKey(name="feed")
    return key.draw(), key


def finder(key: ApiKey | None) -> Callable[[str], ApiKey | None]:
    return lambda _: key


def test_a_cached_key_expires() -> None:
    clock = Clock()
    cache = KeyCache(5.0, 10, clock)
    plaintext, key = drawn()
    cache.fetch(plaintext, finder(key))
    clock.now += 4.9
    assert cache.get(plaintext) is key
    clock.now += 0.1
    assert cache.get(plaintext) is None


def test_use_does_not_make_a_cached_key_last_longer() -> None:
    clock = Clock()
    cache = KeyCache(5.0, 10, clock)
    plaintext, key = drawn()
    cache.fetch(plaintext, finder(key))
    clock.now += 4.0
    cache.fetch(plaintext, finder(key))
    clock.now += 2.0
    assert cache.fetch(plaintext, finder(None)) is None


def test_the_cache_holds_a_bounded_number_of_keys() -> None:
    cache = KeyCache(5.0, 2)
    keys = [drawn() for _ in range(3)]
    for plaintext, key in keys:
        cache.fetch(plaintext, finder(key))
    assert [cache.get(plaintext) for plaintext, _ in keys] == [None, keys[1][1], keys[2][1]]


def test_a_key_revoked_while_it_is_looked_up_is_not_cached() -> None:
    cache = KeyCache(5.0, 10)
    plaintext, key = drawn()

    def find(_: str) -> ApiKey:
        cache.clear()
        return key

    cache.fetch(plaintext, find)
    assert cache.get(plaintext) is None
