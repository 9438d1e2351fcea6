"""The corpus of bad input (tests/data/corpus) against a real server: each gets what its file says, and nobody else
notices: a bystander still gets its ticks after each of them, and no worker has logged a traceback.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.corpus import KINDS, cases, filled
from tests.servers import GatewayProcess
from ticks.problems import MEDIA_TYPE

PATIENCE: Final = 20.0
TICKS: Final = "/api/v1/ticks"
TICK: Final = b'{"symbol":"A","price":1}'
STREAM_ERRORS: Final = {
    "parse_error": "invalid_json",
    "invalid_ticks": "invalid_ticks",
}
"""What /ws/publish calls the errors of POST."""

PREPARE: Final = """
from datetime import timedelta
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone
from ticks.access.models import ApiKey
print("key", ApiKey.objects.issue("all")[1])
print("revoked", ApiKey.objects.issue("revoked", active=False)[1])
print("expired", ApiKey.objects.issue("expired", expires_at=timezone.now() - timedelta(hours=1))[1])
print("narrow", ApiKey.objects.issue("narrow", publish="", read="")[1])
user = User.objects.create_user("reader")
user.user_permissions.set(Permission.objects.filter(codename__in=["subscribe", "read"]))
for name in ("session", "ended"):
    session = SessionStore()
    session.update({
        "_auth_user_id": str(user.pk),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": user.get_session_auth_hash(),
    })
    session.set_expiry(3600 if name == "session" else -3600)
    session.create()
    print(name, session.session_key)
"""


class Bystander:
    """A subscriber that has done nothing wrong, and a publisher of its symbol."""

    def __init__(self, gateway: GatewayProcess, words: Mapping[str, str]) -> None:
        self._gateway = gateway
        self._headers = {"Authorization": f"Api-Key {words['key']}"}
        self._price = 0
        self._read = 0
        self.connection = Exchange(gateway)
        self.connection.open("/ws", words)
        self.connection.send(text_frame(b'{"action":"subscribe","symbol":"BYSTANDER"}'))
        assert self.connection.answer()["type"] == "subscribed"

    def check(self) -> None:
        """A tick that is published now arrives, and the log has no traceback since the last look."""
        self._price += 1
        body = json.dumps({"symbol": "BYSTANDER", "price": self._price})
        headers = {**self._headers, "Content-Type": "application/json"}
        publisher = http.client.HTTPConnection(self._gateway.host, self._gateway.port, timeout=PATIENCE)
        publisher.request("POST", TICKS, body, headers)
        assert publisher.getresponse().status == 202
        publisher.close()
        tick = self.connection.answer()
        assert (tick["type"], tick.get("price")) == ("tick", self._price), tick
        log = self._gateway.output()
        assert "Traceback" not in log[self._read :]
        self._read = len(log)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway that wants a credential."""
    directory = tmp_path_factory.mktemp("guarded")
    process = GatewayProcess(directory, database=migrated_database, MARKETMUX_ANONYMOUS="0")
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def words(guarded: GatewayProcess) -> dict[str, str]:
    """What stands for a word in the corpus."""
    lines = [line.split() for line in guarded.manage("shell", "-v", "0", "-c", PREPARE).splitlines()]
    many = ",".join(f'"X{number}"' for number in range(1_001))
    return {**{line[0]: line[1] for line in lines if len(line) == 2}, "mask": "\0" * 4, "many": many}


@pytest.fixture(scope="module")
def bystander(guarded: GatewayProcess, words: dict[str, str]) -> Iterator[Bystander]:
    found = Bystander(guarded, words)
    with found.connection:
        yield found


@pytest.fixture(autouse=True)
def nobody_else_notices(bystander: Bystander) -> Iterator[None]:
    yield
    bystander.check()


def test_there_are_cases_of_every_kind() -> None:
    assert all(len(cases(kind)) > 20 for kind in KINDS)


@pytest.mark.parametrize("case", cases("heads"))
def test_heads(guarded: GatewayProcess, words: dict[str, str], case: dict[str, Any]) -> None:
    with Exchange(guarded) as exchange:
        exchange.send(filled(case["send"], words))
        exchange.expect(case["status"], case["code"])
        assert case.get("silent", "\0").encode() not in exchange.rest()


@pytest.mark.parametrize("case", cases("bodies"))
def test_bodies(guarded: GatewayProcess, words: dict[str, str], case: dict[str, Any]) -> None:
    body = filled(case["send"], words)
    kind = case.get("type", "application/json")
    headers = {"Content-Type": kind, "Authorization": "Api-Key ⟨key⟩", **case.get("set", {})}
    headers["Content-Length"] = str(len(body))
    for cookie in ("", "theme=dark"):  # by the short way, and by Django's
        with Exchange(guarded) as exchange:
            exchange.send(head(f"POST {TICKS} HTTP/1.1", {**headers, "Cookie": cookie}, words) + body)
            problem = exchange.expect(case["status"], case["code"])
        assert mistakes(problem) == case.get("errors", [])
    code = case.get("stream", STREAM_ERRORS.get(case["code"], "") if kind == "application/json" else "")
    if code:
        with Exchange(guarded) as exchange:
            exchange.open("/ws/publish", words)
            exchange.send(text_frame(body))
            error = exchange.answer()
        assert (error["type"], error["code"], mistakes(error)) == ("error", code, case.get("errors", []))


