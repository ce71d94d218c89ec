"""Whatever an operator or a backend can meet is documented, in its table, and nothing that is not there."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from api.app import build_app
from api.console.routes import CONSOLE
from config.catalog import Chain
from config.settings import VARIABLES, HttpSettings
from kernel.web.rate_limiter import RateLimiter
from marketplace.errors import CODES as MARKETPLACE_CODES
from marketplace.settings import VARIABLES as MARKETPLACE_VARIABLES
from marketplace.web.pages.routes import PAGES as MARKETPLACE_PAGES
from protocol.errors import CODES
from scanner.model import EventType, Reason
from scanner.upkeep.metrics import Metrics
from tests.harness import ROOT
from tests.repo.pages import CODE, column, page, prose_of, rows, tables, top_level_names

CALL = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.-]*)")
PAGE = re.compile(r"(?<![\w/.{])((?:docs/)?[\w-]+\.md)\b(?=[ ,;:.)])")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(
    r"`((?:addresses|api|bench|chains|clients|config|deploy|devnet|docs|kernel|marketplace|protocol|scanner|tests|webhooks)/[\w./-]+)`"
)
TEXTS = subprocess.run(
    ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
CHAINS = json.loads((ROOT / "supported-chains.json").read_text())
# Of the scanner's settings the marketplace has these too, and each page says so.
SHARED = {"CHAINS_JSON_PATH", "TOKENS_JSON_PATH", "APP_ENV", "LOG_LEVEL", "LOG_FORMAT"}


def statuses(name: str) -> dict[str, int]:
    """Return the documented status of every error code."""
    return {code.strip("`"): int(status) for code, status, _ in rows(name, "code")}


def test_the_settings_are_those_that_are_documented() -> None:
    endpoints = {chain["rpcEnv"] for chain in CHAINS}
    endpoints |= {f"{chain['rpcEnv']}_WS" for chain in CHAINS if chain.get("chainType", "evm") == "evm"}

    assert set(column("docs/settings.md", "name")) == set(VARIABLES) | endpoints
    assert len(VARIABLES) > 30


def test_the_settings_of_the_marketplace_are_those_that_are_documented() -> None:
    assert set(column("docs/marketplace.md", "name")) == set(MARKETPLACE_VARIABLES)
    assert set(MARKETPLACE_VARIABLES) & set(VARIABLES) == SHARED


def test_the_keys_of_the_registry_are_those_that_are_documented() -> None:
    keys = {field.alias for field in Chain.model_fields.values()}

    assert set(column("docs/settings.md", "key")) == keys


def test_the_settings_the_readme_shows_are_there_with_the_same_default() -> None:
    def shown(name: str, head: str) -> dict[str, str]:
        return {row[0]: row[1] for row in rows(name, head)}

    documented = shown("docs/settings.md", "name")
    for names, default in shown("README.md", "variable").items():
        for name, value in zip(names.split(", "), default.split(", "), strict=False):
            known = next((text for key, text in documented.items() if name in key.split(", ")), None)
            assert known == value, name


def test_the_metrics_are_those_that_are_documented() -> None:
    declared = {family.name: family for family in Metrics().registry.collect()}

    assert column("docs/metrics.md", "metric") == [*dict.fromkeys(column("docs/metrics.md", "metric"))]
    assert set(column("docs/metrics.md", "metric")) == set(declared)
    assert len(declared) > 20


def test_the_metrics_of_the_alerts_are_there() -> None:
    (expressions,) = ({row[1] for row in rows("docs/operations.md", "alert")},)
    samples = {name for family in Metrics().registry.collect() for name in (family.name, f"{family.name}_total")}
    named = {name for text in expressions for name in re.findall(r"amn_scanner_\w+", text)}

    assert named
    assert named <= samples


def test_the_events_and_reasons_are_those_that_are_documented() -> None:
    assert set(column("docs/events.md", "type")) == set(EventType) - {EventType.BALANCE_CHANGED}
    assert f"`{EventType.BALANCE_CHANGED}`" in page("docs/events.md")
    assert set(column("docs/events.md", "reason")) == set(Reason)


def test_the_error_codes_are_those_that_are_documented() -> None:
    assert statuses("docs/api.md") == CODES
    assert statuses("docs/marketplace.md") == MARKETPLACE_CODES


PAGES = ("/console",)
PARTS = {"/console/login", "/console/events", "/console/chains/{chainId}/stats"}


def test_the_pages_of_the_console_are_those_that_are_documented() -> None:
    served = {path for method, path, _ in CONSOLE if method == "GET" and not path.endswith(".csv")}

    assert {row[0].strip("`") for row in rows("docs/console.md", "page")} == served - PARTS


def test_the_pages_of_the_marketplace_are_those_that_are_documented() -> None:
    served = {path: roles for method, path, _, roles in MARKETPLACE_PAGES if method == "GET"}
    documented = {row[0].strip("`"): row[2] for row in rows("docs/admin.md", "page")}

    assert set(documented) == set(served) - {"/admin/login", "/admin/events"}
    assert {path for path, who in documented.items() if "resolver" in who} == {
        path for path in documented if "resolver" in served[path]
    }


def test_the_calls_of_the_api_are_those_that_are_documented() -> None:
    settings = HttpSettings("", 0, (), production=False, trusted_hops=0)
    app = build_app(None, settings, Metrics(), RateLimiter({}, int))  # type: ignore[arg-type]
    served = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource and r.method != "HEAD"}
    served = {call for call in served if not call[1].startswith(PAGES)}
    documented = {call for row in rows("docs/api.md", "call") for call in CALL.findall(row[0])}

    assert documented == served - {("GET", "/openapi.json"), ("GET", "/docs")}
    assert "`/openapi.json`" in page("docs/api.md")
    assert "`/docs`" in page("docs/api.md")


def test_every_page_and_file_that_is_referred_to_is_there() -> None:
    missing: set[str] = set()
    for path in TEXTS:
        text = (ROOT / path).read_text()
        named = set(PAGE.findall(text)) if path.endswith(".py") else set(LINK.findall(text)) | set(FILE.findall(text))
        here = (ROOT, (ROOT / path).parent)
        missing |= {f"{path}: {name}" for name in named if not any((base / name).exists() for base in here)}
    assert missing == set()


@pytest.mark.parametrize("path", [path for path in TEXTS if path.endswith(".md")])
def test_a_row_stands_in_a_table(path: str) -> None:
    """Behind an empty line a row is text with strokes in it, and another number of cells leaves some out."""
    for head, found in tables(path):
        assert [row for row in found if len(row) != len(head)] == []
    blocks = re.findall(r"(?:^ *\|.*\n)+", prose_of(path) + "\n", re.MULTILINE)
    assert [block for block in blocks if not re.match(r".*\n *\|[-:| ]+\|\n", block)] == []


def test_a_newcomer_finds_the_answers_where_the_architecture_says() -> None:
    answers = rows("docs/architecture.md", "question")
    assert len({question for question, _, _ in answers}) == 10
    for question, *cells in answers:
        files, names = (CODE.findall(cell) for cell in cells)
        assert files, question
        assert names, question
        defined = {path: top_level_names(path) for path in files}
        assert [name for name in names if not any(name in found for found in defined.values())] == [], question
        assert [path for path, found in defined.items() if not found & {*names}] == [], question


def test_every_package_stands_in_the_house_and_in_no_other() -> None:
    drawn = {name.partition("/")[0] for name in column("docs/architecture.md", "folder")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert drawn == packages - {"tests"}


@pytest.mark.parametrize("folder", ["webhooks", "chains", "chains/evm", "chains/tron", "chains/ton"])
def test_the_page_of_a_folder_names_its_modules_and_no_others(folder: str) -> None:
    with_pages = {page.parent for page in (ROOT / folder).glob("*/README.md")}
    there = {
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and with_pages.isdisjoint(path.parents)
    }
    named = [
        name for head in ("file", "module") for name in column(f"{folder}/README.md", head) if name.endswith(".py")
    ]

    assert sorted(named) == sorted(there)
