"""The admin's front page: a live picture of all gateways, in a browser and without its script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver

from tests.clients import RawClient, tick
from tests.integration.browser import Page, on_every_screen
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer, wait_until

AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
ISSUE = """
answer = {
    "root": login(User.objects.create(username="root", is_staff=True, is_superuser=True)),
    "carl": login(User.objects.create(username="carl", is_staff=True)),
    "ada": login(User.objects.create(username="ada")),
}
"""


class Site:
    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        with Office(gateway.environment) as office:
            self.sessions = office.do(ISSUE)

    def get(self, path: str, who: str) -> httpx.Response:
        headers = {"cookie": f"sessionid={self.sessions[who]}"}
        return httpx.get(f"{self.gateway.http}{path}", headers=headers, timeout=30)

    def publish(self, *symbols: str) -> None:
        httpx.post(f"{self.gateway.http}/api/v1/ticks", json=[tick(symbol, 1) for symbol in symbols], timeout=30)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer
) -> Iterator[Site]:
    shared_redis.flush()
    directory = tmp_path_factory.mktemp("live")
    gateway = GatewayProcess(directory, database=migrated_database, redis_url=shared_redis.url, workers=2)
    gateway.start()
    yield Site(gateway)
    assert "Traceback" not in gateway.output()
    gateway.stop()


@pytest.fixture
def page(driver: webdriver.Chrome, site: Site) -> Page:
    page = Page(driver, site.gateway.http)
    driver.get(f"{page.http}/healthz")  # a cookie is for the site that one is on
    driver.add_cookie({"name": "sessionid", "value": site.sessions["root"]})
    driver.get_log("browser")  # type: ignore[no-untyped-call]
    return page


def tile(page: Page, name: str) -> str:
    """The figure below a name."""
    script = (
        "for (const tile of document.querySelectorAll('.live-tiles > div')) "
        "if (tile.querySelector('dt').textContent === arguments[0]) return tile.querySelector('dd').textContent.trim();"
    )
    return str(page.driver.execute_script(script, name) or "")


def test_the_page_moves_by_itself(page: Page, site: Site) -> None:
    page.driver.get(f"{page.http}/admin/")
    assert tile(page, "Clients") == "0"
    with RawClient(site.gateway, "HOT"):
        wait_until(lambda: tile(page, "Clients") == "1")

        def is_hot() -> bool:
            site.publish(*["HOT"] * 20)
            return "HOT" in page.text(".live-columns")

        wait_until(is_hot)
        wait_until(lambda: len(page.driver.find_elements("css selector", ".live-wide tbody tr")) == 2)
        assert page.driver.find_elements("css selector", ".live-line polyline")
    wait_until(lambda: tile(page, "Clients") == "0")
    assert [text for text in page.complaints() if "favicon" not in text] == []


def test_it_says_so_when_it_has_stopped(page: Page) -> None:
    page.driver.get(f"{page.http}/admin/")
    page.driver.delete_cookie("sessionid")
    page.wait_for_text("#live-state", "There is no answer.")


@on_every_screen
def test_everybody_can_read_it(page: Page, theme: str, size: tuple[int, int]) -> None:
    page.driver.get(f"{page.http}/admin/")
    page.resize(size)
    page.driver.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    page.driver.execute_script(AXE.read_text())
    found: Any = page.driver.execute_async_script(
        "axe.run('#live').then(found => arguments[0](found.violations.map(one => [one.id, one.nodes.map(n => n.html)])))"
    )
    assert found == []
    width = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]


def test_without_a_script_it_is_a_picture(site: Site) -> None:
    wait_until(lambda: "2 workers on 1 node." in site.get("/admin/", "root").text)
    text = site.get("/admin/", "root").text
    assert "Deliveries/s" in text
    assert "Every client keeps up." in text


def test_it_is_for_staff_and_clients_are_for_those_who_may_know_them(site: Site) -> None:
    assert "shown to who may view connections" in site.get("/admin/live/", "carl").text
    assert "shown to who may view connections" not in site.get("/admin/live/", "root").text
    assert site.get("/admin/live/", "ada").status_code == 302
    assert "no-store" in site.get("/admin/live/", "root").headers["cache-control"]


def test_while_redis_is_away_it_is_this_worker_alone(site: Site, shared_redis: RedisServer) -> None:
    shared_redis.pause()
    try:
        text = site.get("/admin/", "root").text
    finally:
        shared_redis.resume()
    assert "The bus cannot be asked: this is one worker alone." in text
