"""Where the jetton wallet of an owner is: as the master itself says, or computed the way it computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chains.errors import ChainProtocolError
from chains.rpc.endpoint import Endpoint, Unserved
from chains.ton.jettons import cells
from chains.ton.toncenter.client import TonClient
from chains.ton.values import address, rows_of

MAX_REMEMBERED = 20_000
MAX_LISTED = 100
CODE_AT = 4  # place of the wallets' code in what `get_jetton_data` answers


class JettonWalletResolver:
    """
    Derives jetton wallets from their master.

    A master is asked for one wallet. When that is the address which the code of its wallets gives, the
    others are computed with the same code; a master with its own way is asked every time.
    """

    def __init__(self, client: TonClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], str] = {}
        self._layouts: dict[str, tuple[str, int] | None] = {}  # master: code of its wallets and place of the layout

    async def wallet(self, endpoint: Endpoint, *, master: str, owner: str) -> str:
        """
        Return the address of a wallet.

        Raises:
            ChainProtocolError: the master does not name one.
        """
        known = self.computed(master=master, owner=owner)
        return known or await self.asked(endpoint, master=master, owner=owner)

    def computed(self, *, master: str, owner: str) -> str | None:
        """Return the address of a wallet without asking anybody; None when that cannot be known."""
        known = self._known.get((master, owner))
        layout = self._layouts.get(master)
        if known is not None or layout is None:
            return known
        code, place = layout
        wallet = cells.derived_wallets(code, master=master, owner=owner)[place]
        self._remember(master, owner, wallet)
        return wallet

    async def asked(self, endpoint: Endpoint, *, master: str, owner: str) -> str:
        """Return the address of a wallet as the master says now; raises what `wallet` raises."""
        argument = {"type": "slice", "value": cells.address_cell(owner)}
        try:
            stack = await self._client.run(endpoint, master, "get_wallet_address", [argument])
        except Unserved:
            return await self._listed(endpoint, master, owner)
        if stack is None:
            raise ChainProtocolError("the jetton's master does not answer get_wallet_address")
        found = cells.address_in(_boc(stack, 0))
        if found is None:
            raise ChainProtocolError("get_wallet_address was not answered with an address")
        self._remember(master, owner, found)
        if master not in self._layouts:
            self._layouts[master] = await self._layout(endpoint, master, owner, found)
        return found

    async def _listed(self, endpoint: Endpoint, master: str, owner: str) -> str:
        """
        Return the wallet an index lists, where no contract can be asked. It is not remembered.

        Anybody can deploy a wallet that claims a master and an owner: where several do, nothing is known.
        """
        question = [("owner_address", owner), ("jetton_address", master), ("limit", str(MAX_LISTED))]
        rows = rows_of(await self._client.get(endpoint, "jetton/wallets", question), "jetton_wallets")
        ours = {address(row, "address") for row in rows if (row.get("owner"), row.get("jetton")) == (owner, master)}
        if len(ours) != 1:
            raise ChainProtocolError(f"{len(ours)} wallets are listed, and no contract can be asked which one is real")
        return ours.pop()

    async def _layout(self, endpoint: Endpoint, master: str, owner: str, wallet: str) -> tuple[str, int] | None:
        stack = await self._client.run(endpoint, master, "get_jetton_data", [])
        if stack is None:
            return None
        try:
            code = _boc(stack, CODE_AT)
        except ChainProtocolError:  # its wallets can still be asked for one by one
            return None
        places = cells.derived_wallets(code, master=master, owner=owner)
        return (code, places.index(wallet)) if wallet in places else None

    def _remember(self, master: str, owner: str, wallet: str) -> None:
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[master, owner] = wallet


def _boc(stack: list[Mapping[str, Any]], place: int) -> str:
    """Return a cell or slice of a get-method's stack."""
    entry: object = stack[place] if place < len(stack) else None
    value = entry.get("value") if isinstance(entry, dict) and entry.get("type") in {"cell", "slice"} else None
    if not isinstance(value, str):
        raise ChainProtocolError("a get-method was not answered with a cell")
    return value
