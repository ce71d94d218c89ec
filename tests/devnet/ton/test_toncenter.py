"""The TonCenter stand-in behaves as the real service does, and is what it claims: recorded rows, derived wallets."""

from __future__ import annotations

import base64
import hashlib
from contextlib import AsyncExitStack

import aiohttp
import pytest

from devnet.ton.cells import Bits, address_of, first_bits
from devnet.ton.ledger import TonLedger
from devnet.ton.toncenter import TonCenter

START = 1_760_000_000
OWNER = "0:" + "5E" * 32
OTHER = "0:" + "0D" * 32


@pytest.fixture
async def center():
    async with TonCenter(TonLedger(START)) as serving:
        yield serving


@pytest.fixture
async def ask(center):
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def get(route, *params, **headers):
            async with session.get(f"{center.url}/api/v3/{route}", params=params, headers=headers) as response:
                return response.status, await response.json(content_type=None)

        yield get


# --- the record ----------------------------------------------------------------------------------


def test_the_record_holds_what_the_cases_promise():
    ledger = TonLedger(START)

    def credit(name):
        found = [tx for tx in ledger.case(name)["transactions"] if tx["in_msg"]["opcode"] == "0x178d4519"]
        return found[0]["description"] if found else None

    def notification(name):
        found = [tx for tx in ledger.case(name)["transactions"] if tx["in_msg"]["opcode"] == "0x7362d09c"]
        return found[0]["description"] if found else None

    good = ["success", "comment", "nanoton_forward", "zero_forward", "owner_not_deployed", "other_jetton"]
    assert all(not credit(name)["aborted"] for name in good)
    assert credit("bounce")["aborted"]
    assert credit("overdraw") is None
    assert ledger.case("overdraw")["transfer"]["transaction_aborted"]
    assert notification("zero_forward") is None
    assert notification("owner_not_deployed")["compute_ph"] == {"skipped": True, "reason": "no_state"}
    assert notification("nanoton_forward")["compute_ph"] == {"skipped": True, "reason": "no_gas"}
    assert not notification("success")["aborted"]


def test_wallets_are_derived_as_the_contract_derives_them():
    ledger = TonLedger(START)
    for owner, wallet in ledger.recorded["wallets"].items():
        assert ledger.wallet(ledger.master, owner) == wallet


def test_message_hashes_tie_the_transactions_of_a_case_together():
    for case in TonLedger(START).recorded["cases"]:
        sent = {message["hash"] for tx in case["transactions"] for message in tx["out_msgs"]}
        received = [tx["in_msg"]["hash"] for tx in case["transactions"][1:]]
        assert set(received) <= sent


def test_a_repeated_case_keeps_its_ties_and_has_its_own_names():
    ledger = TonLedger(START)
    first, second = ledger.pay(OWNER), ledger.pay(OWNER)
    for payment in (first, second):
        sent = {message["hash"] for tx in payment.transactions for message in tx["out_msgs"]}
        assert {tx["in_msg"]["hash"] for tx in payment.transactions[1:]} <= sent
    assert {tx["hash"] for tx in first.transactions}.isdisjoint({tx["hash"] for tx in second.transactions})
    assert first.wallet == ledger.wallet(ledger.master, OWNER) == second.wallet


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [OWNER, "-1:" + "AB" * 32])
def test_an_address_is_read_from_the_cell_it_was_put_into(raw):
    assert address_of(first_bits(Bits().address(raw).boc())) == raw


def test_an_empty_cell_has_the_hash_everybody_knows():
    assert Bits().cell().hash.hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


def test_the_hash_of_a_recorded_message_body_is_the_hash_of_its_bits():
    message = TonLedger(START).case("zero_forward")["transactions"][2]["in_msg"]["message_content"]
    bits = first_bits(message["body"])
    assert base64.b64encode(Bits(bits).cell().hash).decode() == message["hash"]


# --- limits and defaults -------------------------------------------------------------------------


