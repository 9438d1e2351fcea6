"""The demo page's document, and the instruments that it asks for: as somebody types, or to name what ticks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypedDict

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.expressions import OrderBy
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from gateway.protocol.codes import CLOSURES
from ticks import lookups
from ticks.conf import conf
from ticks.grammar import is_symbol
from ticks.models import Instrument

__all__ = ["FIRST_INSTRUMENTS", "index", "instruments"]

FIRST_INSTRUMENTS: Final = 100
"""What a page subscribes to that was not told otherwise. It carries no other instruments."""

_WEBSOCKET_PATH: Final = "/ws"
_MOST_NAMED: Final = 500
"""Of how many symbols the names are told at once."""

_MOST_OFFERED: Final = 8
_LONGEST_QUERY: Final = 100
"""A name has no more characters."""

_MAX_AGE: Final = 60
"""How long a browser may keep names, in seconds."""

P = ParamSpec("P")


class Listed(TypedDict):
    """What the page knows of an instrument."""

    symbol: str
    name: str


class PageConfig(TypedDict):
    """What the demo page's scripts are told (static/gateway/main.js)."""

    instruments: list[Listed]
    websocket_path: str
    ticks_url: str
    instruments_url: str
    health_url: str
    csrf_cookie: str
    max_symbols: int
    closures: dict[int, str]


@require_safe
@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The demo page. Anybody may see it: prices come through the WebSocket, which checks who is asking."""
    first = _asked(_first, min(FIRST_INSTRUMENTS, conf.MARKETMUX_MAX_SYMBOLS))
    if first is None:
        return _unavailable()
    config: PageConfig = {
        "instruments": first,
        "websocket_path": _WEBSOCKET_PATH,
        "ticks_url": reverse("marketmux:ticks"),
        "instruments_url": reverse("marketmux:instruments"),
        "health_url": reverse("marketmux:readyz"),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "max_symbols": conf.MARKETMUX_MAX_SYMBOLS,
        "closures": {closure.code: closure.reason for closure in CLOSURES},
    }
    login_url = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.path})}"
    context = {"config": config, "anonymous": conf.MARKETMUX_ANONYMOUS, "login_url": login_url}
    return render(request, "gateway/index.html", context)


@require_safe
def instruments(request: HttpRequest) -> HttpResponse:
    """Active instruments: those of ``?symbols=AAPL,MSFT``, or the few that ``?like=app`` may mean. For anybody."""
    symbols = request.GET.get("symbols")
    if symbols is not None:
        wanted = [one for one in symbols.split(",")[:_MOST_NAMED] if is_symbol(one)]
        found = _asked(_named, wanted)
    else:
        found = _asked(_like, request.GET.get("like", "").strip()[:_LONGEST_QUERY])
    if found is None:
        return _unavailable()
    return JsonResponse({"instruments": found}, headers={"Cache-Control": f"private, max-age={_MAX_AGE}"})


def _asked(question: Callable[P, list[Listed]], *args: P.args, **kwargs: P.kwargs) -> list[Listed] | None:
    try:
        return lookups.ask_from_thread(question, *args, **kwargs)
    except lookups.DatabaseUnavailable:
        return None


def _unavailable() -> HttpResponse:
    return HttpResponse("The database does not answer. Try again.", status=503, headers={"Retry-After": "1"})


def _first(count: int) -> list[Listed]:
    return _listed(Q(), ["symbol"], count)


def _named(symbols: list[str]) -> list[Listed]:
    return _listed(Q(symbol__in=symbols), ["symbol"], _MOST_NAMED)


def _like(text: str) -> list[Listed]:
    """Those whose symbol begins so, in upper case or lower, and then those with a name that has it."""
    if not text.isprintable():  # some databases take no NUL
        return []
    begins = Q(symbol__istartswith=text)
    by_name = ExpressionWrapper(~begins, output_field=BooleanField())
    return _listed(begins | Q(name__icontains=text), [by_name.asc(), "symbol"], _MOST_OFFERED)


def _listed(which: Q, order: Sequence[str | OrderBy], most: int) -> list[Listed]:
    found = Instrument.objects.filter(which, active=True).order_by(*order)[:most]
    return [{"symbol": symbol, "name": name} for symbol, name in found.values_list("symbol", "name")]
