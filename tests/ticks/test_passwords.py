"""Passwords are hashed as Django hashes them, in a process beside."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password

from ticks import passwords
from ticks.passwords import BesidePBKDF2PasswordHasher


@pytest.mark.parametrize("password", ["secret", "pässwörd 🗝", " ", "two\nlines", "x" * 5_000, "-"])
def test_a_hash_is_djangos(password: str) -> None:
    ours = BesidePBKDF2PasswordHasher().encode(password, "salt", 1_000)
    assert ours == PBKDF2PasswordHasher().encode(password, "salt", 1_000)


def test_what_django_has_hashed_is_known() -> None:
    assert check_password("secret", PBKDF2PasswordHasher().encode("secret", "salt"))
    assert make_password("secret").startswith("pbkdf2_sha256$")
    assert check_password("secret", make_password("secret"))
    assert not check_password("wrong", make_password("secret"))


def test_a_hash_takes_this_process_no_time() -> None:
    started = time.process_time()
    PBKDF2PasswordHasher().encode("secret", "salt")
    here = time.process_time() - started
    started = time.process_time()
    BesidePBKDF2PasswordHasher().encode("secret", "salt")
    assert time.process_time() - started < here / 2


def test_where_no_process_can_be_started_this_one_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(passwords.subprocess, "run", fail)  # type: ignore[attr-defined] # a module it imports
    assert check_password("secret", BesidePBKDF2PasswordHasher().encode("secret", "salt", 1_000))


@pytest.mark.parametrize("salt", ["", "a$b"])
def test_a_salt_that_is_none_is_refused(salt: str) -> None:
    with pytest.raises(ValueError, match="salt"):
        BesidePBKDF2PasswordHasher().encode("secret", salt)
