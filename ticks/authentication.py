"""Who is asking, for Django REST framework: its authentication and its permissions. The rules are in ticks/access/.

A request's ``auth`` is its :class:`~ticks.access.grant.Grant`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import AnonymousUser
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ticks.access import door
from ticks.access.credentials import refuse_in_url
from ticks.access.grant import NOBODY, Grant
from ticks.access.users import grant_of_user
from ticks.address import address_of_request

if TYPE_CHECKING:
    from rest_framework.views import APIView

__all__ = ["CredentialAuthentication", "MayPublish", "MayRead", "SessionAuthentication", "grant_of", "look_up"]

Found = Grant | door.InvalidCredential | None
_FOUND: Final = "_marketmux_found"
"""The attribute of a request for what its header was found to hold."""


class CredentialAuthentication(authentication.BaseAuthentication):
    """``Authorization: Api-Key <key>`` or ``Bearer <token>``. Who shows a credential has no user."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Grant] | None:
        try:
            refuse_in_url(request.META.get("QUERY_STRING", ""))
            grant = _shown(request)
        except door.InvalidCredential as error:
            raise AuthenticationFailed(str(error), error.code) from error
        if grant is None:
            return None
        _note(request, grant)
        return AnonymousUser(), grant

    def authenticate_header(self, _request: Request) -> str:
        return door.SCHEME


class SessionAuthentication(authentication.SessionAuthentication):
    """Django's login; other methods than GET need the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user = found[0]
        grant = grant_of_user(user, request.session.session_key or "") or NOBODY
        _note(request, grant)
        return user, grant


async def look_up(request: Request) -> None:
    """On the event loop, before a request is authenticated: finds out what it shows, which is said when it is."""
    try:
        found: Found = await door.shown(_header(request))
    except door.InvalidCredential as error:
        found = error
    setattr(request, _FOUND, found)


def _shown(request: Request) -> Grant | None:
    found: Found = getattr(request, _FOUND) if hasattr(request, _FOUND) else door.of_header(_header(request))
    if isinstance(found, door.InvalidCredential):
        raise found
    return found


def _header(request: Request) -> bytes:
    # DRF's helper would build a mapping of all headers for each request.
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    return header.encode("latin1")


def grant_of(request: Request) -> Grant:
    """What an authenticated request may do; of who has shown nothing it is found when it is first asked for."""
    if not isinstance(request.auth, Grant):
        request.auth = door.anonymous(address_of_request(request))
    grant: Grant = request.auth
    return grant


def _note(request: Request, grant: Grant) -> None:
    """Says whose request it is where the server can see it (gateway/edge/standing.py)."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        scope["grant"] = grant


class MayPublish(BasePermission):
    """Lets in who may publish anything at all."""

    message = "Publishing needs a key, or a login, that may publish."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return bool(grant_of(request).publish)


class MayRead(BasePermission):
    """Lets in who may read anything at all."""

    message = "This needs a key, or a login, that may read."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return bool(grant_of(request).read)
