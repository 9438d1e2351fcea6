"""Whoever could log in before permissions counted goes on seeing what it saw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User

from tests.database import migrate_to
from ticks.access.grant import Scope
from ticks.access.users import forget, grant_of_user

BEFORE, AFTER = ("marketmux_ticks", "0003_access"), ("marketmux_ticks", "0004_users_keep_their_access")


@pytest.fixture(autouse=True)
def whole(transactional_db: None) -> Iterator[None]:
    """The tests that follow have all tables again."""
    yield
    migrate_to()


@pytest.mark.django_db(transaction=True)
def test_users_that_are_there_keep_their_access() -> None:
    migrate_to(BEFORE)
    ada = User.objects.create_user("ada")
    left = User.objects.create_user("left", is_active=False)
    migrate_to(AFTER)
    forget()
    grant = grant_of_user(ada)
    assert grant is not None
    assert [scope for scope in Scope if grant.of(scope)] == [Scope.SUBSCRIBE, Scope.READ]
    assert not left.groups.exists()


@pytest.mark.django_db(transaction=True)
def test_a_new_database_gets_no_group() -> None:
    migrate_to(BEFORE)
    Group.objects.all().delete()
    migrate_to(AFTER)
    assert not Group.objects.exists()
