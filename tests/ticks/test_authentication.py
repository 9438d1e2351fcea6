from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from ticks import authentication
from ticks.authentication import (
    ApiKeyAuthentication,
    KeyCache,
    MayPublish,
    MaySubscribe,
    afind_key,
    find_cached_key,
    find_key,
    key_in_header,
)
from ticks.models import ApiKey


class PublishView(APIView):
    authentication_classes = [ApiKeyAuthentication]
    permission_classes = [MayPublish]

    def get(self, request: Request) -> Response:
        return Response({"key": getattr(request.auth, "name", None), "anonymous": request.user.is_anonymous})


class SubscribeView(PublishView):
    permission_classes = [MaySubscribe]


def get(view: type[APIView], authorization: str | None = None, user: User | None = None) -> Response:
    headers = {} if authorization is None else {"authorization": authorization}
    request = APIRequestFactory().get("/", headers=headers)
    if user is not None:
        force_authenticate(request, user)
    response = view.as_view()(request)
    assert isinstance(response, Response)
    return response


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    authentication._cache.clear()
    yield
    authentication._cache.clear()


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
    with pytest.raises(ValueError, match="Authorization: Api-Key <key>"):
        key_in_header(header)


# Over HTTP


@pytest.mark.django_db
def test_a_key_may_publish() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    assert get(PublishView, f"Api-Key {plaintext}").data == {"key": "feed", "anonymous": True}


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Api-Key mmx_guess", "Api-Key", "Api-Key a b"])
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_key_that_is_not_one_is_answered_with_401(header: str, anonymous: bool, settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = anonymous
    response = get(PublishView, header)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Api-Key"


@pytest.mark.django_db
def test_a_revoked_key_is_answered_with_401() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    key.active = False
    key.save()
    assert get(PublishView, f"Api-Key {plaintext}").status_code == 401


def test_without_a_key_publishing_is_answered_with_401() -> None:
    response = get(PublishView)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Api-Key"


def test_where_anonymous_is_on_anybody_may_publish(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert get(PublishView).status_code == 200


def test_a_login_alone_may_not_publish() -> None:
    response = get(PublishView, user=User(username="ada"))
    assert response.status_code == 403
    assert response.data["detail"] == "Publishing needs an API key."


def test_a_login_may_subscribe() -> None:
    assert get(SubscribeView, user=User(username="ada")).status_code == 200


@pytest.mark.django_db
def test_a_key_may_subscribe() -> None:
    _, plaintext = ApiKey.objects.issue("screen")
    assert get(SubscribeView, f"Api-Key {plaintext}").status_code == 200


def test_without_key_and_login_subscribing_is_answered_with_401() -> None:
    assert get(SubscribeView).status_code == 401


def test_where_anonymous_is_on_anybody_may_subscribe(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert get(SubscribeView).status_code == 200


def test_a_request_without_the_scheme_is_left_to_other_authentication() -> None:
    request = Request(APIRequestFactory().get("/", headers={"authorization": "Bearer abc"}))
    assert ApiKeyAuthentication().authenticate(request) is None


@pytest.mark.django_db
def test_a_key_has_no_user() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    request = Request(APIRequestFactory().get("/", headers={"authorization": f"Api-Key {plaintext}"}))
    answer = ApiKeyAuthentication().authenticate(request)
    assert answer is not None
    assert isinstance(answer[0], AnonymousUser)


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


@pytest.mark.django_db
def test_a_key_that_was_not_looked_up_is_not_in_the_cache(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    with django_assert_num_queries(0):
        assert find_cached_key(plaintext) is None


@pytest.mark.django_db
def test_a_key_that_was_looked_up_is_in_the_cache(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    find_key(plaintext)
    with django_assert_num_queries(0):
        assert find_cached_key(plaintext) == key


@pytest.mark.django_db(transaction=True)
def test_a_key_revoked_in_this_process_stops_working_at_once() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    find_key(plaintext)
    key.active = False
    key.save(update_fields=["active"])
    assert find_cached_key(plaintext) is None
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
        authentication._cache.fetch(plaintext, lambda _: key)
    assert find_key(plaintext) is None


@pytest.mark.django_db(transaction=True)
async def test_a_key_is_found_from_the_event_loop() -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    assert await afind_key(plaintext) == key
    assert await afind_key("mmx_guess") is None


@pytest.mark.django_db(transaction=True)
async def test_a_cached_key_is_found_without_leaving_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    await afind_key(plaintext)
    monkeypatch.setattr(authentication, "database_sync_to_async", _must_not_be_called)
    assert await afind_key(plaintext) == key


def _must_not_be_called(*_: Any) -> Any:
    raise AssertionError("left the event loop")


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
