"""Where liteservers are named, nothing is confirmed that one of them does not show as well, and both are named."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from chains.base import Access
from chains.errors import ChainMisconfigured
from chains.ton.adapter import TonAdapter
from chains.ton.jettons.cells import InternalTransfer, NodeTransaction
from chains.ton.liteserver import client
from chains.ton.liteserver.second_source import judge
from chains.types import EndpointState, Transfer, Verification, VerificationOutcome
from config.liteservers import parse_liteservers
from devnet.ton.cells import Bits, internal_transfer
from devnet.ton.ledger import Payment, TonLedger
from devnet.ton.liteserver import Liteserver, listed
from devnet.ton.toncenter import TonCenter
from tests.chains.ton_world import OTHER, OWNER, START, TonWorld, seen

CREDITED, NOT_YET = VerificationOutcome.CREDITED, VerificationOutcome.NOT_YET
FAILED = {"aborted": True, "destroyed": False, "compute_ph": {"skipped": False, "success": False}, "action": None}
WENT_WELL = {"aborted": False, "destroyed": False, "compute_ph": {"skipped": False, "success": True}, "action": None}


@pytest.fixture
async def ton() -> AsyncIterator[TonWorld]:
    async with AsyncExitStack() as stack:
        yield TonWorld(stack)


async def paid(ton: TonWorld, adapter: TonAdapter, name: str = "success") -> tuple[Transfer, Payment]:
    payment = ton.ledger.pay(OWNER, 1_000_000, name=name)
    ton.ledger.advance()
    (transfer,) = await seen(adapter, OWNER)
    return transfer, payment


async def verified(adapter: TonAdapter, transfer: Transfer) -> Verification:
    (found,) = await adapter.verify([transfer], head=await adapter.head())
    return found


def receiving(payment: Payment) -> str:
    """Return the hash of the half that the destination's wallet received by."""
    row = next(tx for tx in payment.transactions if tx["account"] == payment.wallet)
    return base64.b64decode(row["hash"]).hex()


async def test_what_both_say_is_confirmed(ton: TonWorld) -> None:
    server = await ton.liteserver()
    adapter = await ton.adapter(await ton.center(), second=[server])
    transfer, _ = await paid(ton, adapter)

    found = await verified(adapter, transfer)

    assert (found.outcome, found.credited, found.why) == (CREDITED, 1_000_000, None)
    assert dict(server.calls) == {"getMasterchainInfo": 1, "runSmcMethod": 1, "getTransactions": 2}
    assert adapter.condition().problems == ()
    assert [report.label.rpartition("#")[2] for report in adapter.condition().endpoints] == ["1", "1 second"]
    assert await verified(adapter, transfer) == found
    assert server.calls["getTransactions"] == 2  # what hashes to what was asked for is asked for once


@pytest.mark.parametrize("name", ["success", "comment", "nanoton_forward", "zero_forward", "owner_not_deployed"])
async def test_what_real_contracts_did_is_read_alike_from_both(ton: TonWorld, name: str) -> None:
    adapter = await ton.adapter(await ton.center(), second=[await ton.liteserver()])
    payment = ton.ledger.replay(name)
    ton.ledger.advance()
    (transfer,) = await seen(adapter, payment.row["destination"])

    assert (await verified(adapter, transfer)).outcome is CREDITED


async def test_a_payment_that_both_saw_bounce_is_turned_down(ton: TonWorld) -> None:
    adapter = await ton.adapter(await ton.center(), second=[await ton.liteserver()])
    payment = ton.ledger.replay("bounce")
    ton.ledger.advance()
    (transfer,) = await seen(adapter, payment.row["destination"])

    assert (await verified(adapter, transfer)).outcome is VerificationOutcome.REVERTED
    assert adapter.condition().problems == ()


