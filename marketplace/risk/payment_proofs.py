"""
Whether a payment is proven by its blocks, so that neither the scanner nor its endpoints have to be believed.

The proof comes from the scanner, the hashes of the blocks from a node of our own. Loaded only where proofs are asked
for: its libraries are nobody else's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import rlp

from addresses.keccak import keccak
from clients.python.amn_scanner_client import (
    BrokenAnswer,
    Conflict,
    InvalidProof,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
)
from clients.python.amn_scanner_client.proofs import ProvenTransfer, verify_proof
from marketplace.catalog import Chain
from marketplace.model import Payment, Rail
from marketplace.payments.observation import PaymentObservation
from marketplace.risk.own_node import Blocks, NodeSilent
from marketplace.risk.policy import Reason, Review, same_address
from marketplace.risk.proof_decision import NotProven, Proven, ProvenPlace
from marketplace.store.inbox import Credit

MAX_BLOCKS = 200  # of one payment: whoever pays chooses in how many parts, and each block is one question
PROXY_EVENT = keccak(b"TransferWithReferenceAndFee(address,address,uint256,bytes,uint256,address)")
MAX_DETAIL = 300


class Node(Protocol):
    """Who knows the hashes of blocks."""

    async def blocks(self, chain: Chain, numbers: Sequence[int]) -> Blocks:
        """
        Return the newest block and the hashes of some.

        Raises:
            NodeSilent: it cannot tell now.
        """


class _Missing(Exception):
    """There is nothing that proves it; `may_change`: asking again later may end otherwise."""

    def __init__(self, why: str, *, may_change: bool) -> None:
        super().__init__(why)
        self.may_change = may_change


class _Wrong(_Missing):
    """What is said to prove it does not."""


class _Paid(NamedTuple):
    """One transfer, as far as a proof and an observation have to say the same of it."""

    block_hash: str | None
    amount: int
    sender: str | None


class PaymentProofs:
    """Asks the scanner for the proof of a payment, and checks it. Waits for the network."""

    def __init__(self, scanner: ScannerClient, node: Node) -> None:
        self._scanner = scanner
        self._node = node

    async def check(self, payment: Payment, chain: Chain, observed: PaymentObservation) -> Proven | NotProven:
        """Say whether its blocks prove all that was seen of a payment. Never raises for what others say or do not."""
        try:
            return await self._proven(payment, chain, observed)
        except _Wrong as exc:
            return _not_proven(Reason.PROOF_INVALID, exc)
        except _Missing as exc:
            return _not_proven(Reason.PROOF_MISSING, exc)

    async def _proven(self, payment: Payment, chain: Chain, observed: PaymentObservation) -> Proven:
        if payment.rail is Rail.DIRECT_BALANCE:
            raise _Missing("a balance that is watched has no proof", may_change=False)
        if chain.chain_type != "evm":
            raise _Missing("there are no proofs on this chain", may_change=False)
        proof = await self._proof(payment)
        numbers = {each["blockNumber"] for each in proof["transfers"]}
        if len(numbers) > MAX_BLOCKS:
            raise _Missing(f"it lies in more than {MAX_BLOCKS} blocks", may_change=False)
        hashes = await self._hashes(payment, chain, sorted(numbers))
        try:
            proven = await asyncio.to_thread(verify_proof, proof, hashes)
        except InvalidProof as exc:
            raise _Wrong(str(exc), may_change=any(_differs(each, hashes) for each in proof["transfers"])) from exc
        unproven = await asyncio.to_thread(_compare, payment, observed, proven)
        if payment.rail is Rail.PROXY:
            events = await asyncio.to_thread(_reference_events, payment, chain, proof)
            _compare_references(proven, events)
        places = tuple(ProvenPlace(each.block_hash, each.transaction_index, each.log_position) for each in proven)
        return Proven(places, unproven)

    async def _proof(self, payment: Payment) -> dict[str, Any]:
        try:
            return await self._scanner.proof(payment.id)
        except (Conflict, NotFound) as exc:
            raise _Missing(f"the scanner has none: {exc}", may_change=False) from exc
        except BrokenAnswer as exc:
            raise _Wrong(f"the scanner's answer is none: {exc}", may_change=False) from exc
        except (ScannerUnavailable, ScannerRefused) as exc:
            raise _Missing(f"the scanner cannot be asked: {exc}", may_change=True) from exc

    async def _hashes(self, payment: Payment, chain: Chain, numbers: Sequence[int]) -> dict[int, str]:
        """Return the hashes our own node has; they are deep enough there too."""
        try:
            blocks = await self._node.blocks(chain, numbers)
        except NodeSilent as exc:
            raise _Missing(str(exc), may_change=True) from exc
        found: dict[int, str] = {}
        for number in numbers:
            known = blocks.hashes.get(number)
            depth = blocks.head - number + 1
            if known is None or depth < payment.confirmations_required:
                # Our node may be behind; a proof says nothing of how deep its block lies.
                raise _Missing(
                    f"our own node knows {max(0, depth)} of {payment.confirmations_required} confirmations",
                    may_change=True,
                )
            found[number] = known
        return found


def _differs(told: Mapping[str, Any], hashes: Mapping[int, str]) -> bool:
    """Say whether our node has another block there: one of both may follow the other yet."""
    return str(told["blockHash"]).lower() != hashes.get(told["blockNumber"])


def _compare(payment: Payment, observed: PaymentObservation, proven: Sequence[ProvenTransfer]) -> tuple[Credit, ...]:
    """
    Compare what is proven with what was agreed, and with all that was seen; return what was seen and is not proven.

    What is proven has to reach the price by itself. Beside it strangers send as much dust as they like: more than one
    proof can tell holds nothing.

    Raises:
        _Wrong: it is another story.
    """
    for each in proven:
        if each.chain_id != payment.chain_id:
            raise _Wrong(f"it is about chain {each.chain_id}", may_change=False)
        if not same_address(each.token, payment.token_address, "evm"):
            raise _Wrong(f"it proves a transfer of another token, {each.token}", may_change=False)
        if not same_address(each.recipient, payment.paid_to, "evm"):
            raise _Wrong(f"it proves a transfer to another address, {each.recipient}", may_change=False)
    total = sum(each.amount for each in proven)
    short = total < observed.received
    if total > observed.received or (short and (total < payment.amount_base or observed.unexplained)):
        raise _Wrong(f"it proves {total} of {observed.received} base units", may_change=False)
    left = Counter(_Paid(each.block_hash, each.amount, each.sender.lower()) for each in proven)
    unproven: list[Credit] = []
    for credit in observed.credits:
        match = _match(left, credit)
        if match is None:
            unproven.append(credit)
            continue
        left[match] -= 1
        if not left[match]:
            del left[match]
    if unproven and (left or not short):
        credit = unproven[0]
        raise _Wrong(f"it does not prove {credit.amount} of {credit.tx_hash} as it was told", may_change=False)
    return tuple(unproven)


def _match(left: Counter[_Paid], credit: Credit) -> _Paid | None:
    """Return the proven transfer that one which was seen is; what it does not say may be anything."""
    if credit.block_hash is not None and credit.sender is not None:
        paid = _Paid(credit.block_hash.lower(), credit.amount, credit.sender.lower())
        return paid if paid in left else None
    return next((paid for paid in left if _is_same(paid, credit.block_hash, credit.amount, credit.sender)), None)


def _is_same(paid: _Paid, block_hash: str | None, amount: int, sender: str | None) -> bool:
    """Say whether a proven transfer is one that was seen; whom it is from is what the list of sanctions was asked."""
    same_block = block_hash is None or paid.block_hash == block_hash.lower()
    return same_block and paid.amount == amount and (sender is None or paid.sender == sender.lower())


def _reference_events(payment: Payment, chain: Chain, proof: Mapping[str, Any]) -> Counter[tuple[int, int, int]]:
    """Return how often the proxy told of this payment's reference, by block, transaction and amount."""
    reference = str((payment.checkout or {}).get("paymentReference", ""))
    topic = keccak(bytes.fromhex(reference.removeprefix("0x")))
    found: Counter[tuple[int, int, int]] = Counter()
    for place, receipt in {(t["blockNumber"], t["transactionIndex"]): t["receipt"] for t in proof["transfers"]}.items():
        for address, topics, data in _logs(bytes.fromhex(receipt[2:])):
            if not same_address("0x" + address.hex(), chain.proxy_address, "evm") or topics != [PROXY_EVENT, topic]:
                continue
            token, destination = ("0x" + data[at + 12 : at + 32].hex() for at in (0, 32))
            amount = int.from_bytes(data[64:96])
            agreed = (payment.token_address, payment.paid_to)
            if all(same_address(said, ours, "evm") for said, ours in zip((token, destination), agreed, strict=True)):
                found[(*place, amount)] += 1
    return found


def _logs(receipt: bytes) -> Iterable[tuple[bytes, list[bytes], bytes]]:
    """Return the logs of a receipt that is proven to be one."""
    items = rlp.decode(receipt if receipt[0] >= 0xC0 else receipt[1:])  # noqa: PLR2004 - a list begins with it
    return [(address, topics, data) for address, topics, data in items[3]]


def _compare_references(proven: Sequence[ProvenTransfer], events: Counter[tuple[int, int, int]]) -> None:
    """
    Compare the transfers with what the proxy said they pay for: the escrow's address is every payment's.

    Raises:
        _Wrong: one of them pays for something else.
    """
    paid = Counter((each.block_number, each.transaction_index, each.amount) for each in proven)
    if not paid <= events:
        raise _Wrong("the proxy's event with the payment's reference is not beside a transfer", may_change=False)


def _not_proven(reason: Reason, why: _Missing) -> NotProven:
    return NotProven(Review(reason, str(why)[:MAX_DETAIL]), may_change=why.may_change)
