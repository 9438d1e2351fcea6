"""What docs/how-to/integrate.md says, done: a project with users, a gateway, and a browser that sees its own symbols."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import StartGateway
from tests.environment import clean_environment
from tests.servers import free_port, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "integrate.md").read_text()
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

PROJECT = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="the project's own", ALLOWED_HOSTS=["*"], ROOT_URLCONF="project", TICKS_SECRET=sys.argv[2],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
)
django.setup()

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.core.wsgi import get_wsgi_application
from view import ticks_token

sys.modules["project"] = sys.modules["__main__"]
urlpatterns = [
    path("", lambda request: HttpResponse("<body><script src='/page.js'></script>")),
    path("page.js", lambda request: HttpResponse(open("page.js").read(), content_type="text/javascript")),
    path("ticks-token", ticks_token),
]
call_command("migrate", verbosity=0)
user = User.objects.create(username="alice")
user.groups.set(Group.objects.create(name=name) for name in ("AAPL", "BTC-USD", "ETH-*"))
client = Client()
client.force_login(user)
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser opens connections that it does not use yet

server = make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), Server)
print(client.cookies["sessionid"].value, flush=True)
server.serve_forever()
"""


@pytest.fixture
def start_project(tmp_path: Path) -> Iterator[Callable[[int, str, str], str]]:
    """Starts the project at a port of localhost; gives the cookie of a user who is logged in."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int, websocket: str, secret: str) -> str:
        (tmp_path / "project.py").write_text(PROJECT)
        (tmp_path / "view.py").write_text(at(BLOCKS["python"], port, websocket))
        (tmp_path / "page.js").write_text(at(BLOCKS["js"], port, websocket))
        command = [sys.executable, "project.py", str(port), secret]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=log, text=True
            )
        started.append(process)
        assert process.stdout is not None
        with process.stdout:
            return process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


def at(text: str, port: int, websocket: str = "") -> str:
    """What the page says, with the addresses of this test."""
    return text.replace("https://shop.example.com", f"http://localhost:{port}").replace(
        "wss://ticks.example.com/ws", websocket
    )


@pytest.mark.soak
def test_twenty_lines_show_users_of_another_project_their_own_symbols(
    start_gateway: StartGateway, start_project: Callable[[int, str, str], str], driver: webdriver.Chrome
) -> None:
    assert sum(bool(line.strip()) for kind in ("python", "js") for line in BLOCKS[kind].splitlines()) <= 20
    port = free_port()
    environment: Any = dict(line.split("=", 1) for line in at(BLOCKS["sh"], port).split())
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0", **environment)
    cookie = start_project(port, gateway.ws, environment["MARKETMUX_JWT_SECRET"])
    key = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))

    def publish(price: int, *more: str) -> None:
        ticks = [{"symbol": symbol, "price": price} for symbol in ("MSFT", "BTC-USD", "BTC", "AAPL", *more)]
        headers = {"authorization": f"Api-Key {key}"}
        httpx.post(f"{gateway.http}/api/v1/ticks", json=ticks, headers=headers, timeout=30).raise_for_status()

    def seen() -> list[str]:
        return re.findall(
            r'"type":"(\w+)","symbol":"([^"]+)","price":(\d+)', driver.find_element(By.TAG_NAME, "body").text
        )

    publish(1)
    driver.get(f"http://localhost:{port}/ticks-token")  # where nobody is logged in yet
    driver.add_cookie({"name": "sessionid", "value": cookie})
    driver.get(f"http://localhost:{port}/")
    wait_until(lambda: {one[1] for one in seen()} >= {"AAPL", "BTC-USD"}, message="never saw the first prices")
    publish(2, "ETH-EUR", "ETH")  # which have not ticked before
    wait_until(
        lambda: {one[1:] for one in seen()} >= {("AAPL", "2"), ("BTC-USD", "2"), ("ETH-EUR", "2")},
        message="never saw the second",
    )
    assert {one[1] for one in seen()} == {"AAPL", "BTC-USD", "ETH-EUR"}
    wait_until(lambda: "Traceback" not in gateway.output())