LIES_OF_THE_SECOND: dict[str, Callable[[Liteserver, Payment], Any]] = {
    "it does not know the receiving half": lambda server, payment: server.hidden.add(receiving(payment)),
    "it does not know the sending half": lambda server, payment: server.hidden.add(payment.tx_hash),
    "the wallet is somebody else's": lambda server, _: server.wallets.update({OWNER: OTHER}),
}
LIES_OF_THE_FIRST: dict[str, Callable[[TonCenter, Payment], Any]] = {
    "five times as much was paid": lambda center, payment: (
        center.spoilt_rows.update({payment.tx_hash: {"amount": "5000000"}}),
        center.spoilt_credits.update({payment.tx_hash: {"in_msg": claimed(payment, amount=5_000_000)}}),
    ),
    "somebody else paid": lambda center, payment: (
        center.spoilt_rows.update({payment.tx_hash: {"source": OTHER}}),
        center.spoilt_credits.update({payment.tx_hash: {"in_msg": claimed(payment, sender=OTHER)}}),
    ),
    "it failed": lambda center, payment: center.spoilt_credits.update({payment.tx_hash: {"description": FAILED}}),
    "it was paid an hour earlier": lambda center, payment: center.spoilt_rows.update(
        {payment.tx_hash: {"transaction_now": payment.row["transaction_now"] - 3600}}
    ),
    "the receiving half has another hash": lambda center, payment: center.spoilt_credits.update(
        {payment.tx_hash: {"hash": base64.b64encode(bytes(32)).decode()}}
    ),
    "the receiving half has no hash": lambda center, payment: center.spoilt_credits.update(
        {payment.tx_hash: {"hash": ""}}
    ),
}


def claimed(payment: Payment, *, amount: int = 1_000_000, sender: str | None = None) -> dict[str, Any]:
    """Return the message of a payment as a dishonest index shows it."""
    row = next(tx for tx in payment.transactions if tx["account"] == payment.wallet)
    body = internal_transfer(query_id=0, amount=amount, sender=sender or payment.row["source"], forward=0)
    return {**row["in_msg"], "message_content": {"body": body}}


async def assert_both_named_until_healed(
    ton: TonWorld, adapter: TonAdapter, server: Liteserver, heal: Callable[[], object], owner: str = OWNER
) -> None:
    (transfer,) = await seen(adapter, owner)
    found = await verified(adapter, transfer)

    assert found.outcome is NOT_YET
    assert found.why is not None
    assert adapter.endpoint in found.why
    assert f"{server.label}#1 second" in found.why
    assert found.why in adapter.condition().problems

    heal()
    ton.now.seconds += 20
    ton.ledger.advance(20)
    (transfer,) = await seen(adapter, owner)
    assert (await verified(adapter, transfer)).outcome is CREDITED
    assert adapter.condition().problems == ()


@pytest.mark.parametrize("lie", LIES_OF_THE_SECOND)
async def test_what_the_second_does_not_show_alike_waits_and_both_are_named(ton: TonWorld, lie: str) -> None:
    server = await ton.liteserver()
    adapter = await ton.adapter(await ton.center(), second=[server])
    _, payment = await paid(ton, adapter)
    LIES_OF_THE_SECOND[lie](server, payment)

    await assert_both_named_until_healed(ton, adapter, server, server.heal)


@pytest.mark.parametrize("lie", LIES_OF_THE_FIRST)
async def test_what_the_first_makes_up_waits_and_both_are_named(ton: TonWorld, lie: str) -> None:
    center, server = await ton.center(), await ton.liteserver()
    adapter = await ton.adapter(center, second=[server])
    payment = ton.ledger.pay(OWNER, 1_000_000)
    ton.ledger.advance()
    LIES_OF_THE_FIRST[lie](center, payment)

    if lie == "the receiving half has no hash":  # nothing is asked of the second then
        (transfer,) = await seen(adapter, OWNER)
        assert "names no hash" in ((await verified(adapter, transfer)).why or "")
    else:
        await assert_both_named_until_healed(ton, adapter, server, center.heal)


async def test_a_success_that_the_first_makes_of_a_bounce_waits(ton: TonWorld) -> None:
    center, server = await ton.center(), await ton.liteserver()
    adapter = await ton.adapter(center, second=[server])
    transfer, payment = await paid(ton, adapter, "bounce")
    center.spoilt_credits[payment.tx_hash] = {"description": WENT_WELL}

    found = await verified(adapter, transfer)

    assert found.outcome is NOT_YET
    assert f"{server.label}#1 second says reverted" in (found.why or "")


async def test_a_payment_that_only_the_first_knows_waits(ton: TonWorld) -> None:
    elsewhere = TonLedger(START)
    elsewhere.pay(OTHER)
    server = await ton.liteserver(elsewhere)
    adapter = await ton.adapter(await ton.center(), second=[server])
    transfer, _ = await paid(ton, adapter)

    found = await verified(adapter, transfer)

    assert found.outcome is NOT_YET
    assert "cannot find block with specified logical time" in (found.why or "")


