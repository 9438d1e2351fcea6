"""Tokens of our own: what they allow, how long, and how they are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from ticks.access import keys, tokens, users
from ticks.access.credentials import MAX_TOKEN_BYTES, Audience, InvalidCredential, refuse_in_url
from ticks.access.door import of_header
from ticks.access.grant import Grant, Scope
from ticks.access.models import ApiKey
from ticks.access.patterns import Patterns
from ticks.access.tokens import grant_of_token, issue

PATH = "/api/v1/tokens"
UNKNOWN = "token_invalid"


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    for cache in (keys, users, tokens):
        cache.forget()
    yield
    for cache in (keys, users, tokens):
        cache.forget()


def of_key(**fields: Any) -> tuple[ApiKey, Grant]:
    key, plaintext = ApiKey.objects.issue("feed", **fields)
    return key, granted(of_header(f"Api-Key {plaintext}".encode()))


def granted(grant: Grant | None) -> Grant:
    assert grant is not None
    return grant


def refusal(text: str, audience: Audience = Audience.WS) -> str:
    with pytest.raises(InvalidCredential) as caught:
        of_header(f"Bearer {text}".encode(), audience)
    return caught.value.code


def logged_in() -> tuple[User, Client]:
    user, client = User.objects.create_superuser("root"), Client()
    client.force_login(user)
    return user, client


# What it allows


@pytest.mark.django_db
def test_a_token_allows_what_its_key_allows() -> None:
    key, grant = of_key(publish="BTC-*", subscribe="AAPL", ticks_per_second=5)
    found = grant_of_token(issue(grant, Audience.WS).text, Audience.WS)
    assert found == grant
    assert found.owner == f"key:{key.pk}"
    assert found.stands_on == {f"key:{key.pk}"}


@pytest.mark.django_db
def test_a_token_may_allow_a_part_of_it() -> None:
    _, grant = of_key(publish="BTC-*", subscribe="AAPL BTC-*")
    scopes = {Scope.SUBSCRIBE: Patterns(["BTC-USD", "MSFT"])}
    found = grant_of_token(issue(grant, Audience.WS, scopes).text, Audience.WS)
    assert (list(found.subscribe), list(found.publish), list(found.read)) == (["BTC-USD"], [], [])


@pytest.mark.django_db
def test_a_token_without_scopes_allows_nothing() -> None:
    _, grant = of_key()
    found = grant_of_token(issue(grant, Audience.WS, {}).text, Audience.WS)
    assert not any(found.of(scope) for scope in Scope)


@pytest.mark.django_db
def test_a_token_follows_its_key() -> None:
    key, grant = of_key()
    token = issue(grant, Audience.WS, {Scope.SUBSCRIBE: Patterns(["A*", "B"])}).text
    found = grant_of_token(token, Audience.WS)
    key.subscribe = Patterns(["B*", "AA"])
    key.save()
    assert list(grant_of_token(token, Audience.WS).subscribe) == ["AA", "B"]
    assert found.renew is not None
    renewed = found.renew()
    assert renewed is not None
    assert (list(renewed.subscribe), list(renewed.publish)) == (["AA", "B"], [])
    assert renewed.renew is not None
    key.active = False
    key.save()
    assert renewed.renew() is None
    assert refusal(token) == "token_revoked"


@pytest.mark.django_db
def test_a_token_is_for_the_secret_that_it_was_made_with() -> None:
    key, grant = of_key()
    token = issue(grant, Audience.WS).text
    key.rotate()
    key.save()
    found = grant_of_token(token, Audience.WS)
    assert found.expires is not None
    assert found.expires > time.time()
    key.draw()
    key.previous_digest = None
    key.save()
    assert refusal(token) == "token_revoked"


@pytest.mark.django_db
def test_a_token_follows_its_session() -> None:
    user, client = logged_in()
    session = client.cookies["sessionid"].value
    token = issue(granted(users.grant_of_session(session)), Audience.WS).text
    found = grant_of_token(token, Audience.WS)
    assert found.owner == f"user:{user.pk}"
    assert users.session_subject(session) in found.stands_on
    client.logout()
    assert refusal(token) == "token_revoked"
    assert found.renew is not None
    assert found.renew() is None


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["password", "deactivated", "deleted"])
def test_a_users_token_ends_with_the_session(change: str) -> None:
    user, client = logged_in()
    token = issue(granted(users.grant_of_session(client.cookies["sessionid"].value)), Audience.WS).text
    assert grant_of_token(token, Audience.WS)
    if change == "deleted":
        user.delete()
    else:
        user.is_active = change != "deactivated"
        user.set_password("another")
        user.save()
    assert refusal(token) == "token_revoked"


@pytest.mark.django_db
def test_a_token_tells_nobody_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    _, client = logged_in()
    session = client.cookies["sessionid"].value
    grant = granted(users.grant_of_session(session))
    seen = issue(grant, Audience.WS).text
    assert session not in seen
    assert session not in repr(grant)


# How long, and for what


@pytest.mark.django_db
def test_a_token_is_good_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    _, grant = of_key()
    token = issue(grant, Audience.WS)
    assert 59 < token.expires - time.time() <= 60
    monkeypatch.setattr(time, "time", lambda: token.expires + 4)  # the clocks of two gateways differ
    assert grant_of_token(token.text, Audience.WS)
    monkeypatch.setattr(time, "time", lambda: token.expires + 6)
    assert refusal(token.text) == "token_expired"


@pytest.mark.django_db
@pytest.mark.parametrize("audience", Audience)
def test_a_token_is_for_one_audience(audience: Audience) -> None:
    _, grant = of_key()
    token = issue(grant, audience).text
    for shown in Audience:
        if shown is audience:
            assert of_header(f"Bearer {token}".encode(), shown)
        else:
            assert refusal(token, shown) == "token_wrong_audience"


# What is no token


@pytest.mark.django_db
def test_a_token_of_another_secret_is_none(settings: Settings) -> None:
    _, grant = of_key()
    token = issue(grant, Audience.WS).text
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    assert refusal(token) == UNKNOWN
    settings.SECRET_KEY_FALLBACKS = [old]
    assert grant_of_token(token, Audience.WS)


@pytest.mark.django_db
def test_a_token_that_was_tampered_with_is_none() -> None:
    _, grant = of_key()
    token = issue(grant, Audience.WS).text
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert refusal(f"{token[:place]}{other}{token[place + 1 :]}") == UNKNOWN
        assert refusal(f"{token[:place]}!{token[place:]}") == UNKNOWN
    assert {
        refusal(token[:-1] + other)
        for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        if other != token[-1]
    } == {UNKNOWN}
    assert refusal(f"{token}=") == UNKNOWN
    for end in range(len(token)):
        if token[:end]:
            assert refusal(token[:end]) == UNKNOWN


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200))
def test_what_is_made_up_is_no_token(text: str) -> None:
    assert refusal(f"mmt_{text}") == UNKNOWN


def test_what_is_too_long_is_not_looked_at() -> None:
    assert refusal("mmt_" + "A" * MAX_TOKEN_BYTES) == UNKNOWN


@pytest.mark.parametrize("header", [b"Bearer", b"bearer ", b"Bearer a b", b"Bearer \xe9"])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidCredential, match="Authorization: Bearer <token>"):
        of_header(header)


@pytest.mark.parametrize("query", ["token=x", "a=b&ACCESS_TOKEN=", "jwt", "api_key=x", "%74oken=x", "a=1;token=x&key="])
def test_a_credential_in_an_address_is_refused(query: str) -> None:
    with pytest.raises(InvalidCredential, match="consider this one public"):
        refuse_in_url(query)


@pytest.mark.parametrize("query", ["", "page=2", "symbol=token", "tokens=1"])
def test_other_parameters_are_none(query: str) -> None:
    refuse_in_url(query)


# POST /api/v1/tokens


def ask(client: Client, body: Any = None, **headers: str) -> Any:
    return client.post(PATH, body or b"", content_type="application/json", headers=headers)


@pytest.mark.django_db(transaction=True)
def test_a_key_is_given_tokens() -> None:
    key, plaintext = ApiKey.objects.issue("feed", subscribe="AAPL BTC-*")
    body = {"audience": "http", "scopes": {"subscribe": ["BTC-USD", "AAPL"], "read": []}}
    response = ask(Client(), body, authorization=f"Api-Key {plaintext}")
    answer = response.json()
    assert (response.status_code, response["cache-control"], answer["audience"]) == (200, "no-store", "http")
    assert answer["expires_at"].endswith("Z")
    found = Client().get("/api/v1/access", headers={"authorization": f"Bearer {answer['token']}"}).json()
    assert found["who"] == str(key)
    assert (found["subscribe"]["patterns"], found["read"]["patterns"]) == (["AAPL", "BTC-USD"], [])


@pytest.mark.django_db(transaction=True)
def test_an_empty_body_asks_for_everything_on_the_websocket() -> None:
    _, plaintext = ApiKey.objects.issue("feed", subscribe="AAPL")
    for body in (b"", b"{}"):
        answer = ask(Client(), body, authorization=f"Api-Key {plaintext}").json()
        assert str(grant_of_token(answer["token"], Audience.WS).subscribe) == "AAPL"


@pytest.mark.django_db(transaction=True)
def test_a_login_is_given_tokens_and_shows_the_csrf_token() -> None:
    user = User.objects.create_superuser("root")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert ask(client).status_code == 403
    client.cookies["csrftoken"] = "a" * 32
    answer = ask(client, **{"X-CSRFToken": "a" * 32})
    assert answer.status_code == 200
    assert grant_of_token(answer.json()["token"], Audience.WS).owner == f"user:{user.pk}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("scopes", "denied"),
    [({"subscribe": ["MSFT"]}, "subscribe MSFT"), ({"subscribe": ["*"]}, "subscribe *"), ({"read": ["BTC-*"]}, "read"),
     ({"subscribe": ["AAPL", "B*"]}, "subscribe B*"), ({"publish": ["AAPL"]}, "publish AAPL")],
)  # fmt: skip
def test_what_the_key_does_not_cover_is_no_part_of_a_token(scopes: Any, denied: str) -> None:
    _, plaintext = ApiKey.objects.issue("feed", publish="", subscribe="AAPL BTC-*", read="")
    response = ask(Client(), {"scopes": scopes}, authorization=f"Api-Key {plaintext}")
    assert (response.status_code, response.json()["code"]) == (403, "access_denied")
    assert denied in response.json()["detail"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "body",
    ["[]", "{", '"x"', '{"audience":"admin"}', '{"scopes":[]}', '{"scopes":{"all":["*"]}}', '{"more":1}', "\xff",
     '{"scopes":{"read":"*"}}', '{"scopes":{"read":["a\\u0000b"]}}', '{"scopes":{"read":[1]}}', "[" * 5_000,
     '{"scopes":{"read":["**"]}}'],
)  # fmt: skip
def test_what_asks_for_no_token_is_refused(body: str) -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    response = ask(Client(), body, authorization=f"Api-Key {plaintext}")
    assert (response.status_code, response.json()["code"]) == (400, "parse_error")


@pytest.mark.django_db(transaction=True)
def test_a_token_has_a_length() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    many = [f"SYMBOL-{number}" for number in range(300)]
    response = ask(Client(), {"scopes": {"read": many}}, authorization=f"Api-Key {plaintext}")
    assert (response.status_code, "fewer patterns" in response.json()["detail"]) == (400, True)
    response = ask(Client(), " " * 70_000, authorization=f"Api-Key {plaintext}")
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.django_db(transaction=True)
def test_nobody_is_given_one(settings: Settings) -> None:
    assert ask(Client()).status_code == 401
    settings.MARKETMUX_ANONYMOUS = True
    assert ask(Client()).json()["code"] == "not_authenticated"


@pytest.mark.django_db(transaction=True)
def test_a_token_cannot_be_made_of_a_token() -> None:
    _, grant = of_key()
    response = ask(Client(), authorization=f"Bearer {issue(grant, Audience.HTTP).text}")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


@pytest.mark.django_db(transaction=True)
def test_the_reason_of_a_refusal_is_a_code() -> None:
    _, grant = of_key()
    token = issue(grant, Audience.WS).text
    for shown, code in ((token, "token_wrong_audience"), ("mmt_x", UNKNOWN), ("x.y.z", UNKNOWN)):
        response = Client().get("/api/v1/ticks", headers={"authorization": f"Bearer {shown}"})
        assert (response.status_code, response.json()["code"]) == (401, code)
    response = Client().get(f"/api/v1/ticks?access_token={token}")
    assert (response.status_code, response.json()["code"]) == (401, "credential_in_url")


@pytest.mark.django_db
def test_tokens_of_one_key_ask_the_database_once(django_assert_num_queries: Any) -> None:
    _, grant = of_key()
    made = [issue(grant, Audience.WS).text for _ in range(300)]
    with django_assert_num_queries(1):
        for token in made:
            grant_of_token(token, Audience.WS)


@pytest.mark.django_db
def test_tokens_of_what_is_no_more_ask_the_database_once(django_assert_num_queries: Any) -> None:
    key, grant = of_key()
    made = [issue(grant, Audience.WS).text for _ in range(300)]
    key.revoke()
    with django_assert_num_queries(1):
        assert {refusal(token) for token in made} == {"token_revoked"}
    key.active = True
    key.save()
    assert grant_of_token(made[0], Audience.WS)
