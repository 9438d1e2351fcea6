from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from ticks import publish
from ticks.access import keys
from ticks.access.grant import NOBODY
from ticks.access.models import ApiKey
from ticks.authentication import CredentialAuthentication, MayPublish, MayRead, grant_of
from ticks.tick import Tick


class PublishView(APIView):
    authentication_classes = [CredentialAuthentication]
    permission_classes = [MayPublish]

    def get(self, request: Request) -> Response:
        return Response({"who": grant_of(request).who, "anonymous": request.user.is_anonymous})


class ReadView(PublishView):
    permission_classes = [MayRead]


def get(view: type[APIView], authorization: str | None = None) -> Response:
    headers = {} if authorization is None else {"authorization": authorization}
    request = APIRequestFactory().get("/", headers=headers)
    response = view.as_view()(request)
    assert isinstance(response, Response)
    return response


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    keys.forget()
    yield
    keys.forget()


@pytest.mark.django_db
def test_a_key_may_publish() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    who = f"feed ({plaintext[:12]}…)"
    assert get(PublishView, f"Api-Key {plaintext}").data == {"who": who, "anonymous": True}


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


@pytest.mark.django_db(transaction=True)
def test_a_login_needs_the_permission() -> None:
    """The rules are those of ticks/access/users.py."""
    client = Client()
    client.force_login(user := User.objects.create_user("ada"))
    assert client.get("/api/v1/ticks").status_code == 403
    assert client.get("/api/v1/ticks").json()["detail"] == MayRead.message
    permission = Permission.objects.get(content_type__app_label="marketmux_ticks", codename="read")
    user.user_permissions.add(permission)
    assert client.get("/api/v1/ticks").status_code == 200
    assert client.post("/api/v1/ticks", {}, content_type="application/json").status_code == 403


@pytest.mark.django_db
def test_a_key_may_subscribe() -> None:
    _, plaintext = ApiKey.objects.issue("screen")
    assert get(ReadView, f"Api-Key {plaintext}").status_code == 200


def test_without_key_and_login_subscribing_is_answered_with_401() -> None:
    assert get(ReadView).status_code == 401


def test_where_anonymous_is_on_anybody_may_subscribe(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert get(ReadView).status_code == 200


def test_a_request_without_the_scheme_is_left_to_other_authentication() -> None:
    request = Request(APIRequestFactory().get("/", headers={"authorization": "Basic abc"}))
    assert CredentialAuthentication().authenticate(request) is None


@pytest.mark.django_db
def test_a_key_has_no_user() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    request = Request(APIRequestFactory().get("/", headers={"authorization": f"Api-Key {plaintext}"}))
    answer = CredentialAuthentication().authenticate(request)
    assert answer is not None
    assert isinstance(answer[0], AnonymousUser)


@pytest.mark.django_db
def test_the_grant_of_a_request_is_that_of_its_key() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    assert grant_of(authenticated(headers={"authorization": f"Api-Key {plaintext}"})).owner == f"key:{key.pk}"


def test_a_request_that_shows_nothing_is_nobodys() -> None:
    assert grant_of(authenticated()) == NOBODY


def authenticated(headers: dict[str, str] | None = None) -> Request:
    request = APIRequestFactory().get("/", headers=headers or {})
    return ReadView().initialize_request(request)


# Patterns


def ask(method: str, path: str, plaintext: str, **body: object) -> tuple[int, dict[str, Any]]:
    request = getattr(Client(), method)
    answer = request(
        f"/api/v1/{path}",
        *([body] if body else []),
        content_type="application/json",
        headers={"authorization": f"Api-Key {plaintext}"},
    )
    return answer.status_code, answer.json()


@pytest.fixture
def limited() -> str:
    channel_layers.backends.clear()
    fields = {"publish": "BTC-* EUR/USD", "subscribe": "AAPL", "read": "BTC-* EUR*"}
    asyncio.run(
        publish.publish([Tick(symbol, "1", "2026-05-12T15:04:05Z") for symbol in ("AAPL", "BTC-A", "BTC-B", "EUR/USD")])
    )
    return ApiKey.objects.issue("limited", **fields)[1]


@pytest.mark.django_db(transaction=True)
def test_a_batch_with_a_symbol_that_is_not_covered_is_not_published(limited: str) -> None:
    tick = {"symbol": "BTC-A", "price": 2}
    assert ask("post", "ticks", limited, **tick)[0] == 202
    status, body = ask("post", "ticks", limited, symbol="AAPL", price=2)
    assert (status, body["code"], body["detail"]) == (403, "access_denied", "No access to AAPL.")


@pytest.mark.django_db(transaction=True)
def test_only_what_is_covered_is_read(limited: str) -> None:
    assert ask("get", "ticks/BTC-A", limited)[0] == 200
    assert ask("get", "ticks/AAPL", limited)[1]["code"] == "access_denied"
    assert ask("get", "ticks/AAPLX", limited)[1]["code"] == "access_denied"
    assert ask("get", "ticks/EURX", limited)[0] == 404
    body = ask("get", "ticks", limited)[1]
    assert (body["count"], [one["symbol"] for one in body["results"]]) == (3, ["BTC-A", "BTC-B", "EUR/USD"])
    pages = [ask("get", f"ticks?page={page}&page_size=2", limited)[1]["results"] for page in (1, 2)]
    assert [one["symbol"] for page in pages for one in page] == ["BTC-A", "BTC-B", "EUR/USD"]
    body = ask("get", "ticks?after=BTC-A&page_size=1", limited)[1]
    assert [one["symbol"] for one in body["results"]] == ["BTC-B"]


@pytest.mark.django_db(transaction=True)
def test_a_caller_is_told_what_it_may_and_why(limited: str) -> None:
    status, body = ask("get", "access?symbol=BTC-A", limited)
    assert status == 200
    assert body["publish"] == {"patterns": ["BTC-*", "EUR/USD"], "allowed": True, "rule": "BTC-*"}
    assert body["subscribe"] == {"patterns": ["AAPL"], "allowed": False, "rule": None}
    assert ask("get", "access", limited)[1]["read"] == {"patterns": ["BTC-*", "EUR*"]}
    assert ask("get", "access?symbol=A,B", limited)[0] == 400
    assert Client().get("/api/v1/access").json()["who"] == "nobody"
    assert Client().get("/api/v1/access", headers={"authorization": "Api-Key x"}).status_code == 401
