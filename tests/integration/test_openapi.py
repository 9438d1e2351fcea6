"""A real gateway answers nothing but what its OpenAPI document says: schemathesis asks it all that comes to its mind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from selenium import webdriver

from tests.conftest import StartGateway
from tests.environment import clean_environment
from tests.integration.browser import Page
from tests.servers import GatewayProcess, wait_until

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
HOSTILE = ("ignored_auth",)
"""Where a credential is needed: whether the same question without one, or with another, is refused."""


def ask(gateway: GatewayProcess, folder: Path, *arguments: str) -> None:
    """Has schemathesis ask, which must find nothing wrong; not for a stream, which has no end."""
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.http}/api/v1/openapi.json",
            "--seed=1", "--max-examples=25", "--generation-database=none", "--suppress-health-check=all",
            "--continue-on-failure", "--exclude-operation-id=streamTicks", "--request-timeout=30", *arguments,
        ],
        cwd=folder,
        env=clean_environment() | {"NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-2_000:]


def test_whatever_is_asked_is_answered_as_documented(gateway: GatewayProcess, tmp_path: Path) -> None:
    httpx.post(f"{gateway.http}/api/v1/ticks", json=[{"symbol": "A", "price": 1}, {"symbol": "B/C", "price": 2}])
    ask(gateway, tmp_path, f"--checks={','.join(CHECKS)}")
    assert "Traceback" not in gateway.output()


@pytest.mark.soak
def test_who_has_no_key_is_refused_as_documented(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))
    ask(gateway, tmp_path, f"--checks={','.join((*CHECKS, *HOSTILE))}", f"--header=Authorization: Api-Key {key}")
    assert "Traceback" not in gateway.output()


def test_the_page_shows_every_operation_and_breaks_no_policy(driver: webdriver.Chrome, gateway: GatewayProcess) -> None:
    page = Page(driver, gateway.http)
    driver.get(f"{gateway.http}/api/v1/docs")
    wait_until(lambda: len(driver.find_elements("css selector", ".opblock")) >= 9)
    page.find(".opblock-post").click()
    wait_until(lambda: "Idempotency-Key" in page.text(".opblock-post"))
    assert page.complaints() == []
