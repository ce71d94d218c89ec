"""What liteservers show of transfers that an index verified: both halves, read by their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from chains.errors import ChainError, ProvenLie
from chains.fair_selection import FairSelector
from chains.rpc.concurrency import gather_individually
from chains.rpc.endpoint import Endpoint
from chains.ton.jettons import cells
from chains.ton.jettons.credit_verification import judge_credit
from chains.types import Verification, VerificationOutcome

if TYPE_CHECKING:
    from chains.ton.liteserver.client import Conversation, LiteserverClient

METHOD = "getTransactions"
MAX_COMPARED = 200  # transfers in one conversation


class LiteserverVerifier:
    """Verifies transfers by what a liteserver shows of both halves."""

    def __init__(self, client: LiteserverClient) -> None:
        self._client = client
        self._selector = FairSelector()  # what nobody can read must not starve what can be read

    async def verify_again(self, endpoint: Endpoint, said: Sequence[Verification]) -> list[Verification]:
        """Verify transfers in one conversation; raises a `ChainError` when the liteserver shows nothing."""
        chosen = self._selector.select(range(len(said)), MAX_COMPARED, key=lambda place: said[place].transfer[1:3])
        async with self._client.conversation(endpoint) as conversation:
            looks = await gather_individually(
                [said[place] for place in chosen], partial(_look, conversation), alive=conversation.alive
            )
        found = dict(zip(chosen, looks, strict=True))
        return [_verification(each, found.get(place)) for place, each in enumerate(said)]


def _verification(said: Verification, look: Verification | ChainError | None) -> Verification:
    if isinstance(look, ProvenLie):
        raise look
    if isinstance(look, ChainError):
        return _not_yet(said, f"it cannot be read: {look}")
    return look or _not_yet(said, "it is compared with the next ones")


async def _look(conversation: Conversation, said: Verification) -> Verification:
    """
    Verify one transfer.

    The wallet is asked for again: an index that made up a wallet could show a real transaction of it. So is the
    sending half: an index could name one receiving half for two transfers.
    """
    transfer, received = said.transfer, said.received
    if received is None:  # it went to another wallet: of that there is nothing to compare
        return said
    if received.hash is None:
        return _not_yet(said, "the index names no hash of the receiving transaction")
    if not await conversation.is_wallet(received.account, master=transfer.token, owner=transfer.destination):
        return Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
    credit = await conversation.transaction(received.account, received.lt, received.hash)
    if credit.source is None:
        return Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
    sent = await conversation.transaction(credit.source, int(transfer.event_key), transfer.tx_hash)
    return judge(said, credit, sent)


def judge(said: Verification, credit: cells.NodeTransaction, sent: cells.NodeTransaction) -> Verification:
    """Say what both halves of a transfer, as a node holds them, tell of it (pure)."""
    transfer = said.transfer
    if credit.message not in sent.sends:
        return Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
    if sent.time != transfer.block_time:
        return Verification(transfer, VerificationOutcome.GONE, 0)
    check = judge_credit(transfer, credit.transfer, succeeded=credit.succeeded and not credit.bounced, time=credit.time)
    seen = transfer if credit.transfer is None else transfer._replace(sender=credit.transfer.sender)
    return Verification(seen, check.outcome, check.credited, why=check.why)


def _not_yet(said: Verification, why: str) -> Verification:
    return Verification(said.transfer, VerificationOutcome.NOT_YET, 0, why=why)
