from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import AnonymousUser, User
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from ticks import keys
from ticks.authentication import ApiKeyAuthentication, MayPublish, MaySubscribe, identity_of
from ticks.identity import UNKNOWN, Identity
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
    keys._cache.clear()
    yield
    keys._cache.clear()


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


@pytest.mark.django_db
def test_the_identity_of_a_request_is_its_key() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    assert identity_of(authenticated(headers={"authorization": f"Api-Key {plaintext}"})) == Identity(key=key)


def test_the_identity_of_a_request_without_a_key_is_its_user() -> None:
    user = User(username="ada", pk=1)
    assert identity_of(authenticated(user)) == Identity(user=user)


def test_the_identity_of_a_request_that_says_nothing_is_unknown() -> None:
    assert identity_of(authenticated()) == UNKNOWN


def authenticated(user: User | None = None, headers: dict[str, str] | None = None) -> Request:
    request = APIRequestFactory().get("/", headers=headers or {})
    if user is not None:
        force_authenticate(request, user)
    return SubscribeView().initialize_request(request)