async def test_a_payment_of_another_jetton_into_a_wallet_the_first_makes_up_waits(ton: TonWorld) -> None:
    center, server = await ton.center(), await ton.liteserver()
    adapter = await ton.adapter(center, second=[server])
    worthless = ton.ledger.recorded["other_master"]
    payment = ton.ledger.pay(OWNER, 1_000_000, master=worthless)
    ton.ledger.advance()
    center.spoilt_rows[payment.tx_hash] = {"jetton_master": ton.ledger.master}
    wallet = {"type": "cell", "value": Bits().address(payment.wallet).boc()}
    center.strange_masters[ton.ledger.master] = {"gas_used": 1, "exit_code": 0, "stack": [wallet]}
    (transfer,) = await seen(adapter, OWNER)
    assert transfer.token == ton.ledger.master

    found = await verified(adapter, transfer)

    assert found.outcome is NOT_YET
    assert f"{adapter.endpoint} says credited" in (found.why or "")
    assert f"{server.label}#1 second says no_transfer_log" in (found.why or "")


async def test_one_receiving_half_counts_for_one_transfer(ton: TonWorld) -> None:
    adapter = await ton.adapter(await ton.center(), second=[await ton.liteserver()])
    transfer, payment = await paid(ton, adapter)
    other = ton.ledger.pay(OWNER, 1_000_000)
    (said,) = await adapter._batch_verifier.verify([transfer])
    for stolen in (
        transfer._replace(tx_hash="ab" * 32),
        transfer._replace(event_key=str(int(transfer.event_key) - 1)),
        transfer._replace(tx_hash=other.tx_hash, event_key=other.row["transaction_lt"]),
    ):
        assert adapter._second is not None
        (found,) = await adapter._second.compare([replace(said, transfer=stolen)], "first")
        assert found.outcome is NOT_YET, payment.tx_hash


