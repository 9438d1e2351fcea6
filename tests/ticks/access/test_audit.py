"""The audit log: what is entered, that nothing in it can be changed, and how it is read."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.test import AsyncClient, Client

from tests.environment import clean_environment
from tests.postgresql import NotInstalled, postgresql
from tests.servers import ROOT, SETTINGS, copy_database
from ticks.access import audit, export
from ticks.access.models import ApiKey, AppendOnly, AuditEntry, Change, Entitlement

pytestmark = pytest.mark.django_db

LOG = "/admin/marketmux_ticks/auditentry/"
INSERT = "INSERT INTO marketmux_ticks_auditentry (at, actor, action, subject, detail) VALUES ('2026-05-12 15:04:05', 'a', 'b', 'c', '{}')"
REPLACING = INSERT.replace("INSERT", "INSERT OR REPLACE").replace("(at", "(id, at").replace("VALUES (", "VALUES (1, ")
TAMPERING = [
    "UPDATE marketmux_ticks_auditentry SET actor = 'x'",
    "DELETE FROM marketmux_ticks_auditentry",
    "DELETE FROM marketmux_ticks_auditentry WHERE id = 1",
]


def last() -> tuple[str, str, str, Any]:
    entry = AuditEntry.objects.all()[0]
    return entry.actor, entry.action, entry.subject, entry.detail


# What is entered


def test_plain_code_acts_as_the_system_unless_it_says_who() -> None:
    key, _ = ApiKey.objects.issue("feed")
    assert last()[:3] == ("system", "made", f"key:{key.pk} {key}")
    with audit.acting("user ada"):
        key.revoke()
    assert last()[:2] == ("user ada", "revoked")
    key.active = True
    key.save()
    assert last()[1] == "restored"
    pk, text = key.pk, str(key)
    key.delete()
    assert last() == ("system", "deleted", f"key:{pk} {text}", {"what": "API key"})


def test_what_changes_nothing_is_not_entered() -> None:
    key, _ = ApiKey.objects.issue("feed")
    count = AuditEntry.objects.count()
    key.save()
    key.last_used_at = datetime(2026, 5, 12, tzinfo=UTC)
    key.save(update_fields=["last_used_at"])
    assert AuditEntry.objects.count() == count


@pytest.mark.django_db(transaction=True)
def test_an_entry_is_there_if_and_only_if_the_change_is() -> None:
    key, _ = ApiKey.objects.issue("feed")
    count = AuditEntry.objects.count()
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        key.revoke()
        raise ZeroDivisionError
    assert ApiKey.objects.get().active
    assert AuditEntry.objects.count() == count


def test_a_key_whose_entry_cannot_be_written_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = ApiKey.objects.issue("feed")

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(audit, "note", fail)
    with contextlib.suppress(ZeroDivisionError):
        key.revoke()
    assert ApiKey.objects.get().active


def test_of_users_what_concerns_their_access_is_entered_and_no_secret() -> None:
    ada = User.objects.create_user("ada", "ada@example.com", "secret")
    assert last()[1:] == ("made", f"user:{ada.pk} ada", {
        "username": "ada", "is_active": True, "is_staff": False, "is_superuser": False
    })  # fmt: skip
    ada.set_password("other")
    ada.is_active = False
    ada.save()
    assert last()[1:] == ("changed", f"user:{ada.pk} ada", {"is_active": [True, False], "password": "changed"})


def test_who_updates_many_keys_at_once_is_heard_as_one_who_saves_them() -> None:
    keys = [ApiKey.objects.issue(name)[0] for name in ("one", "two", "three")]
    before = AuditEntry.objects.count(), Change.objects.count()
    with audit.acting("user ada"):
        assert ApiKey.objects.exclude(name="three").update(active=False, subscribe="AAPL") == 2
    assert (AuditEntry.objects.count(), Change.objects.count()) == (before[0] + 2, before[1] + 2)
    assert last()[:2] == ("user ada", "revoked")
    assert last()[3] == {"active": [True, False], "subscribe": ["*", "AAPL"]}
    assert [key.active for key in ApiKey.objects.order_by("pk")] == [False, False, True]

    traders = Entitlement.objects.create(group=Group.objects.create(name="Traders"), subscribe="BTC-*")
    Entitlement.objects.filter(pk=traders.pk).update(subscribe="AAPL")
    assert last()[3] == {"subscribe": ["BTC-*", "AAPL"]}

    count = AuditEntry.objects.count()
    ApiKey.objects.update(last_used_at=datetime(2026, 5, 12, tzinfo=UTC))
    with pytest.raises(TypeError, match="one by one"):
        ApiKey.objects.update(connections=F("symbols"))
    with pytest.raises(TypeError, match="one by one"), transaction.atomic():
        ApiKey.objects.bulk_update(keys, ["active"])
    with pytest.raises(TypeError, match="one by one"):
        ApiKey.objects.bulk_create([ApiKey(name="four")])
    assert AuditEntry.objects.count() == count


def test_who_comes_into_a_group_and_what_it_may_is_entered() -> None:
    ada, traders = User.objects.create(username="ada"), Group.objects.create(name="Traders")
    ada.groups.add(traders)
    assert last()[1:] == ("changed", f"user:{ada.pk} ada", {"groups": {"added": ["Traders"]}})
    traders.user_set.clear()
    assert last()[1:] == ("changed", f"group:{traders.pk} Traders", {"members": {"removed": ["ada"]}})
    traders.permissions.add(Permission.objects.get(codename="subscribe"))
    assert last()[3] == {"permissions": {"added": ["MarketMux | permission | Can subscribe to ticks"]}}
    entitlement = Entitlement.objects.create(group=traders, subscribe="BTC-*")
    entitlement.subscribe = "BTC-* AAPL"
    entitlement.save()
    assert last()[1:] == ("changed", f"group:{traders.pk} Traders", {"subscribe": ["BTC-*", "AAPL BTC-*"]})


def test_a_long_name_is_cut() -> None:
    audit.note("made", "x" * 300)
    assert len(last()[2]) == 200


# That it is append-only


def test_the_model_changes_and_deletes_nothing() -> None:
    audit.note("made", "key:1")
    entry = AuditEntry.objects.get()
    entry.actor = "somebody"
    attempts: list[Callable[[], Any]] = [
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        AuditEntry(pk=entry.pk, actor="somebody").delete,
        lambda: AuditEntry.objects.update(actor="somebody"),
        lambda: AuditEntry.objects.bulk_update([entry], ["actor"]),
        lambda: AuditEntry.objects.update_or_create(pk=entry.pk, defaults={"actor": "somebody"}),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnly), transaction.atomic():
            attempt()
    assert last()[0] == "system"


@pytest.mark.parametrize("statement", [*TAMPERING, REPLACING])
def test_sqlite_changes_and_deletes_nothing(statement: str, migrated_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite3"
    copy_database(migrated_database, database)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(INSERT)
        connection.execute(INSERT)
        with pytest.raises(sqlite3.IntegrityError, match="The audit log is append-only"):
            connection.execute(statement)
        assert connection.execute("SELECT actor FROM marketmux_ticks_auditentry").fetchall() == [("a",), ("a",)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a database in a PostgreSQL of the tests' own, with all tables."""
    try:
        with postgresql() as url:
            yield url
    except NotInstalled as error:
        pytest.skip(str(error))


