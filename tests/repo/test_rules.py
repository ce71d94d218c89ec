"""Every rule and every threat that is written down names tests, and the tests are there."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from tests.harness import ROOT
from tests.repo.pages import every_test, names_in, page, tables

GROUPS = "ABCDEFGHIJ"
PACKAGES = {"kernel", "addresses", "protocol", "config", "chains", "scanner", "webhooks", "api", "marketplace"}
_SECTION = re.compile(r"^## ([A-Z])\. .*$", re.MULTILINE)
_PATH = re.compile(r"`(tests/[\w/]*(?:\.py)?)(?:::(\w+))?`")
_NAMED = re.compile(r"`(test_\w+)`")
_RULE = re.compile(r"\(docs/rules\.md,\s+([^)]*)\)")  # its name, or the letter of its group
_SHORTENED = re.compile(r"`[^`]*(?:…|\.\.\.)_[^`]*`")


def rules() -> list[tuple[str, str]]:
    """Return every rule with the group it belongs to."""
    parts = _SECTION.split(page("docs/rules.md"))[1:]
    return [
        (group, line)
        for group, text in zip(parts[::2], parts[1::2], strict=True)
        for line in text.splitlines()
        if line.strip()
    ]


def title(rule: str) -> str:
    return rule.split("**")[1] if rule.startswith("**") else rule[:40]


RULES = rules()
NAMED_PATHS = sorted(set(_PATH.findall(page("docs/rules.md"))))
THREATS = [
    pytest.param(row, id=row[0][:60])
    for head, rows in tables("THREAT_MODEL.md")
    if head[-1] == "shown by"
    for row in rows
]


def test_every_group_has_rules() -> None:
    assert [group for group in GROUPS if sum(each == group for each, _ in RULES) >= 5] == list(GROUPS)
    assert {group for group, _ in RULES} == set(GROUPS)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=f"{group} {title(rule)}") for group, rule in RULES])
def test_a_rule_names_the_tests_that_show_it(rule: str) -> None:
    assert rule.startswith("**"), "a rule is one paragraph that begins with its name"
    assert _PATH.search(rule) is not None
    assert _SHORTENED.search(rule) is None, "the name of a test is written whole, so that it can be looked for"


@pytest.mark.parametrize(("path", "name"), NAMED_PATHS)
def test_the_tests_that_rules_name_are_there(path: str, name: str) -> None:
    if path.endswith("/"):
        assert any((ROOT / path).glob("test_*.py"))
    elif name:
        assert name in names_in(path)
    elif PurePosixPath(path).name.startswith("test_"):
        assert names_in(path)
    else:  # what every test goes through
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_names_tests_that_are_there(threat: list[str]) -> None:
    named = set(_NAMED.findall(threat[-1]))

    assert named
    assert named - every_test() == set()


def test_an_attack_that_has_a_price_says_what_it_costs_both_sides() -> None:
    priced = [row for param in THREATS for row in param.values if re.search(r"[0-9] gas", row[0])]

    assert priced
    assert [row[0] for row in priced if "per million gas" not in " ".join(row[:-1])] == []


def test_no_other_test_of_the_threat_model_is_missing() -> None:
    assert set(_NAMED.findall(page("THREAT_MODEL.md"))) - every_test() == set()
    assert len(THREATS) > 50


def test_the_rules_that_the_code_refers_to_are_there() -> None:
    texts = [path.read_text() for path in sorted(ROOT.glob("*/**/*.py")) if path.parts[len(ROOT.parts)] in PACKAGES]
    named = {" ".join(found.split()).strip('"').lower() for text in texts for found in _RULE.findall(text)}
    titles = {title(rule).rstrip(".").lower() for _, rule in RULES} | {group.lower() for group in GROUPS}

    assert len(named) > 5
    assert [name for name in sorted(named) if not {name} & titles and not {*name.split(" and ")} <= titles] == []
