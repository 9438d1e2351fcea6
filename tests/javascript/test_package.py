"""The JavaScript client as a package: small, typed, and installed as a user would."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartGateway
from tests.javascript.node import MODULES, PACKAGE, ROOT, environment, node, packed, run
from tests.servers import GatewayProcess

GUIDE = ROOT / "docs" / "reference" / "javascript.md"
MOST_BYTES = 10_000
PROGRAM = """
import { Client } from "@marketmux/client";

const client = await new Client(process.argv[2]).open();
await client.subscribe("ACME");
for await (const event of client) {
  if (event.type !== "snapshot") continue;
  console.log(event.symbol, event.price);
  break;
}
await client.close();
"""
TYPED = """
import { Client, type Event } from "@marketmux/client";
import { useFeedStatus, useQuote } from "@marketmux/client/react";

class Decimal {
  readonly digits: string;
  constructor(digits: string) {
    this.digits = digits;
  }
}

export const exact: string = new Client("/ws").latest("ACME")!.quote.price;
export const fast: number = new Client("/ws", { number: Number }).latest("ACME")!.quote.price;
export const decimal: Decimal = new Client("/ws", { Decimal }).latest("ACME")!.quote.price;
export const shown: string | undefined = useQuote("ACME")?.quote.price;
export const isLive: boolean = useFeedStatus().isLive;

export function line(event: Event): string {
  switch (event.type) {
    case "tick":
      return event.price;
    case "gap":
      return `${event.missed ?? "some"}`;
    default:
      return event.type;
  }
}
"""


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package installed, and nothing else."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "package.json").write_text('{"name": "project", "private": true, "type": "module"}')
    npm = shutil.which("npm", path=environment()["PATH"])
    assert npm is not None
    run(npm, "install", "--no-audit", "--no-fund", tarball, directory=directory)
    assert [path.name for path in (directory / "node_modules").iterdir() if path.name[0] != "."] == ["@marketmux"]
    return directory


def test_the_main_entry_is_at_most_ten_kilobytes(tmp_path: Path) -> None:
    built = tmp_path / "client.js"
    esbuild = MODULES / "esbuild" / "bin" / "esbuild"
    run(esbuild, PACKAGE / "src/index.ts", "--bundle", "--minify", "--format=esm", f"--outfile={built}")
    assert len(gzip.compress(built.read_bytes(), 9)) <= MOST_BYTES


def test_it_has_no_dependencies_and_only_what_it_needs(tarball: Path) -> None:
    known = json.loads((PACKAGE / "package.json").read_text())
    assert "dependencies" not in known
    with tarfile.open(tarball) as packed_files:
        names = {name.removeprefix("package/") for name in packed_files.getnames()}
    assert {"package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "dist/react.js"} <= names
    assert all(name.startswith("dist/") for name in names - {"package.json", "README.md", "LICENSE"})


def test_what_publishes_and_types_packages_finds_nothing_wrong(tarball: Path) -> None:
    publint = MODULES / "publint" / "src" / "cli.js"
    assert "All good" in run(node(), publint, "--strict", tarball)
    attw = MODULES / "@arethetypeswrong" / "cli" / "dist" / "index.js"
    run(node(), attw, "--profile", "esm-only", "--no-color", "--no-emoji", tarball)


def test_its_types_are_what_a_strict_project_wants(project: Path) -> None:
    (project / "typed.ts").write_text(TYPED)
    for module in ("@types", "react", "csstype"):
        if not (project / "node_modules" / module).exists():
            (project / "node_modules" / module).symlink_to(MODULES / module)
    tsc = MODULES / "typescript" / "bin" / "tsc"
    options = (
        "--strict",
        "--noEmit",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--lib",
        "es2022,dom",
        "--types",
        "",
    )
    run(node(), tsc, *options, "typed.ts", directory=project)


def test_it_installs_into_an_empty_project_and_prints_ticks(project: Path, gateway: GatewayProcess) -> None:
    answer = httpx.post(f"{gateway.http}/api/v1/ticks", json={"symbol": "ACME", "price": "150.250"}, timeout=60)
    assert answer.status_code == 202
    (project / "program.js").write_text(PROGRAM)
    assert run(node(), "program.js", gateway.ws, directory=project) == "ACME 150.250\n"


def test_the_license_is_the_projects() -> None:
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_example_of_the_guide_prints_what_the_guide_says(project: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    text = GUIDE.read_text()
    (code,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    (expected,) = re.findall(r"at leisure:\n\n```\n(.*?)```", text, re.DOTALL)
    (project / "example.js").write_text(code.replace("ws://127.0.0.1:8000/ws", gateway.ws))
    command = [node(), "example.js"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            printed = ""
            # The first may come as a snapshot or as a tick; each is published when the one before has been printed.
            for message in re.findall(r'\{"symbol": [^}]*\}', text):
                headers = {"Content-Type": "application/json"}
                answer = httpx.post(f"{gateway.http}/api/v1/ticks", content=message, headers=headers, timeout=60)
                assert answer.status_code == 202
                printed += process.stdout.readline()
        finally:
            process.kill()
    assert printed == expected
