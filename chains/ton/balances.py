"""Balances of jettons and of the coin, many addresses in a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from chains.errors import ChainUnavailable
from chains.rpc.endpoint import Endpoint
from chains.ton.decode import Tip
from chains.ton.jettons.wallets import JettonWalletResolver
from chains.ton.toncenter.address_batches import AsksTooMuch
from chains.ton.toncenter.client import TonClient
from chains.ton.transfers import TransferReader
from chains.ton.values import Json, address, number
from chains.types import BalanceKey, Balances

TRIES_IN_ONE_BLOCK = 2  # real blocks come faster than answers: only what was quick is of one
IN_STEP_S = 60  # an index this far behind the newest block we know may lack a wallet that exists

Amounts = dict[str, int | None]


class BalanceReader:
    """Reads `/jetton/wallets` and `/accountStates`; whoever is in neither has nothing."""

    def __init__(self, client: TonClient, reader: TransferReader, wallets: JettonWalletResolver) -> None:
        self._client = client
        self._reader = reader
        self._wallets = wallets
        self._newest = 0

    async def read(self, endpoint: Endpoint, holdings: Sequence[BalanceKey]) -> Balances:
        """
        Read balances, none of them older than the position they are reported at.

        Raises:
            ChainUnavailable: the index is behind, or fell behind meanwhile: a missing wallet would mean nothing.
        """
        tip = await self._in_step(endpoint)
        by_token: defaultdict[str | None, set[str]] = defaultdict(set)
        for holder, token in holdings:
            by_token[token].add(holder)
        tries = TRIES_IN_ONE_BLOCK
        while True:
            found = {token: await self._of(endpoint, token, sorted(holders)) for token, holders in by_token.items()}
            tries -= 1
            now = await self._in_step(endpoint)
            if now.time < tip.time:  # what it told may be older than its position: coin would be news again later
                raise ChainUnavailable("the index fell behind while balances were read")
            # Of amounts younger than their position, the transfers behind them would be looked for too early.
            if now == tip or tries == 0:
                return Balances(tip.time, tip.time, [found[token][holder] for holder, token in holdings])
            tip = now

    async def _in_step(self, endpoint: Endpoint) -> Tip:
        tip = await self._reader.tip(endpoint)
        self._newest = max(self._newest, tip.time)
        if tip.time < self._newest - IN_STEP_S:
            raise ChainUnavailable(f"the index is {self._newest - tip.time} s behind: balances would be old")
        return tip

    async def _of(self, endpoint: Endpoint, token: str | None, holders: Sequence[str]) -> Amounts:
        ask = partial(self._coins, endpoint) if token is None else partial(self._jettons, endpoint, token)
        merged: Amounts = {}
        for part in await self._client.address_batches.ask(endpoint, holders, ask):
            merged |= part
        return merged

    async def _coins(self, endpoint: Endpoint, holders: Sequence[str]) -> Amounts:
        question = [*(("address", holder) for holder in holders), ("include_boc", "false")]
        page = await self._client.rows(endpoint, "accountStates", question)
        if page.full and len(page.rows) < len(holders):
            raise AsksTooMuch("more accounts than one answer shows")
        amounts: Amounts = dict.fromkeys(holders, 0)
        for row in page.rows:
            if (holder := address(row, "address")) in amounts:
                amounts[holder] = number(row.get("balance"), "balance")
        return amounts

    async def _jettons(self, endpoint: Endpoint, token: str, holders: Sequence[str]) -> Amounts:
        question = [*(("owner_address", holder) for holder in holders), ("jetton_address", token)]
        page = await self._client.rows(endpoint, "jetton/wallets", question)
        if page.full and len(holders) > 1:
            # Wallets that strangers put there may have left no room: who is not shown would seem to hold nothing.
            raise AsksTooMuch("as many wallets as one answer shows")
        amounts: Amounts = dict.fromkeys(holders, 0)
        seen: set[str] = set()
        for row in page.rows:
            holder = address(row, "owner")
            if address(row, "jetton") != token or holder not in amounts or self._is_impostor(row, token, holder):
                continue
            # Two wallets of one owner and one master cannot both be real: then nothing is known.
            amounts[holder] = None if holder in seen else number(row.get("balance"), "balance")
            seen.add(holder)
        return amounts

    def _is_impostor(self, row: Json, token: str, holder: str) -> bool:
        """Anybody can deploy a wallet that claims a master and an owner."""
        real = self._wallets.computed(master=token, owner=holder)
        return real is not None and address(row, "address") != real
