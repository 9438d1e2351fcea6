"""Which application a connection goes to."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import path

from gateway.edge import routing
from gateway.edge.routing import Routes


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Who got what; at first the routes themselves."""
    went: list[Any] = []

    def application(name: str) -> Any:
        async def take(scope: dict[str, Any], receive: Any, send: Any) -> None:
            went.append((name, scope.get("url_route")))

        return take

    ours = [path("ws", application("subscriber")), path("board/<int:number>", application("board"))]
    monkeypatch.setattr(routing, "websocket_urlpatterns", ours)
    went.append(Routes(application("http"), application("others")))
    return went


@pytest.mark.parametrize(
    ("scope", "who"),
    [
        ({"type": "websocket", "path": "/ws"}, "subscriber"),
        ({"type": "websocket", "path": "/behind/ws", "root_path": "/behind"}, "subscriber"),
        ({"type": "websocket", "path": "/ws/"}, "others"),
        ({"type": "websocket", "path": "/chat"}, "others"),
        ({"type": "http", "path": "/ws"}, "http"),
    ],
)
async def test_a_connection_goes_by_its_kind_and_path(went: list[Any], scope: dict[str, Any], who: str) -> None:
    await went.pop()(scope, None, None)
    assert went == [(who, None)]


async def test_the_part_of_a_path_that_varies_is_told(went: list[Any]) -> None:
    await went.pop()({"type": "websocket", "path": "/board/7"}, None, None)
    assert went == [("board", {"args": (), "kwargs": {"number": 7}})]


def test_nothing_else_goes_anywhere(went: list[Any]) -> None:
    with pytest.raises(ValueError, match="lifespan"):
        went.pop()({"type": "lifespan"}, None, None)
