"""Telegram's bot API (https://core.telegram.org/bots/api): sending, and linking a chat by a start code."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from kernel.store.leases import Leases
from kernel.tasks.failure_log import FailureLog
from marketplace.identity.tokens import digest
from marketplace.notifications.courier import TryLater, Undeliverable, one_line
from marketplace.store import messages
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

TELEGRAM = "telegram"  # the lease of whoever reads what is written to the bot
MOST = 4096  # characters of a message
UPDATES = 10  # asked for at once: whoever writes to the bot chooses how long each is
MOST_ANSWER = 8 << 20  # so many of the longest, with what they answer to, are half of it
SEND_S = 15.0
POLL_S = 25  # how long the API holds a question that has no answer yet
PAUSE_S = 5.0
START = "/start "
TOO_MANY, FORBIDDEN, BAD = 429, 403, 400


class Telegram:
    """One bot. Its token is a part of every address, so that no address is ever logged."""

    def __init__(self, session: aiohttp.ClientSession, token: SecretStr, base: str) -> None:
        self._session = session
        self._place = f"{base}/bot{token.get_secret_value()}"

    async def send(self, address: str, title: str) -> None:
        """Send a line to a chat."""
        status, said = await self._ask("sendMessage", {"chat_id": address, "text": one_line(title, MOST)}, SEND_S)
        if status == TOO_MANY:
            asked = said.get("parameters", {})
            after = asked.get("retry_after") if isinstance(asked, dict) else None
            raise TryLater("Telegram was asked too often", float(after) if isinstance(after, int) else None)
        if status in {FORBIDDEN, BAD}:  # the reader blocked the bot, or there is no such chat
            raise Undeliverable(f"Telegram refused with {status}")
        if status >= BAD or said.get("ok") is not True:
            raise TryLater(f"Telegram answered with {status}")

    async def updates(self, offset: int) -> list[dict[str, Any]]:
        """
        Return what was written to the bot from an update on; wait a while when there is nothing.

        Raises:
            TryLater: it cannot be read now.
        """
        asked = {"offset": offset, "limit": UPDATES, "timeout": POLL_S, "allowed_updates": ["message"]}
        status, said = await self._ask("getUpdates", asked, POLL_S + SEND_S)
        found = said.get("result")
        if status >= BAD or not isinstance(found, list):
            raise TryLater(f"Telegram answered with {status}")
        return [each for each in found if isinstance(each, dict) and isinstance(each.get("update_id"), int)]

    async def _ask(self, method: str, body: dict[str, Any], within_s: float) -> tuple[int, dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._session.post(
                f"{self._place}/{method}", json=body, timeout=timeout, allow_redirects=False
            ) as response:
                said = orjson.loads(await _whole(response) or b"{}")
                return response.status, said if isinstance(said, dict) else {}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise TryLater(
                f"Telegram cannot be reached ({type(exc).__name__})"
            ) from None  # what failed names the token


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, however many pieces it comes in."""
    found = bytearray()
    async for piece in response.content.iter_any():
        found += piece
        if len(found) > MOST_ANSWER:
            raise ValueError("the answer is too large")
    return bytes(found)


class TelegramLinks:
    """Reads what is written to the bot: a start code links the chat it came from."""

    def __init__(self, units: UnitOfWorkFactory, telegram: Telegram, leases: Leases | None = None) -> None:
        self._units = units
        self._telegram = telegram
        self._leases = leases
        self._next = 0

    async def run(self) -> None:
        """Read for ever: of several processes the one that holds the lease, for the API has one reader of a bot."""
        await (self._run() if self._leases is None else self._leases.lead(TELEGRAM, self._run))

    async def _run(self) -> None:
        outage = FailureLog(log, "[telegram] what is written to the bot")
        while True:
            try:
                await self.once()
            except TryLater as exc:
                outage.failed(str(exc))
                await asyncio.sleep(PAUSE_S)
            else:
                outage.recovered()

    async def once(self) -> None:
        """Read what came, and link whoever sent a code."""
        for update in await self._telegram.updates(self._next):
            await self._take(update)
            self._next = max(self._next, update["update_id"] + 1)

    async def _take(self, update: dict[str, Any]) -> None:
        message = update.get("message")
        text = message.get("text") if isinstance(message, dict) else None
        chat = message.get("chat") if isinstance(message, dict) else None
        chat_id = chat.get("id") if isinstance(chat, dict) else None
        if not isinstance(text, str) or type(chat_id) is not int or not text.startswith(START):
            return
        async with self._units.begin(None) as work:
            code = text.removeprefix(START).strip()[:256]
            user_id = await messages.link(work.tx, digest(code), str(chat_id), work.now)
            if user_id is not None:
                title = "A Telegram chat was linked to your account"
                work.notify([user_id], "account", "telegram_linked", title, about=user_id)