def manage(url: str, *arguments: str) -> str:
    environment = clean_environment() | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": SETTINGS}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_postgresql_changes_and_deletes_nothing(postgres: str) -> None:
    import psycopg  # noqa: PLC0415 - not everywhere

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(INSERT)
        conflict = INSERT.replace("(at", "(id, at").replace("VALUES (", "VALUES (1, ")
        replacing = f"{conflict} ON CONFLICT (id) DO UPDATE SET actor = 'x'"
        for statement in (*TAMPERING, replacing, "TRUNCATE marketmux_ticks_auditentry"):
            with pytest.raises(psycopg.IntegrityError, match="The audit log is append-only"):
                connection.execute(statement)
        assert connection.execute("SELECT actor FROM marketmux_ticks_auditentry").fetchall() == [("a",)]


def test_on_postgresql_keys_are_made_rotated_and_revoked(postgres: str) -> None:
    manage(postgres, "create_key", "feed", "--publish", "BTC-*", "--expires", "30d")
    manage(postgres, "rotate_key", "feed")
    manage(postgres, "revoke_key", "feed")
    entries = [
        json.loads(line)
        for line in manage(postgres, "audit", "--since", "1h", "--subject", "feed", "--json").splitlines()
    ]
    assert [entry["action"] for entry in entries] == ["made", "rotated", "revoked"]
    assert json.loads(manage(postgres, "list_keys", "--json"))["state"] == "revoked"


# How it is read


@pytest.fixture
def admin_client() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


