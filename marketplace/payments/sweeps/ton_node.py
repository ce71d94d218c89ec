"""What a sweep of TON asks of the operator's own TonCenter."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson
from yarl import URL

from addresses import ton
from marketplace.payments.sweeps.node import all_of, away
from marketplace.payments.sweeps.plan import AddressState, FixedTransaction, PlannedTransfer
from marketplace.payments.ton_wallets import VERSION_OF, WalletState, address_cell, address_in, jetton_transfer
from marketplace.store.sweeps import SweepTransfer

TOGETHER = 8
MAX_ANSWER = 1_000_000
ATTACHED_NANO = 50_000_000  # pays for the way of a jetton; what is left comes back
NEEDED_NANO = 70_000_000
LIFE_S = 12 * 3600
MAX_AMOUNT = 2**120 - 1


class TonNode:
    """One TonCenter, by its third API."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, testnet: bool, timeout_s: float = 20) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/api/v3"
        self._testnet = testnet
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._places = asyncio.Semaphore(TOGETHER)

    async def check_chain(self, chain_id: int) -> None:
        told = await self._ask("masterchainInfo")
        last = told.get("last")
        network = last.get("global_id") if isinstance(last, dict) else None
        if network != (-3 if self._testnet else -239):
            raise away(f"it serves another chain than {chain_id}")

    async def prepare(self) -> None:
        """Read nothing: a message costs what it costs."""

    async def states(
        self,
        token: str,
        addresses: Sequence[str],
        made: Sequence[SweepTransfer],  # noqa: ARG002 - a wallet's own number says what was sent
    ) -> dict[str, AddressState]:
        found = await all_of(self._state(token, each) for each in addresses)
        return dict(zip(addresses, found, strict=True))

    async def _state(self, token: str, address: str) -> AddressState:
        raw = _raw(address)
        wallet = await self._row("walletStates", "wallets", address=raw)
        version = VERSION_OF.get(_hash(wallet.get("code_hash")))
        coins = _number(wallet.get("balance", "0"))
        if wallet.get("status") != "active" or version is None:
            return AddressState(nonce=0, tokens=0, coins=coins, is_ready=False)
        jettons = await self._jetton_wallet(_raw(token), raw)
        # By its own address: whoever likes can deploy a contract that calls itself a wallet of this owner.
        row = await self._row("jetton/wallets", "jetton_wallets", address=jettons)
        return AddressState(
            nonce=_number(wallet.get("seqno")),
            tokens=_number(row.get("balance", "0")),
            coins=coins,
            more={"version": version, "wallet_id": str(_number(wallet.get("wallet_id"))), "jettons": jettons},
        )

    def fixed(self, token: str, transfer: PlannedTransfer, built_at: int) -> FixedTransaction | None:  # noqa: ARG002
        return None  # the wallet takes one message of a number

    async def transactions(
        self,
        token: str,  # noqa: ARG002 - its wallet is known by now
        transfers: Sequence[PlannedTransfer],
        built_at: int,
    ) -> list[dict[str, Any] | None]:
        return [_unsigned(each, built_at // 1000 + LIFE_S) for each in transfers]

    def coins(self, entries: Sequence[Mapping[str, Any]], states: Mapping[str, AddressState]) -> list[dict[str, str]]:
        times: dict[str, int] = {}
        for each in entries:
            times[each["from"]] = times.get(each["from"], 0) + 1
        return [
            {
                "address": address,
                "neededNano": str(count * NEEDED_NANO),
                "missingNano": str(max(0, count * NEEDED_NANO - states[address].coins)),
            }
            for address, count in times.items()
        ]

    async def _jetton_wallet(self, master: str, owner: str) -> str:
        """Ask the jetton itself where an owner's wallet is."""
        stack = [{"type": "slice", "value": address_cell(owner)}]
        told = await self._ask("runGetMethod", {"address": master, "method": "get_wallet_address", "stack": stack})
        rows = told.get("stack")
        value = rows[0].get("value") if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None
        found = address_in(value) if isinstance(value, str) else None
        if told.get("exit_code") != 0 or found is None:
            raise away("the jetton does not tell where its wallets are")
        return found

    async def _row(self, route: str, name: str, *, address: str) -> dict[str, Any]:
        """Return the row of one address; empty when there is none."""
        rows = (await self._ask(f"{route}?address={address.replace(':', '%3A')}")).get(name)
        if not isinstance(rows, list):
            raise away("it answers no list")
        mine = [each for each in rows if isinstance(each, dict) and ton.canonical_of(each.get("address")) == address]
        return mine[0] if mine else {}

    async def _ask(self, route: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        more: dict[str, Any] = {"timeout": self._timeout}
        if body is not None:
            more |= {"data": orjson.dumps(body), "headers": {"Content-Type": "application/json"}}
        method = "GET" if body is None else "POST"
        try:
            async with (
                self._places,
                self._session.request(method, URL(f"{self._url}/{route}", encoded=True), **more) as response,
            ):
                told = orjson.loads(await response.content.read(MAX_ANSWER))
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
            raise away("it does not answer") from exc
        if not isinstance(told, dict) or "error" in told:
            raise away("it answers what is no object")
        return told


def _unsigned(transfer: PlannedTransfer, valid_until: int) -> dict[str, Any] | None:
    if transfer.amount > MAX_AMOUNT:
        return None
    more = transfer.state.more
    state = WalletState(version=more["version"], wallet_id=int(more["wallet_id"]), seqno=transfer.nonce)
    made = jetton_transfer(
        wallet=_raw(transfer.source.address),
        state=state,
        jetton_wallet=more["jettons"],
        to=_raw(transfer.to),
        amount=transfer.amount,
        attached=ATTACHED_NANO,
        valid_until=valid_until,
        query_id=int(transfer.source.subject.replace("-", "")[:16], 16),  # what it is for, to be found again
    )
    return {
        "message": made.boc,
        "toSign": made.to_sign,
        "signature": made.signature,
        "seqno": transfer.nonce,
        "validUntil": valid_until,
        "walletVersion": state.version,
    }


def _raw(address: str) -> str:
    found = ton.canonical(address)
    if found is None:
        raise away("an address cannot be read")
    return found


def _hash(told: Any) -> str:
    try:
        return base64.b64decode(told, validate=True).hex() if isinstance(told, str) else ""
    except (binascii.Error, ValueError):
        return ""


def _number(told: Any) -> int:
    if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
        return told
    if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) <= 40:  # noqa: PLR2004 - 120 bits
        return int(told)
    raise away("it answers what is no number")
