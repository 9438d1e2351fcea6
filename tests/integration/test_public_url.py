"""One variable, ``MARKETMUX_PUBLIC_URL``, and what follows from it: behind a proxy that ends TLS, and over Daphne's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.exceptions import InvalidStatus

from tests.environment import clean_environment
from tests.integration.tls import certificate_in, over_tls, trusting
from tests.servers import ROOT, SETTINGS, GatewayProcess, wait_until

PUBLIC = "https://ticks.example.com"
SECRET = "a secret key of the tests that is as long as it should be"
NAME = {"Host": "ticks.example.com"}
HTTPS = NAME | {"X-Forwarded-Proto": "https"}
OVER_TLS = "X-Forwarded-Proto: https"
TICK = {"symbol": "AAPL", "price": 1}
TICKS = "/api/v1/ticks"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway that was told its address and nothing else."""
    directory = tmp_path_factory.mktemp("public")
    process = GatewayProcess(directory, database=migrated_database, MARKETMUX_PUBLIC_URL=PUBLIC, SECRET_KEY=SECRET)
    process.start()
    yield process
    process.stop()


def check(**environment: str) -> str:
    """What ``check --deploy`` complains about."""
    run = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=clean_environment()
        | {"DJANGO_SETTINGS_MODULE": SETTINGS, "SECRET_KEY": SECRET, "DATABASE_URL": "sqlite://:memory:"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode != 0) is bool(run.stderr), run.stderr
    return run.stderr


def test_with_a_public_url_there_is_nothing_left_to_complain_about() -> None:
    assert check(MARKETMUX_PUBLIC_URL=PUBLIC) == ""
    assert "ticks.W005" in check()  # and Django's own, about HTTPS


@pytest.mark.parametrize(
    ("environment", "complaints"),
    [
        (
            {
                "MARKETMUX_ANONYMOUS": "1",
                "ALLOWED_HOSTS": "*",
                "MARKETMUX_ALLOWED_ORIGINS": "https://a.example,*",
                "MARKETMUX_METRICS_TOKEN": "short",
                "SECRET_KEY": "secret",
            },
            ["ticks.W002", "ticks.W003", "ticks.W004", "ticks.W006", "ticks.E005"],
        ),
        (
            {"SECRET_KEY": "django-insecure-" + SECRET, "MARKETMUX_TRUSTED_PROXIES": "proxy.example"},
            ["ticks.E005", "MARKETMUX_TRUSTED_PROXIES"],
        ),
        (
            {"SECRET_KEY": "ab" * 30, "MARKETMUX_TRUSTED_PROXIES": "0.0.0.0/0"},
            ["ticks.E005", "MARKETMUX_TRUSTED_PROXIES"],
        ),
        *(
            ({"MARKETMUX_PUBLIC_URL": wrong}, ["ticks.E001", "MARKETMUX_PUBLIC_URL"])
            for wrong in ("ticks.example.com", f"{PUBLIC}/path", "https://user@ticks.example.com")
        ),
    ],
    ids=str,
)
def test_what_opens_a_public_gateway_is_complained_about(environment: dict[str, str], complaints: list[str]) -> None:
    said = check(**{"MARKETMUX_PUBLIC_URL": PUBLIC} | environment)
    assert [complaint for complaint in complaints if complaint not in said] == []


# Plain HTTP


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/v1/ticks?page=2", "/api/auth/login/", "/nowhere"])
def test_plain_http_is_sent_to_https(public: GatewayProcess, path: str) -> None:
    response = httpx.get(public.http + path, headers=NAME)
    assert (response.status_code, response.headers["location"]) == (301, PUBLIC + path)


@pytest.mark.parametrize("headers", [NAME, NAME | {"Cookie": "theme=dark"}, {"Host": "evil.example"}])
def test_a_publisher_is_sent_there_in_a_way_that_keeps_its_post(
    public: GatewayProcess, headers: dict[str, str]
) -> None:
    response = httpx.post(public.http + TICKS, json=TICK, headers=headers)
    assert (response.status_code, response.headers["location"]) == (308, PUBLIC + TICKS)
    assert httpx.get(public.http + TICKS + "/AAPL", headers=HTTPS).status_code == 404


