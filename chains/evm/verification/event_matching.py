"""Which token movement stands behind which proxy event: a pure rule, so that nothing counts twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from chains.evm.address import ZERO_ADDRESS
from chains.evm.events import ProxyEvent, TransferLog
from chains.types import VerificationOutcome


class EventMatch(NamedTuple):
    """What the token itself says about one proxy event."""

    outcome: VerificationOutcome  # CREDITED, SHORT or NO_TRANSFER_LOG
    credited: int  # base units, never more than the event claims
    sender: str | None  # who the token was taken from
    position: int | None = None  # of the token's log in the receipt


@dataclass(slots=True, eq=False)
class TokenMovement:
    """One `Transfer` log, and the proxy event whose payment or fee it is."""

    log: TransferLog
    position: int | None = None  # in the receipt
    event_reference: str | None = None  # reference of that event


class EventMatcher:
    """
    Gives every proxy event of one transaction its own `Transfer` log, fed in log order.

    Anyone may emit the event's twin many times in a transaction, and the event shows the amount that
    was asked for: only a movement that no earlier event has used proves that this one was paid.
    Every log is looked at a fixed number of times, however many others a stranger put beside it.
    """

    def __init__(self) -> None:
        self._unused: dict[tuple[str, str], list[TokenMovement]] = {}  # by token and destination, the latest last
        self._exact: dict[tuple[str, str, int], list[TokenMovement]] = {}  # and by value

    def move(self, log: TransferLog, position: int | None = None) -> TokenMovement:
        """Take note of a movement that came before the events still to come."""
        move = TokenMovement(log, position)
        self._unused.setdefault((log.token, log.destination), []).append(move)
        self._exact.setdefault((log.token, log.destination, log.value), []).append(move)
        return move

    def event(self, event: ProxyEvent) -> EventMatch:
        """Use up what moved for an event; say what that proves."""
        # The fee moves last: taken first, it cannot be mistaken for the payment when both go to one address.
        fee_paid = self._take_fee(event)
        move = self._take(event, event.destination, event.amount)
        if move is None:
            return EventMatch(VerificationOutcome.NO_TRANSFER_LOG, 0, None)
        credited = min(move.log.value, event.amount)
        whole = fee_paid and credited == event.amount
        return EventMatch(
            VerificationOutcome.CREDITED if whole else VerificationOutcome.SHORT,
            credited,
            move.log.source,
            move.position,
        )

    def _take_fee(self, event: ProxyEvent) -> bool:
        """Use up the fee's movement; say whether the fee, if there is one, was paid in full."""
        if event.fee_amount == 0 or event.fee_address == ZERO_ADDRESS:
            return True
        fee = self._take(event, event.fee_address, event.fee_amount)
        return fee is not None and fee.log.value >= event.fee_amount

    def _take(self, event: ProxyEvent, destination: str, amount: int) -> TokenMovement | None:
        """Take the movement that fits best: the exact value before any other, the latest before earlier ones."""
        for stack in (
            self._exact.get((event.token, destination, amount), []),
            self._unused.get((event.token, destination), []),
        ):
            while stack:
                move = stack.pop()  # what the other list gave away is met once more here, and only once
                if move.event_reference is None:
                    move.event_reference = event.reference
                    return move
        return None
