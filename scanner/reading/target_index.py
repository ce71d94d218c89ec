"""What a chain is watched for, kept in memory: a million waiting intents are not read from the store at each poll."""

from __future__ import annotations

from collections.abc import Iterable

from chains.types import Rail, Targets
from kernel.store.database import Tx
from kernel.store.horizon import EVERYTHING
from scanner.store import intents
from scanner.store.intents import Awaited

REBUILT_S = 3600.0  # how long the addresses of intents that ended are watched further than they have to be


class TargetIndex:
    """
    The addresses and tokens of one chain's intents, from the store once, and then from who registers.

    Nothing is taken out in between: an intent that ended is watched for days anyway, and one that was ended too
    early goes on. `forget` has everything read anew, which is also done every hour.
    """

    def __init__(self, chain_id: int, listed: Iterable[str], *, late_ms: int) -> None:
        """Take the registry's tokens, canonical, and how long an ended intent's address is watched in ms."""
        self._chain_id = chain_id
        self._listed = frozenset(listed)
        self._late_ms = late_ms
        self._number = 0  # of the newest intent known
        self._built_at: float | None = None  # None: not yet, or to be read anew
        self._direct: dict[str, None] = {}  # in the order of registration, so that who is asked about does not move
        self._proxied: dict[str, None] = {}
        self._tokens: dict[str, None] = {}
        self._targets = Targets()

    def forget(self) -> None:
        """Have everything read anew: what ended long ago may wait again."""
        self._built_at = None

    async def known(self, tx: Tx, *, now: float) -> Targets | None:
        """
        Return what is waited for, where nobody registered since the last question; None where `refresh` has to tell.

        Up to the last number it knows every intent is there, so that nothing has to be settled before.
        """
        if self._is_old(now) or await intents.newest_number(tx) > self._number:
            return None
        return self._targets

    def _is_old(self, now: float) -> bool:
        return self._built_at is None or now - self._built_at >= REBUILT_S

    async def refresh(self, tx: Tx, *, moment: int, now: float, settled: int = EVERYTHING) -> Targets:
        """
        Return what is waited for in a snapshot of the store.

        `moment` is the chain's time in unix ms, `now` monotonic seconds. Up to the number `settled`, asked before,
        every intent is there: what comes after it is asked for again, as long as a slower one may appear among it.
        """
        if self._is_old(now):
            self._built_at = now  # before: somebody may have it forgotten while it is read
            try:
                await self._rebuild(tx, moment, settled)
            except BaseException:
                self.forget()
                raise
            return self._targets
        newest = await intents.newest_number(tx)
        if newest > self._number:
            new = await intents.registered_since(tx, self._chain_id, self._number)
            self._number = min(newest, settled)
            if new:
                self._add(new)
                self._publish()
        return self._targets

    async def _rebuild(self, tx: Tx, moment: int, settled: int) -> None:
        self._direct, self._proxied, self._tokens = {}, {}, {}
        self._number = min(await intents.newest_number(tx), settled)
        late: dict[str, None] = {}
        async for known in intents.awaited(tx, self._chain_id, moment - self._late_ms):
            self._add(awaited for awaited, live in known if live)
            # What comes too late by a plain transfer has no other sign; and when blocks are read again, whoever was
            # waited for at their time has to be watched for once more, or what was listed would be taken off for good.
            for (rail, destination, token), _ in known:
                (late if rail is Rail.DIRECT else self._proxied)[destination] = None
                self._tokens[token] = None
        self._direct |= late
        self._publish()

    def _add(self, new: Iterable[Awaited]) -> None:
        for rail, destination, token in new:
            (self._direct if rail is Rail.DIRECT else self._proxied)[destination] = None
            self._tokens[token] = None

    def _publish(self) -> None:
        """Show what is known, in objects that do not change while a poll reads by them."""
        direct = frozenset(self._direct)
        self._targets = Targets(direct, frozenset(self._proxied) - direct, self._listed | self._tokens.keys())
