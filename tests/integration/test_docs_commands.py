"""Every block of README and docs/, done: what is printed works as it is printed, or it says here why it is not tried.

A shell's block is run, in its place on the page, by a :class:`Newcomer`. What the text says to save is saved. A block
without a language, or JSON right below a command, is what was printed. All others are in ``ELSEWHERE`` or ``NOT_TRIED``;
one that is in none of them fails the first test.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import jwt
import pytest
import yaml
from redis import Redis
from redis.exceptions import RedisError
from websockets.sync.client import connect

from tests.documents import DOCUMENTS, Block, blocks
from tests.integration.newcomer import Newcomer, alike
from tests.integration.tls import certificate_in
from tests.nginx import AROUND
from tests.servers import ROOT, GatewayProcess, RedisServer, SentinelServer, free_port, wait_until
from ticks.problems import PROBLEMS, TYPES

HERE: Final = "tests/integration/test_docs_commands.py"
ELSEWHERE: Final = {
    ("ARCHITECTURE.md", ""): (2, f"{HERE}::test_a_way_through_the_code_names_what_is_there"),
    ("README.md", "python"): (1, f"{HERE}::test_the_readmes_program_prints_ticks"),
    ("docs/explanation/capacity.md", ""): (1, f"{HERE}::test_the_capacity_is_what_is_computed"),
    ("docs/how-to/channels-consumer.md", "python"): (1, f"{HERE}::test_a_consumer_of_ones_own_gets_ticks"),
    ("docs/how-to/channels-consumer.md", "json"): (1, f"{HERE}::test_a_consumer_of_ones_own_gets_ticks"),
    ("docs/how-to/integrate.md", "sh"): (1, "tests/integration/test_integrate.py::test_twenty_lines_show"),
    ("docs/how-to/integrate.md", "python"): (1, "tests/integration/test_integrate.py::test_twenty_lines_show"),
    ("docs/how-to/integrate.md", "js"): (1, "tests/integration/test_integrate.py::test_twenty_lines_show"),
    ("docs/how-to/address.md", "nginx"): (1, f"{HERE}::test_nginx_takes_it"),
    ("docs/how-to/redis.md", "redis"): (1, f"{HERE}::test_redis_takes_it"),
    ("docs/how-to/sentinel.md", "redis"): (1, f"{HERE}::test_redis_takes_it"),
    ("docs/how-to/cluster.md", "redis"): (2, f"{HERE}::test_redis_takes_it"),
    ("docs/reference/api.md", "json"): (8, f"{HERE}::test_the_references_answers_are_the_gateways"),
    ("docs/how-to/django.md", "sh"): (1, "tests/integration/test_django_project.py::test_"),
    ("docs/how-to/django.md", "python"): (6, "tests/integration/test_django_project.py::test_"),
    ("docs/how-to/generate-a-client.md", "sh"): (4, "tests/integration/test_generated_clients.py::test_"),
    ("docs/how-to/generate-a-client.md", "python"): (1, "tests/integration/test_generated_clients.py::test_"),
    ("docs/how-to/generate-a-client.md", ""): (1, "tests/integration/test_generated_clients.py::test_"),
    ("docs/how-to/generate-a-client.md", "ts"): (2, "tests/integration/test_generated_clients.py::test_"),
    ("docs/how-to/generate-a-client.md", "js"): (1, "tests/integration/test_generated_clients.py::test_"),
    ("docs/how-to/publish-from-python.md", "python"): (3, "tests/client/test_examples.py::test_"),
    ("docs/how-to/publish-from-python.md", ""): (1, "tests/client/test_examples.py::test_"),
    ("docs/reference/javascript.md", "sh"): (
        2,
        "tests/javascript/test_package.py::test_it_installs_into_an_empty_project",
    ),
    ("docs/reference/javascript.md", "js"): (1, "tests/javascript/test_package.py::test_the_example_of_the_guide"),
    ("docs/reference/javascript.md", ""): (1, "tests/javascript/test_package.py::test_the_example_of_the_guide"),
    ("docs/reference/javascript.md", "jsx"): (1, "tests/javascript/test_react.py::test_the_example_of_the_guide"),
    # One of them is of tests/client/test_examples.py.
    ("docs/reference/client.md", "python"): (2, "tests/client/test_against_gateway.py::test_the_example_of_the_guide"),
    # A wheel of the tree, in an environment of its own, stands for the folder that the page installs.
    ("docs/reference/client.md", "sh"): (2, "tests/client/test_package.py::test_installed_its_command_prints_ticks"),
    ("docs/reference/client.md", ""): (1, "tests/client/test_against_gateway.py::test_the_example_of_the_guide"),
    ("docs/reference/protocol.md", "json"): (None, "tests/gateway/protocol/test_golden.py::test_"),
    ("docs/reference/protocol.md", ""): (1, f"{HERE}::test_a_stream_looks_like_this"),
    ("docs/walk.md", "sh"): (None, "tests/integration/test_walk.py::test_"),
}
"""Which test does a page's blocks of a language, and how many; None where that test sees to it that it does all."""

