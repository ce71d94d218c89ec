"""The status names everything that programs read of it, from the start and with nothing learnt."""

from __future__ import annotations

from pathlib import Path

from chains.types import EndpointState
from scanner.upkeep.health import ChainState
from tests.cases.scanned_nodes import run_scanned_nodes


async def test_a_chain_shows_its_state_problems_endpoints_stuck_transfers_and_sweep(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path, 2) as system:
        await system.polled()
        chain = await system.api.chain()

    assert (chain["state"], chain["problems"], chain["stuck"], chain["stuckCount"]) == ("ready", [], [], 0)
    assert chain["sweep"] == {"coveredTo": None, "at": None}
    assert len(chain["endpoints"]) == 2
    for endpoint in chain["endpoints"]:
        assert endpoint.keys() == {"label", "state", "head", "headTime", "latencyMs", "lastError", "limits"}
        limits = ("batch", "blocks", "topics", "addresses", "owners", "addresslessLogs")
        assert endpoint["limits"].keys() == set(limits)
        assert [endpoint["limits"][name] for name in limits[:-1]] == [None] * 5


def test_states_have_the_names_that_are_promised() -> None:
    assert {*ChainState} == {"syncing", "ready", "stale", "failing"}
    assert {*EndpointState} == {"ok", "resting", "stale", "lying", "failing"}


async def test_an_intent_is_always_answered_with_warnings(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        before = await system.direct(1)
        await system.polled()
        after = await system.api.create(callbackUrl=system.hooks.url())

    assert (before["warnings"], after["warnings"]) == ([], [])