FAILURES: dict[str, Callable[[Liteserver], Any]] = {
    "it hangs up": lambda server: setattr(server, "refuses", True),
    "it never greets": lambda server: setattr(server, "silent_at", "handshake"),
    "it never says which network": lambda server: setattr(server, "silent_at", "getMasterchainInfo"),
    "it never answers": lambda server: setattr(server, "silent_at", "getTransactions"),
    "it cuts the connection": lambda server: setattr(server, "cuts_at", "getTransactions"),
    "it serves another network": lambda server: setattr(server, "zero_state", bytes(32)),
    "it announces 2 GB": lambda server: setattr(server, "frame", (1 << 31).to_bytes(4, "little")),
    "it announces nothing": lambda server: setattr(server, "frame", bytes(4)),
    "its packet is none": lambda server: setattr(server, "frame", (100).to_bytes(4, "little") + bytes(100)),
    "it answers an unknown type": lambda server: server.raw.update(getTransactions=b"\xaa" * 40),
    "it answers another type": lambda server: server.raw.update(
        getTransactions=server._answer("getMasterchainInfo", b"")
    ),
    "it answers a million blocks": lambda server: server.raw.update(
        getTransactions=listed(bytes(900_000), blocks=900_000)
    ),
    "it answers no cell": lambda server: server.raw.update(getTransactions=listed(b"no cell at all")),
    "it answers a million cells": lambda server: server.raw.update(
        getTransactions=listed(bytes.fromhex("b5ee9c7204040010000000000001") + bytes(900_000))
    ),
    "it answers with a wallet that is none": lambda server: server.raw.update(runSmcMethod=b"\x00" * 4),
    "it shows another transaction": lambda server: server.swapped.update(
        {
            base64.b64decode(tx["hash"]).hex(): server.ledger.payments[-1].tx_hash
            for tx in server.ledger.payments[0].transactions
        }
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_second_source_that_is_of_no_use_costs_a_bounded_time_and_another_one_is_asked(
    ton: TonWorld, failure: str
) -> None:
    first, other = await ton.liteserver(), await ton.liteserver()
    alone = await ton.adapter(await ton.center(), second=[first], timeout_s=1)
    both = await ton.adapter(await ton.center(), second=[first, other], timeout_s=1)
    transfer, _ = await paid(ton, both)
    ton.ledger.pay(OTHER)
    FAILURES[failure](first)

    found = await verified(alone, transfer)
    assert found.outcome is NOT_YET
    assert f"{first.label}#1 second" in (found.why or "")
    assert found.why in alone.condition().problems

    assert (await verified(both, transfer)).outcome is CREDITED
    states = {report.label: report.state for report in both.condition().endpoints}
    assert states[f"{other.label}#2 second"] is EndpointState.OK
    if failure == "it shows another transaction":
        assert states[f"{first.label}#1 second"] is EndpointState.LYING


async def test_who_never_greets_is_given_up_before_the_longest_wait_for_an_answer(
    ton: TonWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.05)
    server = await ton.liteserver()
    adapter = await ton.adapter(await ton.center(), second=[server], timeout_s=60)
    transfer, _ = await paid(ton, adapter)
    server.silent_at = "handshake"

    async with asyncio.timeout(30):
        found = await verified(adapter, transfer)
    assert "no answer in time" in (found.why or "")


async def test_a_dead_second_source_is_named_and_comes_back(ton: TonWorld) -> None:
    server = await ton.liteserver()
    adapter = await ton.adapter(await ton.center(), second=[server])
    transfer, _ = await paid(ton, adapter)
    await server.stop()

    found = await verified(adapter, transfer)
    assert (found.why or "").startswith("the second source cannot be asked: ")
    assert found.why in adapter.condition().problems

    await server.__aenter__()
    ton.now.seconds += 20
    assert (await verified(adapter, transfer)).outcome is CREDITED


async def test_liteservers_of_another_network_are_refused_at_start(ton: TonWorld) -> None:
    with pytest.raises(ChainMisconfigured, match="TON_LITESERVERS names liteservers of another network"):
        await ton.adapter(await ton.center(), second=[await ton.liteserver()], testnet=True)


async def test_a_key_that_is_none_is_refused_at_start(ton: TonWorld) -> None:
    server = await ton.liteserver()
    config = parse_liteservers(Liteserver.config(server))
    (listed,) = config.servers
    spoilt = replace(
        config,
        servers=(
            replace(listed, key=bytes.fromhex("17a3a92992aabea785a7a0909851265cd31f323d849da51239737e321fb05569")),
        ),
    )

    with pytest.raises(ChainMisconfigured, match="whose key is none"):
        await ton.adapter(await ton.center(), access=Access(liteservers=spoilt))


async def test_a_receiving_half_that_the_sending_one_did_not_cause_is_no_transfer(ton: TonWorld) -> None:
    adapter = await ton.adapter(await ton.center())
    transfer, _ = await paid(ton, adapter)
    said = Verification(transfer, CREDITED, 1_000_000)
    told = InternalTransfer(1_000_000, transfer.sender)
    credit = NodeTransaction("aa", "BB", 2, transfer.block_number, True, "0:CC", 1, False, "ee", told, frozenset())
    sent = credit._replace(lt=1, time=transfer.block_time, sends=frozenset({"ee"}))

    assert judge(said, credit, sent).outcome is CREDITED
    assert judge(said, credit, sent._replace(sends=frozenset({"ff"}))).outcome is VerificationOutcome.NO_TRANSFER_LOG


async def test_what_is_longer_than_any_answer_is_not_waited_for(ton: TonWorld) -> None:
    (server,) = parse_liteservers(Liteserver.config(await ton.liteserver())).servers
    bounded = client._BoundedClient(server, timeout_s=1)

    with pytest.raises(ConnectionResetError, match="an answer of"):
        await bounded.receive(client.MAX_FRAME_BYTES + 1)
    with pytest.raises(ValueError, match="a longer list"):
        bounded._answer(listed(b"", blocks=2))
    assert bounded._answer(listed(b""))["transactions"] == b""


async def test_what_is_no_answer_is_not_read_as_whatever_it_says_it_is(ton: TonWorld) -> None:
    """Of a list of things that take no bytes the library copies what is left once for each: 1 MB took half a minute."""
    (server,) = parse_liteservers(Liteserver.config(await ton.liteserver())).servers
    bounded = client._BoundedClient(server, timeout_s=1)
    count = 60_000
    packet = bytes(32) + bounded.schemas.get_by_name("hashable.vector").id[::-1] + count.to_bytes(4, "little")

    with pytest.raises(ConnectionResetError, match="cannot be read") as cut:
        bounded.deserialize_adnl_query(packet + bytes(count))
    assert isinstance(cut.value.__cause__, ValueError)  # at its first four bytes
