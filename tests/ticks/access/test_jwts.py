"""JWTs of the users' own application: what they allow, and every way in which one can be wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from asgiref.sync import sync_to_async
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.core.exceptions import SynchronousOnlyOperation
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from ticks import lookups
from ticks.access import checks, jwks, jwts
from ticks.access.credentials import MAX_TOKEN_BYTES, InvalidCredential
from ticks.access.door import find_from_loop, of_header
from ticks.access.grant import Grant, Scope
from ticks.access.jwks import KeySet, parse
from ticks.access.jwts import LEEWAY
from ticks.access.users import EntitlementsUnavailable

SECRET = "a secret of the tests, as long as one should be"
ISSUER, AUDIENCE = "https://shop.example", "ticks"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65_537, 2_048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
MISSING = ...  # has the same name in every worker of xdist


@pytest.fixture
def secret(settings: Settings) -> None:
    settings.MARKETMUX_JWT_SECRET = SECRET
    settings.MARKETMUX_JWT_ISSUER = ISSUER
    settings.MARKETMUX_JWT_AUDIENCE = AUDIENCE


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 60, "marketmux": {"subscribe": ["AAPL"]}}
    return {name: value for name, value in (usual | changed).items() if value is not MISSING}


def signed(key: Any = SECRET, algorithm: str = "HS256", head: Any = None, **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm, headers=head)


def by_hand(head: Any, body: Any, secret: bytes = SECRET.encode()) -> str:
    """A token whose parts may be anything, signed with HS256 whatever its head says."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(secret, text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def granted(token: str) -> Grant:
    grant = of_header(f"Bearer {token}".encode())
    assert grant is not None
    return grant


def refusal(token: str) -> str:
    with pytest.raises(InvalidCredential) as caught:
        granted(token)
    return caught.value.code


# What they allow


@pytest.mark.usefixtures("secret")
def test_a_token_allows_what_its_claim_says() -> None:
    exp = int(time.time()) + 60
    grant = granted(signed(exp=exp, marketmux={"subscribe": ["AAPL", "BTC-*"], "publish": ["X"]}))
    assert [list(patterns) for patterns in (grant.publish, grant.subscribe, grant.read)] == [
        ["X"],
        ["AAPL", "BTC-*"],
        [],
    ]
    assert (grant.owner, grant.who) == (f"jwt:{ISSUER}|alice", f"alice of {ISSUER}")
    assert (grant.expires, grant.renew) == (exp + LEEWAY, None)
    assert grant.stands_on


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
def test_a_token_may_have_several_audiences(audience: Any) -> None:
    assert granted(signed(aud=audience)).subscribe


@pytest.mark.usefixtures("secret")
def test_a_token_without_the_claim_allows_nothing() -> None:
    grant = granted(signed(marketmux=MISSING))
    assert not any(grant.of(scope) for scope in Scope)


@pytest.mark.usefixtures("secret")
def test_owners_are_told_apart() -> None:
    assert granted(signed(sub="a:b")).owner != granted(signed(sub="a%3Ab")).owner
    assert ":" not in granted(signed(sub="a:b")).owner.removeprefix(f"jwt:{ISSUER}")


@pytest.mark.usefixtures("secret")
@pytest.mark.django_db
def test_a_token_opens_the_http_api_and_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = Client().get(
            "/api/v1/access", headers={"authorization": f"Bearer {signed(marketmux={'read': ['*']})}"}
        )
    assert (answer.json()["who"], answer.json()["read"]["patterns"]) == (f"alice of {ISSUER}", ["*"])


# How they are wrong

