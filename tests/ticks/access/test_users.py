"""What users may do: permissions, groups, and the hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from ticks.access import users
from ticks.access.grant import Scope
from ticks.access.models import Change, Entitlement
from ticks.access.users import EntitlementsUnavailable, entitlements_changed, grant_of_session, grant_of_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    users.forget()
    yield
    users.forget()


def permit(to: User | Group, *codenames: str) -> None:
    permissions = Permission.objects.filter(content_type__app_label="marketmux_ticks", codename__in=codenames)
    (to.user_permissions if isinstance(to, User) else to.permissions).set(permissions)


def may(user: User) -> dict[str, str]:
    grant = grant_of_user(User.objects.get(pk=user.pk))
    assert grant is not None
    return {scope.value: str(grant.of(scope)) for scope in Scope if grant.of(scope)}


def test_a_user_may_do_what_it_has_permission_for() -> None:
    user = User.objects.create_user("ada")
    assert may(user) == {}
    permit(user, "subscribe")
    assert may(user) == {"subscribe": "*"}


def test_staff_needs_permission_and_a_superuser_none() -> None:
    assert may(User.objects.create_user("staff", is_staff=True)) == {}
    assert may(User.objects.create_superuser("root")) == {"publish": "*", "subscribe": "*", "read": "*"}


def test_the_symbols_are_those_of_all_groups() -> None:
    user = User.objects.create_user("ada")
    crypto, shares = Group.objects.create(name="crypto"), Group.objects.create(name="shares")
    permit(crypto, "subscribe", "read")
    user.groups.set([crypto, shares])
    Entitlement.objects.create(group=crypto, subscribe="BTC-*", read="BTC-*", publish="*")
    assert may(user) == {"subscribe": "BTC-*", "read": "BTC-*"}
    Entitlement.objects.create(group=shares, subscribe="AAPL")
    assert may(user) == {"subscribe": "AAPL BTC-*", "read": "BTC-*"}


@pytest.mark.parametrize("change", ["permission", "group's permission", "entitlement", "membership", "group deleted"])
def test_a_change_counts_at_once_and_is_noted(change: str) -> None:
    user = User.objects.create_user("ada")
    group = Group.objects.create(name="crypto")
    permit(group, "subscribe")
    user.groups.add(group)
    permit(user, "read")
    entitlement = Entitlement.objects.create(group=group, subscribe="BTC-*", read="*")
    assert may(user) == {"subscribe": "BTC-*", "read": "*"}
    noted = Change.objects.count()
    match change:
        case "permission":
            user.user_permissions.clear()
            assert may(user) == {"subscribe": "BTC-*"}
        case "group's permission":
            group.permissions.clear()
            assert may(user) == {"read": "*"}
        case "entitlement":
            entitlement.subscribe = "ETH-*"
            entitlement.save()
            assert may(user) == {"subscribe": "ETH-*", "read": "*"}
        case "membership":
            group.user_set.remove(user)
            assert may(user) == {"read": "*"}
        case "group deleted":
            group.delete()
            assert may(user) == {"read": "*"}
    assert Change.objects.count() > noted


# The hook

ANSWER: Any = ["AAPL"]


def hook(user: User) -> Any:
    if isinstance(ANSWER, Exception):
        raise ANSWER
    return ANSWER


@pytest.fixture
def hooked(settings: Settings) -> Settings:
    settings.MARKETMUX_ENTITLEMENTS = f"{__name__}.hook"
    return settings


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (["AAPL", "BTC-*"], {"subscribe": "AAPL BTC-*", "read": "AAPL BTC-*"}),
        ("AAPL BTC-*", {"subscribe": "AAPL BTC-*", "read": "AAPL BTC-*"}),
        ({"subscribe": ["AAPL"], "publish": ["X"]}, {"subscribe": "AAPL", "publish": "X"}),
        ({"subscribe": ["AAPL"], "delayed": ["*"]}, {"subscribe": "AAPL"}),
        ([], {}),
    ],
)
def test_the_hook_says_which_symbols(
    hooked: Settings, monkeypatch: pytest.MonkeyPatch, answer: Any, allowed: dict[str, str]
) -> None:
    monkeypatch.setattr(f"{__name__}.ANSWER", answer)
    assert may(User.objects.create_user("ada")) == allowed


@pytest.mark.parametrize("answer", [None, 5, ["A,B"], {"sell": ["*"]}, RuntimeError("down")])
def test_a_hook_that_fails_grants_nothing_and_is_not_believed_later(
    hooked: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    user = User.objects.create_user("ada")
    monkeypatch.setattr(f"{__name__}.ANSWER", answer)
    with pytest.raises(EntitlementsUnavailable):
        may(user)
    assert "ada" in caplog.text
    monkeypatch.setattr(f"{__name__}.ANSWER", ["AAPL"])
    assert may(user) == {"subscribe": "AAPL", "read": "AAPL"}


def test_the_hook_is_asked_once_and_again_on_the_signal(hooked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    user = User.objects.create_user("ada")
    assert may(user) == {"subscribe": "AAPL", "read": "AAPL"}
    monkeypatch.setattr(f"{__name__}.ANSWER", ["MSFT"])
    assert may(user) == {"subscribe": "AAPL", "read": "AAPL"}
    entitlements_changed.send(sender=None, user=user)
    assert may(user) == {"subscribe": "MSFT", "read": "MSFT"}
    monkeypatch.setattr(f"{__name__}.ANSWER", ["BTC-*"])
    entitlements_changed.send(sender=None)
    assert may(user) == {"subscribe": "BTC-*", "read": "BTC-*"}


def test_permissions_are_asked_for_once_for_all_connections(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    user = User.objects.create_user("ada")
    may(user)
    with django_assert_num_queries(0):
        grant_of_user(user)


# What is left of it


def test_a_session_ends_with_its_user_its_password_and_itself() -> None:
    for end in ("deactivate", "delete", "password", "logout"):
        user = User.objects.create_superuser(f"root{end}", password="secret")
        client = Client()
        client.force_login(user)
        grant = grant_of_session(client.cookies["sessionid"].value)
        assert grant is not None
        assert grant.renew is not None
        assert grant.renew() == grant
        noted = Change.objects.count()
        match end:
            case "deactivate":
                user.is_active = False
                user.save()
            case "delete":
                user.delete()
            case "password":
                user.set_password("another")
                user.save()
            case "logout":
                client.logout()
        assert grant.renew() is None
        subjects = set(Change.objects.values_list("subject", flat=True)[noted:])
        assert subjects & grant.stands_on, end


def test_a_login_changes_nothing_of_the_user() -> None:
    User.objects.create_superuser("root", password="secret")
    noted = Change.objects.count()
    assert Client().login(username="root", password="secret")
    assert not Change.objects.filter(subject__startswith="user:")[noted:].exists()
