"""Rounds of a negotiation and their answers: both only ever added."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select

from marketplace.store.database import Tx
from marketplace.store.rows import many, one
from marketplace.store.tables import negotiation_answers, negotiation_rounds, offers

_r = negotiation_rounds.c
_a = negotiation_answers.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One proposal; `answer` None waits until `expires_at`."""

    id: str
    offer_id: str
    round: int
    by_user_id: str
    price_amount: str
    price_currency: str
    note: str | None
    expires_at: int
    created_at: int
    answer: str | None = None


_JOINED = select(negotiation_rounds, _a.answer).join(negotiation_answers, _a.round_id == _r.id, isouter=True)


async def rounds(tx: Tx, offer_id: str) -> list[Round]:
    """Return every round of an offer, first first."""
    return await many(tx, _JOINED.where(_r.offer_id == offer_id).order_by(_r.round), Round)


async def pending(tx: Tx, offer_id: str, now: int) -> Round | None:
    """Return the round that waits for an answer; one whose time is over waits for nothing."""
    waiting = _JOINED.where(_r.offer_id == offer_id, _a.answer.is_(None), _r.expires_at > now)
    return await one(tx, waiting.order_by(_r.round.desc()).limit(1), Round)


async def any_pending(tx: Tx, request_id: str, now: int) -> bool:
    """Say whether a round of any offer for a request waits for an answer."""
    theirs = select(offers.c.id).where(offers.c.purchase_request_id == request_id)
    waiting = _JOINED.where(_r.offer_id.in_(theirs), _a.answer.is_(None), _r.expires_at > now)
    return (await tx.execute(waiting.limit(1))).first() is not None


async def add_round(tx: Tx, proposal: Round) -> None:
    row = asdict(proposal)
    del row["answer"]
    await tx.execute(insert(negotiation_rounds).values(**row))


async def add_answer(tx: Tx, round_id: str, user_id: str, answer: str, now: int) -> None:
    await tx.execute(
        insert(negotiation_answers).values(round_id=round_id, by_user_id=user_id, answer=answer, created_at=now)
    )
