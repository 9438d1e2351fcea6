"""The label of the app is its own: databases of the time when it was ``ticks`` come along, and other apps may have that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import pytest
from django.conf import settings
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django.utils import timezone

from tests.database import migrate_to
from ticks.access.models import ApiKey, AuditEntry, Change, Entitlement
from ticks.models import Instrument, RecordedTick
from ticks.relabel import adopt

pytestmark = pytest.mark.django_db(transaction=True)

OURS: Final = "marketmux_ticks"
MIGRATIONS: Final = [
    "0001_initial",
    "0002_recorded_extra_and_place",
    "0003_access",
    "0004_users_keep_their_access",
    "0005_append_only",
    "0006_longer_symbols",
]
MODELS: Final = (ApiKey, AuditEntry, Change, Entitlement, Instrument, RecordedTick)


def also(app: str) -> AbstractContextManager[Any]:
    """The project has that app, too."""
    return override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, f"tests.ticks.labels.{app}"])


def migrate(*arguments: str) -> None:
    call_command("migrate", *arguments, verbosity=0, skip_checks=True)


@pytest.fixture(autouse=True)
def empty(transactional_db: None) -> Iterator[dict[str, set[Any]]]:
    """A database without the app, and the indexes that it had; the tests that follow have all tables again."""
    indexes = found_indexes()
    leave()
    yield indexes
    migrate_to()


def leave() -> None:
    """Faster than by way of each migration."""
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.delete_model(model)
    MigrationRecorder(connection).migration_qs.filter(app=OURS).delete()
    ContentType.objects.filter(app_label=OURS).delete()
    ContentType.objects.clear_cache()


def found_indexes() -> dict[str, set[Any]]:
    """The names and columns of those that are no constraints, by table."""
    with connection.cursor() as cursor:
        return {
            model._meta.db_table: {
                (name, tuple(about["columns"]))
                for name, about in connection.introspection.get_constraints(cursor, model._meta.db_table).items()
                if about["index"] and not about["unique"] and not about["primary_key"]
            }
            for model in MODELS
        }


def tables() -> set[str]:
    return set(connection.introspection.table_names())


def recorded(label: str) -> list[str]:
    names = MigrationRecorder(connection).migration_qs.filter(app=label).order_by("name")
    return list(names.values_list("name", flat=True))


def database_of(last: str) -> None:
    """As the code of that migration left it, with a row of everything."""
    with also("before"):
        migrate("ticks", last)
        apps = MigrationExecutor(connection).loader.project_state(("ticks", last)).apps
    now = timezone.now()
    apps.get_model("ticks", "Instrument").objects.create(pk=7, symbol="AAPL")
    place = {} if last == MIGRATIONS[0] else {"seq": 7, "epoch": "e"}
    apps.get_model("ticks", "RecordedTick").objects.create(
        symbol="AAPL", price="150.250", timestamp="2026-01-01T00:00:00Z", at=now, recorded_at=now, **place
    )
    apps.get_model("ticks", "ApiKey").objects.create(name="feed", digest="d" * 64)
    kind = ContentType.objects.get(app_label="ticks", model="instrument")
    # In bulk, of which no signal tells the audit log of today: it has no table.
    [user] = User.objects.bulk_create([User(username="ada")])
    may_view = Permission.objects.get(content_type=kind, codename="view_instrument")
    User.user_permissions.through.objects.bulk_create(
        [User.user_permissions.through(user_id=user.pk, permission_id=may_view.pk)]
    )
    LogEntry.objects.bulk_create(
        [LogEntry(user=user, content_type=kind, object_id="7", object_repr="AAPL", action_flag=ADDITION)]
    )
    if last < MIGRATIONS[2]:
        return
    [group] = Group.objects.bulk_create([Group(name="traders")])
    may_subscribe = Permission.objects.get(content_type__app_label="ticks", codename="subscribe")
    Group.permissions.through.objects.bulk_create(
        [Group.permissions.through(group_id=group.pk, permission_id=may_subscribe.pk)]
    )
    User.groups.through.objects.bulk_create([User.groups.through(user_id=user.pk, group_id=group.pk)])
    apps.get_model("ticks", "Entitlement").objects.create(group_id=group.pk, subscribe="BTC-*")
    apps.get_model("ticks", "AuditEntry").objects.create(actor="ada", action="made", subject="key 1")
    apps.get_model("ticks", "Change").objects.create(subject="key:1")


@pytest.mark.parametrize("last", [MIGRATIONS[0], MIGRATIONS[2], MIGRATIONS[5]])
def test_a_database_of_the_old_label_comes_along_whole(last: str, empty: dict[str, set[Any]]) -> None:
    database_of(last)
    ContentType.objects.get_or_create(app_label=OURS, model="instrument")  # by code of today, before `migrate`
    migrate()
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
    assert recorded("ticks") == []
    assert recorded(OURS) == MIGRATIONS
    assert not {name for name in tables() if name.startswith("ticks_")}
    assert found_indexes() == empty
    assert list(Instrument.objects.values_list("pk", "symbol")) == [(7, "AAPL")]
    assert RecordedTick.objects.get().price == "150.250"
    assert ApiKey.objects.get().digest == "d" * 64
    user = User.objects.get()
    assert user.has_perm(f"{OURS}.view_instrument")
    assert LogEntry.objects.get().get_admin_url() == f"/admin/{OURS}/instrument/7/change/"
    assert not ContentType.objects.filter(app_label="ticks").exists()
    # Who was there before permissions counted may subscribe, by migration 0004.
    assert user.has_perm(f"{OURS}.subscribe")
    if last >= MIGRATIONS[2]:
        assert str(Entitlement.objects.get(group__name="traders").subscribe) == "BTC-*"
        assert AuditEntry.objects.filter(actor="ada").count() == Change.objects.filter(subject="key:1").count() == 1
    AuditEntry.objects.create(actor="a", action="b", subject="c")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE marketmux_ticks_auditentry SET actor = 'x'")
    Instrument.objects.create(symbol="MSFT")


def test_what_was_interrupted_goes_on() -> None:
    database_of(MIGRATIONS[2])
    call_command("sqlmigrate", OURS, "0001")  # shows, and changes nothing
    assert recorded("ticks") == MIGRATIONS[:3]
    migrate(OURS, "0001")
    assert recorded(OURS) == MIGRATIONS[:3]
    migrate()
    assert recorded(OURS) == MIGRATIONS
    assert str(Entitlement.objects.get(group__name="traders").subscribe) == "BTC-*"


def test_it_can_be_done_before_migrate_for_migrations_that_depend_on_ours() -> None:
    database_of(MIGRATIONS[-1])
    for _ in range(2):
        with connection.schema_editor() as editor:
            adopt(editor)
        assert recorded(OURS) == MIGRATIONS
        assert Instrument.objects.get().pk == 7


def test_the_app_of_another_project_with_that_label_is_left_alone() -> None:
    with also("shop.ticks"):
        migrate("ticks")
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO ticks_instrument (symbol) VALUES ('THEIRS')")
            before = recorded("ticks")
            migrate()
            assert recorded("ticks") == before == ["0001_initial", "0003_access"]
            assert recorded(OURS) == MIGRATIONS
            assert {"ticks_instrument", "ticks_auditentry", "marketmux_ticks_instrument"} <= tables()
            with connection.cursor() as cursor:
                cursor.execute("SELECT symbol FROM ticks_instrument")
                assert cursor.fetchall() == [("THEIRS",)]
            assert not Instrument.objects.exists()
            kinds = ContentType.objects.filter(model="instrument").order_by("app_label")
            assert list(kinds.values_list("app_label", flat=True)) == [OURS, "ticks"]
        finally:
            migrate("ticks", "zero")


def test_after_that_migrations_go_back_and_forth_and_others_may_have_the_label() -> None:
    database_of(MIGRATIONS[-1])
    migrate()
    migrate(OURS, "0002")
    migrate()
    with also("shop.ticks"):
        migrate()
        try:
            assert recorded("ticks") == ["0001_initial", "0003_access"]
            assert list(Instrument.objects.values_list("symbol", flat=True)) == ["AAPL"]
        finally:
            migrate("ticks", "zero")