async def test_ten_rows_newest_first_unless_asked_otherwise(center, ask):
    for number in range(12):
        center.ledger.pay(OWNER, amount=number + 1)
    _, answer = await ask("jetton/transfers")
    assert [row["amount"] for row in answer["jetton_transfers"]] == [str(n) for n in range(12, 2, -1)]
    _, answer = await ask("jetton/transfers", ("sort", "asc"), ("limit", "12"))
    assert [row["amount"] for row in answer["jetton_transfers"]] == [str(n) for n in range(1, 13)]


async def test_more_rows_or_addresses_than_allowed_are_refused(ask):
    assert (await ask("jetton/transfers", ("limit", "1001")))[0] == 422
    assert (await ask("jetton/transfers", *[("owner_address", OWNER)] * 1001))[0] == 422
    assert (await ask("jetton/transfers", *[("owner_address", OWNER)] * 1000, ("limit", "1000")))[0] == 200


async def test_unknown_parameters_are_ignored_silently(center, ask):
    center.ledger.pay(OTHER)
    status, answer = await ask("jetton/transfers", ("account", OWNER), ("owner_adress", OWNER))
    assert (status, len(answer["jetton_transfers"])) == (200, 1)


async def test_both_ends_of_a_range_of_logical_times_are_included(center, ask):
    lts = [int(center.ledger.pay(OWNER).row["transaction_lt"]) for _ in range(3)]
    _, answer = await ask("jetton/transfers", ("start_lt", str(lts[0])), ("end_lt", str(lts[1])))
    assert {int(row["transaction_lt"]) for row in answer["jetton_transfers"]} == set(lts[:2])


async def test_directions_and_masters_are_told_apart(center, ask):
    center.ledger.pay(OWNER)
    center.ledger.pay(OWNER, name="other_jetton", master=center.ledger.recorded["other_master"])
    _, answer = await ask("jetton/transfers", ("owner_address", OWNER), ("direction", "out"))
    assert answer["jetton_transfers"] == []
    _, answer = await ask("jetton/transfers", ("owner_address", OWNER), ("jetton_master", center.ledger.master))
    assert len(answer["jetton_transfers"]) == 1


async def test_rows_carry_raw_addresses_in_capitals_and_hashes_in_base64(center, ask):
    center.ledger.replay("success")
    _, answer = await ask("jetton/transfers")
    (row,) = answer["jetton_transfers"]
    assert row["source"] == row["source"].upper()
    assert len(base64.b64decode(row["transaction_hash"])) == hashlib.sha256().digest_size


async def test_an_address_may_be_asked_for_in_its_friendly_form(center, ask):
    center.ledger.pay("0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE")
    _, answer = await ask("jetton/transfers", ("owner_address", "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"))
    assert len(answer["jetton_transfers"]) == 1


async def test_actions_of_a_trace_ignore_other_filters_and_say_whether_both_halves_succeeded(center, ask):
    good, bad = center.ledger.replay("success"), center.ledger.replay("bounce")
    for payment, success in ((good, True), (bad, False)):
        _, answer = await ask("actions", ("trace_id", payment.row["trace_id"]), ("start_lt", "99999999999"))
        assert [action["success"] for action in answer["actions"]] == [success]


# --- faults --------------------------------------------------------------------------------------


async def test_a_pending_payment_has_its_sending_half_alone(center, ask):
    payment = center.ledger.pay(OWNER, pending=True)
    _, answer = await ask("transactions", ("account", payment.wallet))
    assert answer["transactions"] == []
    _, answer = await ask("jetton/transfers")
    assert len(answer["jetton_transfers"]) == 1
    payment.pending = False
    _, answer = await ask("transactions", ("account", payment.wallet))
    assert len(answer["transactions"]) == 1


async def test_the_newest_indexer_hides_aborted_rows(center, ask):
    center.ledger.replay("overdraw")
    assert len((await ask("jetton/transfers"))[1]["jetton_transfers"]) == 1
    center.hides_aborted = True
    assert (await ask("jetton/transfers"))[1]["jetton_transfers"] == []


