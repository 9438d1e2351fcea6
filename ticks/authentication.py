"""Who is asking, for Django REST framework: its authentication and its permissions. The rules are in ticks/identity.py.

Settings name the classes here, ``DEFAULT_AUTHENTICATION_CLASSES`` and ``DEFAULT_PERMISSION_CLASSES``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ticks.identity import SCHEME, Identity, InvalidKey, identify, may_publish, may_subscribe
from ticks.models import ApiKey

if TYPE_CHECKING:
    # rest_framework.views imports this module, as its default authentication.
    from rest_framework.views import APIView

__all__ = ["ApiKeyAuthentication", "MayPublish", "MaySubscribe", "identity_of"]


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Api-Key <key>``. The request's ``auth`` is then the :class:`ApiKey`; a key has no user."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        try:
            # DRF's helper would build a mapping of all headers for each request.
            identity = identify(request.META.get("HTTP_AUTHORIZATION", "").encode("latin1"))
        except InvalidKey as error:
            raise AuthenticationFailed(str(error)) from error
        return None if identity.key is None else (AnonymousUser(), identity.key)

    def authenticate_header(self, _request: Request) -> str:
        return SCHEME


def identity_of(request: Request) -> Identity:
    """Who an authenticated request comes from."""
    if isinstance(request.auth, ApiKey):
        return Identity(key=request.auth)
    return Identity(user=request.user if request.user.is_authenticated else None)


class MayPublish(BasePermission):
    """Lets in who may publish."""

    message = "Publishing needs an API key."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return may_publish(identity_of(request))


class MaySubscribe(BasePermission):
    """Lets in who may subscribe."""

    message = "This needs an API key or a login."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return may_subscribe(identity_of(request))
