"""Payments on a chain with proofs are confirmed by their blocks' own receipts, and a client can check that itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clients.python.amn_scanner_client import Conflict, ScannerClient, verify_proof
from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner import services
from scanner.store import retention
from tests.cases.scanned_nodes import registry
from tests.harness import MERCHANT, USDT, Running, environment, running

pytestmark = pytest.mark.anvil
FRESH = f"0x2{1:039x}"


@pytest.fixture
async def proving(chain: Anvil, tmp_path: Path) -> AsyncIterator[Running]:
    """The daemon on the local chain, with proofs."""
    chains = registry(tmp_path, {"proof": "receipts"})
    async with running(environment(tmp_path, chain.url, CHAINS_JSON_PATH=chains)) as daemon:
        yield daemon


async def hashes(chain: Anvil, proof: dict[str, Any]) -> dict[int, str]:
    """Return the hashes of a proof's blocks, asked of a node and not of the scanner."""
    numbers = {each["blockNumber"] for each in proof["transfers"]}
    return {number: (await chain.rpc("eth_getBlockByNumber", [hex(number), False]))["hash"] for number in numbers}


async def test_a_payment_on_each_rail_is_proven_to_a_client(
    chain: Anvil, hooks: Receiver, proving: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await proving.api.create(amount="5000", callbackUrl=hooks.url())
    direct = await proving.api.create(rail="direct", destination=FRESH, amount="1000", callbackUrl=hooks.url())
    await chain.pay(USDT, MERCHANT, 5000, proxy["paymentReference"])
    await chain.transfer(USDT, FRESH, 400)
    await chain.transfer(USDT, FRESH, 600)
    await chain.mine(6)
    await hooks.wait_for(2)

    async with ScannerClient.open(proving.api.url, None) as client:
        paid = [await client.proof(created["intentId"]) for created in (proxy, direct)]
    shown = [verify_proof(proof, await hashes(chain, proof)) for proof in paid]

    assert [[each.amount for each in transfers] for transfers in shown] == [[5000], [400, 600]]
    assert {each.token for transfers in shown for each in transfers} == {USDT.lower()}
    assert [transfers[0].recipient for transfers in shown] == [MERCHANT.lower(), FRESH]
    assert {each.chain_id for transfers in shown for each in transfers} == {97}

    monkeypatch.setattr(services, "MAX_PROVEN", 1)
    path = f"/intents/{direct['intentId']}/proof"
    assert (await proving.api.call("GET", path))[1]["error"].endswith("does not reach its price")
    monkeypatch.setattr(services, "MAX_PROVEN", 2)
    monkeypatch.setattr(services, "MAX_PROOF_CHARACTERS", 100)
    assert (await proving.api.call("GET", path))[1]["code"] == "no_proof"


async def test_a_proof_goes_with_its_transfer(chain: Anvil, hooks: Receiver, proving: Running) -> None:
    created = await proving.api.create(rail="direct", destination=FRESH, amount="1000", callbackUrl=hooks.url())
    await chain.transfer(USDT, FRESH, 1000)
    await chain.mine(6)
    await hooks.wait_for(1)
    await proving.api.until(created["intentId"], lambda intent: intent["webhookDeliveredAt"] is not None)
    count = "SELECT count(*) FROM transfer_proofs"
    async with proving.database.write() as tx:
        kept = (await tx.exec_driver_sql(count)).scalar_one()
        gone = await retention.forget_intents(tx, [created["intentId"]], before=2**53)
        left = (await tx.exec_driver_sql(count)).scalar_one()

    assert (kept, gone, left) == (1, 1, 0)


async def test_what_is_not_paid_or_not_confirmed_has_no_proof(chain: Anvil, hooks: Receiver, proving: Running) -> None:
    unpaid = await proving.api.create(rail="direct", destination=FRESH, amount="1000", callbackUrl=hooks.url())
    answer = await proving.api.call("GET", f"/intents/{unpaid['intentId']}/proof")
    assert (answer[0], answer[1]["code"]) == (409, "not_paid")

    await chain.transfer(USDT, FRESH, 1000)
    await proving.api.status_is(unpaid["intentId"], "confirming")
    answer = await proving.api.call("GET", f"/intents/{unpaid['intentId']}/proof")
    assert (answer[0], answer[1]["code"]) == (409, "no_proof")
    assert (await proving.api.call("GET", "/intents/nobody/proof"))[0] == 404


async def test_a_chain_without_proofs_says_so(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(rail="direct", destination=FRESH, amount="1000", callbackUrl=hooks.url())
    await chain.transfer(USDT, FRESH, 1000)
    await chain.mine(5)
    await hooks.wait_for(1)

    async with ScannerClient.open(scanner.api.url, None) as client:
        with pytest.raises(Conflict, match="no_proof"):
            await client.proof(created["intentId"])
