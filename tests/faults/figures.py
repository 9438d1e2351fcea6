"""What a test measured, for docs/explanation/reliability.md (``pytest -s`` shows it), and what a gateway has to say about it."""

from __future__ import annotations

import sys

from tests.servers import GatewayProcess

__all__ = ["errors_logged", "figure"]


def figure(text: str) -> None:
    sys.stdout.write(f"\nfigure: {text}\n")


def errors_logged(gateway: GatewayProcess) -> list[str]:
    """Errors and tracebacks in its log, but for Django's line for every 503 that it answers."""
    lines = gateway.output().splitlines()
    return [line for line in lines if " ERROR " in line or "Traceback" in line if "Service Unavailable" not in line]