NOT_TRIED: Final = {
    "docker compose": "no Docker where the tests run; test_compose_knows_what_it_is_given reads the file in its place",
    "compare.py": "no part of the project, and it takes minutes",
    "postgres://": "not everywhere is a PostgreSQL; tests/test_env.py holds the page to its driver",
    "tests.benchmarks.": "takes minutes; tests/test_benchmarks.py runs the parts for a moment",
    "make bench": "takes minutes; tests/test_benchmarks.py runs the parts for a moment",
}
"""What is not run, by something that is in the block, and why."""

BEFORE: Final = dict.fromkeys(("README.md", "docs/how-to/scale.md", "docs/reference/api.md"), "make run") | {
    "docs/how-to/keys.md": ".venv/bin/python manage.py migrate"
}
"""What runs already where a page begins, as it says itself."""

CHEAP: Final = {"docs/reference/api.md"}
"""Pages that every run of the tests does; the others cost 20 to 50 s of processor time each."""

ANSWERS: Final = {"Username": "walker", "Email": "", "Password:": "of the walk", "Password (again)": "of the walk"}


def duty(block: Block) -> str | None:
    """What becomes of a block."""
    for part, why in NOT_TRIED.items():
        if part in block.text:
            return why
    if block.language == "json" and block.is_below_a_command:
        return "printed"
    if (block.page, block.language) in ELSEWHERE:
        return "elsewhere"
    if block.language == "sh":
        return "run"
    if block.file is not None:
        return "saved"
    return "printed" if block.language == "" and "sh" in {other.language for other in blocks(block.page)} else None


BLOCKS: Final = [block for page in DOCUMENTS for block in blocks(page)]
PAGES: Final = sorted({block.page for block in BLOCKS if duty(block) == "run"})


def test_every_block_is_covered() -> None:
    assert [str(block) for block in BLOCKS if duty(block) is None] == []
    done = Counter((block.page, block.language) for block in BLOCKS if duty(block) == "elsewhere")
    assert {key: count or done[key] for key, (count, _) in ELSEWHERE.items()} == done
    for file, _, test in (where.partition("::") for _, where in ELSEWHERE.values()):
        assert f"def {test}" in (ROOT / file).read_text(), (file, test)
    assert [part for part in NOT_TRIED if not any(part in block.text for block in BLOCKS)] == []


@pytest.fixture
def newcomer(tmp_path: Path, redis_url: str) -> Iterator[Newcomer]:
    with Newcomer(tmp_path, redis_url).copy() as newcomer:
        yield newcomer


@pytest.mark.parametrize(
    "page", [page if page in CHEAP else pytest.param(page, marks=pytest.mark.soak) for page in PAGES]
)
def test_what_a_page_says_works(page: str, newcomer: Newcomer, request: pytest.FixtureRequest) -> None:
    if page == "docs/how-to/sentinel.md":
        newcomer.stands_for |= request.getfixturevalue("sentinels")
    elif page == "docs/how-to/cluster.md":
        newcomer.stands_for |= request.getfixturevalue("cluster_ports")
    elif page == "docs/how-to/address.md":
        certificate = certificate_in(newcomer.project)
        for name in ("key.pem", "cert.pem"):
            shutil.copy(certificate, newcomer.project / name)
    elif page == "docs/reference/api.md":
        (newcomer.project / "ticks.ndjson").write_text('{"symbol": "ACME", "price": 150.260}\n')
    if page in BEFORE:
        newcomer.run(BEFORE[page])
    for block in blocks(page):
        match duty(block):
            case "run":
                newcomer.run(block.text, ANSWERS if "createsuperuser" in block.text else None)
            case "saved":
                newcomer.save(block.file or "", block.text)
            case "printed" if block.is_below_a_command and block.language:
                assert_printed(block, newcomer)
            case "printed":
                wait_until(lambda block=block: has_printed(block, newcomer), 60, f"{block}\n{newcomer.output()}")  # type: ignore[misc]


def assert_printed(block: Block, newcomer: Newcomer) -> None:
    """The last command's answer, line by line."""
    shown, got = block.text.splitlines(), newcomer.shown(newcomer.printed).split("\n")
    got = [line for line in got if line]
    assert len(shown) == len(got), f"{block}\n{newcomer.printed}"
    for line, other in zip(shown, got, strict=True):
        assert alike(line, other), f"{block}\n{line}\n{other}"


