"""``/debug/``: what each of two workers does and holds, and a profile of one that is busy."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from selenium import webdriver

from tests.clients import RawClient, tick
from tests.integration.browser import Page, on_every_screen
from tests.integration.test_demo_page_access import AXE, violations
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer, wait_until

PAGE: Final = "/debug/"
CLIENTS: Final = 40
KIND: Final = "gateway.edge.watch.Standing"
ISSUE: Final = """
answer = {
    "root": login(User.objects.create(username="root", is_staff=True, is_superuser=True)),
    "carl": login(User.objects.create(username="carl", is_staff=True)),
    "ada": login(User.objects.create(username="ada")),
    "nobody": "",
}
"""
AUDITED: Final = (
    "answer = [[one.actor, one.subject, one.detail] for one in AuditEntry.objects.filter(action='profiled')]"
)


class Site:
    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        with Office(gateway.environment) as office:
            self.sessions = office.do(ISSUE)

    def get(self, query: str = "", who: str = "root", path: str = PAGE) -> httpx.Response:
        return self._as(who, "GET", f"{path}{query}")

    def post(self, query: str = "", who: str = "root", token: str = "c" * 32, **form: Any) -> httpx.Response:
        return self._as(who, "POST", f"{PAGE}{query}", data={**form, "csrfmiddlewaretoken": token})

    def _as(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"cookie": f"sessionid={self.sessions[who]}; csrftoken={'c' * 32}"}
        return httpx.request(method, f"{self.gateway.http}{path}", headers=headers, timeout=60, **options)

    def publish(self) -> None:
        ticks = [tick(f"S{number}", 1) for number in range(200)]
        httpx.post(f"{self.gateway.http}/api/v1/ticks", json=ticks, timeout=30)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer
) -> Iterator[Site]:
    shared_redis.flush()
    directory = tmp_path_factory.mktemp("debug")
    gateway = GatewayProcess(directory, database=migrated_database, redis_url=shared_redis.url, workers=2)
    gateway.start()
    gateway.wait_for_output("ready at")
    yield Site(gateway)
    assert "Traceback" not in gateway.output()
    gateway.stop()


@contextmanager
def load(site: Site) -> Iterator[None]:
    """Publications, each on a connection of its own, so that both workers have some."""
    ended = threading.Event()

    def publish() -> None:
        while not ended.is_set():
            site.publish()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


def growth(page: str) -> int:
    """Of the objects that a connection has."""
    found = re.search(rf">{re.escape(KIND)}</th><td>\d+</td><td>\+?(-?\d+)</td>", page)
    return int(found[1]) if found else 0


def test_it_is_for_superusers(site: Site) -> None:
    for path in (PAGE, "/debug/speedscope.json"):
        statuses = [site.get("?worker=0", who, path).status_code for who in ("nobody", "ada", "carl")]
        assert statuses == [302, 302, 403]
    form: dict[str, Any] = {"action": "profile", "seconds": 1}
    assert [site.post("?worker=0", who, **form).status_code for who in ("nobody", "ada", "carl")] == [302, 302, 403]
    assert site.post("?worker=0", token="x" * 32, **form).status_code == 403
    assert "no-store" in site.get().headers["cache-control"]
    assert [site.get(f"?worker={wrong}").status_code for wrong in ("2", "-1", "x", "99999")] == [404] * 4
    assert site.get("?worker=0", path="/debug/speedscope.json").status_code == 404


def test_each_worker_shows_what_it_does(site: Site) -> None:
    pages = [site.get(f"?worker={number}").text for number in (0, 1)]
    assert {int(pid) for page in pages for pid in re.findall(r"Process (\d+)\.", page)} == set(site.gateway.pids)
    for page in pages:
        text = html.unescape(page)
        assert "gateway/edge/reports.py" in text  # a task, by the line that it waits in
        assert "MainThread" in text
        assert "builtins.dict" in text
        assert " style=" not in text


def test_growth_is_what_came_between_two_looks(site: Site) -> None:
    for number in (0, 1):
        site.get(f"?worker={number}")
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(RawClient(site.gateway, "AAPL"))
        assert sum(growth(site.get(f"?worker={number}").text) for number in (0, 1)) == CLIENTS


def test_a_profile_of_a_busy_worker_names_what_it_is_busy_with(site: Site) -> None:
    with load(site):
        assert site.post("?worker=1", action="profile", seconds=3).status_code == 303
        running = site.get("?worker=1")
        assert running.headers["refresh"]
        assert "not counted while a profile is taken" in running.text
        assert site.post("?worker=1", action="profile", seconds=3).status_code == 409
        wait_until(lambda: "being taken" not in site.get("?worker=1").text)
    titles = re.findall(r"<title>(\w+) \(([\w.]+):\d+\): ([\d.]+) s", html.unescape(site.get("?worker=1").text))
    assert "publish.py" in {file for _, file, _ in titles}
    file = site.get("?worker=1", path="/debug/speedscope.json")
    assert file.headers["content-disposition"] == 'attachment; filename="worker-1.speedscope.json"'
    profile = file.json()
    assert profile["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    [only] = profile["profiles"]
    assert only.keys() == {"type", "name", "unit", "startValue", "endValue", "events"}
    assert all(event.keys() == {"type", "at", "frame"} for event in only["events"])
    assert "publish.py" in {Path(frame["file"] or "").name for frame in profile["shared"]["frames"]}
    with Office(site.gateway.environment) as office:
        assert ["user root", "worker:1", {"seconds": 3}] in office.do(AUDITED)


@pytest.mark.parametrize("form", [{"action": "profile", "seconds": wrong} for wrong in ("", "0", "31", "x")] + [{}])
def test_what_cannot_be_done_is_400(site: Site, form: dict[str, str]) -> None:
    assert site.post("?worker=0", **form).status_code == 400


def test_memory_is_traced_when_that_is_switched_on(site: Site) -> None:
    assert "Switch tracemalloc on" in site.get("?worker=0").text
    assert site.post("?worker=0", action="on").status_code == 303
    assert "Switch tracemalloc on" in site.get("?worker=1").text
    page = site.get("?worker=0&memory").text
    assert "Switch it off" in page
    assert "gateway/edge/inspection.py:" in page
    assert site.post("?worker=0", action="off").status_code == 303
    assert "Switch tracemalloc on" in site.get("?worker=0").text


@on_every_screen
def test_everybody_can_read_it(driver: webdriver.Chrome, site: Site, theme: str, size: tuple[int, int]) -> None:
    """With all that it can show: growth, a flame graph, lines that allocated."""
    if not AXE.exists():
        pytest.skip("needs node_modules, which `make test` installs")
    page = Page(driver, site.gateway.http)
    driver.get(f"{page.http}/healthz")  # a cookie is for the site that one is on
    driver.add_cookie({"name": "sessionid", "value": site.sessions["root"]})
    if "<title>" not in site.get("?worker=0").text.split("</head>")[1]:
        site.post("?worker=0", action="profile", seconds=1)
        wait_until(lambda: "being taken" not in site.get("?worker=0").text)
    site.post("?worker=0", action="on")
    try:
        driver.get(f"{page.http}{PAGE}?worker=0&memory")
        page.resize(size)
        driver.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        assert violations(page, AXE.read_text(encoding="utf-8")) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    finally:
        site.post("?worker=0", action="off")
    assert [text for text in page.complaints() if "favicon" not in text] == []
