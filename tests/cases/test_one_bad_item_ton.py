"""On TON, what cannot be read or judged harms itself alone: its neighbours are confirmed, its endpoint is not punished."""

from __future__ import annotations

import pytest

from chains.types import VerificationOutcome
from devnet.receiver import receiver
from devnet.ton.toncenter import TonCenter
from tests.chains.ton_world import OTHER, OWNER, TonWorld, owner_of, scan, seen
from tests.e2e.ton_shop import JUSDC, MASTER, chain_of_today, environment, fresh_address, parse_address, run_ton_shop
from tests.harness import running

CELL_OF_NOTHING = "te6cckEBAQEAAgAAAEysuc0="
STRANGE_STACKS = {
    "no stack": {"exit_code": 0, "stack": None},
    "a number": {"exit_code": 0, "stack": [{"type": "num", "value": "0x1"}]},
    "no address inside": {"exit_code": 0, "stack": [{"type": "cell", "value": CELL_OF_NOTHING}]},
    "a list of lists": {"exit_code": 0, "stack": [["cell", {"bytes": CELL_OF_NOTHING}]]},
    "a contract that refuses": {"exit_code": 11, "stack": []},
    "an exit code in words": {"exit_code": "ok", "stack": []},
}


@pytest.mark.parametrize("strange", STRANGE_STACKS)
async def test_a_jetton_with_a_strange_master_keeps_no_other_payment_from_being_confirmed(tmp_path, strange):
    async with receiver() as hooks, run_ton_shop(tmp_path, hooks) as shop:
        jusdc = parse_address(JUSDC, testnet=False)
        shop.center.strange_masters[jusdc] = STRANGE_STACKS[strange]
        odd = await shop.checkout(destination=(odd_till := fresh_address()), token="USDC")
        fine = await shop.checkout(destination=(fine_till := fresh_address()))
        shop.ledger.pay(odd_till, 1000, master=jusdc)
        payment = await shop.pay(fine_till)
        confirmed = await shop.api.status_is(fine["intentId"], "confirmed")
        assert confirmed["txHash"] == payment.tx_hash
        assert (await shop.api.intent(odd["intentId"]))["status"] == "confirming"
        chain = await shop.chain()
        assert chain["state"] == "ready"
        shop.center.strange_masters.clear()
        await shop.api.status_is(odd["intentId"], "confirmed")


async def first_and_second(ton: TonWorld):
    """Pay twice, to two owners; return the endpoint, its adapter and the payments."""
    center, adapter = await ton.both()
    return center, adapter, ton.ledger.pay(OWNER), ton.ledger.pay(OTHER)


async def outcomes(adapter):
    head = await adapter.head()
    looks = await adapter.verify(await seen(adapter, OWNER, OTHER), head=head)
    return {look.transfer.destination: (look.outcome, look.why) for look in looks}


def credit(payment):
    """Return the transaction of a payment at the destination's jetton wallet."""
    return next(tx for tx in payment.transactions if tx["account"] == payment.wallet)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda leg: leg.update(description=None),
        lambda leg: leg.update(now="yesterday"),
        lambda leg: leg["in_msg"].update(created_lt=None),
        lambda leg: leg["in_msg"].update(message_content=None),
        lambda leg: leg["in_msg"]["message_content"].update(body=CELL_OF_NOTHING),
        lambda leg: leg["in_msg"]["message_content"].update(body=17),
    ],
)
async def test_a_leg_that_cannot_be_read_is_reported_of_its_own_payment(ton, spoil):
    _, adapter, odd, _ = await first_and_second(ton)
    spoil(credit(odd))
    reported = await outcomes(adapter)
    assert reported[OTHER] == (VerificationOutcome.CREDITED, None)
    assert reported[OWNER][0] is VerificationOutcome.NOT_YET
    assert "cannot be read" in reported[OWNER][1]