def has_printed(block: Block, newcomer: Newcomer) -> bool:
    """Whether each line is among what was printed, by whatever runs."""
    got = [line.strip() for line in newcomer.shown(newcomer.output()).splitlines()]
    return all(any(alike(line.strip(), other) for other in got) for line in block.text.splitlines() if line.strip())


@pytest.fixture
def sentinels(redis_server: RedisServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Three that watch a primary; what stands for their printed addresses."""
    started = [SentinelServer(tmp_path / f"sentinel{number}", redis_server) for number in range(3)]
    for sentinel in started:
        sentinel.start()
    yield {rf"\b{26_379 + number}\b": str(sentinel.port) for number, sentinel in enumerate(started)}
    for sentinel in started:
        sentinel.stop()


@pytest.fixture
def cluster_ports() -> Iterator[dict[str, str]]:
    """What stands for the printed ports, on which the page itself starts servers; a node's other port is 10,000 higher."""
    ports: list[int] = []
    while len(ports) < 6:
        if (port := free_port()) < 65_536 - 10_000:
            ports.append(port)
    yield {rf"\b{7_001 + number}\b": str(port) for number, port in enumerate(ports)}
    for port in ports:
        with suppress(RedisError):
            Redis("127.0.0.1", port).shutdown(nosave=True)


CLAIMS: Final = next(
    json.loads(block.text) for block in BLOCKS if block.page == "docs/reference/api.md" and '"iss"' in block.text
)
SECRET: Final = "of the reference, and long enough for HS256"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """What all tests share that look at a gateway; it takes the tokens of the reference."""
    process = GatewayProcess(
        tmp_path_factory.mktemp("gateway"),
        database=migrated_database,
        MARKETMUX_JWT_SECRET=SECRET,
        MARKETMUX_JWT_ISSUER=CLAIMS["iss"],
        MARKETMUX_JWT_AUDIENCE=CLAIMS["aud"],
    )
    process.start()
    yield process
    process.stop()


def texts(page: str, language: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == language and not block.is_below_a_command]


def test_the_readmes_program_prints_ticks(gateway: GatewayProcess, tmp_path: Path) -> None:
    [text] = texts("README.md", "python")
    imports, _, body = text.replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}").partition("\n\n")
    body = textwrap.indent(body, "    ").replace("print(event)", "print(event, flush=True)")
    (tmp_path / "program.py").write_text(
        f"import asyncio\n{imports}\n\nasync def main():\n{body}\nasyncio.run(main())\n"
    )
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen([sys.executable, tmp_path / "program.py"], env={"PYTHONPATH": str(ROOT)}, stdout=file) as ran,
    ):
        try:

            def has_printed_a_tick() -> bool:
                assert ran.poll() is None
                post(gateway, '{"symbol": "AAPL", "price": 1.50}')
                time.sleep(0.1)
                return "Tick(symbol='AAPL', price=Decimal('1.50')" in log.read_text()

            wait_until(has_printed_a_tick, 60)
        finally:
            ran.kill()


def post(gateway: GatewayProcess, body: str, path: str = "/api/v1/ticks") -> httpx.Response:
    return httpx.post(f"{gateway.http}{path}", content=body, headers={"Content-Type": "application/json"}, timeout=30)


def test_the_capacity_is_what_is_computed() -> None:
    [text] = texts("docs/explanation/capacity.md", "")
    computed = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.capacity"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line.rstrip() for line in computed.rstrip().splitlines()] == [line.rstrip() for line in text.splitlines()]


def test_a_way_through_the_code_names_what_is_there() -> None:
    ways = re.findall(r"^  ([\w/]+\.py) +(\w+)(?:\.(\w+))?", "".join(texts("ARCHITECTURE.md", "")), re.MULTILINE)
    assert len(ways) > 20
    for path, *names in ways:
        code = (ROOT / path).read_text()
        assert all(re.search(rf"\b{name}\b", code) for name in names), (path, names)


def test_a_consumer_of_ones_own_gets_ticks(newcomer: Newcomer) -> None:
    page = "docs/how-to/channels-consumer.md"
    [consumer], [message] = texts(page, "python"), texts(page, "json")
    newcomer.save("gateway/edge/board.py", consumer)
    route = re.search(r"`(path\(.+?\))` to its `websocket_urlpatterns`", (ROOT / page).read_text())
    assert route is not None
    routing = newcomer.project / "gateway/edge/routing.py"
    lines = routing.read_text().replace("\n\n__all__", "\nfrom gateway.edge.board import Board\n\n__all__", 1)
    routing.write_text(lines.replace("\n]\n", f"\n    {route[1]},\n]\n", 1))
    newcomer.run("make run")
    with connect(f"ws://127.0.0.1:{newcomer.port}/board") as board:
        assert alike(message.strip(), str(board.recv(60)))


