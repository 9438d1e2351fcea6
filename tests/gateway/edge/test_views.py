"""The demo page's document, and who may read the metrics."""

from __future__ import annotations

import pytest
from django.test import AsyncClient, Client
from pytest_django import Settings

from ticks.models import Instrument


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/healthz"])
def test_nothing_can_be_posted(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


@pytest.mark.django_db(transaction=True)
def test_the_page_is_told_the_active_instruments(client: Client) -> None:
    Instrument.objects.create(symbol="MSFT", name="Microsoft")
    Instrument.objects.create(symbol="AAPL", name="Apple")
    Instrument.objects.create(symbol="GONE", name="Delisted", active=False)
    config = client.get("/").context["config"]
    assert config["instruments"] == [{"symbol": "AAPL", "name": "Apple"}, {"symbol": "MSFT", "name": "Microsoft"}]


@pytest.mark.django_db
def test_the_page_is_told_what_closures_mean(client: Client) -> None:
    closures = client.get("/").context["config"]["closures"]
    assert closures[1012] == "The gateway stops or restarts."
    assert closures[4029] == "Too many connections of the same key, login or address."


@pytest.mark.django_db(transaction=True)
def test_a_name_cannot_break_out_of_the_page(client: Client) -> None:
    Instrument.objects.create(symbol="EVIL", name="</script><script>alert(1)</script>")
    page = client.get("/").content.decode()
    assert "EVIL" in page
    assert "<script>alert" not in page


@pytest.mark.django_db
def test_the_page_runs_no_script_but_its_own(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy


@pytest.mark.django_db
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_key_is_asked_for_unless_anyone_may_publish(client: Client, settings: Settings, anonymous: bool) -> None:
    settings.MARKETMUX_ANONYMOUS = anonymous
    assert ('name="key"' in client.get("/").content.decode()) is not anonymous


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/"])
def test_a_post_of_a_stranger_writes_no_line_of_the_log(path: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Client(enforce_csrf_checks=True).post(path).status_code == 403
    assert not caplog.records


@pytest.mark.django_db
def test_the_page_brings_the_csrf_cookie(client: Client) -> None:
    assert "csrftoken" in client.get("/").cookies


# Metrics


TOKEN = "a token of the tests"


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}"])
async def test_metrics_are_for_who_has_the_token(async_client: AsyncClient, settings: Settings, given: str) -> None:
    settings.MARKETMUX_METRICS_TOKEN = TOKEN
    response = await async_client.get("/metrics", headers={"Authorization": given})
    assert (response.status_code, b"marketmux_" in response.content) == (200, True)


@pytest.mark.parametrize(
    "given", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer \xff", f"Api-Key {TOKEN}"]
)
async def test_metrics_are_for_nobody_else(async_client: AsyncClient, settings: Settings, given: str) -> None:
    settings.MARKETMUX_METRICS_TOKEN = TOKEN
    response = await async_client.get("/metrics", headers={"Authorization": given} if given else {})
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert b"marketmux_" not in response.content


async def test_metrics_of_a_public_gateway_are_closed_until_there_is_a_token(
    async_client: AsyncClient, settings: Settings
) -> None:
    settings.MARKETMUX_PUBLIC_URL = "https://ticks.example.com"
    assert (await async_client.get("/metrics")).status_code == 403
    settings.MARKETMUX_METRICS_TOKEN = TOKEN
    response = await async_client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/healthz", 200), ("/metrics", 200), ("/api/v1/asyncapi.json", 400)]
)
async def test_probes_need_not_know_the_gateways_name(async_client: AsyncClient, path: str, status: int) -> None:
    assert (await async_client.get(path, headers={"Host": "10.0.0.5:8000"})).status_code == status
