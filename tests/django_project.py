"""A Django project that ``startproject`` made, and what docs/how-to/django.md says, done to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.environment import clean_environment
from tests.servers import free_port, wait_until

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = (ROOT / "docs/how-to/django.md").read_text()
BLOCKS: Final[list[str]] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SETTINGS, ASGI, URLS = BLOCKS[:3]
[CHAT_ASGI] = [block for block in BLOCKS if "chat.routing" in block]

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
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
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


websocket_urlpatterns = [
    re_path(r"chat/sync/(?P<room>\\w+)/$", SyncChat.as_asgi()),
    re_path(r"chat/async/(?P<room>\\w+)/$", AsyncChat.as_asgi()),
]
"""
"""As in Channels' tutorial: who is in a room hears what is said there."""

USER: Final = """
from django.contrib.auth.models import Permission, User
from django.test import Client
user, _ = User.objects.get_or_create(username="alice")
user.user_permissions.add(Permission.objects.get(codename="subscribe"))
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""


class Project:
    """A project with its interpreter. ``path``: where that finds MarketMux if it is not installed."""

    def __init__(self, directory: Path, python: str = sys.executable, path: str = str(ROOT)) -> None:
        self.directory = directory
        self.environment = clean_environment() | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self._python = python
        directory.mkdir()
        self.run("-m", "django", "startproject", "shop", ".")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, env = [self._python, *arguments], self.environment
        return subprocess.run(command, check=False, cwd=self.directory, env=env, capture_output=True, text=True)

    def manage(self, *arguments: str) -> str:
        done = self.run("manage.py", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def append(self, name: str, text: str) -> None:
        with (self.directory / "shop" / name).open("a") as file:
            file.write(f"\n{text}")

    def follow_the_guide(self) -> None:
        """And puts views, and the rooms of a chat, beside what it says; with a database."""
        for name, text in (("settings.py", SETTINGS), ("asgi.py", ASGI), ("urls.py", URLS)):
            self.append(name, text)
        self.append("urls.py", ORDER)
        self.append("chat.py", CHAT)
        self.append("asgi.py", CHAT_ASGI.replace("chat.routing", "shop.chat"))
        self.manage("migrate", "--verbosity=0")

    @contextmanager
    def served(self) -> Iterator[str]:
        """Where it is served."""
        port = free_port()
        command = [self._python, "manage.py", "serve", f"--port={port}"]
        with (
            (self.directory / "serve.log").open("wb") as log,
            subprocess.Popen(command, cwd=self.directory, env=self.environment, stdout=log, stderr=log) as process,
        ):
            try:
                wait_until(lambda: _is_ready(port), 240, "the project is served")
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(60)

    def session(self) -> str:
        """Of a user who is logged in and may subscribe."""
        return self.manage("shell", "-c", USER).splitlines()[-1]


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def browser(session: str, address: str) -> dict[str, str]:
    """The headers of a page of the project, opened by who has the session."""
    return {"Cookie": f"sessionid={session}", "Origin": f"http://{address}"}


def hear_an_order(session: str, address: str) -> None:
    """What views publish reaches a subscriber, and what they roll back does not."""
    with connect(f"ws://{address}/ws", additional_headers=browser(session, address)) as socket:
        subscribe(socket)
        assert httpx.get(f"http://{address}/order", params={"price": "1.10", "fail": "1"}).status_code == 409
        assert httpx.get(f"http://{address}/order", params={"price": "1.50"}).status_code == 200
        assert tick(socket)["price"] == 1.5
        for path, price in (("trade", 2), ("sold", 3.5)):
            answer = httpx.get(f"http://{address}/{path}").json()
            heard = tick(socket)
            assert (heard["price"], heard["seq"]) == (price, answer["positions"]["AAPL"][0])


def subscribe(socket: ClientConnection) -> None:
    socket.send('{"action": "subscribe", "symbol": "AAPL"}')
    while json.loads(socket.recv(timeout=60))["type"] != "subscribed":
        pass


def tick(socket: ClientConnection) -> dict[str, Any]:
    """The next one."""
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=60))
        if message["type"] in {"tick", "snapshot"}:  # of a stream that begins
            return message
