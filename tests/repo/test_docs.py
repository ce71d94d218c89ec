"""Whatever an operator or a backend can meet is documented."""

from __future__ import annotations

import re

import pytest

from api.errors import CODES
from config.settings import VARIABLES
from scanner.metrics import Metrics
from scanner.model import EventType, Reason
from tests.harness import ROOT


def documented(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


@pytest.mark.parametrize("name", VARIABLES)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in documented("settings.md")


@pytest.mark.parametrize("name", [family.name for family in Metrics().registry.collect()])
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in documented("metrics.md")


@pytest.mark.parametrize("name", [*EventType, *Reason])
def test_every_event_and_reason_is_documented(name: str) -> None:
    assert f"`{name}`" in documented("events.md")


@pytest.mark.parametrize("name", CODES)
def test_every_error_code_is_documented(name: str) -> None:
    assert f"`{name}`" in documented("api.md")


def test_what_the_threat_model_refers_to_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "THREAT_MODEL.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 40
    assert {name for name in named if f"def {name}(" not in tests} == set()