async def test_a_stale_index_knows_the_block_but_not_its_rows(center, ask):
    center.ledger.pay(OWNER)
    center.stale_s = 10
    assert (await ask("masterchainInfo"))[1]["last"]["gen_utime"] == str(START)
    assert (await ask("jetton/transfers"))[1]["jetton_transfers"] == []
    center.ledger.advance(10)
    assert len((await ask("jetton/transfers"))[1]["jetton_transfers"]) == 1


async def test_an_endpoint_that_is_behind_says_so(center, ask):
    center.ledger.advance(100)
    center.behind_s = 100
    assert (await ask("masterchainInfo"))[1]["last"]["gen_utime"] == str(START)


async def test_a_limited_rate_is_answered_as_the_real_one_is(center, ask):
    center.limit_rate(times=1)
    assert await ask("masterchainInfo") == (429, {"ok": False, "result": "Ratelimit exceed", "code": 429})
    assert (await ask("masterchainInfo"))[0] == 200


async def test_a_question_that_is_too_long_is_refused(center, ask):
    center.max_url = 100
    assert (await ask("jetton/transfers", ("owner_address", OWNER), ("owner_address", OWNER)))[0] == 414
    assert (await ask("masterchainInfo"))[0] == 200


async def test_keys_and_questions_are_remembered(center, ask):
    await ask("blocks", ("workchain", "-1"), ("limit", "1"), **{"X-API-Key": "k"})
    assert (center.keys, center.calls["blocks"]) == (["k"], 1)
    assert center.questions("blocks") == [{"workchain": ["-1"], "limit": ["1"]}]


async def test_a_healed_endpoint_behaves(center, ask):
    center.fail(status=500)
    center.network = -3
    center.heal()
    assert (await ask("masterchainInfo"))[1]["last"]["global_id"] == -239


# --- balances ------------------------------------------------------------------------------------


async def test_balances_are_what_was_credited(center, ask):
    center.ledger.pay(OWNER, amount=3)
    center.ledger.pay(OWNER, amount=4)
    center.ledger.pay(OWNER, amount=8, pending=True)
    center.ledger.pay(OTHER, amount=16, name="bounce")
    _, answer = await ask("jetton/wallets", ("jetton_address", center.ledger.master))
    assert [(row["owner"], row["balance"]) for row in answer["jetton_wallets"]] == [(OWNER, "7")]


async def test_who_sends_has_less_and_what_bounces_comes_back(center, ask):
    center.ledger.pay(OWNER, amount=10)
    center.ledger.pay(OTHER, amount=3, sender=OWNER)
    center.ledger.pay(OTHER, amount=2, sender=OWNER, pending=True)
    center.ledger.pay(OTHER, amount=4, sender=OWNER, name="bounce")
    center.ledger.pay(OTHER, amount=1, sender=OWNER, name="overdraw")
    _, answer = await ask("jetton/wallets", ("owner_address", OWNER))
    assert [row["balance"] for row in answer["jetton_wallets"]] == ["5"]


# --- traces --------------------------------------------------------------------------------------


async def test_payments_of_one_trace_are_one_trace_with_the_transactions_of_both(center, ask):
    first = center.ledger.pay(OWNER)
    second = center.ledger.pay(OTHER, with_=first)
    center.ledger.pay(OTHER)
    (trace,) = (await ask("traces", ("tx_hash", second.tx_hash)))[1]["traces"]
    both = [*first.transactions, *second.transactions]
    assert trace["trace_id"] == first.row["trace_id"]
    assert set(trace["transactions"]) == {tx["hash"] for tx in both}
    assert (trace["start_lt"], trace["end_lt"]) == (
        str(min(int(tx["lt"]) for tx in both)),
        str(max(int(tx["lt"]) for tx in both)),
    )


async def test_one_payment_may_be_missing_while_a_later_one_is_listed(center, ask):
    first, second = center.ledger.pay(OWNER), center.ledger.pay(OWNER)
    center.unlisted.add(first.tx_hash)
    rows = (await ask("jetton/transfers"))[1]["jetton_transfers"]
    assert [row["transaction_hash"] for row in rows] == [second.row["transaction_hash"]]
    center.heal()
    assert len((await ask("jetton/transfers"))[1]["jetton_transfers"]) == 2
