"""docs/walk.md, done: a client that is stopped is seen, found, put out, and comes back."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.clients import metrics
from tests.conftest import StartGateway
from tests.office import Office
from tests.servers import ROOT, wait_until

CONNECTIONS = "/admin/ticks/connection/"
LOGIN = """
user = User.objects.create_superuser("walker", "", "of the walk")
answer = login(user)
"""


def test_a_client_that_is_stopped_is_seen_found_put_out_and_comes_back(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = start_gateway(arguments=("--prepare", "--feed", "--feed-rate=2000"))
    with Office(gateway.environment) as office:
        cookies = {"sessionid": office.do(LOGIN), "csrftoken": "c" * 32}
    output = tmp_path / "watched"
    command = [sys.executable, "manage.py", "watch", "*", f"--url={gateway.http}"]
    with (
        output.open("w") as file,
        subprocess.Popen(command, cwd=ROOT, env=gateway.environment, stdout=file, stderr=file) as watch,
        httpx.Client(base_url=gateway.http, cookies=cookies, timeout=30) as admin,
    ):
        try:
            wait_until(lambda: "AAPL" in output.read_text(), 60)
            watch.send_signal(signal.SIGSTOP)
            wait_until(lambda: metrics(gateway)["behind"] == 1, 60)
            page = admin.get(CONNECTIONS).raise_for_status().text
            [connection] = re.findall(r'name="id" value="([^"]+)"', page)
            form = {"action": "kick", "id": connection, "csrfmiddlewaretoken": "c" * 32}
            assert admin.post(CONNECTIONS, data=form).status_code == 302
            wait_until(lambda: metrics(gateway)["behind"] == 0, 60)
            assert connection not in admin.get(CONNECTIONS).text
            assert "kicked" in admin.get("/admin/ticks/auditentry/export/csv/").text
            watch.send_signal(signal.SIGCONT)
            wait_until(lambda: output.read_text().count("Connected(") == 2, 60)
        finally:
            watch.kill()
