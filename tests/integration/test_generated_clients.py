"""What docs/how-to/generate-a-client.md says, done: clients generated from a gateway's documents, which talk to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.documents import blocks
from tests.javascript.node import MODULES, environment, node, run
from tests.servers import GatewayProcess, wait_until

PAGE: Final = "docs/how-to/generate-a-client.md"
COMMANDS: Final = [line for block in blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()]
PRINTED: Final = ["2", "64000", "['ACME', 'BTC/USDT:USDT']", "not_found"]
MESSAGES: Final = ("Welcome", "Subscribed", "Snapshot", "Tick", "Gap", "Conflated", "Heartbeat", "Closing", "Subscribe")
# TypeScript 7 has no API for generators; a package of the lock brings an older one.
COMPILER: Final = MODULES / "@arethetypeswrong" / "core" / "node_modules" / "typescript"
STRICT: Final = (
    "--strict",
    "--noEmit",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--target",
    "es2023",
    "--types",
    "node",
)
EVERY_EXAMPLE: Final = """
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import * as messages from "./messages";

const classes = messages as unknown as Record<string, { unmarshal(text: string): { marshal(): string } } | undefined>;
for (const [name, text] of JSON.parse(readFileSync("examples.json", "utf8")) as [string, string][]) {
  const again = classes[name]?.unmarshal(text).marshal();
  console.log(name, again !== undefined && isDeepStrictEqual(JSON.parse(again), JSON.parse(text)));
}
"""
PYTHON_CLASSES: Final = """
import { readFileSync } from "node:fs";
import { PythonFileGenerator } from "@asyncapi/modelina";

const document = JSON.parse(readFileSync("asyncapi.json", "utf8"));
await new PythonFileGenerator().generateToFiles(document, "market_messages", { packageName: "market_messages" });
"""


class Workshop:
    """A user's empty directory with a gateway beside it: what the page has in its place is done there."""

    def __init__(self, directory: Path, gateway: GatewayProcess) -> None:
        self.directory = directory
        self.gateway = gateway
        self._key = next(word for word in gateway.manage("create_key", "generated").split() if word.startswith("mmx_"))
        modules = directory / "node_modules"
        (modules / "@hey-api").mkdir(parents=True)
        for module in (*MODULES.iterdir(), *(MODULES / "@hey-api").iterdir()):
            if module.name not in {".bin", "@hey-api", "openapi-ts", "typescript"}:
                (modules / module.relative_to(MODULES)).symlink_to(module)
        (modules / "typescript").symlink_to(COMPILER)
        # A copy, as a program looks for packages beside the place where it really is.
        generator = shutil.copytree(MODULES / "@hey-api" / "openapi-ts", modules / "@hey-api" / "openapi-ts")
        (modules / ".bin").mkdir()
        (modules / ".bin" / "openapi-ts").symlink_to(generator / "bin" / "run.js")
        (modules / ".bin" / "esbuild").symlink_to(MODULES / ".bin" / "esbuild")
        for block in blocks(PAGE):
            if block.file is not None:
                (directory / block.file).write_text(self.here(block.text))

    def run(self, beginning: str) -> str:
        """What the page's one command that begins so prints."""
        [command] = [line for line in COMMANDS if line.startswith(beginning)]
        program, *arguments = self.here(command).removeprefix("npx ").split()
        found = node() if program == "node" else self.directory / "node_modules" / ".bin" / program
        return run(found, *arguments, directory=self.directory)

    def python(self, *command: str) -> tuple[str, str]:
        """What a command of this environment prints and complains about."""
        found = subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout, found.stderr

    def publish(self, price: int) -> None:
        headers = {"authorization": f"Api-Key {self._key}"}
        url = f"{self.gateway.http}/api/v1/ticks"
        httpx.post(url, headers=headers, json={"symbol": "ACME", "price": price}, timeout=60).raise_for_status()

    def here(self, text: str) -> str:
        return text.replace("127.0.0.1:8000", self.gateway.http.removeprefix("http://")).replace("mmx_...", self._key)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("generated")
    gateway = GatewayProcess(folder / "gateway", database=migrated_database, MARKETMUX_ANONYMOUS="0")
    gateway.start()
    yield Workshop(folder / "workshop", gateway)
    assert "Traceback" not in gateway.output()
    gateway.stop()


