"""The files in deploy/: each held to what reads it, and to the gateway's own settings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gateway.server.supervisor import STOP_SECONDS
from ticks.conf import OPTIONS
from ticks.probes import PROBES

DEPLOY: Final = Path(__file__).resolve().parent.parent / "deploy"
SETTINGS: Final = (DEPLOY.parent / "marketmux" / "settings.py").read_text()


def seconds(name: str) -> float:
    return float(OPTIONS[name].default)


DRAIN: Final = ("MARKETMUX_DRAIN_DELAY_SECONDS", "MARKETMUX_DRAIN_SECONDS")


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "marketmux.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_every_object_is_of_an_api_that_has_it(kubernetes: dict[str, dict[str, Any]]) -> None:
    versions = {kind: document["apiVersion"] for kind, document in kubernetes.items()}
    known = {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1"}
    assert versions == known
    labels = kubernetes["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert kubernetes[kind]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"] == labels


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_every_object_is_as_kubernetes_schemas_have_it(version: str) -> None:
    """No property that there is not, by the schemas of a cluster of that version."""
    validate = shutil.which("kubernetes-validate")
    if validate is None:
        pytest.skip("needs kubernetes-validate (pip install kubernetes-validate)")
    command = [validate, "--strict", "-k", version, str(DEPLOY / "kubernetes" / "marketmux.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(" passed for resource ") == 4


def test_a_pod_is_given_the_time_that_a_drain_takes(kubernetes: dict[str, dict[str, Any]]) -> None:
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    command, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    drain = sum(float(kubernetes["ConfigMap"]["data"][name]) for name in DRAIN)
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= float(pause) + drain + STOP_SECONDS
    readiness = container["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert float(kubernetes["ConfigMap"]["data"][DRAIN[0]]) > noticed


def test_probes_are_those_of_the_gateway(kubernetes: dict[str, dict[str, Any]]) -> None:
    [container] = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}
    assert set(paths.values()) <= set(PROBES)


def test_every_setting_that_is_named_exists(kubernetes: dict[str, dict[str, Any]]) -> None:
    for path in (each for each in DEPLOY.rglob("*") if each.is_file() and "grafana" not in each.parts):
        for name in re.findall(r"\bMARKETMUX_[A-Z_]+\b", path.read_text()):
            assert name in OPTIONS or f'"{name}"' in SETTINGS, (path, name)


def test_the_unit_is_one_and_gives_a_drain_its_time(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "marketmux.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop.group(1)) >= sum(map(seconds, DRAIN)) + STOP_SECONDS
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    # The programs need not be installed here; everything else counts.
    unit = tmp_path / "marketmux.service"
    unit.write_text(text.replace("/opt/marketmux/.venv/bin/python", "/bin/true").replace("/opt/marketmux", "/tmp"))  # noqa: S108
    result = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "marketmux.service" not in result.stderr, result.stderr


@pytest.mark.parametrize("name", ["nginx/marketmux.conf", "caddy/Caddyfile"])
def test_a_proxy_passes_no_probe_and_no_metric_on(name: str) -> None:
    text = (DEPLOY / name).read_text()
    for path in PROBES:
        assert path.strip("/") in text
    assert "404" in text


def test_caddy_takes_its_file(tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs caddy")
    subprocess.run(
        [caddy, "validate", "--adapter", "caddyfile", "--config", DEPLOY / "caddy" / "Caddyfile"],
        check=True,
        env={"HOME": str(tmp_path)},
    )
