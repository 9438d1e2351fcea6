"""What docs/how-to/django.md says, done: the gateway's apps in a new Django project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.environment import clean_environment
from tests.servers import free_port, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/how-to/django.md").read_text()
SETTINGS, ASGI, URLS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[:3]

ORDER: Final = """
from django.db import transaction
from django.http import JsonResponse
import marketmux


def order(request):
    try:
        with transaction.atomic():
            marketmux.publish_on_commit({"symbol": "AAPL", "price": request.GET["price"]})
            if "fail" in request.GET:
                raise ArithmeticError
    except ArithmeticError:
        return JsonResponse({}, status=409)
    return JsonResponse({})


async def trade(request):
    return JsonResponse((await marketmux.apublish({"symbol": "AAPL", "price": 2}))._asdict())


def sold(request):
    return JsonResponse(marketmux.publish({"symbol": "AAPL", "price": 3.5})._asdict())


urlpatterns = [path("order", order), path("trade", trade), path("sold", sold), *urlpatterns]
"""
CHAT: Final = """
import json

from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import re_path


def said(scope, text):
    return {"type": "chat.message", "message": f"{scope['user'].username or 'somebody'}: {json.loads(text)['message']}"}


class SyncChat(WebsocketConsumer):
    def connect(self):
        self.room = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        async_to_sync(self.channel_layer.group_add)(self.room, self.channel_name)
        self.accept()

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(self.room, self.channel_name)

    def receive(self, text_data=None, bytes_data=None):
        async_to_sync(self.channel_layer.group_send)(self.room, said(self.scope, text_data))

    def chat_message(self, event):
        self.send(text_data=json.dumps({"message": event["message"]}))


class AsyncChat(AsyncWebsocketConsumer):
    async def connect(self):
        self.room = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send(self.room, said(self.scope, text_data))

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


rooms = [
    re_path(r"chat/sync/(?P<room>\\w+)/$", SyncChat.as_asgi()),
    re_path(r"chat/async/(?P<room>\\w+)/$", AsyncChat.as_asgi()),
]
chat = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(rooms)))
"""
"""As in Channels' tutorial: rooms, and whoever is in one hears what is said there."""

