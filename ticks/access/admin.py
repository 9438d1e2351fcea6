"""The admin of who may what: API keys, the patterns of groups, and users' sessions.

A new secret is on the page that answers the form, and nowhere else: a message would travel in a cookie.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import SESSION_KEY
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from ticks.access import audit
from ticks.access.grant import Scope
from ticks.access.models import LIMITS, ApiKey, Entitlement

__all__ = ["ApiKeyAdmin", "SubscribersGroupAdmin"]

if TYPE_CHECKING:
    ApiKeyModelAdmin = admin.ModelAdmin[ApiKey]
    EntitlementStackedInline = admin.StackedInline[Entitlement, Group]
    UserModelAdmin = auth_admin.UserAdmin[User]
else:
    ApiKeyModelAdmin = admin.ModelAdmin
    EntitlementStackedInline = admin.StackedInline
    UserModelAdmin = auth_admin.UserAdmin

_OVERLAPS: Final = {
    "0": ("The old secret ends at once, and what is connected by it.", timedelta()),
    "1": ("Both are valid for an hour.", timedelta(hours=1)),
    "24": ("Both are valid for a day.", timedelta(hours=24)),
    "168": ("Both are valid for a week.", timedelta(hours=168)),
}
_BUTTONS: Final = [("rotate", "Rotate"), ("revoke", "Revoke")]
_MOST_ROTATED: Final = 100
_SENT: Final = "sent_forms"
_MOST_SENT: Final = 50


@admin.register(ApiKey)
class ApiKeyAdmin(ApiKeyModelAdmin):
    list_display = ["name", "prefix", "may", "state", "created_at", "expires_at", "last_used_at"]
    list_filter = ["active"]
    search_fields = ["name", "prefix", "notes"]
    actions = ["rotate", "revoke"]
    readonly_fields = ["prefix", "created_at", "last_used_at", "previous_until"]

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        limits = "What is left empty is as the settings say for all."
        new = [
            ("What it may do", {"fields": [scope.value for scope in Scope]}),
            ("Limits", {"fields": list(LIMITS), "description": limits}),
            ("Time", {"fields": ["expires_at"]}),
        ]
        if obj is None:
            return [(None, {"fields": ["name", "notes"]}), *new]
        return [(None, {"fields": ["name", "active", "notes"]}), *new, ("Secret", {"fields": self.readonly_fields})]

    @admin.display(description="may")
    def may(self, key: ApiKey) -> str:
        scopes = ", ".join(f"{scope} {key.scope(scope)}" for scope in Scope if key.scope(scope))
        return scopes if len(scopes) <= 80 else f"{scopes[:79]}…"

    # A new key

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if _was_sent(request):
            return self._sent_already(request)
        context = {"once": _once(), "show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**context, **(extra_context or {})})

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["extra_context"] = {"key_actions": _BUTTONS, **(kwargs.get("extra_context") or {})}
        return super().change_view(request, object_id, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool) -> None:
        if not change:
            vars(request)["issued"] = obj.draw()
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, "A new API key", [(obj, vars(request).pop("issued"))])

    def _show(self, request: HttpRequest, title: str, issued: Sequence[tuple[ApiKey, str]]) -> HttpResponse:
        """The page with new secrets: in answer to a form, which counts as sent from now on."""
        _note_sent(request)
        response = TemplateResponse(
            request, "admin/marketmux_ticks/apikey/issued.html", self._context(request, title, issued=issued)
        )
        response["Cache-Control"] = "no-store"
        response["Referrer-Policy"] = "no-referrer"
        return response

    def _sent_already(self, request: HttpRequest) -> HttpResponse:
        text = "That form was sent before, and what it made was shown then. Rotate a key whose secret was lost."
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:marketmux_ticks_apikey_changelist"))

    def _context(self, request: HttpRequest, title: str, **context: Any) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}

    # Actions

    @admin.action(description="Rotate the secret of selected API keys", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        if _was_sent(request):
            return self._sent_already(request)
        keys = list(queryset.select_for_update()[: _MOST_ROTATED + 1])
        ended = [str(key) for key in keys if key.state in {"revoked", "expired"}]
        if ended or len(keys) > _MOST_ROTATED:
            text = f"{', '.join(ended[:10])}: ended." if ended else f"At most {_MOST_ROTATED} keys at a time."
            self.message_user(request, f"Nothing was rotated. {text}", messages.ERROR)
            return None
        overlap = _OVERLAPS.get(request.POST.get("overlap", ""))
        if overlap is None:
            context = self._context(request, "Rotate API keys", keys=keys, once=_once(), overlaps=_OVERLAPS)
            return TemplateResponse(request, "admin/marketmux_ticks/apikey/rotate.html", context)
        issued = []
        for key in keys:
            issued.append((key, key.rotate(overlap[1])))
            key.save()
            self.log_change(request, key, "Rotated.")
        return self._show(request, "New secrets", issued)

    @admin.action(description="Revoke selected API keys, and cut what is connected by them", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        # One by one: an update of the queryset would tell nobody.
        revoked = [key for key in queryset.select_for_update() if key.revoke()]
        for key in revoked:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked {len(revoked)} API keys.", messages.SUCCESS)


# Forms that are sent once: a page that is loaded again sends its form again.


def _once() -> str:
    return secrets.token_urlsafe(16)


def _sent(request: HttpRequest) -> list[str]:
    """What this session has sent; read anew, in the transaction that the form is handled in."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(request.session.session_key)
    return list(store.get(_SENT, []))


def _was_sent(request: HttpRequest) -> bool:
    once = request.POST.get("once")
    return bool(once) and once in _sent(request)


def _note_sent(request: HttpRequest) -> None:
    if once := request.POST.get("once"):
        request.session[_SENT] = [*_sent(request), once[:32]][-_MOST_SENT:]
        request.session.save()  # not after the transaction, as the middleware would


# Groups and users


class EntitlementInline(EntitlementStackedInline):
    model = Entitlement
    extra = 1
    verbose_name_plural = "Symbols of its members"


class SubscribersGroupAdmin(auth_admin.GroupAdmin):
    """Django's, with the symbols that the members may have to do with."""

    inlines = [EntitlementInline]


class SessionsUserAdmin(UserModelAdmin):
    """Django's, and an end of all sessions of a user."""

    actions = ["log_out_everywhere"]

    @admin.action(description="Log selected users out everywhere, and cut what is connected", permissions=["change"])
    def log_out_everywhere(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = {str(user.pk): user for user in queryset}
        ended = dict.fromkeys(users, 0)
        for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
            pk = session.get_decoded().get(SESSION_KEY)
            if pk in users:
                session.delete()  # which says so to those who stand on it
                ended[pk] += 1
        for pk, user in users.items():
            audit.note("logged out everywhere", f"user:{pk} {user.get_username()}", sessions=ended[pk])
            self.log_change(request, user, "Logged out everywhere.")
        self.message_user(request, f"Ended {sum(ended.values())} sessions.", messages.SUCCESS)


admin.site.unregister(Group)
admin.site.register(Group, SubscribersGroupAdmin)
if admin.site.is_registered(User):
    admin.site.unregister(User)
    admin.site.register(User, SessionsUserAdmin)
