"""The admin of keys, groups and sessions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from ticks.access import keys
from ticks.access.keys import grant_of_key
from ticks.access.models import LIMITS, ApiKey, AuditEntry, Change, Entitlement

pytestmark = pytest.mark.django_db

KEYS = "/admin/marketmux_ticks/apikey/"
GROUPS = "/admin/auth/group/"
SECRET = r"mmx_[\w-]{43}"
GRANTED = ["publish", "subscribe", "read", *LIMITS, "expires_at"]


@pytest.fixture
def admin_client() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    yield
    keys.forget()


def text(response: Any) -> str:
    """What a page says, without its markup."""
    assert isinstance(response, HttpResponse)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def add_key(client: Client, name: str = "feed", **form: str) -> tuple[Any, str]:
    """The answer to the form for a key, and the key in it."""
    response = client.post(f"{KEYS}add/", {"name": name, **form})
    [plaintext] = set(re.findall(SECRET, text(response)))
    return response, plaintext


def act(client: Client, action: str, *some: ApiKey, **form: str) -> Any:
    return client.post(KEYS, {"action": action, "_selected_action": [str(key.pk) for key in some], **form}, follow=True)


def once(response: Any) -> str:
    [value] = re.findall(r'name="once" value="([\w-]+)"', response.content.decode())
    return str(value)


# A new key


def test_adding_a_key_asks_for_its_name_and_what_it_may(admin_client: Client) -> None:
    response = admin_client.get(f"{KEYS}add/")
    assert set(response.context["adminform"].form.fields) == {"name", "notes", *GRANTED}


def test_a_new_key_is_in_the_answer_to_the_form_and_works(admin_client: Client) -> None:
    response, plaintext = add_key(admin_client, publish="BTC-* AAPL", ticks_per_second="5")
    assert f"Authorization: Api-Key {plaintext}" in text(response)
    assert "no-store" in response["Cache-Control"]
    key = ApiKey.objects.find(plaintext)
    assert key is not None
    assert (key.name, str(key.publish), key.ticks_per_second, key.active) == ("feed", "AAPL BTC-*", 5, True)


def test_a_new_key_is_in_no_cookie_no_session_and_no_other_page(admin_client: Client) -> None:
    response, plaintext = add_key(admin_client)
    assert not any(plaintext in cookie.OutputString() for cookie in response.cookies.values())
    assert "messages" not in response.cookies
    assert not any(plaintext in str(session.get_decoded()) for session in Session.objects.all())
    pk = ApiKey.objects.get().pk
    for page in (KEYS, f"{KEYS}{pk}/change/", f"{KEYS}{pk}/history/"):
        assert plaintext not in text(admin_client.get(page))
    assert not LogEntry.objects.filter(object_repr__contains=plaintext).exists()
    assert not AuditEntry.objects.filter(detail__icontains=plaintext[12:]).exists()


def test_a_page_that_is_loaded_again_makes_no_other_key_and_shows_none(admin_client: Client) -> None:
    form = {"name": "feed", "once": once(admin_client.get(f"{KEYS}add/"))}
    first = admin_client.post(f"{KEYS}add/", form)
    again = admin_client.post(f"{KEYS}add/", form, follow=True)
    assert re.search(SECRET, text(first))
    assert not re.search(SECRET, text(again))
    assert "That form was sent before" in text(again)
    assert ApiKey.objects.count() == 1


def test_a_form_with_a_mistake_may_be_sent_again(admin_client: Client) -> None:
    form = {"name": "feed", "publish": "A**", "once": once(admin_client.get(f"{KEYS}add/"))}
    page = admin_client.post(f"{KEYS}add/", form)
    assert "Not a pattern: &#x27;A**&#x27;" in text(page)
    assert re.search(SECRET, text(admin_client.post(f"{KEYS}add/", {**form, "publish": "A*"})))


# Keys


def test_keys_are_listed_with_what_they_may(admin_client: Client) -> None:
    key, _ = ApiKey.objects.issue("the feed", publish="", read="")
    page = text(admin_client.get(KEYS))
    assert f"the feed {key.prefix} subscribe * active" in page


def test_all_but_the_secret_of_a_key_can_be_changed(admin_client: Client) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    page = admin_client.get(f"{KEYS}{key.pk}/change/")
    assert set(page.context["adminform"].form.fields) == {"name", "active", "notes", *GRANTED}
    assert key.digest not in page.content.decode()
    form = {
        "name": "other",
        "active": "on",
        "publish": "",
        "subscribe": "BTC-*",
        "read": "",
        "digest": "0" * 64,
        "prefix": "x",
        "last_used_at_0": "2026-01-01",
    }
    assert admin_client.post(f"{KEYS}{key.pk}/change/", form).status_code == 302
    after = ApiKey.objects.get()
    assert (after.name, str(after.publish), str(after.subscribe)) == ("other", "", "BTC-*")
    assert (after.digest, after.prefix, after.last_used_at) == (key.digest, key.prefix, None)
    grant = grant_of_key(plaintext)
    assert grant is not None
    assert not grant.publish
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.action, entry.actor) == ("changed", "user admin")
    assert entry.detail == {
        "name": ["feed", "other"],
        "publish": ["*", ""],
        "subscribe": ["*", "BTC-*"],
        "read": ["*", ""],
    }


def test_the_same_patterns_written_otherwise_are_no_change(admin_client: Client) -> None:
    key, _ = ApiKey.objects.issue("feed", publish="AAPL BTC-*", subscribe="", read="")
    form = {"name": "feed", "active": "on", "publish": "BTC-*,\r\nAAPL BTC-USD"}
    admin_client.post(f"{KEYS}{key.pk}/change/", form)
    assert LogEntry.objects.get().get_change_message() == "No fields changed."
    assert AuditEntry.objects.count() == 2  # the key, and the admin


# Rotating


def test_a_secret_is_rotated_and_the_new_one_shown_once(admin_client: Client) -> None:
    key, before = ApiKey.objects.issue("feed")
    page = act(admin_client, "rotate", key)
    assert ApiKey.objects.get().digest == key.digest  # it is asked first for how long both are valid
    form = {"once": once(page), "overlap": "24"}
    response = act(admin_client, "rotate", key, **form)
    [after] = set(re.findall(SECRET, text(response)))
    assert "no-store" in response["Cache-Control"]
    assert grant_of_key(before) is not None
    assert grant_of_key(after) is not None
    again = act(admin_client, "rotate", key, **form)
    assert not re.search(SECRET, text(again))
    assert "That form was sent before" in text(again)
    assert grant_of_key(after) is not None
    assert list(AuditEntry.objects.filter(action="rotated").values_list("actor", flat=True)) == ["user admin"]


def test_a_secret_that_leaked_ends_at_once(admin_client: Client) -> None:
    key, before = ApiKey.objects.issue("feed")
    act(admin_client, "rotate", key, overlap="0")
    assert grant_of_key(before) is None


def test_a_key_that_has_ended_is_not_rotated(admin_client: Client) -> None:
    some = [ApiKey.objects.issue("feed")[0], ApiKey.objects.issue("old", active=False)[0]]
    page = text(act(admin_client, "rotate", *some, overlap="24"))
    assert "Nothing was rotated." in page
    assert [key.digest for key in ApiKey.objects.all()] == [key.digest for key in some]


@pytest.mark.parametrize("action", ["rotate", "revoke"])
def test_a_key_has_buttons(admin_client: Client, action: str) -> None:
    key, _ = ApiKey.objects.issue("feed")
    assert f'name="action" value="{action}"' in admin_client.get(f"{KEYS}{key.pk}/change/").content.decode()


# Revoking


@pytest.mark.django_db(transaction=True)
def test_selected_keys_are_revoked_at_once_and_it_is_logged(admin_client: Client) -> None:
    some = [ApiKey.objects.issue(name) for name in ("one", "two", "three")]
    for _, plaintext in some:
        grant_of_key(plaintext)
    assert "Revoked 2 API keys." in text(act(admin_client, "revoke", some[0][0], some[1][0]))
    assert [grant_of_key(plaintext) is not None for _, plaintext in some] == [False, False, True]
    assert LogEntry.objects.filter(change_message__contains="Revoked").count() == 2
    assert AuditEntry.objects.filter(action="revoked", actor="user admin").count() == 2


@pytest.mark.parametrize("permission", ["view_apikey", ""])
@pytest.mark.parametrize("action", ["rotate", "revoke"])
def test_who_may_not_change_keys_does_not(permission: str, action: str) -> None:
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    client = Client()
    client.force_login(user)
    key, _ = ApiKey.objects.issue("feed")
    act(client, action, key, overlap="0")
    after = ApiKey.objects.get()
    assert (after.active, after.digest) == (True, key.digest)


# Groups, users


def test_the_patterns_of_a_group_are_edited_with_it(admin_client: Client) -> None:
    group = Group.objects.create(name="Traders")
    inline = {"entitlement-TOTAL_FORMS": "1", "entitlement-INITIAL_FORMS": "0", "entitlement-0-group": str(group.pk)}
    url = f"{GROUPS}{group.pk}/change/"
    wrong = admin_client.post(url, {"name": "Traders", **inline, "entitlement-0-subscribe": "A**"})
    assert "Not a pattern: &#x27;A**&#x27;" in text(wrong)
    assert admin_client.post(url, {"name": "Traders", **inline, "entitlement-0-subscribe": "BTC-*"}).status_code == 302
    assert str(Entitlement.objects.get(group=group).subscribe) == "BTC-*"
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.action, entry.subject, entry.detail) == ("made", f"group:{group.pk} Traders", {"subscribe": "BTC-*"})


def test_a_user_is_logged_out_everywhere(admin_client: Client) -> None:
    ada, bob = User.objects.create(username="ada"), User.objects.create(username="bob")
    for user in (ada, ada, bob):
        Client().force_login(user)
    form = {"action": "log_out_everywhere", "_selected_action": [str(ada.pk)]}
    Change.objects.all().delete()
    page = text(admin_client.post("/admin/auth/user/", form, follow=True))
    assert "Ended 2 sessions." in page
    assert {session.get_decoded()["_auth_user_id"] for session in Session.objects.filter(expire_date__gt=timezone.now())} == {
        str(bob.pk), str(User.objects.get(username="admin").pk)
    }  # fmt: skip
    assert Change.objects.filter(subject__startswith="session:").count() == 2
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.actor, entry.action, entry.detail) == ("user admin", "logged out everywhere", {"sessions": 2})
