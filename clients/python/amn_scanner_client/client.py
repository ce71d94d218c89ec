"""The scanner's calls, one method each: it answers with what the scanner said or raises a `ScannerError`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

import aiohttp

from protocol import codec, routes
from protocol.answers import (
    Balance,
    ChainStatus,
    CreatedIntent,
    FullIntent,
    FullWebhook,
    InspectedTransaction,
    Intent,
    IntentPage,
    Readiness,
    Rechecked,
    Stats,
    TestedWebhook,
    TransferPage,
    UnmatchedPage,
    UnmatchedTransfer,
    Watch,
    WebhookPage,
)

from .errors import Conflict
from .transport import Transport, drop_none


class ScannerClient:
    """
    The scanner's API. Give it a session you own, or let `open` make one.

    Calls that may be repeated are: after `retry_delays` seconds, varied, unless the scanner asks for
    a longer pause than `patience_s`, which is for the caller to sit out.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float = 10,
        retry_delays: Sequence[float] = (0.2, 1.0),
        patience_s: float = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = Transport(
            url,
            api_key,
            session,
            timeout_s=timeout_s,
            delays=retry_delays,
            patience_s=patience_s,
            sleep=sleep,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, api_key: str | None, **options: Any) -> AsyncIterator[Self]:
        """Make a client with a session of its own, closed with the block; options as for the client."""
        async with aiohttp.ClientSession() as session:
            yield cls(url, api_key, session, **options)

    # intents

    async def create_intent(
        self,
        *,
        intent_id: str,
        chain_id: int,
        token: str,
        destination: str,
        amount: int,
        callback_url: str,
        callback_secret: str,
        rail: str | None = None,
        confirmations: int | None = None,
        expires_at: datetime | None = None,
        fee_amount: int | None = None,
        fee_address: str | None = None,
        events: Sequence[str] | None = None,
        checkout: Mapping[str, str] | None = None,
    ) -> CreatedIntent:
        """
        Register a payment to wait for; the same id with the same parameters answers the same again.

        `token` is an address or a symbol of the scanner's registry. `checkout` says what the payment page shows:
        `title`, `description`, `redirectUrl` and `locale`, each of which may be left out.

        Raises:
            Conflict: the id is taken by another payment, or the direct destination by another live one.
        """
        body = drop_none(
            intentId=intent_id,
            chainId=chain_id,
            token=token,
            destination=destination,
            amount=str(amount),
            callbackUrl=callback_url,
            callbackSecret=callback_secret,
            rail=rail,
            confirmations=confirmations,
            expiresAt=None if expires_at is None else expires_at.isoformat(),
            feeAmount=None if fee_amount is None else str(fee_amount),
            feeAddress=fee_address,
            events=None if events is None else list(events),
            checkout=None if checkout is None else dict(checkout),
        )
        return await self._calls.call(routes.CREATE_INTENT, body=body)

    async def intent(self, intent_id: str) -> FullIntent:
        """Return an intent with its newest transfers and deliveries."""
        return (await self._calls.call(routes.SHOW_INTENT, intent_id)).intent

    async def transfers(self, intent_id: str, *, cursor: str | None = None, limit: int = 500) -> TransferPage:
        """Return a page of everything that concerns an intent, oldest first, what was rejected included."""
        query = drop_none(cursor=cursor, limit=limit)
        return await self._calls.call(routes.LIST_TRANSFERS, intent_id, query=query)

    async def proof(self, intent_id: str) -> dict[str, Any]:
        """
        Return the proof of an intent's payment, for `verify_proof`.

        Raises:
            Conflict: nothing counts for it (`not_paid`), or it has no proof (`no_proof`).
        """
        return codec.plain((await self._calls.call(routes.SHOW_PROOF, intent_id)).proof)

    async def intents(
        self,
        *,
        named: str | None = None,
        status: str | None = None,
        chain_id: int | None = None,
        rail: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> IntentPage:
        """Return a page of intents in order of creation; `named` by an id, a transaction, an address or a reference."""
        query = drop_none(q=named, status=status, chainId=chain_id, rail=rail, cursor=cursor, limit=limit)
        return await self._calls.call(routes.LIST_INTENTS, query=query)

    async def cancel_intent(self, intent_id: str) -> Intent:
        """
        Cancel an intent that nobody has paid; cancelling twice changes nothing.

        Raises:
            Conflict: it is past pending.
        """
        return (await self._calls.call(routes.CANCEL_INTENT, intent_id)).intent

    async def end_intent(self, intent_id: str) -> Intent:
        """
        Cancel an intent, unless its time ran out by itself: either way nothing settles it any more.

        Raises:
            Conflict: a payment is on its way, or there.
        """
        try:
            return await self.cancel_intent(intent_id)
        except Conflict:
            found = await self.intent(intent_id)
            if found.status != "expired":
                raise
            return found

    async def recheck_intent(self, intent_id: str, tx_hash: str | None = None) -> Rechecked:
        """Let the scanner look now, at one transaction if it is named, and say what it saw."""
        return await self._calls.call(routes.RECHECK, intent_id, body=drop_none(txHash=tx_hash))

    # transactions

    async def inspect_transaction(self, chain_id: int, tx_hash: str) -> InspectedTransaction:
        """
        Look at a transaction now; one that nobody knows is not `found`.

        Raises:
            ScannerUnavailable: the chain cannot be read, so that it is not known whether there is one.
            ScannerRefused: it is no hash of that chain, or holds more transfers than are told.
        """
        return await self._calls.call(routes.INSPECT, body={"chainId": chain_id, "txHash": tx_hash})

    # balances

    async def check_balance(self, *, chain_id: int, address: str, token: str, confirmed: bool = False) -> Balance:
        """
        Read a balance now, or with `confirmed` at a safe depth; `token` is an address, a symbol, or `native`.

        Raises:
            ScannerUnavailable: the chain cannot be read. It is never a balance of zero.
        """
        body = drop_none(chainId=chain_id, address=address, token=token, confirmed=confirmed or None)
        return await self._calls.call(routes.CHECK_BALANCE, body=body)

    async def create_watch(
        self,
        *,
        watch_id: str,
        chain_id: int,
        address: str,
        token: str,
        callback_url: str,
        callback_secret: str,
        baseline_balance: int | None = None,
    ) -> Watch:
        """Watch a balance; the same id with the same parameters answers with the stored watch."""
        body = drop_none(
            watchId=watch_id,
            chainId=chain_id,
            address=address,
            token=token,
            callbackUrl=callback_url,
            callbackSecret=callback_secret,
            baselineBalance=None if baseline_balance is None else str(baseline_balance),
        )
        return (await self._calls.call(routes.CREATE_WATCH, body=body)).watch

    async def watch(self, watch_id: str) -> Watch:
        """Return a watch."""
        return (await self._calls.call(routes.SHOW_WATCH, watch_id)).watch

    async def stop_watch(self, watch_id: str) -> Watch:
        """Stop a watch; stopping twice changes nothing."""
        return (await self._calls.call(routes.DELETE_WATCH, watch_id)).watch

    # operating

    async def unmatched(
        self, *, chain_id: int | None = None, reason: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> UnmatchedPage:
        """Return a page of transfers that settled nothing, in the order they were seen."""
        query = drop_none(chainId=chain_id, reason=reason, cursor=cursor, limit=limit)
        return await self._calls.call(routes.LIST_UNMATCHED, query=query)

    async def handle_unmatched(self, row_id: str, note: str) -> UnmatchedTransfer:
        """Note that somebody saw to a row of the unmatched; a note that was there is overwritten."""
        return (await self._calls.call(routes.HANDLE_UNMATCHED, row_id, body={"note": note})).unmatched

    async def webhooks(
        self, *, status: str | None = None, receiver: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> WebhookPage:
        """Return a page of webhooks in the order they were queued; `receiver` is `host:port`."""
        query = drop_none(status=status, receiver=receiver, cursor=cursor, limit=limit)
        return await self._calls.call(routes.LIST_WEBHOOKS, query=query)

    async def webhook(self, event_id: str) -> FullWebhook:
        """Return a webhook with its body and its tries."""
        return (await self._calls.call(routes.SHOW_WEBHOOK, event_id)).webhook

    async def redeliver_webhook(self, event_id: str) -> FullWebhook:
        """
        Send a webhook again under its id, a delivered one too.

        Raises:
            Conflict: it was superseded.
        """
        return (await self._calls.call(routes.REDELIVER, event_id, repeat=False)).webhook

    async def test_webhook(
        self, *, callback_url: str, callback_secret: str, event_type: str | None = None
    ) -> TestedWebhook:
        """Send a made-up event now, and return what the receiver answered."""
        body = drop_none(callbackUrl=callback_url, callbackSecret=callback_secret, eventType=event_type)
        return await self._calls.call(routes.TEST_WEBHOOK, body=body, repeat=False)

    async def stats(self, chain_id: int, *, hours: int = 24) -> Stats:
        """Return how a chain was doing in the last 1 to 168 hours."""
        return await self._calls.call(routes.STATS, query={"chainId": chain_id, "hours": hours})

    async def retry_webhooks(self) -> int:
        """Start a new round for every delivery given up; return how many."""
        return (await self._calls.call(routes.RETRY_WEBHOOKS, repeat=False)).retried

    async def status(self) -> tuple[ChainStatus, ...]:
        """Return how each chain is doing."""
        return (await self._calls.call(routes.STATUS)).chains

    async def ready(self) -> Readiness:
        """Return whether the scanner is doing its work. Asked once: whoever asks wants to know about now."""
        return await self._calls.call(routes.READY, repeat=False)
