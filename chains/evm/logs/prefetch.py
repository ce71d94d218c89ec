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
    answers: asyncio.Task[list[RawResult]]


class Prefetcher:
    """
    Asks one request before it is wanted, and answers with it only when the very same is asked.

    What comes back is checked like any other answer, when it is taken: a page carries its own proof.
    """

    def __init__(self, client: RpcClient) -> None:
        self._client = client
        self._asked: _PendingRequest | None = None

    def start(self, endpoint: Endpoint, calls: Sequence[Call]) -> None:
        """Ask; an earlier request nobody took is dropped."""
        self.drop()
        answers = asyncio.create_task(self._client.batch(endpoint, calls), name=f"read ahead {endpoint.label}")
        answers.add_done_callback(_retrieve_exception)
        self._asked = _PendingRequest(endpoint, calls, answers)

    async def batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        """
        Make the calls of one page.

        Raises:
            ChainError: as `RpcClient.batch`.
        """
        asked, self._asked = self._asked, None
        if asked is not None and asked.endpoint is endpoint and asked.calls == calls:
            return await asked.answers
        if asked is not None:
            asked.answers.cancel()
        return await self._client.batch(endpoint, calls)

    def drop(self) -> None:
        """Give up what was asked ahead."""
        if self._asked is not None:
            self._asked.answers.cancel()
        self._asked = None


def _retrieve_exception(answers: asyncio.Task[list[RawResult]]) -> None:
    """Take note of a failure nobody waits for: whoever wants that page asks again and sees for himself."""
    if not answers.cancelled():
        answers.exception()
