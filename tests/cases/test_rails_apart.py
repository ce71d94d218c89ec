"""What stops one rail of a chain stops neither the other, nor confirmations, nor expiries up to what was read."""

from __future__ import annotations

from typing import Any

import pytest

from chains.errors import ChainUnavailable
from chains.types import Rail
from scanner.model import IntentStatus
from tests.cases.scripted import bench, in_s
from tests.scanner.bench import Bench
from tests.scanner.facts import a_hash, a_transfer, an_intent

__all__ = ["bench"]

SHOP = "0x" + "d1" * 20
OTHER = {Rail.PROXY: Rail.DIRECT, Rail.DIRECT: Rail.PROXY}


def of(rail: Rail, intent_id: str, **fields: Any) -> Any:
    if rail is Rail.DIRECT:
        fields |= {"destination": SHOP, "destination_key": SHOP}
    return an_intent(intent_id, rail=rail, **fields)


async def fails(bench: Bench) -> None:
    with pytest.raises(ChainUnavailable, match="rail is not served"):
        await bench.worker.poll()


@pytest.mark.parametrize("stopped", list(Rail))
async def test_one_rail_confirms_and_expires_while_the_other_is_not_served(bench: Bench, stopped: Rail) -> None:
    served = OTHER[stopped]
    paid, unpaid = of(served, "paid"), of(Rail.PROXY, "unpaid", expires_at=in_s(bench, 10))
    stuck = of(stopped, "stuck", expires_at=in_s(bench, 10))
    await bench.wait_for(paid, unpaid._replace(rail=served, destination_key="0x" + "d2" * 20), stuck)
    bench.chain.refuses = {stopped}
    bench.chain.extend()
    bench.chain.put(a_transfer(paid))
    bench.chain.extend(5, wait=200)

    await fails(bench)
    await bench.worker.second.turn()
    await fails(bench)

    states = {name: (await bench.intent(name)).status for name in ("paid", "unpaid", "stuck")}
    assert states == {
        "paid": IntentStatus.CONFIRMED,
        "unpaid": IntentStatus.EXPIRED,
        "stuck": IntentStatus.PENDING,
    }


@pytest.mark.parametrize("stopped", list(Rail))
async def test_the_checkpoint_shown_is_the_smaller_and_each_rail_goes_on_from_its_own(
    bench: Bench, stopped: Rail
) -> None:
    before = bench.worker.health.checkpoint
    bench.chain.refuses = {stopped}
    bench.chain.extend(9)

    await fails(bench)

    assert bench.worker.health.checkpoint == before
    reached = await bench.checkpoint(OTHER[stopped])
    assert reached is not None
    assert reached.position == bench.chain.top
    late = of(stopped, "late")
    await bench.wait_for(late)
    bench.chain.put(a_transfer(late), at=bench.chain.top - 7)
    bench.chain.refuses = set()
    await bench.worker.poll()
    assert bench.worker.health.checkpoint == bench.chain.top
    assert (await bench.intent("late")).status is IntentStatus.CONFIRMED


async def test_what_was_found_before_is_confirmed_while_no_rail_is_served(bench: Bench) -> None:
    plain, proxied = of(Rail.DIRECT, "plain"), of(Rail.PROXY, "proxied")
    await bench.wait_for(plain, proxied)
    bench.chain.extend()
    bench.chain.put(a_transfer(plain))
    bench.chain.put(a_transfer(proxied, tx_hash=a_hash("tx", 2)))
    await bench.worker.poll()
    bench.chain.extend(4)
    bench.chain.refuses = set(Rail)

    await fails(bench)

    assert {(await bench.intent(name)).status for name in ("plain", "proxied")} == {IntentStatus.CONFIRMED}


async def test_a_reorganisation_takes_back_what_each_rail_found_by_itself(bench: Bench) -> None:
    plain, proxied = of(Rail.DIRECT, "plain"), of(Rail.PROXY, "proxied")
    await bench.wait_for(plain, proxied)
    bench.chain.extend(2)
    bench.chain.put(a_transfer(plain))
    bench.chain.put(a_transfer(proxied, tx_hash=a_hash("tx", 2)))
    await bench.worker.poll()
    bench.chain.cut(bench.chain.top - 1)
    bench.chain.extend(branch="b")
    bench.chain.refuses = {Rail.DIRECT}

    await fails(bench)

    assert (await bench.intent("proxied")).status is IntentStatus.PENDING
    assert (await bench.intent("plain")).status is IntentStatus.CONFIRMING  # not known yet, and not deep
    bench.chain.refuses = set()
    await bench.worker.poll()
    assert (await bench.intent("plain")).status is IntentStatus.PENDING
    assert bench.value("reorgs_total") == 1
