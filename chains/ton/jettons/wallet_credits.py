"""What some jetton wallets received since a moment, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chains.rpc.endpoint import Endpoint
from chains.ton.address import canonical_of
from chains.ton.jettons.credit_tx import CreditTx, credits_in
from chains.ton.toncenter.address_batches import AsksTooMuch
from chains.ton.toncenter.client import TonClient
from chains.ton.values import number

MAX_PAGES = 20  # of the transactions of some wallets


class WalletCredits(NamedTuple):
    """The receiving halves at some wallets, and what could not be read of which."""

    received: list[CreditTx]
    unreadable: dict[str, str]  # by wallet


async def read_credits(client: TonClient, endpoint: Endpoint, accounts: Sequence[str], *, lt: int) -> WalletCredits:
    """
    Return what some wallets received since a logical time.

    Raises:
        AsksTooMuch: more than can be read in one go.
    """
    found = WalletCredits([], {})
    for _ in range(MAX_PAGES):
        question = [*(("account", account) for account in accounts), ("start_lt", str(lt)), ("sort", "asc")]
        page = await client.rows(endpoint, "transactions", question)
        for row in page.rows:
            read = credits_in([row])
            found.received.extend(read.rows)
            for why in read.unreadable.values():
                found.unreadable[str(canonical_of(row.get("account")))] = why
        if not page.full:
            return found
        newest = number(page.rows[-1].get("lt"), "lt")
        if newest <= lt:
            break
        lt = newest
    raise AsksTooMuch("more transactions than can be read in one go")
