"""Where keys and users are looked after: a process of its own on a gateway's database, as a shell of its staff is.

Run as a program it carries out Python, one JSON string a line, and answers each with what ``answer`` is then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Office"]

ROOT: Final = Path(__file__).resolve().parent.parent

PRELUDE: Final = """
from datetime import timedelta
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone
from ticks.access.models import ApiKey, AuditEntry, Change, Entitlement

def login(user):
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value

def permissions(*names):
    return Permission.objects.filter(content_type__app_label="marketmux_ticks", codename__in=names)
"""


class Office:
    """``environment``: that of the gateway (``GatewayProcess.environment``)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.office"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, code: str, **values: Any) -> Any:
        """Carries out ``code``, in which ``values`` have their names; returns what it left as ``answer``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([code, values]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the office has closed; see its standard error"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> None:
    import django  # noqa: PLC0415 - only where it is a program

    django.setup()
    names: dict[str, Any] = {}
    exec(PRELUDE, names)  # noqa: S102
    for line in sys.stdin:
        code, values = json.loads(line)
        names.update(values, answer=None)
        exec(code, names)  # noqa: S102
        sys.stdout.write(json.dumps(names["answer"]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
