"""Every query of the rules and the dashboard is answered by the metrics of a real scanner."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from api.app import build_app
from config.settings import HttpSettings
from kernel.web.rate_limiter import RateLimiter
from marketplace.settings import HttpSettings as MarketplaceHttp
from marketplace.web.app import build_app as build_marketplace
from marketplace.web.metrics import Metrics as MarketplaceMetrics
from scanner.upkeep.metrics import Metrics
from tests.deploy.files import DEPLOY, checked_by, parsed
from tests.harness import environment, running
from tests.repo.pages import rows

MARKETPLACE_HTTP = MarketplaceHttp(host="", port=0, public_url=None, rate_limits=None, trusted_hops=0)
PROMETHEUS = DEPLOY / "prometheus"
RULES: list[dict[str, Any]] = [rule for group in parsed("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "scanner.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
OWN = re.compile(r"amn_scanner_\w+")
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}


def queries() -> Iterator[str]:
    yield from QUERIES
    yield from (rule["expr"] for rule in RULES)


def labels_of(query: str) -> set[str]:
    """Return the labels that a query chooses by or groups by."""
    chosen = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    grouped = [name.strip() for names in re.findall(r"\bby \(([^)]*)\)", query) for name in names.split(",")]
    return {*chosen, *grouped}


async def test_every_query_names_metrics_and_labels_that_a_running_scanner_shows(tmp_path: Path) -> None:
    async with running(environment(tmp_path, "http://127.0.0.1:9")) as scanner:
        await scanner.api.call("GET", "/health")
        status, text = await scanner.api.call("GET", "/metrics")
    assert status == 200
    shown = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    # What nothing has happened to yet has a name and labels, and no sample.
    declared = {family.name: family for family in text_string_to_metric_families(text)}
    labels = {name: set(metric._labelnames) for metric in collectors() for name in samples_of(metric)}

    assert len(QUERIES) > 20
    for query in queries():
        for name in OWN.findall(query):
            base = re.sub(r"_(?:total|bucket|count|sum)$", "", name)
            assert name in shown or base in declared, f"{name} in {query}"
            assert labels_of(query) - ADDED_BY_PROMETHEUS <= labels[base], query


def collectors() -> list[Any]:
    return [each for each in vars(Metrics()).values() if hasattr(each, "_labelnames")]


def samples_of(metric: Any) -> list[str]:
    return [family.name for family in metric.describe()]


def test_every_query_about_the_marketplace_names_a_metric_of_its_own() -> None:
    shown = {family.name for family in MarketplaceMetrics(None).registry.collect()}
    asked = {name for query in queries() for name in re.findall(r"amn_marketplace_\w+", query)}

    assert asked
    assert asked <= shown


def test_both_services_are_scraped_with_a_key_each() -> None:
    jobs = {each["job_name"]: each for each in parsed("prometheus/prometheus.yml")["scrape_configs"]}
    secrets = parsed("compose.yaml")["secrets"]
    keys = {name: Path(job["authorization"]["credentials_file"]).name for name, job in jobs.items()}

    assert {name: secrets[key]["environment"] for name, key in keys.items()} == {
        "amn-scanner": "SCANNER_API_KEY",
        "amn-marketplace": "MARKETPLACE_METRICS_KEY",
    }
    assert set(parsed("compose.yaml")["services"]["prometheus"]["secrets"]) == set(keys.values())


def test_the_legends_of_the_dashboard_name_labels_that_their_queries_keep() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = {
                name.strip() for names in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for name in names.split(",")
            }
            assert named <= kept or " by " not in target["expr"], panel["title"]


def test_panels_have_a_place_each_and_stand_on_no_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_alerts_of_the_documentation_are_rules() -> None:
    documented = {row[1].strip("`") for row in rows("docs/operations.md", "alert")}

    assert documented
    assert documented <= {rule["expr"] for rule in RULES}
    assert all({"summary", "description"} == set(rule["annotations"]) for rule in RULES)
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "ticket"}


def test_each_alert_is_tried() -> None:
    tried = (PROMETHEUS / "alerts_test.yml").read_text()

    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in tried] == []


@pytest.mark.parametrize(
    "asked",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_no_fault(asked: tuple[str, ...]) -> None:
    assert "SUCCESS" in checked_by("promtool", *asked, folder=PROMETHEUS)


async def test_the_checks_of_gatus_ask_what_both_services_serve(tmp_path: Path) -> None:
    """A scanner whose chain cannot be read is alive and not ready, and the check of its work says so."""
    checks = {each["name"]: each for each in parsed("gatus.yaml")["endpoints"]}
    served = {
        "scanner": {
            resource.canonical
            for resource in build_app(
                None, HttpSettings("", 0, (), production=False, trusted_hops=0), Metrics(), RateLimiter({}, int)
            ).router.resources()
        },
        "marketplace": {
            resource.canonical for resource in build_marketplace(None, MARKETPLACE_HTTP).router.resources()
        },
    }
    async with running(environment(tmp_path, "http://127.0.0.1:9")) as scanner:
        alive, _ = await scanner.api.call("GET", "/health")
        working, told = await scanner.api.call("GET", "/ready")

    assert {each["group"] for each in checks.values()} == {"scanner", "marketplace"}
    assert [each["url"] for each in checks.values() if URL(each["url"]).path not in served[each["group"]]] == []
    assert (alive, working) == (200, 503)
    assert told["status"] != "ready"
    assert "[BODY].status == ready" in checks["scanner does its work"]["conditions"]


def test_litestream_copies_the_stores_of_the_units() -> None:
    paths = {each["path"] for each in parsed("litestream.yml")["dbs"]}
    units = "".join((DEPLOY / "systemd" / f"amn-{name}.service").read_text() for name in ("scanner", "marketplace"))

    assert {path for path in paths if f"DB_PATH={path} " in units} == paths
    assert len(paths) == 2
