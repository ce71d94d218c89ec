"""The page about default endpoints and the registry say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
HEADING = re.compile(r"^## .+ \((\d+)\)$", re.MULTILINE)
DATE = re.compile(r"20\d\d-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?")
ONE_OPERATOR = {728126428, 1100}  # nobody else serves these interfaces in public


class Row(NamedTuple):
    """One endpoint as the page has it."""

    url: str
    operator: str
    addressless: str
    batches: str
    blocks: str
    source: str
    as_of: str


def page() -> dict[int, list[Row]]:
    parts = HEADING.split((ROOT / "docs" / "endpoints.md").read_text())[1:]
    found = {}
    for chain_id, text in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in text.splitlines() if line.startswith("| `")]
        found[int(chain_id)] = [
            Row(*(cell.strip().strip("`") for cell in line.strip("|").split("|"))) for line in lines
        ]
    return found


REGISTRY = {chain["chainId"]: chain for chain in json.loads((ROOT / "supported-chains.json").read_text())}


def test_every_chain_is_on_the_page():
    assert page().keys() == REGISTRY.keys()


@pytest.mark.parametrize("chain_id", REGISTRY)
def test_the_page_names_the_registrys_endpoints_in_their_order(chain_id):
    assert [row.url for row in page()[chain_id]] == REGISTRY[chain_id]["rpcUrls"]


@pytest.mark.parametrize("chain_id", sorted(REGISTRY.keys() - ONE_OPERATOR))
def test_a_chain_has_endpoints_of_three_operators_one_of_which_shows_logs_of_every_contract(chain_id):
    rows = page()[chain_id]
    assert len({row.operator for row in rows}) >= 3
    assert any(not row.addressless.startswith("no") for row in rows)
    assert not rows[0].addressless.startswith("no:")


@pytest.mark.parametrize("chain_id", REGISTRY)
def test_every_endpoint_has_a_source_and_a_date(chain_id):
    for row in page()[chain_id]:
        assert row.source
        assert DATE.fullmatch(row.as_of), row
