"""Looks at the endpoints of a chain, each by itself, and at its contracts and tokens through all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from chains.base import Access, ChainAdapter, open_adapter
from chains.errors import ChainError
from chains.evm.diagnosis import EndpointDiagnosis
from chains.evm.push.diagnosis import socket_finding
from chains.evm.rpc.client import RpcClient
from chains.findings import NO_ANSWER, Finding, judge_head, judge_latency, ok, problem, skipped, warning
from chains.rpc.endpoint import Endpoint, label_of
from chains.rpc.http_client import open_http
from chains.second_diagnosis import judge_second
from chains.token_metadata import disagreement
from chains.tron.diagnosis import second_looks
from config.catalog import Chain, ChainType, Token

BALANCES_A_CALL = 50


class Located(NamedTuple):
    """A finding, and what it is about."""

    where: str
    finding: Finding


class Unmeasured:
    """Takes what an adapter reports, and keeps nothing."""

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        """Take it."""


class ChainExaminer:
    """Examines one chain with the settings the daemon would have."""

    def __init__(
        self,
        chain: Chain,
        tokens: Sequence[Token],
        access: Access,
        *,
        named_in: str,
        timeout_s: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`named_in` says where an operator corrects the chain's endpoints."""
        self._chain = chain
        self._tokens = tokens
        self._access = access
        self._named_in = named_in
        self._timeout_s = timeout_s
        self._wall = wall

    async def endpoint(self, index: int) -> list[Located]:
        """Return what is found of one endpoint."""
        url = self._chain.rpc_urls[index]
        label = label_of(url, index + 1)
        is_evm = self._chain.chain_type is ChainType.EVM
        found = await (self._node(Endpoint(url, label)) if is_evm else self._service(url))
        return [Located(f"{self._chain.name} {label}", finding) for finding in found]

    async def socket(self, index: int) -> list[Located]:
        """Return what is found of one socket for new heads."""
        url = self._access.sockets[index]
        async with open_http(timeout_s=self._timeout_s, wall=self._wall) as http:
            finding = await socket_finding(http, self._chain, Endpoint(url, label_of(url, index + 1)))
        return [Located(f"{self._chain.name} {label_of(url, index + 1)}", finding)]

    @property
    def has_second(self) -> bool:
        """Whether a second source has to say the same."""
        return bool(self._access.second) or self._access.liteservers is not None

    async def second(self) -> list[Located]:
        """Return what is found of the endpoints that have to say the same, each beside the first source."""
        if self._access.liteservers is not None:
            from chains.ton.liteserver import diagnosis  # noqa: PLC0415 - 20 MB that few need

            looks = await diagnosis.second_looks(self._access.liteservers, timeout_s=self._timeout_s)
            setting = "TON_LITESERVERS"
        else:
            async with open_http(timeout_s=self._timeout_s, wall=self._wall) as http:
                looks = await second_looks(http, self._chain, self._access.second, self._access.api_key)
            setting = "TRON_SOLIDITY_URLS"
        return [Located(f"{self._chain.name} {label}", found) for label, found in judge_second(looks, setting)]

    async def contracts(self) -> list[Located]:
        """Return what the chain says of the contracts of the registry."""
        try:
            async with self._adapter(self._chain) as adapter:
                found = await self._registry(adapter)
                found += [await _token(adapter, token) for token in self._tokens]
        except ChainError:
            found = [skipped("contracts", "no endpoint can be asked")]
        return [Located(self._chain.name, finding) for finding in found]

    async def _node(self, endpoint: Endpoint) -> list[Finding]:
        async with open_http(timeout_s=self._timeout_s, wall=self._wall) as http:
            client = RpcClient(http, chain_id=self._chain.chain_id)
            diagnosis = EndpointDiagnosis(self._chain, endpoint, client, named_in=self._named_in, wall=self._wall)
            return [finding async for finding in diagnosis.findings()]

    async def _service(self, url: str) -> list[Finding]:
        """Look at an index of Tron or TON: it serves whole histories, so fewer things can be missing."""
        try:
            async with self._adapter(self._chain.model_copy(update={"rpc_urls": (url,)})) as adapter:
                began = time.perf_counter()
                head = await adapter.head()
                latency = judge_latency(time.perf_counter() - began)
        except ChainError as exc:
            advice = f"It cannot be used ({exc}): correct it in {self._named_in}, or take it out."
            return [problem("service", NO_ANSWER, advice)]
        return [ok("service", "answers"), latency, judge_head("newest block", head.time, self._wall())]

    def _adapter(self, chain: Chain) -> AbstractAsyncContextManager[ChainAdapter]:
        return open_adapter(
            chain,
            timeout_s=self._timeout_s,
            telemetry=Unmeasured(),
            balance_batch=BALANCES_A_CALL,
            access=self._access,
            wall=self._wall,
        )

    async def _registry(self, adapter: ChainAdapter) -> list[Finding]:
        said = await adapter.self_test()
        if not said:
            return [ok("contracts", "as the registry says")]
        advice = [f"{sentence[:1].upper()}{sentence[1:]}. Correct the registry, or the endpoint." for sentence in said]
        return [problem("contracts", "in doubt", each) for each in advice]


async def _token(adapter: ChainAdapter, token: Token) -> Finding:
    what = f"token {token.symbol}"
    try:
        meta = await adapter.token(adapter.parse_address(token.address))
    except ChainError as exc:
        return skipped(what, f"not read ({exc})")
    said = disagreement(token, meta)
    if said is None:
        return ok(what, f"{token.decimals} decimals")
    sentence = f"{said[:1].upper()}{said[1:]}."
    if meta is not None and meta.decimals == token.decimals:
        return warning(what, f"calls itself {meta.symbol}", f"{sentence} Set onChainSymbol in tokens.json.")
    return problem(what, "wrong", f"{sentence} A wrong number of decimals is a wrong amount: correct tokens.json.")
