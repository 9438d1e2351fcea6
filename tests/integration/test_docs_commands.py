"""Blocks of the documentation that a parser, a computation or the code itself can be held against."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.documents import DOCUMENTS, blocks
from tests.nginx import AROUND
from tests.servers import ROOT

BLOCKS: Final = [block for page in DOCUMENTS for block in blocks(page)]


def texts(page: str, language: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == language and not block.is_below_a_command]


def test_the_capacity_is_what_is_computed() -> None:
    [text] = texts("docs/explanation/performance.md", "")
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


def test_compose_knows_what_it_is_given() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    profiles = {name for service in yaml.safe_load(text)["services"].values() for name in service.get("profiles", ())}
    for block in (block for block in BLOCKS if "docker compose" in block.text):
        assert all(
            re.search(rf"\$\{{{name}\b|environment: {name}$", text, re.MULTILINE)
            for name in re.findall(r"\b([A-Z_]+)=", block.text)
        ), block
        assert set(re.findall(r"--profile (\w+)", block.text)) <= profiles, block