@pytest.mark.parametrize("host", ["10.0.0.5:8000", "ticks.example.com", "gateway"])
def test_a_load_balancer_asks_by_address_and_over_plain_http(public: GatewayProcess, host: str) -> None:
    assert httpx.get(f"{public.http}/healthz", headers={"Host": host}).status_code == 200


# Behind a proxy


@pytest.mark.parametrize("path", ["/admin/login/", TICKS, "/"])
def test_answers_keep_browsers_to_https(public: GatewayProcess, path: str) -> None:
    response = httpx.get(public.http + path, headers=HTTPS)
    assert response.status_code == 200
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_publishers_answer_has_the_same_headers(public: GatewayProcess) -> None:
    response = httpx.post(public.http + TICKS, json={**TICK, "symbol": "POSTED"}, headers=HTTPS)
    assert response.status_code == 202
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "ticks.example.com.evil.example"])
def test_another_host_is_refused(public: GatewayProcess, host: str) -> None:
    headers = HTTPS | {"Host": host}
    assert httpx.get(public.http + TICKS, headers=headers).status_code == 400
    assert httpx.post(public.http + TICKS, json=TICK, headers=headers).status_code == 400


def test_one_logs_in_with_secure_cookies(public: GatewayProcess) -> None:
    public.manage("shell", "-c", _MAKE_ADMIN)
    with httpx.Client(base_url=public.http, headers=HTTPS | {"Origin": PUBLIC}, timeout=60) as browser:
        cookies = browser.get("/admin/login/").headers.get_list("set-cookie")
        token = cookies[0].partition("=")[2].partition(";")[0]
        answer = browser.post(
            "/admin/login/?next=/admin/",
            data={"username": "admin", "password": "the password", "csrfmiddlewaretoken": token},
            headers={"Cookie": f"csrftoken={token}"},
        )
        cookies += answer.headers.get_list("set-cookie")
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
    assert {cookie.partition("=")[0] for cookie in cookies} == {"csrftoken", "sessionid"}
    assert all("; Secure" in cookie for cookie in cookies)


def test_links_are_those_of_the_public_address(public: GatewayProcess) -> None:
    document = httpx.get(f"{public.http}/api/v1/asyncapi.json", headers=HTTPS).json()
    assert document["servers"]["gateway"] == {"host": "ticks.example.com", "protocol": "wss"}
    httpx.post(public.http + TICKS, json=[{**TICK, "symbol": name} for name in "ABC"], headers=HTTPS)
    page = httpx.get(public.http + TICKS, params={"page_size": 1}, headers=HTTPS).json()
    assert page["next"].startswith(f"{PUBLIC}{TICKS}?")