NOW = int(time.time())
WITH_REASON = [
    ({"exp": NOW - 60}, "token_expired"), ({"exp": 0}, "token_expired"), ({"exp": -1}, "token_expired"),
    ({"nbf": NOW + 86_400}, "token_not_yet_valid"), ({"iat": NOW + 900}, "token_not_yet_valid"),
    ({"iss": "https://evil.example"}, "token_wrong_issuer"), ({"iss": f"{ISSUER}/"}, "token_wrong_issuer"),
    ({"iss": ""}, "token_wrong_issuer"),
    ({"aud": "other"}, "token_wrong_audience"), ({"aud": []}, "token_wrong_claims"),
    ({"aud": [1]}, "token_wrong_audience"), ({"aud": {}}, "token_wrong_claims"), ({"aud": 1}, "token_wrong_audience"),
    ({"exp": MISSING}, "token_wrong_claims"), ({"exp": None}, "token_wrong_claims"),
    ({"iss": MISSING}, "token_wrong_claims"), ({"aud": MISSING}, "token_wrong_claims"),
    ({"sub": MISSING}, "token_wrong_claims"), ({"sub": ""}, "token_wrong_claims"),
    ({"sub": "a" * 201}, "token_wrong_claims"), ({"sub": "a\nb"}, "token_wrong_claims"),
    ({"sub": "\x00"}, "token_wrong_claims"), ({"sub": "\ud800"}, "token_wrong_claims"),
    ({"exp": str(NOW + 86_400)}, "token_wrong_claims"), ({"exp": 10**18}, "token_wrong_claims"),
    ({"marketmux": None}, "token_wrong_claims"), ({"marketmux": "*"}, "token_wrong_claims"),
    ({"marketmux": ["*"]}, "token_wrong_claims"), ({"marketmux": {"subscribe": "*"}}, "token_wrong_claims"),
    ({"marketmux": {"subscribe": ["A,B"]}}, "token_wrong_claims"),
    ({"marketmux": {"subscribe": ["**"]}}, "token_wrong_claims"),
    ({"marketmux": {"subscribe": [""]}}, "token_wrong_claims"),
    ({"marketmux": {"subscribe": [1]}}, "token_wrong_claims"),
    ({"marketmux": {"subscribe": None}}, "token_wrong_claims"),
    ({"marketmux": {"admin": ["*"]}}, "token_wrong_claims"),
]  # fmt: skip


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(("changed", "code"), WITH_REASON)
def test_a_genuine_token_that_will_not_do_is_refused_with_a_reason(changed: Any, code: str) -> None:
    assert refusal(by_hand({"alg": "HS256", "typ": "JWT"}, claims(**changed))) == code


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("changed", [{"sub": 1}, {"sub": None}, {"nbf": "x"}, {"nbf": None}, {"iat": "x"}, {"exp": "x"},
                                     {"exp": []}, {"exp": True}, {"iat": []}, {"exp": float("inf")},
                                     {"nbf": float("nan")}, {"jti": 5}])  # fmt: skip
def test_claims_of_the_wrong_kind_are_refused(changed: Any) -> None:
    assert refusal(by_hand({"alg": "HS256"}, claims(**changed))).startswith("token_")


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("changed", [{}, *(changed for changed, _ in WITH_REASON)])
def test_who_forges_one_learns_nothing(changed: Any) -> None:
    assert (
        refusal(by_hand({"alg": "HS256"}, claims(**changed), b"another secret, which is as long as it should be"))
        == "token_invalid"
    )


@pytest.mark.usefixtures("secret")
def test_a_token_with_no_signature_is_none() -> None:
    for alg in ("none", "None", "NONE", "nOnE", "", None, 0, [], ["HS256"], {"a": 1}, "HS384", "RS256", "ES256", "dir"):
        assert refusal(by_hand({"alg": alg}, claims())) == "token_invalid", alg
    assert refusal(by_hand({}, claims())) == "token_invalid"
    head, body, _ = signed().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for text in (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}", f"{none}.{body}"):
        assert refusal(text) == "token_invalid"


@pytest.mark.usefixtures("secret")
def test_a_token_that_was_tampered_with_is_none() -> None:
    token = signed()
    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        assert refusal(f"{token[:place]}{other}{token[place + 1 :]}") == "token_invalid"
        if token[:place]:
            assert refusal(token[:place]) == "token_invalid"


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    ("head", "body"),
    [(b"x", {}), (b"[]", {}), (b'"x"', {}), (b"\xff", {}), ({"alg": "HS256"}, b"x"), ({"alg": "HS256"}, b"[]"),
     ({"alg": "HS256"}, b"\xff"), (b"[" * 1_500, {}), ({"alg": "HS256"}, b"[" * 1_500), ({"alg": "HS256"}, b""),
     ({"alg": "HS256", "crit": ["x"]}, None), ({"alg": "HS256", "crit": []}, None), ({"alg": "HS256", "kid": 5}, None),
     ({"alg": "HS256", "b64": False, "crit": ["b64"]}, None), ({"alg": "HS256", "kid": ["a"]}, None),
     (b'{"alg":"HS256","alg":"none"}', None), ({"alg": "HS256"}, b'{"exp":1' + b"0" * 1_500 + b"}")],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_no_token(head: Any, body: Any) -> None:
    code = refusal(by_hand(head, claims() if body is None else body))
    assert code in {"token_invalid", "token_wrong_claims"}


