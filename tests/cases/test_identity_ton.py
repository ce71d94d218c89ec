"""One TON transfer has one key: its sending transaction, however the hash is spelt, and its logical time."""

from __future__ import annotations

import base64

import pytest

from chains.types import Targets, VerificationOutcome
from tests.chains.ton_world import OWNER, seen


def spellings(tx_hash: str) -> dict[str, str]:
    raw = bytes.fromhex(tx_hash)
    return {
        "base64": base64.b64encode(raw).decode(),
        "url-safe": base64.urlsafe_b64encode(raw).decode(),
        "without padding": base64.b64encode(raw).decode().rstrip("="),
        "hex": tx_hash,
        "hex in capitals": tx_hash.upper(),
        "hex with 0x": "0x" + tx_hash,
    }


@pytest.mark.parametrize("spelling", spellings("00" * 32))
async def test_a_hash_is_one_transaction_in_every_spelling(ton, spelling):
    center, adapter = await ton.both()
    payments = [ton.ledger.pay(OWNER) for _ in range(8)]  # some of these hashes have + and / in base64
    plain = [(t.tx_hash, t.event_key) for t in await seen(adapter, OWNER)]
    for payment in payments:
        center.spoilt_rows[payment.tx_hash] = {"transaction_hash": spellings(payment.tx_hash)[spelling]}
    spelt = await seen(adapter, OWNER)
    assert [(t.tx_hash, t.event_key) for t in spelt] == plain
    looks = await adapter.verify(spelt, head=await adapter.head())
    assert {look.outcome for look in looks} == {VerificationOutcome.CREDITED}


@pytest.mark.parametrize("lt", [str, int])
async def test_every_way_gives_one_transfer_the_same_key(ton, lt):
    first, second = await ton.center(), await ton.center()
    adapter, other = await ton.adapter(first), await ton.adapter(second)
    payment = ton.ledger.pay(OWNER)
    second.spoilt = {"transaction_lt": lt(payment.row["transaction_lt"])}
    (scanned,) = await seen(adapter, OWNER)
    (elsewhere,) = await seen(other, OWNER)
    (inspected,) = await adapter.inspect(payment.tx_hash, Targets(frozenset({OWNER})))
    assert scanned == elsewhere == inspected
