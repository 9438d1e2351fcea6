"""The environment: what makes no sense keeps its default, and is reported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from marketmux import env
from marketmux.env import Environment
from ticks.address import parse_proxies

ROOT: Final = Path(__file__).resolve().parent.parent


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / ".env")


@pytest.mark.parametrize("name", ["marketmux.1", "desk-A_2", "x" * 64])
def test_a_namespace_is_a_plain_name(name: str, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETMUX_NAMESPACE", name)
    assert environment.name("MARKETMUX_NAMESPACE") == name
    assert environment.problems == {}


@pytest.mark.parametrize("name", ["a:{b}", "desk*", "two words", "x" * 65, "é"])
def test_what_redis_would_read_otherwise_is_no_namespace(
    name: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETMUX_NAMESPACE", name)
    assert environment.name("MARKETMUX_NAMESPACE") == ""
    assert "letters" in environment.problems["MARKETMUX_NAMESPACE"]


def test_a_list_is_held_to_its_rule(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETMUX_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7")
    assert environment.words("MARKETMUX_TRUSTED_PROXIES", [], parse_proxies) == ["10.0.0.0/8", "192.0.2.7"]
    monkeypatch.setenv("MARKETMUX_TRUSTED_PROXIES", "10.0.0.0/8, proxy.example")
    assert environment.words("MARKETMUX_TRUSTED_PROXIES", [], parse_proxies) == []
    assert "proxy.example" in environment.problems["MARKETMUX_TRUSTED_PROXIES"]


def test_a_database_without_its_driver_is_a_sentence(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "find_spec", lambda _: None)
    monkeypatch.setenv("DATABASE_URL", "postgres://user:password@db/marketmux")
    assert environment.database("DATABASE_URL", "sqlite://:memory:")["ENGINE"] == "django.db.backends.sqlite3"
    said = environment.problems["DATABASE_URL"]
    command, version = re.search(r"(pip install '(psycopg\[binary\]==[\d.]+)')", said).groups()  # type: ignore[union-attr]
    assert f"-m {command}\n" in (ROOT / "docs" / "how-to" / "postgresql.md").read_text()
    assert f"\n{version} " in (ROOT / "requirements-dev.txt").read_text()