async def test_another_endpoint_is_asked_for_what_one_could_not_judge_and_keeps_its_place(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    ton.ledger.pay(OWNER)
    first.strange_masters[ton.ledger.master] = STRANGE_STACKS["a number"]
    assert (await outcomes(adapter))[OWNER][0] is VerificationOutcome.NOT_YET
    assert (await outcomes(adapter))[OWNER] == (VerificationOutcome.CREDITED, None)
    assert adapter.endpoint.endswith("#1")
    assert second.calls["jetton/transfers"] == 0


async def test_a_route_that_fails_for_one_payment_does_not_starve_the_payments_behind_it(ton):
    """Twenty that cannot be found stood in front, and were looked at again and again."""
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(60)]
    for owner in owners:
        ton.ledger.pay(owner, pending=owner in owners[:30])
    center.fail("transactions", status=500)  # the shortcut is gone: each is looked at singly
    transfers = await seen(adapter, *owners)
    confirmed = set()
    for _ in range(4):
        looks = await adapter.verify(transfers, head=await adapter.head())
        confirmed |= {look.transfer.destination for look in looks if look.outcome is VerificationOutcome.CREDITED}
        transfers = [look.transfer for look in looks if look.outcome is VerificationOutcome.NOT_YET]
    assert confirmed == set(owners[30:])


async def test_payments_looked_at_in_turns_with_others_are_all_looked_at(ton):
    """Payments are looked at in parts: one part's turn must not begin another's again at its first."""
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(45)]
    for owner in owners:
        ton.ledger.pay(owner, pending=owner in owners[:30])
    other = ton.ledger.pay(OTHER, pending=True)
    center.fail("transactions", status=500)
    transfers = await seen(adapter, *owners)
    (lonely,) = await seen(adapter, OTHER)
    confirmed = set()
    for _ in range(5):
        for part in (transfers, [lonely]):
            looks = await adapter.verify(part, head=await adapter.head())
            confirmed |= {look.transfer.destination for look in looks if look.outcome is VerificationOutcome.CREDITED}
    assert confirmed == set(owners[30:])
    assert lonely.tx_hash == other.tx_hash


@pytest.mark.parametrize(
    "optional",
    [
        {"trace_id": None},
        {"trace_id": 17},
        {"query_id": [], "response_destination": "nobody"},
        {"forward_payload": {"a": [1, {"b": None}]}, "decoded_forward_payload": "\N{GRINNING FACE}" * 100},
        {"transaction_lt_is_new": "field", "finality": None},
        {"source_wallet": 5, "custom_payload": 1e300},
    ],
)
async def test_fields_nobody_uses_may_be_anything(ton, optional):
    center, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    center.spoilt = optional
    assert [transfer.tx_hash for transfer in await seen(adapter, OWNER)] == [payment.tx_hash]
    assert adapter.condition().problems == ()


@pytest.mark.parametrize("spoilt", [{"jetton_master": None}, {"source": None}, {"jetton_master": "0:12"}])
async def test_rows_a_stranger_can_make_unreadable_stop_nothing(ton, spoilt):
    """Whoever deploys a jetton decides how its rows look; many of them are no reason to disbelieve the index."""
    center, adapter = await ton.both()
    for _ in range(50):
        center.spoilt_rows[ton.ledger.pay(OWNER).tx_hash] = spoilt
    page = await scan(adapter, OWNER)
    assert (page.transfers, page.cursor.position) == ([], ton.ledger.now)
    mine = ton.ledger.pay(OWNER)
    assert [transfer.tx_hash for transfer in await seen(adapter, OWNER)] == [mine.tx_hash]
    assert len(adapter.condition().problems) == 20  # and what is said of them has a bound


async def test_a_row_one_endpoint_cannot_show_is_read_from_another(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    payment = ton.ledger.pay(OWNER)
    first.spoilt_rows[payment.tx_hash] = {"amount": None}
    assert [transfer.tx_hash for transfer in await seen(adapter, OWNER)] == [payment.tx_hash]
    assert adapter.condition().problems == ()
    assert adapter.endpoint.endswith("#1")


@pytest.mark.parametrize("rows", [None, {}, "[]", 0])
async def test_no_list_of_rows_is_an_unreadable_answer_and_never_an_empty_one(tmp_path, rows):
    async with TonCenter(chain_of_today()) as well, TonCenter(well.ledger) as ill:
        ill.fail("jetton/transfers", body={"jetton_transfers": rows})
        async with receiver() as hooks, running(environment(tmp_path, ill, well)) as scanner:
            made = await scanner.api.create(chainId=1100, destination=(to := fresh_address()), callbackUrl=hooks.url())
            well.ledger.pay(to, 1_000_000_000, master=MASTER)
            well.ledger.advance(5)
            await scanner.worker.poll()
            intent = await scanner.api.intent(made["intentId"])
            assert intent["status"] in {"confirming", "confirmed"}
