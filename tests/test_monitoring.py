"""What Prometheus and Grafana are given in deploy/: held to the metrics that there are, with the labels that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

from gateway.edge import metrics
from tests.promql import Selector, groupings, selectors
from tests.test_docs import anchors

ROOT: Final = Path(__file__).resolve().parent.parent
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
DASHBOARD: Final = json.loads((ROOT / "deploy" / "grafana" / "marketmux.json").read_text())
CONFIG: Final = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
RULES: Final = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SCRAPED: Final = {"instance", "job"}
"""The labels that Prometheus adds to each series."""


def series() -> dict[str, Set[str]]:
    """The labels of every series by its name."""
    found: dict[str, Set[str]] = {"up": SCRAPED}
    for name, kind in metrics._KINDS.items():
        labels = {*kind.labels, "worker", *SCRAPED}
        if kind.bounds:
            found |= {f"marketmux_{name}_bucket": labels | {"le"}}
            found |= {f"marketmux_{name}_{part}": labels for part in ("sum", "count")}
        else:
            found[f"marketmux_{name}"] = labels
    return found | {f"marketmux_{name}": SCRAPED for name in metrics._COMMON}


SERIES: Final = series()


class Asked(NamedTuple):
    """An expression, and the text that is to be filled with the labels of what it finds."""

    where: str
    expression: str
    text: str


def asked() -> Iterator[Asked]:
    for rule in RULES:
        yield Asked(rule["alert"], rule["expr"], " ".join(rule["annotations"].values()))
    for panel in PANELS:
        for target in panel["targets"]:
            yield Asked(f"{panel['title']} {target['refId']}", target["expr"], target["legendFormat"])


def problems(expression: str, text: str) -> list[str]:
    """What an expression asks for that there is not, and what its text names that it does not find."""
    asked = list(selectors(expression))
    wrong = [f"no metric {one.metric}" for one in asked if one.metric not in SERIES]
    known = [(one, SERIES[one.metric]) for one in asked if one.metric in SERIES]
    wrong += [f"{one.metric} has no {label}" for one, labels in known for label in one.labels - labels]
    groups = groupings(expression)
    wrong += [f"{one.metric} has no {label}" for one, labels in known for by in groups for label in by - labels]
    left = set().union(*groups) if groups else set().union(*(labels for _, labels in known))
    named = set(re.findall(r"\$labels\.(\w+)|\{\{\s*(\w+)\s*\}\}", text))
    return wrong + [f"the text names {one or other}" for one, other in named if (one or other) not in left]


@pytest.mark.parametrize(("where", "expression", "text"), list(asked()))
def test_an_expression_asks_for_what_there_is(where: str, expression: str, text: str) -> None:
    assert list(selectors(expression)), where
    assert problems(expression, text) == []


@pytest.mark.parametrize(
    ("expression", "text", "wrong"),
    [
        ("rate(marketmux_ticks[5m]) > 0", "", "no metric marketmux_ticks"),
        ("marketmux_loop_lag_seconds > 1", "", "no metric marketmux_loop_lag_seconds"),
        ('marketmux_behind{reason="x"}', "", "marketmux_behind has no reason"),
        (
            "sum by (le, way) (rate(marketmux_loop_lag_seconds_bucket[5m]))",
            "",
            "marketmux_loop_lag_seconds_bucket has no way",
        ),
        ("sum by (instance) (marketmux_behind)", "{{ $labels.worker }}", "the text names worker"),
        ("sum(marketmux_behind) / sum(connections)", "", "no metric connections"),
    ],
)
def test_what_there_is_not_is_found(expression: str, text: str, wrong: str) -> None:
    assert problems(expression, text) == [wrong]


def test_selectors_are_read() -> None:
    text = 'sum by (a, b) (rate(x_total{c!~"d|e{", f="g"}[$__rate_interval])) > 0.05 * y and z offset 5m'
    assert list(selectors(text)) == [Selector("x_total", {"c", "f"}), Selector("y", set()), Selector("z", set())]
    assert groupings(text) == [{"a", "b"}]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_where_its_remedy_stands(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    document, anchor = said["runbook"].split("#")
    assert anchor in anchors(ROOT / document)


def test_every_section_of_remedies_is_that_of_an_alert() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/how-to/alerts.md").read_text(), re.MULTILINE)
    used = {rule["annotations"]["runbook"].split("#")[1] for rule in RULES}
    assert used == {heading.lower().replace(" ", "-") for heading in headings}


def test_the_dashboard_is_laid_out_in_rows_that_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert DASHBOARD["panels"][0]["type"] == "row"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_the_dashboard_asks_the_source_and_the_gateways_that_are_chosen() -> None:
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    for target in (target for panel in PANELS for target in panel["targets"]):
        assert target["datasource"]["uid"] == "${datasource}"
        assert all("instance" in one.labels for one in selectors(target["expr"]))


def test_compose_gives_prometheus_and_grafana_these_files() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        assert re.search(r":v?\d+\.\d+\.\d+$", services[name]["image"])
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        for volume in (one for one in services[name]["volumes"] if one.startswith(".")):
            assert (ROOT / volume.split(":")[0]).exists(), volume
    [job] = CONFIG["scrape_configs"]
    [secret] = services["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert compose["secrets"][secret] == {"environment": "MARKETMUX_METRICS_TOKEN"}
    assert job["job_name"] == "marketmux"
    [target] = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert port in services[host]["command"]
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["jsonData"]["timeInterval"].startswith(CONFIG["global"]["scrape_interval"])


@pytest.mark.parametrize(
    ("name", "variable", "program"),
    [("prometheus", "MARKETMUX_METRICS_TOKEN", "/bin/prometheus"), ("grafana", "GRAFANA_PASSWORD", "/run.sh")],
)
def test_a_secret_that_is_empty_is_refused_by_its_name(name: str, variable: str, program: str, tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    service = compose["services"][name]
    [secret] = service["secrets"]
    assert compose["secrets"][secret] == {"environment": variable}
    shell, option, script, *rest = service["entrypoint"]
    for old, new in (
        ("$$", "$"),
        (f"/run/secrets/{secret}", str(tmp_path / "secret")),
        (f"exec {program}", "exec echo"),
    ):
        assert old in script or old == "$$"
        script = script.replace(old, new)
    arguments = [shell, option, script, *rest, *service.get("command", [])]
    (tmp_path / "secret").write_text("")
    refused = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (78, "")
    assert refused.stderr.startswith(f"{variable} is empty")
    (tmp_path / "secret").write_text("a long random text")
    started = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert started.stdout.split() == service.get("command", [])


def test_every_service_has_its_limits() -> None:
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items():
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool")
    return found


def test_promtool_takes_the_rules_and_the_configuration(promtool: str, tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    token, config = tmp_path / "token", tmp_path / "prometheus.yml"
    token.write_text("secret")
    config.write_text(config.read_text().replace("/run/secrets/metrics_token", str(token)))
    for what, path in (("rules", tmp_path / "alerts.yml"), ("config", config)):
        run(promtool, "check", what, str(path))


def test_promtool_takes_every_expression_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    expressions = [target["expr"].replace("$__rate_interval", "1m") for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(path))


WORKER: Final = 'instance="a:8000",worker="0"'
STEADY: Final = "0+0x60"
FIRING: Final = {
    "MarketMuxGatewayDown": {'up{job="marketmux",instance="a:8000"}': "0x60"},
    "MarketMuxWorkerDown": {f"marketmux_worker_up{{{WORKER}}}": "0x60"},
    "MarketMuxBusLost": {f"marketmux_bus_hosts_away{{{WORKER}}}": "1x60"},
    "MarketMuxBusUnsteady": {f"marketmux_bus_lost_total{{{WORKER}}}": "0+1x60"},
    "MarketMuxBusRefuses": {f'marketmux_bus_refused_total{{{WORKER},reason="bus_busy"}}': "0+1x60"},
    "MarketMuxPublicationsRefused": {
        f'marketmux_publications_total{{{WORKER},way="http",result="published"}}': "0+10x60",
        f'marketmux_publications_total{{{WORKER},way="http",result="invalid"}}': "0+1x60",
    },
    "MarketMuxClientsBehind": {
        f"marketmux_behind{{{WORKER}}}": "6x60",
        f"marketmux_connections{{{WORKER}}}": "100x60",
    },
    "MarketMuxGaps": {f"marketmux_gaps_total{{{WORKER}}}": "0+1x60"},
    "MarketMuxForeignMessages": {f"marketmux_malformed_total{{{WORKER}}}": "0+1x60"},
    "MarketMuxRecorderDrops": {f"marketmux_record_dropped_total{{{WORKER}}}": "0+1x60"},
    "MarketMuxLoopLag": {
        f'marketmux_loop_lag_seconds_bucket{{{WORKER},le="0.1"}}': STEADY,
        f'marketmux_loop_lag_seconds_bucket{{{WORKER},le="0.2"}}': "0+1x60",
        f'marketmux_loop_lag_seconds_bucket{{{WORKER},le="+Inf"}}': "0+1x60",
    },
    "MarketMuxSendAge": {
        f'marketmux_send_age_seconds_bucket{{{WORKER},le="1"}}': STEADY,
        f'marketmux_send_age_seconds_bucket{{{WORKER},le="2"}}': "0+1x60",
        f'marketmux_send_age_seconds_bucket{{{WORKER},le="+Inf"}}': "0+1x60",
    },
    "MarketMuxProcessorFull": {f"marketmux_cpu_seconds_total{{{WORKER}}}": "0+57x60"},
}
"""Series, a value a minute, with which each alert, and no other, is to fire."""

QUIET: Final = {
    'up{job="marketmux",instance="a:8000"}': "1x60",
    f"marketmux_worker_up{{{WORKER}}}": "1x60",
    f"marketmux_bus_hosts_away{{{WORKER}}}": "0x60",
    f"marketmux_bus_lost_total{{{WORKER}}}": "1x60",
    f'marketmux_bus_refused_total{{{WORKER},reason="bus_busy"}}': "7x60",
    f'marketmux_publications_total{{{WORKER},way="http",result="published"}}': "0+100x60",
    f'marketmux_publications_total{{{WORKER},way="http",result="invalid"}}': "0+1x60",
    f"marketmux_behind{{{WORKER}}}": "5x60",
    f"marketmux_connections{{{WORKER}}}": "100x60",
    f"marketmux_gaps_total{{{WORKER}}}": "3x60",
    f'marketmux_loop_lag_seconds_bucket{{{WORKER},le="0.1"}}': "0+1x60",
    f'marketmux_loop_lag_seconds_bucket{{{WORKER},le="+Inf"}}': "0+1x60",
    f"marketmux_cpu_seconds_total{{{WORKER}}}": "0+50x60",
}


def test_each_alert_fires_when_it_should_and_none_otherwise(promtool: str, tmp_path: Path) -> None:
    assert FIRING.keys() == {rule["alert"] for rule in RULES}
    queries = [case(f'ALERTS{{alertname="{name}",alertstate="firing"}}', values, 1) for name, values in FIRING.items()]
    queries += [case('ALERTS{alertstate="firing"}', values, 1) for values in FIRING.values()]
    path = tmp_path / "tests.yml"
    tests = [*queries, case('ALERTS{alertstate="firing"}', QUIET, 0)]
    path.write_text(yaml.safe_dump({"rule_files": [str(PROMETHEUS / "alerts.yml")], "tests": tests}))
    run(promtool, "test", "rules", str(path))


def case(alerts: str, values: dict[str, str], number: int) -> dict[str, Any]:
    """One of promtool's tests: after half an hour so many alerts of these fire."""
    found = [{"labels": "{}", "value": number}] if number else []
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in values.items()],
        "promql_expr_test": [{"expr": f"count({alerts})", "eval_time": "30m", "exp_samples": found}],
    }


def run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