# WebSockets


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (PUBLIC, 101),
        ("https://TICKS.example.com:443", 101),
        ("http://ticks.example.com", 403),
        ("https://ticks.example.com:8443", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_only_pages_of_the_public_address_open_a_socket(public: GatewayProcess, origin: str, status: int) -> None:
    # The websockets library writes a Host of its own; a proxy passes on the client's.
    assert await raw_handshake(public, "ticks.example.com", origin, more=OVER_TLS) == status


@pytest.mark.parametrize("path", ["/ws", "/ws/publish", "/ws?a=b"])
async def test_a_socket_in_the_clear_is_sent_to_tls_as_a_request_is(public: GatewayProcess, path: str) -> None:
    reader, writer = await asyncio.open_connection(public.host, public.port)
    writer.write(handshake("ticks.example.com", path=path))
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    writer.close()
    assert head.startswith("http/1.1 301 ")
    assert f"\r\nlocation: wss://ticks.example.com{path}\r\n" in head


@pytest.mark.parametrize("origin", ["", PUBLIC])
@pytest.mark.parametrize("path", ["/ws", "/ws/publish"])
async def test_the_host_of_a_handshake_is_held_to_that_of_a_request(
    public: GatewayProcess, path: str, origin: str
) -> None:
    assert await raw_handshake(public, "evil.example", origin, path) == 400
    assert await raw_handshake(public, "127.0.0.1", origin, path) == 400
    assert await raw_handshake(public, "ticks.example.com:443", origin, path, OVER_TLS) == 101


async def raw_handshake(gateway: GatewayProcess, host: str, origin: str = "", path: str = "/ws", more: str = "") -> int:
    """The status of a handshake with this Host."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(handshake(host, origin, path, more))
    try:
        async with asyncio.timeout(60):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()


def handshake(host: str, origin: str = "", path: str = "/ws", more: str = "") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Origin: {origin}"] if origin else []),
        *([more] if more else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


# Named proxies


@pytest.mark.parametrize(("proxies", "post", "origin"), [("127.0.0.0/8", 202, 101), ("192.0.2.1", 308, 301)])
async def test_only_named_proxies_say_what_was_https(
    tmp_path: Path, migrated_database: Path, proxies: str, post: int, origin: int
) -> None:
    gateway = GatewayProcess(
        tmp_path / "gateway",
        database=migrated_database,
        MARKETMUX_PUBLIC_URL=PUBLIC,
        MARKETMUX_TRUSTED_PROXIES=proxies,
        SECRET_KEY=SECRET,
    )
    gateway.start()
    try:
        async with httpx.AsyncClient() as http:
            assert (await http.post(gateway.http + TICKS, json=TICK, headers=HTTPS)).status_code == post
        assert await raw_handshake(gateway, "ticks.example.com", PUBLIC, more=OVER_TLS) == origin
    finally:
        gateway.stop()


# TLS that Daphne ends


def test_over_daphnes_own_tls_it_is_the_same(tmp_path: Path, migrated_database: Path) -> None:
    certificate = certificate_in(tmp_path)
    trust = trusting(certificate)
    gateway = GatewayProcess(
        tmp_path / "tls",
        server="daphne",
        database=migrated_database,
        MARKETMUX_PUBLIC_URL=PUBLIC,
        SECRET_KEY=SECRET,
    )
    over_tls(gateway, certificate)
    gateway.start(ready=False)
    url = gateway.http.replace("http:", "https:")

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz", verify=trust).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 30)
        with httpx.Client(base_url=url, verify=trust, headers=NAME) as http:
            assert http.get("/").headers["strict-transport-security"] == "max-age=31536000"
            posted = http.post(TICKS, json=TICK)
            assert (posted.status_code, posted.headers["strict-transport-security"]) == (202, "max-age=31536000")
            assert http.post(TICKS, json=TICK, headers={"X-Forwarded-Proto": "http"}).status_code == 308
    finally:
        gateway.stop()


async def test_over_daphnes_own_tls_a_page_over_plain_http_is_another_origin(
    tmp_path: Path, migrated_database: Path
) -> None:
    certificate = certificate_in(tmp_path)
    trust = trusting(certificate)
    gateway = over_tls(GatewayProcess(tmp_path / "tls", server="daphne", database=migrated_database), certificate)
    gateway.start(ready=False)
    host = f"127.0.0.1:{gateway.port}"

    async def status(origin: str) -> int:
        try:
            async with websockets.connect(gateway.ws.replace("ws:", "wss:"), ssl=trust, origin=origin):  # type: ignore[arg-type] # a str too
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code
        except OSError:
            return 0

    try:
        for _ in range(60):
            if await status(f"https://{host}"):
                break
            await asyncio.sleep(0.5)
        assert await status(f"https://{host}") == 101
        assert await status(f"http://{host}") == 403
    finally:
        gateway.stop()


_MAKE_ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("admin", password="the password")
"""
