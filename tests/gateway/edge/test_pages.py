"""Pages for people: errors, the browsable API and the WebSocket API."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import get_template
from django.test import AsyncClient, Client
from pytest_django.fixtures import Settings

from gateway.edge.websockets import context
from gateway.protocol.asyncapi import Deployment, document

HOME = '<a href="/">To the prices</a>'
DOCUMENT = document(Deployment("ticks.example.com", secure=True, anonymous=False, session_cookie="sessionid"))


@pytest.fixture(autouse=True)
def open_to_all(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True


def test_a_page_that_is_not_there_has_a_way_home(client: Client) -> None:
    page = client.get("/nothing<b>", headers={"Accept": "text/html"})
    text = page.content.decode()
    assert page.status_code == 404
    assert HOME in text
    assert "<code>/nothing%3Cb%3E</code>" in text


def test_a_machine_still_gets_a_problem(client: Client) -> None:
    assert client.get("/api/v1/nothing").json()["code"] == "not_found"


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_the_page_of_an_error_needs_no_context(status: int) -> None:
    text = get_template(f"{status}.html").render()
    assert HOME in text
    assert "gateway/pages.css" in text


def test_the_page_of_a_token_that_is_missing_looks_like_them() -> None:
    assert HOME in get_template("403_csrf.html").render({"title": "Forbidden", "main": "No."})


async def get_page(path: str) -> Any:
    return (await AsyncClient().get(path, headers={"Accept": "text/html"})).content.decode()


@pytest.mark.parametrize("path", ["/api/v1/ticks", "/api/v1/access", "/api/v1/ticks/NOBODY", "/api/v1/nothing"])
async def test_the_browsable_api_is_ours(path: str) -> None:
    page = await get_page(path)
    assert "Django REST framework" not in page
    assert "Api Not Found" not in page
    assert '<html lang="en">' in page
    for address in ("/", "/api/v1/docs", "/api/v1/docs/websockets"):
        assert f'href="{address}"' in page


async def test_a_description_is_rendered() -> None:
    page = await get_page("/api/v1/ticks")
    assert "<pre><code>{&quot;symbol&quot;: &quot;AAPL&quot;" in page
    assert "<code>bid</code>" in page
    breadcrumb = page.split('<ul class="breadcrumb">')[1].split("</ul>")[0]
    assert "Nothing here" not in breadcrumb


def test_the_websockets_page_has_every_message_and_code(client: Client) -> None:
    page = client.get("/api/v1/docs/websockets").content.decode()
    shown = context(DOCUMENT)
    assert shown["server"] == "wss://ticks.example.com"
    names = {message.name for channel in shown["channels"] for message in channel.messages}
    assert names == set(DOCUMENT["components"]["messages"])
    for name in names:
        assert f"<code>{name}</code>" in page
    for code in (*DOCUMENT["x-error-codes"], *DOCUMENT["x-close-codes"]):
        assert str(code["code"]) in page
    assert "http://" not in page.replace("http://testserver", "")


def test_who_says_what_is_told() -> None:
    subscribers, publishers = context(DOCUMENT)["channels"]
    assert {message.name for message in subscribers.messages if not message.is_ours} == {
        "subscribe", "unsubscribe", "list", "ping", "auth"
    }  # fmt: skip
    assert [message.is_ours for message in publishers.messages] == sorted(
        message.is_ours for message in publishers.messages
    )
