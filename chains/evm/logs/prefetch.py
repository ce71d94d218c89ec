"""The request for the next page, under way while this one is decoded and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from chains.evm.rpc.client import RawResult, RpcClient
from chains.rpc.endpoint import Endpoint
from chains.rpc.jsonrpc_messages import Call


class _PendingRequest(NamedTuple):
    endpoint: Endpoint
    calls: Sequence[Call]
    answers: asyncio.Future[list[RawResult]]


class Prefetcher:
    """
    Asks one request before it is wanted, and answers with it only when the very same is pending.

    The answer is checked when it is used, like any other: a page carries its own proof.
    """

    def __init__(self, client: RpcClient) -> None:
        self._client = client
        self._pending: _PendingRequest | None = None

    def start(self, endpoint: Endpoint, calls: Sequence[Call]) -> None:
        """Start a request; an earlier one that was not used is cancelled."""
        self.cancel()
        answers = asyncio.create_task(self._client.batch(endpoint, calls), name=f"prefetch {endpoint.label}")
        answers.add_done_callback(_retrieve_exception)
        self._pending = _PendingRequest(endpoint, calls, answers)

    def answered(self, endpoint: Endpoint, calls: Sequence[Call], answers: list[RawResult]) -> None:
        """Take note of answers to a request that was made beside another one."""
        self.cancel()
        known: asyncio.Future[list[RawResult]] = asyncio.get_running_loop().create_future()
        known.set_result(answers)
        self._pending = _PendingRequest(endpoint, calls, known)

    def has_answers(self, endpoint: Endpoint) -> bool:
        """Say whether the next page was answered by this endpoint already."""
        return self._pending is not None and self._pending.endpoint is endpoint and self._pending.answers.done()

    async def batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        """
        Make the calls of one page.

        Raises:
            ChainError: as `RpcClient.batch`.
        """
        pending, self._pending = self._pending, None
        if pending is not None and pending.endpoint is endpoint and pending.calls == calls:
            return await pending.answers
        if pending is not None:
            pending.answers.cancel()
        return await self._client.batch(endpoint, calls)

    def cancel(self) -> None:
        """Cancel the request under way."""
        if self._pending is not None:
            self._pending.answers.cancel()
        self._pending = None


def _retrieve_exception(answers: asyncio.Task[list[RawResult]]) -> None:
    """Retrieve a failure nobody waits for, so that asyncio does not report it: the page is asked for again anyway."""
    if not answers.cancelled():
        answers.exception()