@pytest.mark.usefixtures("secret")
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200))
def test_what_is_made_up_is_no_token(text: str) -> None:
    assert refusal(text) == "token_invalid"


@pytest.mark.usefixtures("secret")
def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    token = signed(note="x" * 4_000)
    assert len(token) > MAX_TOKEN_BYTES
    assert refusal(token) == "token_invalid"


@pytest.mark.parametrize("missing", ["MARKETMUX_JWT_ISSUER", "MARKETMUX_JWT_AUDIENCE", "MARKETMUX_JWT_SECRET"])
@pytest.mark.usefixtures("secret")
def test_without_what_to_hold_them_to_none_are_taken(settings: Settings, missing: str) -> None:
    setattr(settings, missing, "")
    assert refusal(signed()) == "token_invalid"
    assert refusal(signed(key="x" * 32, iss="", aud="")) == "token_invalid"


@pytest.mark.usefixtures("secret")
def test_the_algorithms_are_pinned(settings: Settings) -> None:
    key = "x" * 64
    settings.MARKETMUX_JWT_SECRET = key
    assert granted(signed(key))
    assert refusal(signed(key, "HS512")) == "token_invalid"
    settings.MARKETMUX_JWT_ALGORITHMS = ["HS512", "RS256", "none"]
    assert granted(signed(key, "HS512"))
    for algorithm in ("HS256", "none"):
        assert refusal(by_hand({"alg": algorithm}, claims(), key.encode())) == "token_invalid"


def test_a_weak_secret_opens_nothing(settings: Settings, secret: None) -> None:
    settings.MARKETMUX_JWT_SECRET = "weak"
    assert refusal(by_hand({"alg": "HS256"}, claims(), b"weak")) == "token_invalid"


# Public keys


class Source:
    """The address of a JWK Set, over real HTTP."""

    def __init__(self) -> None:
        self.body: bytes | int = b"{}"
        self.asked = 0
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                time.sleep(outer.delay)
                body = outer.body if isinstance(outer.body, bytes) else b""
                self.send_response(200 if isinstance(outer.body, bytes) else outer.body)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def offer(self, *kids: str, **more: Any) -> None:
        self.body = json.dumps({"keys": [public(kid) | more for kid in kids]}).encode()


def public(algorithm: str) -> dict[str, Any]:
    """The public key as a JWK; its name is the algorithm."""
    key = PRIVATE[algorithm].public_key()
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    made.pop("key_ops", None)
    return made | {"kid": algorithm, "use": "sig"}


@pytest.fixture
def source(settings: Settings, secret: None) -> Iterator[Source]:
    source = Source()
    settings.MARKETMUX_JWT_SECRET = ""
    settings.MARKETMUX_JWT_JWKS_URL = source.url
    source.offer("RS256", "ES256", "ES384", "EdDSA")
    yield source
    source.server.shutdown()
    source.server.server_close()


def private(algorithm: str, **changed: Any) -> str:
    return signed(PRIVATE[algorithm], algorithm, {"kid": algorithm}, **changed)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_is_signed_with_the_key_that_it_names(source: Source, algorithm: str) -> None:
    assert granted(private(algorithm)).owner.endswith("|alice")
    assert source.asked == 1
    for other in PRIVATE:
        if other != algorithm:
            assert refusal(signed(PRIVATE[algorithm], algorithm, {"kid": other})) == "token_invalid"