@pytest.mark.parametrize("case", cases("frames"))
def test_frames(guarded: GatewayProcess, words: dict[str, str], case: dict[str, Any]) -> None:
    with Exchange(guarded) as exchange:
        exchange.open(case.get("path", "/ws"), words)
        exchange.send(text_frame(filled(case["text"], words)) if "text" in case else filled(case["frames"], words))
        if "error" in case:
            error = exchange.answer()
            assert (error["type"], error["code"]) == ("error", case["error"])
        if "close" in case:
            assert exchange.closed_with() == case["close"]
        else:
            exchange.send(b"\x89\x82" + bytes(4) + b"on")
            assert exchange.frame() == (10, b"on")


@pytest.mark.parametrize("case", cases("handshakes"))
def test_handshakes(guarded: GatewayProcess, words: dict[str, str], case: dict[str, Any]) -> None:
    headers = {**HANDSHAKE, **({"Authorization": "Api-Key ⟨key⟩"} if case.get("key") else {}), **case.get("set", {})}
    with Exchange(guarded) as exchange:
        exchange.send(head(case.get("line", "GET /ws HTTP/1.1"), headers, words) + case.get("body", "").encode())
        exchange.expect(case["status"], case.get("code"))


@pytest.mark.parametrize("case", cases("credentials"))
def test_credentials(guarded: GatewayProcess, words: dict[str, str], case: dict[str, Any]) -> None:
    shown, query = case.get("set", {}), case.get("query", "")
    posted = {"Content-Type": "application/json", "Content-Length": str(len(TICK))}
    requests = [
        head(f"POST {TICKS}{query} HTTP/1.1", {**posted, **shown}, words) + TICK,
        head(f"GET {TICKS}{query} HTTP/1.1", shown, words),
        head(f"GET /ws{query} HTTP/1.1", {**HANDSHAKE, **shown}, words),
        head(f"GET /ws/publish{query} HTTP/1.1", {**HANDSHAKE, **shown}, words),
    ]
    for request, status in zip(requests, case["statuses"], strict=True):
        with Exchange(guarded) as exchange:
            exchange.send(request)
            exchange.expect(status)


HANDSHAKE: Final = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


def head(line: str, headers: Mapping[str, str], words: Mapping[str, str]) -> bytes:
    """A request's head; a header that is empty is left out."""
    lines = [line, *(f"{name}: {value}" for name, value in {"Host": "localhost", **headers}.items() if value)]
    return filled("\r\n".join([*lines, "", ""]), words)


def text_frame(payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8) if size > 65_535 else (
        b"\xfe" + size.to_bytes(2)
    )  # fmt: skip
    return b"\x81" + length + bytes(4) + payload


def mistakes(answer: Mapping[str, Any]) -> list[str]:
    return [f"{error['index']} {error['field']} {error['code']}" for error in answer.get("errors", ())]


class Exchange:
    """A connection on which bytes are sent as they are."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._socket = socket.create_connection((gateway.host, gateway.port), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            """The server has closed before it had all; what it answered is there to read."""

    def expect(self, status: int, code: str | None = None) -> Any:
        """The answer must have this status and, if it is an error, be a problem with this code; returns the problem."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        body = response.read() if response.status != 101 else b""
        assert response.status == status, body
        if status < 400:
            return {}
        assert response.headers["Content-Type"] == MEDIA_TYPE
        problem = json.loads(body)
        assert problem["status"] == status
        assert code is None or problem["code"] == code, problem
        return problem

    def rest(self) -> bytes:
        """What else comes, until the connection ends or nothing has come for a while."""
        self._socket.settimeout(0.2)
        received = b""
        try:
            while more := self._socket.recv(65_536):
                received += more
        except OSError:
            pass
        return received

    def open(self, path: str, words: Mapping[str, str]) -> None:
        """Makes a WebSocket of it, and reads its welcome."""
        nonce = base64.b64encode(os.urandom(16)).decode()
        headers = {**HANDSHAKE, "Sec-WebSocket-Key": nonce, "Authorization": "Api-Key ⟨key⟩"}
        self.send(head(f"GET {path} HTTP/1.1", headers, words))
        assert b" 101 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            """The rest of the head."""
        assert self.answer()["type"] == "welcome"

    def frame(self) -> tuple[int, bytes]:
        """The next frame that is no heartbeat and no ping, which is answered: its opcode and payload."""
        while True:
            first, size = self._file.read(2)
            size = int.from_bytes(self._file.read({126: 2, 127: 8}[size])) if size > 125 else size
            payload = self._file.read(size)
            if first & 15 == 9:
                self.send(bytes([0x8A, 0x80 | size]) + bytes(4) + payload)
            elif first & 15 != 1 or not payload.startswith(b'{"type":"heartbeat"'):
                return first & 15, payload

    def answer(self) -> Any:
        opcode, payload = self.frame()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    def closed_with(self) -> int:
        """The code of the close frame, which may have messages and pongs before it."""
        while (found := self.frame())[0] in {1, 10}:
            """Such as the message that says why."""
        assert found[0] == 8
        return int.from_bytes(found[1][:2])
