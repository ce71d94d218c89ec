"""Every proxy event needs a token movement of its own."""

from __future__ import annotations

import orjson
import pytest
from msgspec import Raw

from chains.evm.verification.receipts import read_receipt
from chains.types import VerificationOutcome
from tests.chains.evm_world import (
    BUYER,
    PROXY,
    SHOP,
    ZERO,
    event_log,
    receipt_of,
    token_log,
    tx_of,
)

OTHER = "0x" + "99" * 20


async def read(receipt, number=7):
    return await read_receipt(Raw(orjson.dumps(receipt)), tx_hash=tx_of(number), proxy=PROXY.lower())


async def paired(*logs):
    """Return outcome and credit of every proxy event, in log order."""
    events = (await read(receipt_of(*logs))).events
    return [(paid.match.outcome, paid.match.credited) for paid in events.values()]


CREDITED, SHORT, NOTHING = VerificationOutcome.CREDITED, VerificationOutcome.SHORT, VerificationOutcome.NO_TRANSFER_LOG


FEE = {"fee": 10, "fee_to": BUYER}


NFT = token_log() | {"topics": [*token_log()["topics"], "0x" + "0" * 64], "data": "0x"}


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        pytest.param([token_log(), event_log()], [(CREDITED, 1000)], id="paid"),
        pytest.param([event_log()], [(NOTHING, 0)], id="no movement"),
        pytest.param([NFT, event_log()], [(NOTHING, 0)], id="an NFT is no credit"),
        pytest.param([token_log(token=OTHER), event_log()], [(NOTHING, 0)], id="another token moved"),
        pytest.param([token_log(to=OTHER), event_log()], [(NOTHING, 0)], id="moved to somebody else"),
        pytest.param([event_log(), token_log(index=6)], [(NOTHING, 0)], id="moved after the event"),
        pytest.param([token_log(value=990), event_log()], [(SHORT, 990)], id="fee on transfer"),
        pytest.param([token_log(value=2000), event_log()], [(CREDITED, 1000)], id="never more than claimed"),
        pytest.param(
            [token_log(), event_log(), event_log(index=6)],
            [(CREDITED, 1000), (NOTHING, 0)],
            id="two events cannot live on one movement",
        ),
        pytest.param(
            [token_log(index=1), token_log(index=2), event_log(), event_log(index=6)],
            [(CREDITED, 1000), (CREDITED, 1000)],
            id="two movements, two events",
        ),
        pytest.param(
            [token_log(index=1, value=1000), token_log(index=2, value=5), event_log()],
            [(CREDITED, 1000)],
            id="the exact value before the latest",
        ),
        pytest.param(
            [
                token_log(index=1, value=50),
                event_log(index=2, amount=50),
                token_log(index=3, value=100),
                event_log(index=4, amount=100),
            ],
            [(CREDITED, 50), (CREDITED, 100)],
            id="one after the other",
        ),
        pytest.param(
            [token_log(index=9), event_log(index=2)],
            [(CREDITED, 1000)],
            id="log order is the receipt's, whatever the numbers say",
        ),
        pytest.param(
            [token_log(index=1), token_log(index=2, to=BUYER, value=10), event_log(**FEE)],
            [(CREDITED, 1000)],
            id="payment and fee",
        ),
        pytest.param([token_log(), event_log(**FEE)], [(SHORT, 1000)], id="the fee never moved"),
        pytest.param(
            [token_log(index=1), token_log(index=2, to=BUYER, value=9), event_log(**FEE)],
            [(SHORT, 1000)],
            id="the fee moved in part",
        ),
        pytest.param([token_log(), event_log(fee=10, fee_to=ZERO)], [(CREDITED, 1000)], id="a fee to nobody is no fee"),
        pytest.param(
            [token_log(), event_log(fee=1000, fee_to=SHOP)],
            [(NOTHING, 0)],
            id="one movement cannot be payment and fee",
        ),
        pytest.param(
            [token_log(index=1, value=99), token_log(index=2, value=9), event_log(amount=100, fee=10, fee_to=SHOP)],
            [(SHORT, 99)],
            id="payment and fee to one address, both short",
        ),
    ],
)
async def test_every_proxy_event_needs_a_movement_of_its_own(logs, expected):
    assert await paired(*logs) == expected


async def test_the_sender_is_whoever_the_token_was_taken_from():
    (paid,) = (await read(receipt_of(token_log(), event_log()))).events.values()
    assert paid.match.sender == BUYER
