"""What buyer, seller and those who decide write to each other about a dispute; nothing of it is changed afterwards."""

from __future__ import annotations

from marketplace.errors import conflict
from marketplace.model import Actor, DisputeStatus, Page
from marketplace.store import dispute_messages, locks
from marketplace.store.dispute_messages import Message
from marketplace.trade.disputes import concerning, tell_all
from marketplace.unit_of_work import UnitOfWorkFactory

MAX_MESSAGES = 200  # of one person in one dispute: no side can use up what is the other's to say


class DisputeMessages:
    """Use cases of messages."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    async def listing(self, actor: Actor, dispute_id: str, page: Page) -> tuple[list[Message], int]:
        """Return one page of messages to those whom the dispute concerns, first first."""
        async with self._units.db.read() as tx:
            await concerning(tx, actor, dispute_id)
            return await dispute_messages.listing(tx, dispute_id, page)

    async def write(self, actor: Actor, dispute_id: str, text: str) -> Message:
        """Say something to the others while the dispute is open."""
        async with self._units.begin(locks.request_of_dispute(dispute_id)) as work:
            dispute, payment = await concerning(work.tx, actor, dispute_id)
            if dispute.status is not DisputeStatus.OPEN:
                raise conflict("the dispute is resolved", outcome=dispute.outcome)
            if await dispute_messages.count(work.tx, dispute_id, actor.user_id) >= MAX_MESSAGES:
                raise conflict(f"one person writes {MAX_MESSAGES} messages about a dispute", messages=MAX_MESSAGES)
            written = await dispute_messages.add(work.tx, dispute_id, actor.user_id, text, work.now)
            await tell_all(work, dispute, payment, "dispute_message", "New message about a dispute", but=actor)
            return written
