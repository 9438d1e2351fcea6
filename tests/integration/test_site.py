"""The documentation site, built: it asks nothing of other hosts, leads everywhere, and warnings end the build."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver

from tests.environment import clean_environment
from tests.servers import ROOT

LOADED = {"script": "src", "link": "href", "img": "src", "source": "srcset", "iframe": "src", "object": "data"}


def build(project: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(target)],
        cwd=project,
        env=clean_environment() | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docs") / "site"
    built = build(ROOT, target)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return target


class Loads(HTMLParser):
    """What a page loads, without asking who reads it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == LOADED.get(tag)]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    loaded = {(page.name, what) for page in pages for what in Loads(page).found}
    assert [one for one in loaded if re.match(r"(https?:)?//", one[1])] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style.name


def test_llms_txt_names_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text()
    assert text.startswith("# MarketMux\n\n> ")
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): .{10,}$", text, re.MULTILINE)
    assert all((site / path / "index.html").exists() for path in listed)
    pages = {str(page.parent.relative_to(site)) for page in site.rglob("index.html")} - {"."}
    assert {path.rstrip("/") for path in listed} == pages


def test_every_document_is_a_page(site: Path) -> None:
    documents = [*(ROOT / "docs").rglob("*.md"), ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md"]
    assert len(list(site.rglob("index.html"))) >= len(documents)


@pytest.mark.parametrize("mistake", ["[nowhere](reference/nothing.md)", "[nowhere](reference/api.md#nothing)"])
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, mistake: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("mkdocs.yml", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    tutorial = tmp_path / "docs/tutorial.md"
    tutorial.write_text(f"{tutorial.read_text()}\n{mistake}\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert "nothing" in built.stderr


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "path",
    [
        "",
        *(pytest.param(path, marks=pytest.mark.soak) for path in ("tutorial/", "architecture/", "reference/protocol/")),
    ],
)
def test_a_browser_asks_nobody_else(served: str, driver: webdriver.Chrome, path: str) -> None:
    driver.get(served + path)
    asked = driver.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert len(asked) > 3
    assert [one for one in asked if not one.startswith((served, "data:"))] == []
    assert [one for one in driver.get_log("browser") if one["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]