CHAT_ASGI: Final = """
from shop.chat import chat
application = with_gateway(get_asgi_application(), chat)
"""
USER: Final = """
from django.contrib.auth.models import Permission, User
from django.test import Client
user = User.objects.create(username="alice")
user.user_permissions.add(Permission.objects.get(codename="subscribe"))
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""


class Project:
    """A project that ``startproject`` made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = clean_environment() | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        directory.mkdir()
        self.run("-m", "django", "startproject", "shop", ".")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, env = [sys.executable, *arguments], self.environment
        return subprocess.run(command, check=False, cwd=self.directory, env=env, capture_output=True, text=True)

    def manage(self, *arguments: str) -> str:
        done = self.run("manage.py", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def append(self, name: str, text: str) -> None:
        with (self.directory / "shop" / name).open("a") as file:
            file.write(f"\n{text}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As the guide leaves it, with a database."""
    project = Project(tmp_path_factory.mktemp("django") / "project")
    for name, text in (("settings.py", SETTINGS), ("asgi.py", ASGI), ("urls.py", URLS)):
        project.append(name, text)
    project.append("urls.py", ORDER)
    project.append(
        "asgi.py", "from shop.urls import hello\napplication = with_gateway(get_asgi_application(), hello)\n"
    )
    project.manage("migrate", "--verbosity=0")
    return project


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """Where it is served."""
    port = free_port()
    log = (project.directory / "serve.log").open("wb")
    command = [sys.executable, "manage.py", "serve", f"--port={port}"]
    with (
        log,
        subprocess.Popen(command, cwd=project.directory, env=project.environment, stdout=log, stderr=log) as served,
    ):
        try:
            wait_until(lambda: _is_ready(port), 120, "the project is served")
            yield f"127.0.0.1:{port}"
        finally:
            served.terminate()
            served.wait(60)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_guide_is_nine_lines() -> None:
    assert sum(len(block.splitlines()) for block in (SETTINGS, ASGI, URLS)) == 9


def test_a_project_that_lacks_all_but_the_apps_is_told_what_to_add(tmp_path: Path) -> None:
    project = Project(tmp_path / "bare")
    project.append("settings.py", 'INSTALLED_APPS += ["gateway", "ticks"]\nMARKETMUX_MAX_SYMBOLS = "many"')
    done = project.run("manage.py", "check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for number in ("gateway.E001", "gateway.E002", "gateway.E003", "ticks.E002", "ticks.E006"):
        assert number in done.stderr
    for line in SETTINGS.splitlines()[1:2] + ASGI.splitlines() + ['path("", include("gateway.urls"))']:
        assert line.partition(" = ")[0] in done.stderr


def test_nothing_is_left_to_check_or_to_migrate(project: Project) -> None:
    assert "no issues" in project.manage("check")
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")


def test_errors_have_their_code(address: str) -> None:
    assert httpx.post(f"http://{address}/api/v1/ticks", json={"symbol": "AAPL"}).json()["code"] == "not_authenticated"
    assert httpx.get(f"http://{address}/api/v1/nodes").json()["code"] == "not_authenticated"
    assert httpx.get(f"http://{address}/api/v1/none").json()["code"] == "not_found"


@pytest.mark.parametrize(
    "path", ["", "quote", "api/v1/docs", "api/v1/openapi.json", "static/gateway/main.js", "metrics"]
)
def test_its_pages_are_there(path: str, address: str) -> None:
    assert httpx.get(f"http://{address}/{path}").status_code == 200


def test_the_admins_title_is_the_projects(address: str) -> None:
    assert "Django site admin" in httpx.get(f"http://{address}/admin/login/").text


@pytest.fixture(scope="module")
def alice(project: Project, address: str) -> dict[str, str]:
    """What the browser of a user sends who is logged in and may subscribe."""
    session = project.manage("shell", "-c", USER).splitlines()[-1]
    return {"Cookie": f"sessionid={session}", "Origin": f"http://{address}"}


def test_what_is_published_on_commit_reaches_a_user_of_the_project(alice: dict[str, str], address: str) -> None:
    with connect(f"ws://{address}/ws", additional_headers=alice) as socket:
        socket.send('{"action": "subscribe", "symbol": "AAPL"}')
        assert _next(socket, "type", "subscribed")
        assert httpx.get(f"http://{address}/order", params={"price": "1.10", "fail": "1"}).status_code == 409
        assert httpx.get(f"http://{address}/order", params={"price": "1.50"}).status_code == 200
        assert _next(socket, "symbol", "AAPL")["seq"] == 1
        for seq, path in enumerate(("trade", "sold"), 2):
            answer = httpx.get(f"http://{address}/{path}").json()
            assert (answer["accepted"], answer["positions"]["AAPL"][0]) == (1, seq)
            assert _next(socket, "symbol", "AAPL")["seq"] == seq


def test_a_stranger_is_refused(address: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), connect(f"ws://{address}/ws"):
        pass


# The chat


@pytest.fixture(params=["sync", "async"])
def chat(request: pytest.FixtureRequest, address: str) -> str:
    """Where the rooms of each kind of consumer are."""
    return f"ws://{address}/chat/{request.param}"


def say(socket: ClientConnection, text: str) -> None:
    socket.send(json.dumps({"message": text}))


def hear(socket: ClientConnection) -> str:
    message: str = json.loads(socket.recv(timeout=60))["message"]
    return message


def test_all_in_a_room_hear_what_is_said_there(chat: str) -> None:
    with connect(f"{chat}/lobby/") as one, connect(f"{chat}/lobby/") as other:
        say(one, "hello")
        assert (hear(one), hear(other)) == ("somebody: hello",) * 2
        say(other, "and good day")
        assert (hear(one), hear(other)) == ("somebody: and good day",) * 2


def test_another_room_does_not_hear_it(chat: str) -> None:
    with connect(f"{chat}/red/") as red, connect(f"{chat}/blue/") as blue:
        say(red, "of red")
        assert hear(red) == "somebody: of red"
        say(blue, "of blue")
        assert hear(blue) == "somebody: of blue"


def test_who_is_logged_in_has_a_name(chat: str, alice: dict[str, str]) -> None:
    with connect(f"{chat}/names/", additional_headers=alice) as socket:
        say(socket, "it is me")
        assert hear(socket) == "alice: it is me"


def test_what_is_said_comes_in_order(chat: str) -> None:
    with connect(f"{chat}/order/") as one, connect(f"{chat}/order/") as other:
        for number in range(50):
            say(one, str(number))
        assert [hear(other) for _ in range(50)] == [f"somebody: {number}" for number in range(50)]


def test_who_has_left_is_not_missed(chat: str) -> None:
    with connect(f"{chat}/door/") as one:
        with connect(f"{chat}/door/"):
            pass
        say(one, "alone")
        assert hear(one) == "somebody: alone"


def test_pages_of_other_sites_are_refused(chat: str) -> None:
    origin: Any = "https://elsewhere.example"
    with pytest.raises(InvalidStatus, match="403"), connect(f"{chat}/lobby/", origin=origin):
        pass


def test_a_room_and_a_feed_do_not_disturb_each_other(chat: str, alice: dict[str, str], address: str) -> None:
    with connect(f"{chat}/AAPL/") as room, connect(f"ws://{address}/ws", additional_headers=alice) as feed:
        feed.send('{"action": "subscribe", "symbol": "AAPL"}')
        assert _next(feed, "type", "subscribed")
        httpx.get(f"http://{address}/sold")
        say(room, "sold")
        assert hear(room) == "somebody: sold"
        assert _next(feed, "symbol", "AAPL")["price"] == 3.5


def _next(socket: Any, name: str, value: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=60))
        if message.get(name) == value and "action" not in message and ("price" in message or name == "type"):
            return message
