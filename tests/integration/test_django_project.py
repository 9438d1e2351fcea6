"""What docs/how-to/django.md says, done: the gateway's apps in a new Django project, and a chat beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets import Origin
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.django_project import ASGI, SETTINGS, URLS, Project, browser, hear_an_order, subscribe, tick


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As the guide leaves it, with a database."""
    project = Project(tmp_path_factory.mktemp("django") / "project")
    project.follow_the_guide()
    return project


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    with project.served() as address:
        yield address


@pytest.fixture(scope="module")
def alice(project: Project, address: str) -> dict[str, str]:
    """What the browser of a user sends who is logged in and may subscribe."""
    return browser(project.session(), address)


def test_the_guide_is_nine_lines() -> None:
    assert len([line for block in (SETTINGS, ASGI, URLS) for line in block.splitlines() if line]) == 9


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


@pytest.mark.soak
def test_it_may_have_apps_called_ticks_and_gateway_of_its_own(tmp_path: Path) -> None:
    project = Project(tmp_path / "crowded")
    project.append("settings.py", f'{SETTINGS}\nINSTALLED_APPS += ["shop.ticks", "shop.gateway"]')
    for name in ("ticks", "gateway"):
        app = project.directory / "shop" / name
        (app / "migrations").mkdir(parents=True)
        (app / "__init__.py").touch()
        (app / "migrations/__init__.py").touch()
        fields = "symbol = models.CharField(max_length=8, unique=True)\n    at = models.DateTimeField(db_index=True)"
        (app / "models.py").write_text(
            "from django.db import models\n\n\n"
            f"class Instrument(models.Model):\n    {fields}\n\n\nclass AuditEntry(models.Model):\n    {fields}\n"
        )
    project.append("asgi.py", ASGI)
    project.append("urls.py", URLS)
    project.manage("makemigrations", "ticks", "gateway")
    project.manage("migrate", "--verbosity=0")
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


def test_what_views_publish_reaches_a_user_of_the_project(project: Project, address: str) -> None:
    hear_an_order(project.session(), address)


def test_a_stranger_is_refused(address: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), connect(f"ws://{address}/ws"):
        pass


# The chat


@pytest.fixture(params=["sync", "async"])
def chat(request: pytest.FixtureRequest, address: str) -> str:
    """Where the rooms of each kind of consumer are."""
    return f"ws://{address}/chat/{request.param}"


def enter(room: str) -> ClientConnection:
    """As a page of the project does."""
    return connect(room, origin=Origin(f"http://{urlsplit(room).netloc}"))


def say(socket: ClientConnection, text: str) -> None:
    socket.send(json.dumps({"message": text}))


def hear(socket: ClientConnection) -> str:
    message: str = json.loads(socket.recv(timeout=60))["message"]
    return message


def test_all_in_a_room_hear_what_is_said_there(chat: str) -> None:
    with enter(f"{chat}/lobby/") as one, enter(f"{chat}/lobby/") as other:
        say(one, "hello")
        assert (hear(one), hear(other)) == ("somebody: hello",) * 2
        say(other, "and good day")
        assert (hear(one), hear(other)) == ("somebody: and good day",) * 2


def test_another_room_does_not_hear_it(chat: str) -> None:
    with enter(f"{chat}/red/") as red, enter(f"{chat}/blue/") as blue:
        say(red, "of red")
        assert hear(red) == "somebody: of red"
        say(blue, "of blue")
        assert hear(blue) == "somebody: of blue"


def test_who_is_logged_in_has_a_name(chat: str, alice: dict[str, str]) -> None:
    with connect(f"{chat}/names/", additional_headers=alice) as socket:
        say(socket, "it is me")
        assert hear(socket) == "alice: it is me"


def test_what_is_said_comes_in_order(chat: str) -> None:
    with enter(f"{chat}/order/") as one, enter(f"{chat}/order/") as other:
        for number in range(50):
            say(one, str(number))
        assert [hear(other) for _ in range(50)] == [f"somebody: {number}" for number in range(50)]


def test_who_has_left_is_not_missed(chat: str) -> None:
    with enter(f"{chat}/door/") as one:
        with enter(f"{chat}/door/"):
            pass
        say(one, "alone")
        assert hear(one) == "somebody: alone"


def test_pages_of_other_sites_are_refused(chat: str) -> None:
    elsewhere = Origin("https://elsewhere.example")
    with pytest.raises(InvalidStatus, match="403"), connect(f"{chat}/lobby/", origin=elsewhere):
        pass


def test_a_room_and_a_feed_do_not_disturb_each_other(chat: str, alice: dict[str, str], address: str) -> None:
    with enter(f"{chat}/AAPL/") as room, connect(f"ws://{address}/ws", additional_headers=alice) as feed:
        subscribe(feed)
        httpx.get(f"http://{address}/sold")
        say(room, "sold")
        assert hear(room) == "somebody: sold"
        assert tick(feed)["price"] == 3.5
