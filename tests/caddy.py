"""A real Caddy in front of gateways, with the configuration of deploy/caddy and certificates of its own."""

from __future__ import annotations

import signal
import ssl
import subprocess
from pathlib import Path
from typing import Final

from tests.environment import installed
from tests.nginx import listens, replaced
from tests.servers import ROOT, GatewayProcess, free_port, wait_until

__all__ = ["Caddy"]

CONFIGURATION: Final = ROOT / "deploy" / "caddy" / "Caddyfile"
AROUND: Final = """{{
    admin off
    skip_install_trust
    local_certs
    http_port {plain_port}
    https_port {port}
    default_bind 127.0.0.1
}}
"""


class Caddy:
    """Caddy on free ports of 127.0.0.1: ``port`` for TLS, ``plain_port``. ``trust``: for its clients, once it runs."""

    def __init__(self, directory: Path, gateways: list[GatewayProcess]) -> None:
        binary = installed("caddy")
        directory.mkdir()
        self.port, self.plain_port = free_port(), free_port()
        addresses = [(f"127.0.0.1:{8000 + number}", f"127.0.0.1:{each.port}") for number, each in enumerate(gateways)]
        configuration = directory / "Caddyfile"
        configuration.write_text(
            AROUND.format(port=self.port, plain_port=self.plain_port) + replaced(CONFIGURATION.read_text(), *addresses)
        )
        self._directory = directory
        self._log = directory / "caddy.log"
        self._command = [binary, "run", "--adapter", "caddyfile", "--config", str(configuration)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._root)

    @property
    def _root(self) -> Path:
        return self._directory / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def errors(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def __enter__(self) -> Caddy:
        environment = {"HOME": str(self._directory), "XDG_DATA_HOME": str(self._directory)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        wait_until(self._serves, 60, "caddy did not start")
        return self

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.errors()
        return listens(self.port) and "certificate obtained successfully" in self.errors()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:  # it waits for WebSockets
                self._process.kill()
                self._process.wait()