def test_a_public_key_is_no_secret(source: Source) -> None:
    key = PRIVATE["RS256"].public_key()
    shapes = [
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(public("RS256")).encode(),
    ]
    for shape in shapes:
        for alg in ("HS256", "RS256", "none"):
            assert refusal(by_hand({"alg": alg, "kid": "RS256"}, claims(), shape)) == "token_invalid"


def test_a_key_is_for_its_algorithm(settings: Settings, source: Source) -> None:
    token = signed(PRIVATE["RS256"], "PS256", {"kid": "RS256"})
    assert granted(token)
    settings.MARKETMUX_JWT_ALGORITHMS = ["RS256"]
    assert refusal(token) == "token_invalid"
    assert refusal(private("ES256")) == "token_invalid"
    assert granted(private("RS256"))


def test_a_token_need_not_name_the_only_key(source: Source) -> None:
    source.offer("ES256")
    assert granted(signed(PRIVATE["ES256"], "ES256"))
    assert refusal(signed(PRIVATE["ES384"], "ES384")) == "token_invalid"


def test_a_token_must_name_one_of_several(source: Source) -> None:
    assert refusal(signed(PRIVATE["ES256"], "ES256")) == "token_invalid"


@pytest.mark.parametrize("head", [{"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"}])
def test_where_keys_come_from_is_not_for_a_token_to_say(source: Source, head: dict[str, str]) -> None:
    stranger: Any = ec.generate_private_key(ec.SECP256R1())
    assert refusal(signed(stranger, "ES256", {"kid": "ES256"} | head)) == "token_invalid"
    own = {"jwk": jwt.get_algorithm_by_name("ES256").to_jwk(stranger.public_key(), as_dict=True)}
    assert refusal(signed(stranger, "ES256", {"kid": "ES256"} | own)) == "token_invalid"


def test_an_unknown_key_is_asked_for_once_in_a_while(source: Source) -> None:
    granted(private("ES256"))
    for number in range(50):
        assert refusal(signed(PRIVATE["ES256"], "ES256", {"kid": f"made up {number}"})) == "token_invalid"
    assert source.asked == 1  # within seconds of the last time


def test_a_new_key_is_fetched_and_an_old_one_is_kept_while_the_source_is_away(source: Source) -> None:
    now = [1_000.0]
    keys = KeySet(source.url, lambda: now[0])
    source.offer("ES256")
    wait(keys, "ES256")
    assert keys.find("ES256")
    source.body = 503
    now[0] += 1_000
    wait(keys, "RS256")
    assert (keys.find("RS256"), source.asked) == (None, 2)
    assert keys.find("ES256")
    source.offer("RS256")
    wait(keys, "RS256")
    assert (keys.find("RS256"), source.asked) == (None, 2)
    now[0] += 6
    wait(keys, "RS256")
    assert keys.find("RS256")
    assert keys.find("ES256") is None  # which was withdrawn


def wait(keys: KeySet, kid: str) -> None:
    if (fetch := keys.refresh(kid)) is not None:
        fetch.result(30)


def test_known_keys_are_looked_at_again_in_time_and_nobody_waits(source: Source) -> None:
    now = [1_000.0]
    keys = KeySet(source.url, lambda: now[0])
    wait(keys, "ES256")
    now[0] += 299
    assert keys.refresh("ES256") is None
    now[0] += 2
    wait(keys, "ES256")
    assert source.asked == 2


def test_before_the_keys_are_known_nobody_can_say_what_a_token_is(source: Source) -> None:
    source.body = 500
    with pytest.raises(EntitlementsUnavailable):
        granted(private("ES256"))
    answer = Client().get("/api/v1/access", headers={"authorization": f"Bearer {private('ES256')}"})
    assert answer.status_code == 503


async def test_the_event_loop_does_not_wait_for_the_keys(source: Source) -> None:
    source.delay = 0.5
    with pytest.raises(SynchronousOnlyOperation):
        granted(private("ES256"))
    grant = await find_from_loop(f"Bearer {private('ES256')}".encode())
    assert grant.owner.endswith("|alice")
    assert (await find_from_loop(f"Bearer {private('RS256')}".encode())).owner == grant.owner
    assert source.asked == 1
    assert await sync_to_async(granted)(private("EdDSA"))


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[1,null,"x",{}]}', b"\xff", b"[" * 100_000,
     b"x" * 300_000, 302, 404, 500],
)  # fmt: skip
def test_what_is_no_key_set_brings_no_keys(source: Source, body: bytes | int) -> None:
    source.body = body
    keys = KeySet(source.url)
    wait(keys, "ES256")
    assert not keys.is_known