def test_nginx_takes_it(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("needs nginx")
    [location] = texts("docs/how-to/address.md", "nginx")
    upgrade = 'map $http_upgrade $connection_upgrade { "" close; default upgrade; }'
    configuration = f"{upgrade}\nserver {{ listen 127.0.0.1:8080; {location} }}"
    file = tmp_path / "nginx.conf"
    file.write_text(AROUND.format(user="", directory=tmp_path, configuration=configuration))
    subprocess.run([nginx, "-t", "-p", tmp_path, "-e", "stderr", "-c", file], check=True)


def test_redis_takes_it(redis_server: RedisServer) -> None:
    for block in (block for block in BLOCKS if block.language == "redis"):
        for line in re.sub(r"\n +", " ", block.text).replace("PASSWORD", "x").splitlines():
            if line == "ACL SETUSER default off":
                assert redis_server.call("GET marketmux.0:a", user="marketmux") == "$-1"
                continue  # the test itself is that user
            assert redis_server.call(line if line.startswith("ACL ") else f"CONFIG SET {line}") == "+OK", line


def test_compose_knows_what_it_is_given() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    profiles = {name for service in yaml.safe_load(text)["services"].values() for name in service.get("profiles", ())}
    for block in (block for block in BLOCKS if "docker compose" in block.text):
        assert all(
            re.search(rf"\$\{{{name}\b|environment: {name}$", text, re.MULTILINE)
            for name in re.findall(r"\b([A-Z_]+)=", block.text)
        ), block
        assert set(re.findall(r"--profile (\w+)", block.text)) <= profiles, block


def test_the_references_answers_are_the_gateways(gateway: GatewayProcess) -> None:
    """Those that stand by themselves: an example of a body is taken, and an answer is the gateway's."""
    shown = [line for text in texts("docs/reference/api.md", "json") for line in text.splitlines()]
    key = gateway.manage("create_key", "Acme Feed", "--subscribe=AAPL BTC-*", "--read=*", "--quiet").strip()
    tokens = {"jwt": jwt.encode(CLAIMS | {"exp": time.time() + 300}, SECRET, "HS256"), "key": key}

    def get(path: str, authorization: str = "") -> httpx.Response:
        headers = {"Authorization": authorization} if authorization else {}
        return httpx.get(f"{gateway.http}{path}", headers=headers, timeout=30)

    for line in shown:
        said = json.loads(line)
        if "price" in said:
            assert post(gateway, line).status_code == 202
        elif "iss" in said:
            assert get("/api/v1/ticks/AAPL", f"Bearer {tokens['jwt']}").status_code == 200
        elif said["status" if "status" in said else "who"] == 503:
            assert (said["title"], said["status"]) == (PROBLEMS[said["code"]].title, PROBLEMS[said["code"]].status)
            assert said["type"] == f"{TYPES}{said['code']}"
        else:
            answer = {
                "who": lambda: get("/api/v1/access?symbol=BTC-USD", f"Api-Key {key}"),
                "alive": lambda: get("/livez"),
                "ready": lambda: get("/readyz"),
                "ok": lambda: get("/healthz"),
                400: lambda: post(gateway, '[{"symbol": "A", "price": 1}, {"symbol": "A", "price": "1,5"}]'),
                404: lambda: get("/api/v1/ticks/NOPE"),
            }[said.get("status", "who")]()
            assert alike(re.sub(r"mmx_\w+…", f"{key[:12]}…", line), answer.text.strip()), (line, answer.text)


def test_a_stream_looks_like_this(gateway: GatewayProcess) -> None:
    [text] = texts("docs/reference/protocol.md", "")
    shown = [line for line in text.splitlines() if line]
    with httpx.stream("GET", f"{gateway.http}/api/v1/stream?symbols=AAPL,MSFT&snapshot=false", timeout=60) as response:
        lines = itertools.islice((line for line in response.iter_lines() if line), 500)
        for number, line in enumerate(shown):
            name, _, value = line.partition(": ")
            got = next(lines)
            while got.startswith(": ") and not (name == "" and alike(value, got.removeprefix(": "))):
                got = next(lines)  # a heartbeat that is not shown
            assert got.startswith(f"{name}: "), (line, got)
            match name:
                case "id":
                    assert re.fullmatch(r"\w+-\d+\.\d+~\w{8}", got.partition(": ")[2])
                case "retry":
                    assert 500 <= int(got.partition(": ")[2]) < 5_000
                case "event":
                    assert got == line
                case _:
                    assert alike(value, got.partition(": ")[2]), (line, got)
            if number == shown.index("event: subscribed") + 1:
                post(gateway, '{"symbol": "AAPL", "price": 150.250, "timestamp": "2026-05-12T15:04:05Z"}')
