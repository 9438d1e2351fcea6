"""Keys are made, listed, rotated and revoked by commands, and the audit log has who did it."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import re
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ticks.access.keys import grant_of_key
from ticks.access.models import ApiKey, AuditEntry

pytestmark = pytest.mark.django_db


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


def entries() -> list[tuple[str, str, str]]:
    return [(entry.action, entry.subject, entry.actor) for entry in AuditEntry.objects.order_by("pk")]


def me() -> str:
    return f"os user {pwd.getpwuid(os.getuid()).pw_name}"


# create_key


def test_a_key_is_made_with_what_it_may(capsys: pytest.CaptureFixture[str]) -> None:
    output = run(
        "create_key", "feed", "--publish", "AAPL BTC-*", "--read", "*", "--ticks-per-second", "500", "--expires", "30d",
        "--notes", "Acme's", "--json",
    )  # fmt: skip
    made = json.loads(output)
    key = ApiKey.objects.find(made["key"])
    assert key is not None
    assert (made["id"], made["name"], made["prefix"], made["state"]) == (key.pk, "feed", key.prefix, "active")
    assert (made["publish"], made["subscribe"], made["read"]) == (["AAPL", "BTC-*"], [], ["*"])
    assert (key.ticks_per_second, key.connections, key.notes) == (500, None, "Acme's")
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=5)


def test_a_key_for_a_script_is_printed_alone() -> None:
    plaintext = run("create_key", "feed", "--quiet")
    assert re.fullmatch(r"mmx_[\w-]{43}\n", plaintext)
    key = ApiKey.objects.find(plaintext.strip())
    assert key is not None
    assert [str(key.publish), str(key.subscribe), str(key.read)] == ["*"] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--publish", "A**"], "publish: Not a pattern: 'A\\*\\*'"),
        (["--connections", "-1"], "connections: "),
        (["--connections", str(2**63)], "connections: "),
        (["--expires", "soon"], "not a time: 'soon'"),
        (["--expires", "2001-01-01"], "past already"),
        (["--expires", "0d"], "past already"),
        (["--expires", "999999999w"], "not a length of time"),
        (["--expires", "30x"], "not a length of time"),
        (["--quiet", "--json"], "not allowed with"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run("create_key", "feed", *arguments)
    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2999-01-31", datetime(2999, 1, 31, tzinfo=UTC)),
        ("2999-01-31T12:00", datetime(2999, 1, 31, 12, tzinfo=UTC)),
        ("2999-01-31T12:00:00+02:00", datetime(2999, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_key_ends_at_a_time(written: str, read: datetime) -> None:
    run("create_key", "feed", "--expires", written)
    assert ApiKey.objects.get().expires_at == read


def test_who_made_a_key_is_in_the_audit_log_and_its_secret_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert getpass.getuser() == "somebody-else"
    plaintext = run("create_key", "feed", "--subscribe", "BTC-*", "--quiet").strip()
    key = ApiKey.objects.get()
    assert entries() == [("made", f"key:{key.pk} {key}", me())]
    detail = AuditEntry.objects.get().detail
    assert (detail["name"], detail["subscribe"], detail["active"]) == ("feed", "BTC-*", True)
    assert plaintext[12:] not in json.dumps(detail)
    assert key.digest not in json.dumps(detail)


# list_keys


def listed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("list_keys", "--json").splitlines()]


def test_keys_are_listed_without_their_secrets() -> None:
    key, plaintext = ApiKey.objects.issue("feed", subscribe="BTC-* AAPL", read="", notes="n")
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=datetime(2026, 5, 12, 15, 4, 5, tzinfo=UTC))
    head, row = run("list_keys").splitlines()
    assert re.split(r"  +", head) == ["id", "name", "prefix", "scopes", "state", "expires", "last used"]
    assert re.split(r"  +", row) == [
        str(key.pk), "feed", key.prefix, "publish=*, subscribe=AAPL BTC-*", "active", "-", "2026-05-12 15:04Z"
    ]  # fmt: skip
    [found] = listed()
    assert found["last_used_at"] == "2026-05-12T15:04:05Z"
    assert "key" not in found
    assert not any(secret in json.dumps(found) for secret in (plaintext, key.digest))


def test_keys_are_listed_with_their_state() -> None:
    past = timezone.now() - timedelta(days=1)
    ApiKey.objects.issue("1")
    ApiKey.objects.issue("2", active=False)
    ApiKey.objects.issue("3", expires_at=past)
    key, _ = ApiKey.objects.issue("4")
    key.rotate()
    key.save()
    assert [key["state"] for key in listed()] == ["active", "revoked", "expired", "rotating"]


def test_the_name_of_a_key_does_nothing_to_the_terminal() -> None:
    ApiKey.objects.issue("\x1b[2Jfeed\nx")
    assert "\x1b" not in run("list_keys")
    assert len(run("list_keys").splitlines()) == 2


# rotate_key


def test_a_rotated_key_has_two_secrets_for_a_day() -> None:
    key, before = ApiKey.objects.issue("feed")
    made = json.loads(run("rotate_key", "feed", "--json"))
    assert (made["id"], made["state"]) == (key.pk, "rotating")
    old, new = grant_of_key(before), grant_of_key(made["key"])
    assert old is not None
    assert old.expires == pytest.approx(time.time() + 86_400, abs=300)
    assert new is not None
    assert new.expires is None
    action, subject, actor = entries()[-1]
    assert (action, subject, actor) == ("rotated", f"key:{key.pk} {ApiKey.objects.get()}", me())
    assert AuditEntry.objects.first().detail["prefix"] == [key.prefix, made["prefix"]]  # type: ignore[union-attr]


def test_the_overlap_is_chosen() -> None:
    ApiKey.objects.issue("feed")
    run("rotate_key", "feed", "--overlap", "15m")
    until = ApiKey.objects.get().previous_until
    assert until is not None
    assert abs(until - timezone.now() - timedelta(minutes=15)) < timedelta(minutes=5)


def test_a_secret_that_leaked_is_replaced_at_once() -> None:
    _, before = ApiKey.objects.issue("feed")
    grant = grant_of_key(before)
    after = run("rotate_key", before, "--now", "--quiet").strip()
    assert grant is not None
    assert grant.renew is not None
    assert grant.renew() is None  # who is connected by it is cut
    assert grant_of_key(before) is None
    assert grant_of_key(after) is not None
    assert ApiKey.objects.get().state == "active"


@pytest.mark.parametrize("fields", [{"active": False}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_a_key_that_has_ended_is_not_rotated(fields: dict[str, Any]) -> None:
    key, _ = ApiKey.objects.issue("feed", **fields)
    with pytest.raises(CommandError, match=r"is (revoked|expired)"):
        run("rotate_key", "feed")
    assert ApiKey.objects.get().digest == key.digest


# revoke_key


@pytest.mark.parametrize("by", ["pk", "prefix", "name"])
def test_a_key_is_revoked_by_number_prefix_or_name(by: str) -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    assert run("revoke_key", str(getattr(key, by))) == f"{key} is revoked.\n"
    assert grant_of_key(plaintext) is None
    assert entries()[1:] == [("revoked", f"key:{key.pk} {key}", me())]
    assert AuditEntry.objects.first().detail == {"active": [True, False]}  # type: ignore[union-attr]
    assert run("revoke_key", "feed") == f"{key} was revoked.\n"
    assert len(entries()) == 2


def test_a_secret_that_was_found_somewhere_is_revoked_by_itself() -> None:
    key, before = ApiKey.objects.issue("feed")
    key.rotate()
    key.save()
    run("revoke_key", before)
    assert not ApiKey.objects.get().active


def test_several_keys_are_revoked_at_once() -> None:
    made = [ApiKey.objects.issue(name)[0] for name in ("a", "b", "c")]
    run("revoke_key", "a", str(made[1].pk), "a")
    assert list(ApiKey.objects.values_list("active", flat=True)) == [False, False, True]


@pytest.mark.parametrize(("word", "said"), [("twice", "may be any of these keys"), ("nobody", "There is no key")])
def test_unless_all_are_known_none_is_revoked(word: str, said: str) -> None:
    for name in ("twice", "twice", "once"):
        ApiKey.objects.issue(name)
    with pytest.raises(CommandError, match=said):
        run("revoke_key", "once", word)
    assert ApiKey.objects.filter(active=True).count() == 3


def test_a_name_that_is_the_number_of_another_key_is_not_clear() -> None:
    key, _ = ApiKey.objects.issue("feed")
    ApiKey.objects.issue(str(key.pk))
    with pytest.raises(CommandError, match="may be any of these keys"):
        run("revoke_key", str(key.pk))
    run("revoke_key", key.prefix)
    assert ApiKey.objects.get(pk=key.pk).active is False
