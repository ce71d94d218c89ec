"""Both services read the registries by the same rules: what is wrong in a file stops either."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import orjson
import pytest

from kernel.errors import ConfigError
from tests.harness import ROOT
from tests.service_contract.services import BOTH, ServiceUnderTest

CHAINS = orjson.loads((ROOT / "supported-chains.json").read_bytes())
TOKENS = orjson.loads((ROOT / "tokens.json").read_bytes())


def twice(entries: list[Any]) -> list[Any]:
    return [*entries, copy.deepcopy(entries[0])]


def with_first(entries: list[Any], **fields: Any) -> list[Any]:
    return [entries[0] | fields, *entries[1:]]


WRONG = [
    pytest.param(twice(CHAINS), TOKENS, "chainId: .* is listed twice", id="a chain twice"),
    pytest.param(CHAINS, twice(TOKENS), "is listed twice", id="a token twice"),
    pytest.param(CHAINS, with_first(TOKENS, chainId=5), "is not a chain of the registry", id="a token of no chain"),
    pytest.param(
        with_first(CHAINS, proxyAddress="0x" + "0" * 40), TOKENS, "zero address", id="a proxy at the zero address"
    ),
    pytest.param(with_first(CHAINS, confirmationThreshold=0), TOKENS, "confirmationThreshold", id="no confirmation"),
    pytest.param(with_first(CHAINS, chainTyp="evm"), TOKENS, "chainTyp", id="an unknown key"),
    pytest.param(CHAINS, with_first(TOKENS, decimals=-1), "decimals", id="negative decimals"),
]


@BOTH
@pytest.mark.parametrize(("chains", "tokens", "why"), WRONG)
async def test_a_registry_that_contradicts_itself_stops_the_start(
    service: ServiceUnderTest, tmp_path: Path, chains: list[Any], tokens: list[Any], why: str
) -> None:
    await asyncio.to_thread((tmp_path / "chains.json").write_bytes, orjson.dumps(chains))
    await asyncio.to_thread((tmp_path / "tokens.json").write_bytes, orjson.dumps(tokens))
    env = service.environment(tmp_path) | {
        "CHAINS_JSON_PATH": str(tmp_path / "chains.json"),
        "TOKENS_JSON_PATH": str(tmp_path / "tokens.json"),
    }
    with pytest.raises(ConfigError, match=why):
        async with service.running(env):
            pass
