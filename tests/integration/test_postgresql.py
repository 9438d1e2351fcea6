"""A gateway on a PostgreSQL: what it keeps open there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.office import Office
from tests.postgresql import NotInstalled, postgresql
from tests.servers import GatewayProcess, wait_until
from tests.tables import rows

CONNECTED: Final = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
ISSUE: Final = "answer = login(User.objects.create(username='root', is_staff=True, is_superuser=True))"


class Site:
    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        with Office(gateway.environment) as office:
            self.session = office.do(ISSUE)

    def connected(self) -> int:
        [(count,)] = rows(self.gateway.database_url, f"SELECT count(*) {CONNECTED}")
        return int(count)

    def page(self) -> httpx.Response:
        headers = {"cookie": f"sessionid={self.session}"}
        return httpx.get(f"{self.gateway.http}/admin/marketmux_ticks/apikey/", headers=headers, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        with postgresql() as url:
            gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"), DATABASE_URL=url, MARKETMUX_ANONYMOUS="0")
            gateway.start()
            yield Site(gateway)
            assert "Traceback" not in gateway.output()
            gateway.stop()
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.mark.soak
def test_requests_leave_no_connection_behind(site: Site) -> None:
    """What stays are those of threads that stay."""
    assert {site.page().status_code for _ in range(10)} == {200}
    before = site.connected()
    assert {site.page().status_code for _ in range(40)} == {200}
    wait_until(lambda: site.connected() <= before)