@pytest.fixture(scope="module")
def document(workshop: Workshop) -> Any:
    """The AsyncAPI document."""
    return httpx.get(f"{workshop.gateway.http}/api/v1/asyncapi.json", timeout=60).raise_for_status().json()


@pytest.fixture(scope="module")
def typescript(workshop: Workshop) -> Workshop:
    """With all that is made in TypeScript, which the strict compiler takes."""
    workshop.run("npx openapi-ts")
    workshop.run("node generate")
    (workshop.directory / "examples.ts").write_text(EVERY_EXAMPLE)
    compiler = MODULES / "typescript" / "bin" / "tsc"
    run(node(), compiler, *STRICT, "quotes.ts", "watch.ts", "examples.ts", directory=workshop.directory)
    return workshop


def test_a_python_client_publishes_and_reads(workshop: Workshop) -> None:
    [command] = [line for line in COMMANDS if line.startswith("openapi-python-client")]
    said = "".join(workshop.python(*workshop.here(command).split()))
    assert said.count("WARNING") == said.count("Unsupported content type application/x-ndjson") == 1, said
    assert workshop.python("python", "quotes.py")[0].splitlines() == PRINTED
    names = {path.stem for path in (workshop.directory / "market" / "models").iterdir()}
    assert [name for name in names if "inline" in name or name.endswith(("_200", "_type_0", "_type_1"))] == []


@pytest.mark.soak
def test_a_typescript_client_publishes_and_reads(typescript: Workshop) -> None:
    typescript.run("npx esbuild quotes.ts")
    assert typescript.run("node quotes").splitlines() == [
        line.replace("[", "[ ").replace("]", " ]") for line in PRINTED
    ]


def test_classes_of_messages_hold_what_a_websocket_sends(typescript: Workshop) -> None:
    typescript.run("npx esbuild watch.ts")
    typescript.publish(1)
    printed = typescript.directory / "printed"
    with printed.open("w") as output:
        watch = subprocess.Popen([node(), "watch.mjs"], cwd=typescript.directory, stdout=output, env=environment())
    try:
        wait_until(lambda: "ACME 1 " in printed.read_text(), 60)
        typescript.publish(2)
        wait_until(lambda: "ACME 2 " in printed.read_text(), 60)
    finally:
        watch.kill()
        watch.wait()
    first, second = (int(line.rpartition(" ")[2]) for line in printed.read_text().splitlines())
    assert second == first + 1


def test_each_message_is_a_class_that_holds_its_examples(typescript: Workshop, document: Any) -> None:
    folder = typescript.directory
    examples = examples_of(document)
    assert {name for name, _ in examples} >= {*MESSAGES}
    (folder / "examples.json").write_text(json.dumps(examples))
    esbuild = folder / "node_modules" / ".bin" / "esbuild"
    run(esbuild, "examples.ts", "--bundle", "--platform=node", "--outfile=examples.cjs", directory=folder)
    assert run(node(), "examples.cjs", directory=folder).splitlines() == [f"{name} true" for name, _ in examples]
    assert not (folder / "messages" / "LastReads.ts").exists()  # a table, not an object with fields


@pytest.mark.soak
def test_the_classes_can_be_pythons(workshop: Workshop, document: Any) -> None:
    (workshop.directory / "asyncapi.json").write_text(json.dumps(document))
    (workshop.directory / "classes.mjs").write_text(PYTHON_CLASSES)
    run(node(), "classes.mjs", directory=workshop.directory)
    for name, text in dict(examples_of(document)).items():
        program = f"from market_messages.{name.lower()} import {name}; print({name}({json.loads(text)!r}).type)"
        if name in {"Tick", "Snapshot", "Gap"}:
            assert workshop.python("python", "-c", program)[0].strip() == name.lower()


def examples_of(document: Any) -> list[tuple[str, str]]:
    """The messages that are examples, and the names of their schemas; a union and an array have no class."""
    return [
        (message["payload"]["$ref"].rpartition("/")[2], json.dumps(example["payload"]))
        for message in document["components"]["messages"].values()
        for example in message["examples"]
        if message["name"] not in {"publication", "ticks"}
    ]
