"""A real nginx in front of gateways, with the configuration of deploy/nginx."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

from tests.environment import installed
from tests.servers import ROOT, GatewayProcess, free_port, wait_until

__all__ = ["Nginx", "listens", "replaced"]

CONFIGURATION: Final = ROOT / "deploy" / "nginx" / "marketmux.conf"
AROUND: Final = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16000;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 14000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{configuration}
}}
"""


class Nginx:
    """nginx on free ports of 127.0.0.1: ``port`` for TLS with ``certificate`` or, without one, the same without TLS."""

    def __init__(self, directory: Path, gateways: list[GatewayProcess], certificate: Path | None = None) -> None:
        binary = installed("nginx")
        directory.mkdir()
        self.port, self.plain_port = free_port(), free_port()
        text = replaced(
            CONFIGURATION.read_text(),
            ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self.port}{' ssl' if certificate else ''};"),
            *[(f"127.0.0.1:{8000 + number}", f"127.0.0.1:{each.port}") for number, each in enumerate(gateways)],
            ("/etc/ssl/marketmux/fullchain.pem", str(certificate)),
            ("/etc/ssl/marketmux/key.pem", str(certificate)),
        )
        if certificate is None:
            text = "\n".join(line for line in text.splitlines() if not line.strip().startswith("ssl_"))
        configuration = directory / "nginx.conf"
        configuration.write_text(
            AROUND.format(user="user root;" if os.geteuid() == 0 else "", directory=directory, configuration=text)
        )
        self._log = directory / "nginx.log"
        self._command = [binary, "-p", str(directory), "-e", "stderr", "-c", str(configuration)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def errors(self) -> str:
        """What it has logged: upstreams that failed, above all."""
        return self._log.read_text()

    def __enter__(self) -> Nginx:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._listens, message=f"nginx did not start:\n{self.errors()}")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.errors()
        return listens(self.port)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)


def listens(port: int) -> bool:
    """Whether somebody listens on the port, found without a connection."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text
