"""The Content-Security-Policy of every page, and pages that keep it, in a real browser that complains if they do not."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.integration.browser import Page
from tests.servers import GatewayProcess, wait_until

POLICY = "Content-Security-Policy"
HTML = {"Accept": "text/html"}
_MAKE = """
from django.contrib.auth.models import Group, User
from ticks.models import ApiKey, Instrument, RecordedTick
User.objects.create_superuser("admin", password="the password")
Group.objects.create(name="desk")
ApiKey.objects.issue("feed")
Instrument.objects.create(symbol="AAPL", name="Apple")
from django.utils import timezone
RecordedTick.objects.create(symbol="AAPL", price="1", timestamp="", at=timezone.now(), seq=1, recorded_at=timezone.now())
"""


@pytest.fixture(scope="module")
def site(chromium: webdriver.Chrome, gateway: GatewayProcess) -> GatewayProcess:
    gateway.manage("shell", "-c", _MAKE)
    httpx.post(f"{gateway.http}/api/v1/ticks", json={"symbol": "AAPL", "price": 1}).raise_for_status()
    return gateway


@pytest.fixture
def browser(driver: webdriver.Chrome, site: GatewayProcess) -> Iterator[Page]:
    page = Page(driver, site.http)
    yield page
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    """What the browser complains of, beside advice on forms and that there is no icon where it looks for one."""
    return [text for text in page.complaints() if "/favicon.ico" not in text and "[DOM]" not in text]


def log_in(page: Page, door: str = "/admin/login/?next=/admin/") -> None:
    page.driver.get(page.http + door)
    assert violations(page) == []
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "the password")
    page.find("[type=submit]").click()
    wait_until(lambda: bool(page.driver.get_cookie("sessionid")))


@pytest.mark.parametrize(
    "path",
    ["/", "/admin/login/", "/api/auth/login/", "/api/v1/ticks", "/api/v1/ticks/NONE", "/nowhere", "/admin/nowhere/"],
)
def test_no_page_may_run_what_is_written_into_it(gateway: GatewayProcess, path: str) -> None:
    policy = httpx.get(gateway.http + path, headers=HTML, follow_redirects=True).headers[POLICY]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_a_form_that_is_refused_has_a_page_of_its_own(gateway: GatewayProcess) -> None:
    refused = httpx.post(f"{gateway.http}/admin/login/", data={"username": "admin"}, headers=HTML)
    assert refused.status_code == 403
    assert "<style" not in refused.text
    assert "'self'" in refused.headers[POLICY]


def test_the_demo_page_keeps_it(browser: Page) -> None:
    browser.open()


@pytest.mark.soak
def test_every_page_of_the_admin_keeps_it(browser: Page) -> None:
    log_in(browser)
    wanted = {"/admin/"}
    seen: set[str] = set()
    while wanted - seen and len(seen) < 80:
        path = min(wanted - seen)
        seen.add(path)
        browser.driver.get(browser.http + path)
        assert violations(browser) == [], path
        links = browser.driver.find_elements(By.CSS_SELECTOR, "a[href]")
        paths = [str(link.get_attribute("href")).removeprefix(browser.http).partition("?")[0] for link in links]
        wanted |= {path.partition("#")[0] for path in paths if path.startswith("/admin/") and "logout" not in path}
    assert any(path.startswith("/admin/marketmux_ticks/apikey/") and path.endswith("/change/") for path in seen)
    assert "/admin/marketmux_ticks/recordedtick/" in seen


def test_the_admins_widgets_work_under_it(browser: Page) -> None:
    """Dates and times, and the two boxes of many: they are scripts that write into the page."""
    log_in(browser)
    browser.driver.get(f"{browser.http}/admin/auth/user/1/change/")
    browser.find(".field-date_joined .datetimeshortcuts a").click()
    browser.find("#calendarlink1").click()
    wait_until(lambda: browser.find("#calendarbox1").is_displayed())
    browser.find("#calendarbox1 .calendar-shortcuts a").click()
    assert browser.find("#id_groups_from").is_displayed()
    browser.find("[name=_continue]").click()
    wait_until(lambda: "was changed" in browser.text(".messagelist"))


def test_the_browsable_api_keeps_it_and_publishes(browser: Page) -> None:
    log_in(browser, "/api/auth/login/?next=/api/v1/ticks")
    browser.driver.get(f"{browser.http}/api/v1/ticks")
    assert "AAPL" in browser.text(".response-info")
    browser.driver.get(f"{browser.http}/api/v1/ticks/AAPL")
    browser.driver.get(f"{browser.http}/api/v1/ticks")
    browser.fill("#id__content", '{"symbol": "POSTED", "price": 2}')
    browser.find("form:has(#id__content) button").click()
    wait_until(lambda: "202" in browser.text(".response-info"))
    assert httpx.get(f"{browser.http}/api/v1/ticks/POSTED").status_code == 200
    browser.find("form[action*=logout] button").click()
    wait_until(lambda: "Log in" in browser.text(".top"))
