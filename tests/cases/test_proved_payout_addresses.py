"""Where a seller is paid: whoever cannot sign for an address changes nothing, and whoever can waits a day."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys import keys
from hypothesis import given
from hypothesis import strategies as st
from pytoniq.contract.wallets import wallet, wallet_v5
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from addresses import ton, tron
from addresses.keccak import keccak
from marketplace.payments.address_proofs import ORDER, NotProved, TonProof, check_text, check_ton
from marketplace.payments.payout_addresses import COOL_DOWN_MS, standing
from marketplace.payments.ton_wallets import KEY_AT
from marketplace.store.payout_addresses import PayoutAddress
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import SELLERS_WALLET, AcceptedPurchase
from tests.marketplace.harness import Api, Running, notes

TRON_ID, TON_ID = 728126428, 1100
MINE = "/api/payout-addresses"
ENGINES = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


class Wallet:
    """Somebody with a key, on EVM and Tron."""

    def __init__(self, number: int) -> None:
        self.key = keys.PrivateKey(hashlib.sha256(b"wallet %d" % number).digest())
        self.evm = self.key.public_key.to_checksum_address()
        self.tron = tron.from_hex(self.evm[2:])

    def sign(self, message: str) -> str:
        return str(Account.sign_message(encode_defunct(text=message), self.key.to_bytes()).signature.to_0x_hex())

    def sign_tron(self, message: str) -> str:
        raw = message.encode()
        digest = keccak(b"\x19TRON Signed Message:\n" + str(len(raw)).encode() + raw)
        return f"0x{self.key.sign_msg_hash(digest).to_bytes().hex()}"


class TonWallet:
    """Somebody with a key, on TON: a wallet that need not be there yet."""

    def __init__(self, number: int, *, code: Cell = wallet.WALLET_V4_R2_CODE) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"ton %d" % number).digest())
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        data = Builder()
        if code == wallet_v5.WALLET_V5_R1_CODE:
            data = data.store_bit(1)
        data = data.store_uint(0, 32).store_uint(698983191, 32).store_bytes(public).store_bit(0)
        cell = Builder().store_uint(0b00110, 5).store_ref(code).store_ref(data.end_cell()).end_cell()
        self.state_init = base64.b64encode(cell.to_boc()).decode()
        self.raw = f"0:{cell.hash.hex().upper()}"
        self.address = ton.show(self.raw, testnet=False, bounceable=False)

    def prove(self, challenge: dict[str, Any], timestamp: int, **other: Any) -> dict[str, Any]:
        domain, payload = other.get("domain", challenge["domain"]), other.get("payload", challenge["message"])
        named = domain.encode()
        message = b"ton-proof-item-v2/" + (0).to_bytes(4, "big") + bytes.fromhex(self.raw[2:])
        message += len(named).to_bytes(4, "little") + named + timestamp.to_bytes(8, "little") + payload.encode()
        digest = hashlib.sha256(b"\xff\xffton-connect" + hashlib.sha256(message).digest()).digest()
        return {
            "timestamp": timestamp,
            "domain": domain,
            "payload": payload,
            "signature": base64.b64encode(self.key.sign(digest)).decode(),
            "stateInit": other.get("state_init", self.state_init),
        }


def renew(market: Running, who: Api, role: str = "seller") -> Api:
    who.token = market.marketplace.services.tokens.issue(who.user_id, role)
    return who


async def challenge(seller: Api, address: str, chain_id: int = 97) -> dict[str, Any]:
    body = {"chainId": chain_id, "address": address}
    return dict((await seller.ok("POST", f"{MINE}/challenge", body, 201))["challenge"])


async def send(seller: Api, given: dict[str, Any], signature: str) -> tuple[int, Any]:
    return await seller.call("POST", MINE, {"challengeId": given["id"], "signature": signature})


async def prove(seller: Api, owner: Wallet) -> dict[str, Any]:
    given = await challenge(seller, owner.evm)
    status, answer = await send(seller, given, owner.sign(given["message"]))
    assert status == 200, answer
    return dict(answer["data"]["payoutAddress"])


@pytest.fixture
async def seller(market: Running) -> Api:
    return await market.user("seller")


# -- each family ---------------------------------------------------------------------------------------


async def test_an_evm_account_proves_its_address(market: Running, seller: Api) -> None:
    found = await prove(seller, Wallet(1))

    assert (found["chainId"], found["address"], found["pendingAddress"]) == (97, Wallet(1).evm, None)
    assert (await seller.ok("GET", MINE))["payoutAddresses"] == [found]
    listed = await market.admin.ok("GET", f"/api/admin/payout-addresses?userId={seller.user_id}")
    assert [each["address"] for each in listed["payoutAddresses"]] == [Wallet(1).evm]
    assert (await notes(seller))[-1][0] == "payout_address_changed"


async def test_a_tron_account_proves_its_address_and_not_by_an_ethereum_signature(seller: Api) -> None:
    owner = Wallet(1)
    given = await challenge(seller, owner.tron, TRON_ID)

    wrong = await send(seller, given, owner.sign(given["message"]))
    right = await send(seller, given, owner.sign_tron(given["message"]))

    assert (given["kind"], wrong[1]["error"]["code"]) == ("tip191", "not_proved")
    assert (right[0], right[1]["data"]["payoutAddress"]["address"]) == (200, owner.tron)


CODES = {
    "v3r1": wallet.WALLET_V3_R1_CODE,
    "v3r2": wallet.WALLET_V3_R2_CODE,
    "v4r2": wallet.WALLET_V4_R2_CODE,
    "v5r1": wallet_v5.WALLET_V5_R1_CODE,
}


def test_the_wallets_that_are_known_are_the_librarys() -> None:
    assert {code.hash.hex() for code in CODES.values()} == set(KEY_AT)


@pytest.mark.parametrize("version", CODES)
async def test_a_ton_wallet_proves_its_address(seller: Api, clock: FakeClock, version: str) -> None:
    owner = TonWallet(1, code=CODES[version])
    given = await challenge(seller, owner.address, TON_ID)

    body = {"challengeId": given["id"], "tonProof": owner.prove(given, clock.now_ms() // 1000)}
    found = (await seller.ok("POST", MINE, body, 200))["payoutAddress"]

    assert (given["kind"], found["address"]) == ("ton_proof", owner.address)


async def test_a_ton_proof_of_anything_else_is_refused(seller: Api, clock: FakeClock) -> None:
    owner, other = TonWallet(1), TonWallet(2)
    given, now = await challenge(seller, owner.address, TON_ID), clock.now_ms() // 1000
    foreign_code = TonWallet(1, code=Builder().store_uint(7, 8).end_cell())
    good = owner.prove(given, now)
    wrong = {
        "another domain": owner.prove(given, now, domain="evil.example"),
        "another challenge": owner.prove(given, now, payload="ab" * 16),
        "before the challenge": owner.prove(given, now - 3600),
        "in the future": owner.prove(given, now + 3600),
        "another wallet": other.prove(given, now),
        "another's state": {**good, "stateInit": other.state_init},
        "another's signature": {**good, "signature": other.prove(given, now)["signature"]},
        "a contract that is no wallet": {**good, "stateInit": foreign_code.state_init},
        "a time that was not signed": {**good, "timestamp": now + 1},
        "no cells": {**good, "stateInit": "AAAA"},
        "no base64": {**good, "stateInit": "%%%%"},
        "no signature": {**good, "signature": "AAAA"},
    }

    found = {
        name: await seller.refused("POST", MINE, {"challengeId": given["id"], "tonProof": proof})
        for name, proof in wrong.items()
    }

    assert found == dict.fromkeys(wrong, (422, "not_proved"))
    long = {"challengeId": given["id"], "tonProof": {**good, "stateInit": "A" * 8193}}
    assert await seller.refused("POST", MINE, long) == (422, "invalid")
    assert (await seller.ok("GET", MINE))["payoutAddresses"] == []


async def test_a_contract_that_is_no_known_wallet_proves_nothing(seller: Api, clock: FakeClock) -> None:
    """Where its key lies nobody knows: bytes at that place may be anybody's."""
    owner = TonWallet(1, code=Builder().store_uint(7, 8).end_cell())
    given = await challenge(seller, owner.address, TON_ID)

    body = {"challengeId": given["id"], "tonProof": owner.prove(given, clock.now_ms() // 1000)}
    status, answer = await seller.call("POST", MINE, body)

    assert (status, "none of v3r1" in answer["error"]["message"]) == (422, True)


async def test_a_proof_that_was_given_to_another_site_is_named_as_such(seller: Api, clock: FakeClock) -> None:
    owner = TonWallet(1)
    given = await challenge(seller, owner.address, TON_ID)

    proof = owner.prove(given, clock.now_ms() // 1000, domain="evil.example")
    _, answer = await seller.call("POST", MINE, {"challengeId": given["id"], "tonProof": proof})

    assert answer["error"]["message"] == "the proof was given to evil.example, not to localhost"


# -- what does not count -------------------------------------------------------------------------------


async def test_a_signature_of_anything_else_is_refused(seller: Api) -> None:
    owner, other = Wallet(1), Wallet(2)
    given = await challenge(seller, owner.evm)
    another_chain = await challenge(seller, owner.evm, 56)
    good = owner.sign(given["message"])
    r, s, v = good[2:66], int(good[66:130], 16), int(good[130:], 16)
    twin = f"0x{r}{ORDER - s:064x}{55 - v:02x}"  # the same key, the same text, another signature
    wrong = {
        "another key": other.sign(given["message"]),
        "another text": owner.sign(given["message"] + " "),
        "of another chain": owner.sign(another_chain["message"]),
        "the malleable twin": twin,
        "no point": "0x" + "ff" * 65,
        "zeros": "0x" + "00" * 65,
        "a letter less": good[:-1],
        "Tron's words": owner.sign_tron(given["message"]),
    }

    found = {name: (await send(seller, given, signature))[1]["error"]["code"] for name, signature in wrong.items()}

    assert found == dict.fromkeys(wrong, "not_proved")
    assert (await send(seller, given, good))[0] == 200


async def test_the_challenge_is_of_one_seller_and_one_address(market: Running, seller: Api) -> None:
    thief = await market.user("seller")
    given = await challenge(seller, Wallet(1).evm)
    theirs = await challenge(thief, Wallet(2).evm)
    signed = Wallet(1).sign(given["message"])

    assert (await send(thief, given, signed))[0] == 404
    assert (await send(thief, theirs, signed))[1]["error"]["code"] == "not_proved"
    assert "Account: " + seller.user_id in given["message"]
    assert await (await market.user("buyer")).refused("GET", MINE) == (403, "forbidden")


@ENGINES
async def test_a_challenge_is_used_once(market: Running, seller: Api) -> None:
    given = await challenge(seller, Wallet(1).evm)
    signed = Wallet(1).sign(given["message"])

    found = await asyncio.gather(*(send(seller, given, signed) for _ in range(4)))

    assert sorted(status for status, _ in found) == [200, 409, 409, 409]
    with market.opened() as store:
        assert len(store.execute("SELECT id FROM payout_addresses").fetchall()) == 1


async def test_a_challenge_expires(market: Running, seller: Api, clock: FakeClock) -> None:
    given = await challenge(seller, Wallet(1).evm)
    clock.advance(15 * 60)

    status, answer = await send(renew(market, seller), given, Wallet(1).sign(given["message"]))

    assert (status, answer["error"]["details"]["reason"]) == (409, "challenge_over")


async def test_challenges_and_changes_of_one_seller_are_few(
    seller: Api, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.payments.payout_addresses.MAX_A_DAY", 2)
    oldest = await challenge(seller, Wallet(1).evm)
    clock.advance(1)
    for _ in range(5):
        await challenge(seller, Wallet(1).evm)
    gone = (await send(seller, oldest, Wallet(1).sign(oldest["message"])))[0]
    for number in (1, 2):
        await prove(seller, Wallet(number))
    given = await challenge(seller, Wallet(3).evm)

    status, answer = await send(seller, given, Wallet(3).sign(given["message"]))

    assert (gone, status, answer["error"]["details"]["reason"]) == (404, 409, "too_many")


@pytest.mark.parametrize("address", ["0x12", "0x" + "0" * 40, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", ""])
async def test_what_cannot_be_paid_is_not_asked_for(seller: Api, address: str) -> None:
    assert await seller.refused("POST", f"{MINE}/challenge", {"chainId": 97, "address": address}) == (422, "invalid")
    assert await seller.refused("POST", f"{MINE}/challenge", {"chainId": 5, "address": address}) == (422, "invalid")


# -- the day of a change -------------------------------------------------------------------------------


async def test_a_change_takes_a_day_in_which_the_former_address_is_paid(
    purchase: AcceptedPurchase, clock: FakeClock
) -> None:
    market, seller, old, new = purchase.market, purchase.seller, Wallet(1), Wallet(2)
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    await prove(seller, old)
    found = await prove(seller, new)
    clock.advance(24 * 3600 - 1)
    renew(market, market.admin, "admin")
    early = await purchase.release(new.evm)

    status, answer = await market.admin.call("POST", f"/api/admin/payments/{purchase.payment_id}/release", {})

    assert (found["address"], found["pendingAddress"]) == (old.evm, new.evm)
    assert (early[0], early[1]["error"]["details"]["reason"]) == (409, "not_the_proved_address")
    assert (status, answer["data"]["instruction"]["to"]) == (200, old.evm)


async def test_after_the_day_the_new_address_is_paid(purchase: AcceptedPurchase, clock: FakeClock) -> None:
    market, seller = purchase.market, purchase.seller
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    for number in (1, 2):
        await prove(seller, Wallet(number))
    clock.advance(24 * 3600)
    renew(market, market.admin, "admin")

    status, answer = await purchase.release(Wallet(2).evm.lower())

    assert (status, answer["data"]["instruction"]["to"]) == (200, Wallet(2).evm)


async def test_proving_the_present_address_again_calls_a_change_off(
    market: Running, seller: Api, clock: FakeClock
) -> None:
    for number in (1, 2, 1):
        await prove(seller, Wallet(number))
    clock.advance(48 * 3600)

    [found] = (await renew(market, seller).ok("GET", MINE))["payoutAddresses"]

    assert (found["address"], found["pendingAddress"]) == (Wallet(1).evm, None)
    assert [kind for kind, _ in await notes(seller)] == ["payout_address_changed"] * 3


async def test_a_change_is_called_off_however_many_there_were_that_day(
    seller: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief used up the day's changes, so that the owner could not take theirs back before they held."""
    monkeypatch.setattr("marketplace.payments.payout_addresses.MAX_A_DAY", 3)
    mine, thiefs = Wallet(1), [Wallet(2), Wallet(3)]
    for each in (mine, *thiefs):
        shown = await prove(seller, each)
    assert shown["pendingAddress"] == thiefs[1].evm

    shown = await prove(seller, mine)

    assert (shown["address"], shown["pendingAddress"]) == (mine.evm, None)
    again = await challenge(seller, mine.evm)
    status, answer = await send(seller, again, mine.sign(again["message"]))
    assert (status, answer["error"]["details"]["reason"]) == (409, "too_many")


async def test_where_no_address_was_proved_the_admin_names_one(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    path = f"/api/admin/payments/{purchase.payment_id}/release"

    unnamed = await purchase.market.admin.refused("POST", path, {})
    status, answer = await purchase.release()

    assert unnamed == (422, "invalid")
    assert (status, answer["data"]["instruction"]["to"]) == (200, SELLERS_WALLET)


async def test_what_was_ordered_stays_ordered(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    await purchase.release()
    await prove(purchase.seller, Wallet(1))
    path = f"/api/admin/payments/{purchase.payment_id}/release"

    again = await purchase.market.admin.ok("POST", path, {})

    assert again["instruction"]["to"] == SELLERS_WALLET


async def test_nobody_rewrites_what_was_proved(market: Running, seller: Api) -> None:
    await prove(seller, Wallet(1))
    for sql in ("UPDATE payout_addresses SET address = 'x'", "DELETE FROM payout_addresses"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await market.write(sql)


# -- pure ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2 * COOL_DOWN_MS), st.integers(1, 3)), max_size=8), st.integers(0, 10**9))
def test_no_address_but_the_first_holds_within_a_day_of_being_proved(
    changes: list[tuple[int, int]], later: int
) -> None:
    base = PayoutAddress(
        id="",
        user_id="u",
        chain_id=1,
        address="",
        shown_address="",
        challenge_id="",
        proof={},
        effective_at=0,
        created_at=0,
    )
    history: list[PayoutAddress] = []
    at = 0
    for pause, number in changes:
        at += pause
        first = standing(history, at).current is None
        history.append(
            replace(base, address=str(number), created_at=at, effective_at=at if first else at + COOL_DOWN_MS)
        )
        before = standing(history[:-1], at).current
        now = standing(history, at).current
        assert now == before or before is None

    current = standing(history, at + later).current

    if current is not None and current != history[0]:
        assert at + later - current.created_at >= COOL_DOWN_MS
    assert (current is None) is (not history)


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_is_a_proof_and_none_breaks_the_check(text: str, more: str) -> None:
    with pytest.raises(NotProved):
        check_text("evm", "0x" + "12" * 20, "message", text)
    proof = TonProof(timestamp=100, domain="localhost", payload="n", signature=text, state_init=more)
    with pytest.raises(NotProved):
        check_ton(TonWallet(1).raw, proof, nonce="n", domain="localhost", issued_s=100, now_s=100)
