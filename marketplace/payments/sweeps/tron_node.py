"""What a sweep of Tron asks of the operator's own node."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from addresses import tron as spelling
from marketplace.payments.sweeps import tron
from marketplace.payments.sweeps.node import all_of, away
from marketplace.payments.sweeps.plan import AddressState, FixedTransaction, PlannedTransfer
from marketplace.store.sweeps import SweepTransfer

MAINNET = 728126428
GENESIS = "00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc"
TOGETHER = 8
MAX_ANSWER = 1_000_000
BANDWIDTH_SUN = 400_000  # of a transfer of some 350 bytes
WORD = 64
_EMPTY = "0" * WORD


class TronNode:
    """One node behind its HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, timeout_s: float = 20) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._places = asyncio.Semaphore(TOGETHER)
        self._block = (0, _EMPTY, 0)
        self._energy_sun = 0

    async def check_chain(self, chain_id: int) -> None:
        told = await self._post("wallet/getblockbynum", num=0)
        if chain_id == MAINNET and told.get("blockID") != GENESIS:
            raise away(f"it serves another chain than {chain_id}")

    async def prepare(self) -> None:
        """Read the newest irreversible block, which transactions refer to, and the price of energy."""
        self._block = await self._newest()
        told = await self._post("wallet/getchainparameters")
        found = [each.get("value") for each in _rows(told.get("chainParameter")) if each.get("key") == "getEnergyFee"]
        self._energy_sun = _whole(found[0] if found else None)

    async def states(
        self, token: str, addresses: Sequence[str], made: Sequence[SweepTransfer]
    ) -> dict[str, AddressState]:
        solid_ms = (await self._newest())[2]
        mine: Mapping[str, list[SweepTransfer]] = defaultdict(list)
        for each in made:
            mine[each.from_address].append(each)
        found = await all_of(self._state(token, each, mine.get(each, ()), solid_ms) for each in addresses)
        return dict(zip(addresses, found, strict=True))

    async def _state(self, token: str, address: str, made: Sequence[SweepTransfer], solid_ms: int) -> AddressState:
        """Return what there is; a transaction counts as sent when it is irreversible, and as dead when it expired."""
        nonce, dead = 0, set()
        for each in made:
            if each.tx_id is None or each.expires_at is None:
                continue
            # Asked after the time was read: what is not there then, and expired before, will never be.
            if (await self._post("walletsolidity/gettransactioninfobyid", value=each.tx_id)).get("id") == each.tx_id:
                nonce = max(nonce, each.nonce + 1)
            elif each.expires_at < solid_ms:
                dead.add(each.tx_id)
        account = await self._post("wallet/getaccount", address=address, visible=True)
        tokens = await self._call(address, token, "balanceOf(address)", _word(address))
        if tokens is None:
            raise away("it does not tell what an address has")
        return AddressState(
            nonce=nonce,
            tokens=_hex((tokens.get("constant_result") or [None])[0]),
            coins=_whole(account.get("balance", 0)),
            dead=frozenset(dead),
        )

    def fixed(self, token: str, transfer: PlannedTransfer, built_at: int) -> FixedTransaction | None:
        if transfer.fixed is not None:
            return transfer.fixed
        number, block_id, _ = self._block
        expires_at = built_at + tron.LIFE_MS
        made = tron.unsigned(
            owner=transfer.source.address,
            token=token,
            data=tron.transfer_data(transfer.to, transfer.amount),
            block_number=number,
            block_id=block_id,
            timestamp=built_at,
            expires_at=expires_at,
        )
        return FixedTransaction(tx_id=made["txID"], raw=orjson.dumps(made).decode(), expires_at=expires_at)

    async def transactions(
        self,
        token: str,
        transfers: Sequence[PlannedTransfer],
        built_at: int,  # noqa: ARG002 - fixed ones say it
    ) -> list[dict[str, Any] | None]:
        return await all_of(self._tried(token, each) for each in transfers)

    async def _tried(self, token: str, transfer: PlannedTransfer) -> dict[str, Any] | None:
        if transfer.fixed is None:
            raise away("a transaction was not made")
        parameter = tron.transfer_data(transfer.to, transfer.amount)[4:].hex()
        told = await self._call(transfer.source.address, token, "transfer(address,uint256)", parameter)
        if told is None:
            return None
        energy = _whole(told.get("energy_used", 0))
        made: dict[str, Any] = orjson.loads(transfer.fixed.raw)
        return made | {"neededSun": str(min(tron.FEE_LIMIT_SUN, energy * self._energy_sun) + BANDWIDTH_SUN)}

    def coins(self, entries: Sequence[Mapping[str, Any]], states: Mapping[str, AddressState]) -> list[dict[str, str]]:
        needed: dict[str, int] = {}
        for each in entries:
            needed[each["from"]] = needed.get(each["from"], 0) + int(each["transaction"].pop("neededSun"))
        return [
            {
                "address": address,
                "neededSun": str(cost),
                "missingSun": str(max(0, cost - states[address].coins)),
            }
            for address, cost in needed.items()
        ]

    async def _newest(self) -> tuple[int, str, int]:
        told = await self._post("walletsolidity/getnowblock")
        header = told.get("block_header")
        raw = header.get("raw_data") if isinstance(header, dict) else None
        block_id = told.get("blockID")
        if not isinstance(raw, dict) or not isinstance(block_id, str) or len(block_id) != WORD:
            raise away("it shows no block")
        _hex(block_id)
        return _whole(raw.get("number")), block_id, _whole(raw.get("timestamp"))

    async def _call(self, owner: str, token: str, function: str, parameter: str) -> dict[str, Any] | None:
        """Try a call of a contract; None: it would fail."""
        told = await self._post(
            "wallet/triggerconstantcontract",
            owner_address=owner,
            contract_address=token,
            function_selector=function,
            parameter=parameter,
            visible=True,
        )
        result = told.get("result")
        if not isinstance(result, dict) or result.get("result") is not True or result.get("message"):
            return None
        return told

    async def _post(self, route: str, **body: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                self._places,
                self._session.post(
                    f"{self._url}/{route}", data=orjson.dumps(body), headers=headers, timeout=self._timeout
                ) as response,
            ):
                told = orjson.loads(await response.content.read(MAX_ANSWER))
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
            raise away("it does not answer") from exc
        if not isinstance(told, dict) or "Error" in told:
            raise away("it answers what is no object")
        return told


def _word(address: str) -> str:
    return f"{spelling.to_hex(address):0>64}"


def _rows(told: Any) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _whole(told: Any) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or told < 0:
        raise away("it answers what is no number")
    return told


def _hex(told: Any) -> int:
    try:
        if isinstance(told, str) and 0 < len(told) <= WORD:
            return int(told, 16)
    except ValueError:
        pass
    raise away("it answers what is no number")
