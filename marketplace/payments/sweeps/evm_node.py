"""What a sweep asks of the operator's own node: numbers, balances, and what gas costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from marketplace.payments.sweeps import evm
from marketplace.payments.sweeps.evm import GasPrice, balance_data, transfer_data
from marketplace.payments.sweeps.node import away
from marketplace.payments.sweeps.plan import AddressState, FixedTransaction, PlannedTransfer
from marketplace.store.sweeps import SweepTransfer

BATCH = 60  # calls in one request
MAX_ANSWER = 4_000_000
DEFAULT_TIP = 10**9
WORD = 66  # characters of the longest number
MARGIN = (13, 10)  # a transfer to an account that never had the token costs more than one to another


class EvmNode:
    """One endpoint of a chain."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, timeout_s: float = 20) -> None:
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._chain_id = 0
        self._price = GasPrice(max_fee=0, priority_fee=0)

    async def check_chain(self, chain_id: int) -> None:
        self._chain_id = chain_id
        [told] = await self._ask([("eth_chainId", [])])
        if told != hex(chain_id):
            raise away(f"it serves another chain than {chain_id}")

    async def states(
        self,
        token: str,
        addresses: Sequence[str],
        made: Sequence[SweepTransfer],  # noqa: ARG002 - numbers say it
    ) -> dict[str, AddressState]:
        calls: list[tuple[str, list[Any]]] = []
        for address in addresses:
            calls += [
                ("eth_getTransactionCount", [address, "latest"]),
                ("eth_getBalance", [address, "latest"]),
                ("eth_call", [{"to": token, "data": balance_data(address)}, "latest"]),
            ]
        told = [_number(each) for each in await self._ask(calls)]
        return {
            address: AddressState(nonce=told[3 * place], coins=told[3 * place + 1], tokens=told[3 * place + 2])
            for place, address in enumerate(addresses)
        }

    async def prepare(self) -> None:
        """Read what gas may cost: twice the newest block's base fee lasts for several full blocks."""
        block, tip = await self._ask([("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", [])])
        base = _number(block.get("baseFeePerGas") or "0x0") if isinstance(block, dict) else None
        if base is None:
            raise away("it shows no block")
        priority = DEFAULT_TIP if tip is None else _number(tip)
        self._price = GasPrice(max_fee=2 * base + priority, priority_fee=priority)

    def fixed(self, token: str, transfer: PlannedTransfer, built_at: int) -> FixedTransaction | None:  # noqa: ARG002
        return None  # its number makes every other one worthless

    async def transactions(
        self,
        token: str,
        transfers: Sequence[PlannedTransfer],
        built_at: int,  # noqa: ARG002 - it tells no time
    ) -> list[dict[str, Any] | None]:
        gas = await self._gas(token, transfers)
        return [
            None if needs is None else evm.unsigned(self._chain_id, token, each, needs, self._price)
            for each, needs in zip(transfers, gas, strict=True)
        ]

    def coins(self, entries: Sequence[Mapping[str, Any]], states: Mapping[str, AddressState]) -> list[dict[str, str]]:
        return evm.needed_coins(entries, states)

    async def _gas(self, token: str, transfers: Sequence[PlannedTransfer]) -> list[int | None]:
        """Return the gas each transfer needs; None: it would fail."""
        calls: list[tuple[str, list[Any]]] = [
            (
                "eth_estimateGas",
                [{"from": each.source.address, "to": token, "data": transfer_data(each.to, each.amount)}],
            )
            for each in transfers
        ]
        times, of = MARGIN
        return [None if told is None else _number(told) * times // of for told in await self._ask(calls)]

    async def _ask(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Ask in batches; None is what the node refused."""
        found: list[Any] = []
        for start in range(0, len(calls), BATCH):
            part = [
                {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
                for place, (method, params) in enumerate(calls[start : start + BATCH])
            ]
            answers = await self._post(part)
            by_id = {each.get("id"): each for each in answers if isinstance(each, dict)}
            if set(by_id) != set(range(len(part))):
                raise away("it did not answer every call of a batch")
            found += [by_id[place].get("result") for place in range(len(part))]
        return found

    async def _post(self, body: list[dict[str, Any]]) -> list[Any]:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._url, data=orjson.dumps(body), headers=headers, timeout=self._timeout
            ) as response:
                raw = await response.content.read(MAX_ANSWER)
                answers = orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
            raise away("it does not answer") from exc
        if not isinstance(answers, list):
            raise away("it takes no batches of calls")
        return answers


def _number(told: Any) -> int:
    try:
        if isinstance(told, str) and told.startswith("0x") and len(told) <= WORD:
            return int(told, 16)
    except ValueError:
        pass
    raise away("it answers what is no number")
