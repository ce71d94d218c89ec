"""What people want to be told elsewhere as well."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from marketplace.errors import conflict
from marketplace.identity.tokens import new_refresh
from marketplace.model import AccountEvent, Actor, Channel
from marketplace.store import account_events, messages
from marketplace.unit_of_work import UnitOfWorkFactory

CODE_MS = 15 * 60_000
# What a notification is about (docs/marketplace.md); `alert` is for admins.
CATEGORIES = ("request", "offer", "payment", "delivery", "dispute", "account", "goods", "alert")


@dataclass(frozen=True, slots=True)
class Chosen:
    """How somebody is told."""

    available: Sequence[Channel]
    linked: bool  # whether there is a Telegram chat
    choices: Sequence[tuple[Channel, str]]


class Channels:
    """Use cases of everybody about their own channels."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    async def show(self, actor: Actor) -> Chosen:
        """Return what somebody chose, and what there is to choose from."""
        async with self._units.db.read() as tx:
            linked = await messages.chat_of(tx, actor.user_id) is not None
            chosen = await messages.choices(tx, actor.user_id)
        return Chosen(sorted(self._units.channels), linked, chosen)

    async def choose(self, actor: Actor, wanted: Collection[tuple[Channel, str]]) -> None:
        """
        Replace what somebody chose.

        Who registered by themselves gets no e-mail: nobody knows whose address it is, and we would write to it.
        """
        async with self._units.begin(f"channels of {actor.user_id}") as work:
            by_mail = any(channel is Channel.EMAIL for channel, _ in wanted)
            if by_mail and await account_events.has(work.tx, actor.user_id, AccountEvent.REGISTERED):
                raise conflict("nobody vouched for the e-mail of this account: no mail is sent to it")
            await messages.choose(work.tx, actor.user_id, set(wanted))

    async def start_link(self, actor: Actor) -> tuple[str, int]:
        """Return a code for the bot, which links the chat that sends it, and until when."""
        if Channel.TELEGRAM not in self._units.channels:
            raise conflict("no Telegram bot is configured here")
        code, hashed = new_refresh()
        async with self._units.begin(None) as work:
            await messages.put_code(work.tx, actor.user_id, hashed, work.now + CODE_MS)
            return code, work.now + CODE_MS

    async def unlink(self, actor: Actor) -> None:
        """Forget somebody's chat."""
        async with self._units.begin(None) as work:
            await messages.unlink(work.tx, actor.user_id)