@pytest.mark.parametrize(
    "more",
    [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": 5}, {"kty": "oct", "k": "AAAA"}, {"kty": []}, {"kty": None},
     {"crv": "P-999"}, {"crv": []}, {"alg": "HS256"}, {"alg": "none"}, {"alg": ["ES256"]}, {"alg": "RSA-OAEP"},
     {"x": "!"}, {"x": 5}, {"kid": 5}, {"kid": ["ES256"]}, {"d": "AAAA"}],
)  # fmt: skip
def test_only_public_keys_for_signatures_are_taken(more: dict[str, Any]) -> None:
    good, other = public("ES256"), public("RS256")
    assert set(parse(json.dumps({"keys": [good | more, other]}).encode())) == {"RS256"}


def test_only_the_web_is_asked(settings: Settings) -> None:
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/", "data:,x"):
        keys = KeySet(url)
        wait(keys, "a")
        assert not keys.is_known


async def test_keys_that_come_slowly_hold_none_of_the_threads_that_ask_the_database(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwts, "PATIENCE", 0.1)
    monkeypatch.setattr(lookups, "ask", None)
    source.delay = 1.0
    made_up = [f"Bearer {signed(PRIVATE['ES256'], 'ES256', {'kid': str(number)})}".encode() for number in range(50)]
    found = await asyncio.gather(*map(find_from_loop, made_up), return_exceptions=True)
    assert {type(one) for one in found} == {EntitlementsUnavailable}
    await asyncio.sleep(0.5)
    assert source.asked == 1


def test_keys_come_slowly_or_not_at_all(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "PATIENCE", 0.2)
    source.delay = 1.0
    keys = KeySet(source.url)
    wait(keys, "ES256")
    assert not keys.is_known


# Checks


@pytest.mark.parametrize(
    ("changed", "ids"),
    [({}, []), ({"SECRET": ""}, []), ({"ISSUER": ""}, ["E022"]), ({"AUDIENCE": ""}, ["E022"]),
     ({"SECRET": "short"}, ["E024"]), ({"SECRET": "-----BEGIN PUBLIC KEY-----" + "A" * 40}, ["E024"]),
     ({"ALGORITHMS": ["none"]}, ["E023"]), ({"ALGORITHMS": ["RS256"]}, ["E023"]), ({"ALGORITHMS": ["HS512"]}, ["E024"]),
     ({"JWKS_URL": "https://a.example"}, ["E020"]), ({"SECRET": "", "JWKS_URL": "https://a.example/keys"}, []),
     ({"SECRET": "", "JWKS_URL": "file:///etc/passwd"}, ["E021"]), ({"SECRET": "", "JWKS_URL": "keys"}, ["E021"]),
     ({"SECRET": "", "JWKS_URL": "https://a.example", "ALGORITHMS": ["HS256"]}, ["E023"]),
     ({"SECRET": "", "JWKS_URL": "https://a.example", "ALGORITHMS": ["ES256", "PS256"]}, [])],
)  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_found(
    settings: Settings, secret: None, changed: dict[str, Any], ids: list[str]
) -> None:
    for name, value in changed.items():
        setattr(settings, f"MARKETMUX_JWT_{name}", value)
    assert [message.id for message in checks.check_jwts()] == [f"ticks.{number}" for number in ids]


def test_the_secret_is_not_djangos(settings: Settings, secret: None) -> None:
    settings.SECRET_KEY = SECRET
    assert [message.id for message in checks.check_jwts()] == ["ticks.E024"]


def test_keys_over_plain_http_are_warned_of(settings: Settings) -> None:
    assert not checks.check_jwts_deployed()
    settings.MARKETMUX_JWT_JWKS_URL = "http://a.example/keys"
    assert [message.id for message in checks.check_jwts_deployed()] == ["ticks.W020"]
