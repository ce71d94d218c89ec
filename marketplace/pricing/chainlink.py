"""Prices that Chainlink's feeds hold, read through a node: each judged by the chain's own time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from marketplace.pricing.decision import Observation
from marketplace.pricing.http_sources import TIMEOUT_S
from marketplace.pricing.sources import Reading, SourceFailed, scaled

LATEST_ROUND: Final = "0xfeaf968c"  # latestRoundData()
DECIMALS: Final = "0x313ce567"  # decimals()
DESCRIPTION: Final = "0x7284e416"  # description()
MAX_BODY: Final = 64 * 1024
MAX_DECIMALS: Final = 18  # Chainlink's feeds have 8 or 18
MAX_HEAD_AGE_S: Final = 300  # of a node that stands still every price stays fresh
FUTURE_S: Final = 60
_HEX: Final = re.compile(r"0x[0-9a-f]*")
_ROUND: Final = ("uint80", "int256", "uint256", "uint256", "uint80")

# Chains whose blocks one sequencer makes: while it is down no feed moves, and what was sent meanwhile comes late.
SEQUENCED: Final = frozenset(
    {
        10,
        130,
        324,
        480,
        1088,
        1868,
        5000,
        8453,
        34443,
        42161,
        42170,
        57073,
        59144,
        81457,
        84532,
        421614,
        534352,
        11155420,
    }
)


@dataclass(frozen=True, slots=True)
class _Round:
    answer: int
    started_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class _Block:
    number: str
    time_s: int


class Node:
    """One JSON-RPC endpoint, as far as feeds need it; every answer is of one block."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)

    async def head(self) -> _Block:
        """
        Return the newest block.

        Raises:
            SourceFailed: there is no such answer.
        """
        found = await self._ask("eth_getBlockByNumber", ["latest", False])
        if not isinstance(found, dict):
            raise SourceFailed("the node shows no block")
        return _Block(hex(_quantity(found.get("number"))), _quantity(found.get("timestamp")))

    async def chain_id(self) -> int:
        """
        Return which chain the node is of.

        Raises:
            SourceFailed: there is no such answer.
        """
        return _quantity(await self._ask("eth_chainId", []))

    async def call(self, address: str, data: str, block: _Block, *kinds: str) -> tuple[Any, ...]:
        """
        Return what a contract answers.

        Raises:
            SourceFailed: it reverts, is no contract, or answers something else.
        """
        found = await self._ask("eth_call", [{"to": address, "data": data}, block.number])
        if not isinstance(found, str) or _HEX.fullmatch(found) is None or len(found) % 2:
            raise SourceFailed("the node answers no bytes")
        try:
            return decode(kinds, bytes.fromhex(found[2:]))
        except (DecodingError, OverflowError, UnicodeDecodeError) as exc:  # no contract there answers no bytes at all
            raise SourceFailed("the contract is no price feed") from exc

    async def _ask(self, method: str, params: list[Any]) -> Any:
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise SourceFailed(f"the node answered {response.status}")
                raw = await response.content.read(MAX_BODY + 1)
                while len(raw) <= MAX_BODY and (more := await response.content.read(MAX_BODY + 1)):
                    raw += more
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise SourceFailed(f"the node gives no answer ({type(exc).__name__})") from exc
        if len(raw) > MAX_BODY:
            raise SourceFailed(f"the node's answer is longer than {MAX_BODY // 1024} KB")
        try:
            answer = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise SourceFailed("the node's answer is no JSON") from exc
        if not isinstance(answer, dict) or answer.get("error") is not None:
            raise SourceFailed("the node or the contract refuses")
        return answer.get("result")


class ChainlinkFeeds:
    """The feeds of one chain, by what they price; on a chain with a sequencer also the feed that watches it."""

    def __init__(
        self,
        node: Node,
        chain_id: int,
        feeds: Mapping[str, str],
        now_ms: Callable[[], int],
        *,
        sequencer: str | None,
        grace_s: int,
    ) -> None:
        self.name = f"chainlink:{chain_id}"
        self.assets = frozenset(feeds)
        self._node = node
        self._chain_id = chain_id
        self._feeds = dict(feeds)
        self._now_ms = now_ms
        self._sequencer = sequencer
        self._grace_s = grace_s
        self._is_checked = False

    async def read(self) -> Reading:
        await self._check_chain()
        block = await self._node.head()
        now_s = self._now_ms() / 1000
        if now_s - block.time_s > MAX_HEAD_AGE_S:
            raise SourceFailed("the node's newest block is old")
        if block.time_s > now_s + FUTURE_S:
            raise SourceFailed("the node's newest block is of a time to come")
        if self._sequencer is not None:
            await self._check_sequencer(self._sequencer, block)
        found = await asyncio.gather(*(self._price(asset, feed, block) for asset, feed in self._feeds.items()))
        prices = {each.asset: each for each in found if isinstance(each, Observation)}
        failures = {each[0]: each[1] for each in found if not isinstance(each, Observation)}
        return Reading(prices, failures)

    async def _check_chain(self) -> None:
        """Compare the chain once: on another one other contracts stand at the same addresses."""
        if not self._is_checked:
            found = await self._node.chain_id()
            if found != self._chain_id:
                raise SourceFailed(f"the node is of chain {found}")
            self._is_checked = True

    async def _check_sequencer(self, feed: str, block: _Block) -> None:
        state = await self._latest(feed, block)
        if state.answer != 0:
            raise SourceFailed("the sequencer is down")
        if state.started_at == 0:  # a round that was never begun looks like "up"
            raise SourceFailed("nothing is known of the sequencer")
        if block.time_s - state.started_at < self._grace_s:
            raise SourceFailed("the sequencer was down until a moment ago")

    async def _price(self, asset: str, feed: str, block: _Block) -> Observation | tuple[str, str]:
        try:
            state, (decimals,), (description,) = await asyncio.gather(
                self._latest(feed, block),
                self._node.call(feed, DECIMALS, block, "uint8"),
                self._node.call(feed, DESCRIPTION, block, "string"),
            )
            # A feed of another pair, or of the same one upside down, is a price like any other to look at.
            if "".join(description.split()).upper() != f"{asset}/USD":
                raise SourceFailed("the contract is the feed of something else")
            if decimals > MAX_DECIMALS:
                raise SourceFailed("the feed has more decimals than any")
            if state.answer <= 0:
                raise SourceFailed("the feed's price is not above zero")
            if state.updated_at > block.time_s:
                raise SourceFailed("the feed's price is of a time to come")
        except SourceFailed as exc:
            return asset, str(exc)
        return Observation(
            source=self.name,
            asset=asset,
            price=scaled(state.answer, decimals),
            as_of_s=state.updated_at,
            age_s=block.time_s - state.updated_at,
        )

    async def _latest(self, feed: str, block: _Block) -> _Round:
        """Return the newest round of a feed that was answered in full."""
        round_id, answer, started, updated, answered_in = await self._node.call(feed, LATEST_ROUND, block, *_ROUND)
        if round_id == 0 or updated == 0 or answered_in < round_id:
            raise SourceFailed("the feed's newest round was never answered")
        return _Round(answer, started, updated)


def _quantity(value: object) -> int:
    if not isinstance(value, str) or re.fullmatch(r"0x[0-9a-f]{1,16}", value) is None:
        raise SourceFailed("the node answers no number")
    return int(value, 16)
