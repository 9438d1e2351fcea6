"""The pictures of the documentation, taken of a running gateway: ``python -m tests.screenshots`` (``make screenshots``).

A gateway with the mock feed, and a few clients: some that keep up, and one that was stopped and is behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.integration.conftest import launched
from tests.servers import ROOT, GatewayProcess, migrate, wait_until

IMAGES: Final = ROOT / "docs/images"
SIZES: Final = {"desktop": (1280, 800, 1), "phone": (390, 844, 2)}
"""Width, height, and pixels a point."""

SCHEMES: Final = ("light", "dark")
USER, PASSWORD = "demo", "of the pictures"
WATCHERS: Final = 3
SETTLE_SECONDS: Final = 3.0


@contextmanager
def gateway(directory: Path, seconds: float) -> Iterator[GatewayProcess]:
    """One that has run for some seconds, with clients, of which the last one is behind."""
    process = GatewayProcess(directory, arguments=("--feed", "--feed-rate=300"))
    migrate(directory / "db.sqlite3")
    process.manage("seed_instruments")
    process.environment |= {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    process.manage("createsuperuser", "--noinput", f"--username={USER}", "--email=")
    clients: list[subprocess.Popen[bytes]] = []
    try:
        process.start()
        command = [sys.executable, "manage.py", "watch", "*", f"--url={process.http}"]
        clients += (
            subprocess.Popen(command, cwd=ROOT, env=process.environment, stdout=subprocess.DEVNULL)
            for _ in range(WATCHERS)
        )
        time.sleep(seconds / 2)
        clients[-1].send_signal(signal.SIGSTOP)
        time.sleep(seconds / 2)
        yield process
    finally:
        for client in clients:
            client.kill()
            client.wait()
        process.stop()


def shots(driver: webdriver.Chrome, url: str, name: str, sizes: dict[str, tuple[int, int, int]], images: Path) -> None:
    """A page in each size, in the light and in the dark."""
    for size, (width, height, scale) in sizes.items():
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": size == "phone"}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for scheme in SCHEMES:
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            driver.get(url)
            time.sleep(SETTLE_SECONDS)
            driver.save_screenshot(str(images / f"{name}-{size}-{scheme}.png"))


def walk(driver: webdriver.Chrome, http: str, images: Path) -> None:
    """What docs/walk.md shows besides: a client that is capped, who is connected, and the profile of a worker.

    By a superuser who is logged in; the capped client has seen some receipts when its picture is taken.
    """
    width, height, _ = SIZES["desktop"]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.set_window_size(width, height)

    def shoot(name: str) -> None:
        driver.save_screenshot(str(images / f"walk-{name}.png"))

    driver.get(http)
    find = (By.CSS_SELECTOR, "a[href='#mistreat']")
    wait_until(lambda: driver.find_element(*find).is_displayed())
    driver.find_element(*find).click()
    driver.find_element(By.CSS_SELECTOR, "[data-do=cap]").click()
    capped = "return document.querySelector('[data-lane=b] [data-of=capped]').textContent"
    wait_until(lambda: driver.execute_script(capped).replace(",", "").isdecimal(), 60)
    time.sleep(3 * SETTLE_SECONDS)
    shoot("mistreat")
    driver.get(f"{http}/admin/")
    driver.find_element(By.LINK_TEXT, "Connections").click()
    wait_until(lambda: "behind" in driver.find_element(By.ID, "result_list").text, 60)
    driver.find_element(By.XPATH, "//tr[td='behind']//input[@name='id']").click()
    shoot("connections")
    driver.get(f"{http}/debug/")
    driver.find_element(By.CSS_SELECTOR, "button[value=profile]").click()
    wait_until(lambda: bool(driver.find_elements(By.CSS_SELECTOR, ".debug-flame title")), 60)
    driver.execute_script("document.querySelector('.debug-flame').scrollIntoView({block: 'center'})")
    shoot("profile")


def log_in(driver: webdriver.Chrome, http: str) -> None:
    driver.get(f"{http}/admin/login/?next=/admin/")
    driver.find_element(By.NAME, "username").send_keys(USER)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "[type=submit]").click()


def take(images: Path, seconds: float) -> None:
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, gateway(Path(directory, "gateway"), seconds) as process:
        driver = launched(Path(directory, "browser"))
        try:
            shots(driver, f"{process.http}/", "page", SIZES, images)
            log_in(driver, process.http)
            shots(driver, f"{process.http}/admin/", "admin", {"desktop": SIZES["desktop"]}, images)
            walk(driver, process.http, images)
        finally:
            driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.screenshots", description="Takes the documentation's pictures."
    )
    parser.add_argument("--out", type=Path, default=IMAGES, help="where they go (default: docs/images)")
    parser.add_argument("--seconds", type=float, default=40, help="how long the gateway runs before (default: 40)")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    take(options.out, options.seconds)


if __name__ == "__main__":
    main()