def exported(client: Client, ending: str, **query: str) -> str:
    response: Any = client.get(f"{LOG}export/{ending}/", query)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return b"".join(response.streaming_content).decode()


def test_the_admin_only_reads(admin_client: Client) -> None:
    audit.note("made", "key:1 feed")
    pk = AuditEntry.objects.all()[0].pk
    assert "key:1 feed" in admin_client.get(LOG).content.decode()
    assert "Save" not in admin_client.get(f"{LOG}{pk}/change/").content.decode()
    assert admin_client.get(f"{LOG}add/").status_code == 403
    assert admin_client.post(f"{LOG}{pk}/change/", {"actor": "x"}).status_code == 403
    assert admin_client.post(f"{LOG}{pk}/delete/", {"post": "yes"}).status_code == 403
    admin_client.post(LOG, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert last()[2] == "key:1 feed"


def test_what_is_shown_is_exported_with_its_filters(admin_client: Client) -> None:
    for number in range(3):
        audit.note("made", f"key:{number} feed")
    audit.note("revoked", "key:1 feed", active=[True, False])
    rows = list(csv.reader(io.StringIO(exported(admin_client, "csv", action="revoked"))))
    assert rows[0] == list(export.COLUMNS)
    assert [row[2:] for row in rows[1:]] == [["system", "revoked", "key:1 feed", '{"active": [true, false]}']]
    lines = [json.loads(line) for line in exported(admin_client, "jsonl", q="key:").splitlines()]
    assert [line["subject"] for line in lines] == ["key:1 feed", "key:2 feed", "key:1 feed", "key:0 feed"]
    assert lines[0]["detail"] == {"active": [True, False]}
    assert admin_client.get(f"{LOG}export/csv/", {"nonsense": "1"}).status_code == 400
    response: Any = admin_client.post(LOG, {"action": "export_jsonl", "_selected_action": [lines[1]["id"]]})
    assert json.loads(b"".join(response.streaming_content))["id"] == lines[1]["id"]


def test_who_may_not_see_the_log_exports_nothing() -> None:
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True))
    assert client.get(f"{LOG}export/csv/").status_code == 403


@pytest.mark.django_db(transaction=True)
async def test_an_export_is_streamed_on_the_event_loop_too() -> None:
    admin = await User.objects.acreate(username="admin", is_staff=True, is_superuser=True)
    client = AsyncClient()
    await client.aforce_login(admin)
    response: Any = await client.get(f"{LOG}export/jsonl/")
    lines = b"".join([part async for part in response.streaming_content]).decode().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["made"]


def test_an_export_takes_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PAGE", 2)
    for number in range(5):
        audit.note("made", str(number))
    newest = [[one.subject for one in page] for page in export.pages(AuditEntry.objects.all())]
    oldest = [[one.subject for one in page] for page in export.pages(AuditEntry.objects.all(), oldest_first=True)]
    assert newest == [["4", "3"], ["2", "1"], ["0"]]
    assert oldest == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\N{FULLWIDTH EQUALS SIGN}1"])
def test_a_spreadsheet_takes_no_name_for_a_formula(cell: str) -> None:
    audit.note("made", cell)
    [row] = csv.reader(io.StringIO(export.as_csv(AuditEntry.objects.all()), newline=""))
    assert row[4] == f"'{cell}"


def printed(*arguments: str) -> list[str]:
    output = io.StringIO()
    call_command("audit", *arguments, stdout=output)
    return output.getvalue().splitlines()


def test_a_command_prints_the_log_from_a_time_on() -> None:
    old = AuditEntry.objects.create(at=datetime.now(UTC) - timedelta(days=3), actor="a", action="made", subject="key:1")
    new = AuditEntry.objects.create(actor="os user x", action="revoked", subject="key:1 \x1b[2Jfeed")
    assert [json.loads(line)["id"] for line in printed("--json")] == [old.pk, new.pk]
    assert [json.loads(line)["id"] for line in printed("--json", "--since", "24h")] == [new.pk]
    assert [json.loads(line)["id"] for line in printed("--json", "--until", "24h")] == [old.pk]
    assert [json.loads(line)["id"] for line in printed("--json", "--action", "revoked")] == [new.pk]
    [line] = printed("--since", "1h")
    assert line.endswith("os user x  revoked  key:1 \N{REPLACEMENT CHARACTER}[2Jfeed")
    assert printed("--csv")[0] == "id,at,actor,action,subject,detail"
