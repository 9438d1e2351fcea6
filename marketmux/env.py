"""Reads the environment; a variable that makes no sense keeps its default and is remembered as a problem.

Settings must import even where a variable is wrong, so that a system check can say which one and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import dj_database_url
import environs
from environs import validate

from ticks.address import parse_proxies
from ticks.conf import OPTIONS, Option
from ticks.origins import parse as parse_origin

__all__ = ["Environment"]

T = TypeVar("T")


class Environment:
    """Typed access to the environment and, behind it, to a ``.env`` file.

    ``problems`` maps the name of each variable that could not be read to what is wrong with it.
    """

    def __init__(self, dotenv: Path) -> None:
        self._env = environs.Env()
        self._env.read_env(dotenv, recurse=False)
        self.problems: dict[str, str] = {}

    def options(self) -> dict[str, Any]:
        """The apps' own settings (ticks/conf.py): what the environment says of them, or their defaults."""
        return {name: self._option(option) for name, option in OPTIONS.items()}

    def _option(self, option: Option[Any]) -> Any:
        match option.default:
            case bool():
                return self.flag(option.name, option.default)
            case int():
                return self.whole(option.name, option.default, option.minimum)
            case float():
                return self.seconds(option.name, option.default, option.minimum)
            case list():
                return self.words(option.name, option.default, _RULES.get(option.name, len))
        return _TEXTS.get(option.name, Environment.text)(self, option.name)

    def text(self, name: str, default: str = "") -> str:
        return self._read(self._env.str, name, default)

    def name(self, name: str) -> str:
        """A name of up to 64 letters, digits, dots, dashes and underscores; empty if not set."""
        rule = validate.Regexp(r"[A-Za-z0-9._-]{1,64}\Z", error="letters, digits, dots, dashes and underscores only")
        return self._read(self._env.str, name, "", validate=rule)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of ``choices``, of which the first is the default."""
        return self._read(self._env.str, name, choices[0], validate=validate.OneOf(choices))

    def flag(self, name: str, default: bool = False) -> bool:
        return self._read(self._env.bool, name, default)

    def whole(self, name: str, default: int, minimum: float = 1) -> int:
        return self._read(self._env.int, name, default, validate=validate.Range(min=minimum))

    def seconds(self, name: str, default: float, minimum: float = 0.0) -> float:
        return self._read(self._env.float, name, default, validate=validate.Range(min=minimum))

    def words(self, name: str, default: list[str], rule: Callable[[list[str]], object] = len) -> list[str]:
        """A comma-separated list; ``rule`` raises a ValueError about one that makes no sense."""
        words = [word.strip() for word in self._read(self._env.list, name, default) if word.strip()]
        try:
            rule(words)
        except ValueError as error:
            self.problems[name] = str(error)
            return default
        return words

    def origin(self, name: str) -> str:
        """The ``http(s)://host:port`` of a web address, as browsers write an origin; empty if not set."""
        text = self.text(name).strip().lower().removesuffix("/")
        origin = parse_origin(text)
        if origin is None and text:
            self.problems[name] = (
                "write scheme://host or scheme://host:port without a path, such as https://example.com"
            )
        return str(origin or "")

    def database(self, name: str, default: str) -> dict[str, Any]:
        """A Django ``DATABASES`` entry from a URL."""
        try:
            found = dict(dj_database_url.parse(self.text(name, default), conn_max_age=60))
            if "postgresql" in str(found["ENGINE"]) and not any(map(find_spec, ("psycopg", "psycopg2"))):
                raise ValueError("PostgreSQL needs its driver: pip install 'psycopg[binary]==3.3.9'")
            return found
        except (ValueError, KeyError) as error:
            self.problems[name] = str(error)
            return dict(dj_database_url.parse(default))

    def _read(self, method: Callable[..., Any], name: str, default: T, **options: Any) -> T:
        if not self._env.str(name, "").strip():  # compose files pass on what is unset as an empty text
            return default
        try:
            value: T = method(name, default, **options)
        except environs.EnvError as error:
            self.problems[name] = str(error)
            return default
        return value


_RULES: Final[dict[str, Callable[[list[str]], object]]] = {"MARKETMUX_TRUSTED_PROXIES": parse_proxies}
_TEXTS: Final = {"MARKETMUX_PUBLIC_URL": Environment.origin}
"""Of lists and texts that have to be more than that."""
