"""Where a seller is paid: an address of their own, proved by a signature, and changed only after a day."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from addresses import InvalidAddress
from marketplace.catalog import Catalog, Chain
from marketplace.errors import Refused, conflict, invalid, not_found
from marketplace.model import Actor, Page
from marketplace.payments.address_proofs import NotProved, TonProof, check_text, check_ton
from marketplace.store import payout_addresses
from marketplace.store.database import Tx
from marketplace.store.payout_addresses import PayoutAddress, PayoutChallenge
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id
from protocol.wire import rfc3339

CHALLENGE_MS = 15 * 60_000
COOL_DOWN_MS = 24 * 3_600_000
MAX_OPEN = 5  # challenges of one seller
MAX_A_DAY = 10  # proved addresses of one seller


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a seller is paid on one chain, and where after the cool-down."""

    current: PayoutAddress | None = None
    pending: PayoutAddress | None = None


def standing(history: Sequence[PayoutAddress], now: int) -> Standing:
    """
    Say which of the proved addresses holds; `history` is of one seller and chain, oldest first.

    The first one holds at once. Another one holds a day later, unless one more is proved before: then that one is
    waited for, and proving the present one again calls the change off.
    """
    current: PayoutAddress | None = None
    pending: PayoutAddress | None = None
    for each in history:
        if pending is not None and pending.effective_at <= each.created_at:
            current, pending = pending, None
        if current is None:
            current = each
        else:
            pending = None if each.address == current.address else each
    if pending is not None and pending.effective_at <= now:
        current, pending = pending, None
    return Standing(current=current, pending=pending)


async def proved_address(tx: Tx, user_id: str, chain_id: int, now: int) -> str | None:
    """Return where a seller is paid now; None when they proved no address."""
    current = standing(await payout_addresses.history(tx, user_id, chain_id), now).current
    return None if current is None else current.shown_address


class PayoutAddresses:
    """Use cases of sellers who say where they are paid."""

    def __init__(self, units: UnitOfWorkFactory, catalog: Catalog, *, domain: str) -> None:
        self._units = units
        self._catalog = catalog
        self.domain = domain

    async def challenge(self, actor: Actor, chain_id: int, address: str) -> PayoutChallenge:
        """Give a seller what to sign: for this account, chain and address alone, once and for a quarter of an hour."""
        chain = self._chain(chain_id)
        try:
            form = self._catalog.payee(chain_id, address)
        except InvalidAddress as exc:
            raise invalid("address", f"cannot be paid: {exc}") from None
        async with self._units.begin(_of_user(actor)) as work:
            given = self._challenge(work, actor, chain, form, address)
            await payout_addresses.add_challenge(work.tx, given, MAX_OPEN)
            return given

    async def prove(self, actor: Actor, challenge_id: str, proof: str | TonProof) -> Standing:
        """
        Take an address for a seller's own, when its key signed the challenge.

        Raises:
            Refused: the challenge is not theirs, was used or is over; or somebody else signed.
        """
        async with self._units.begin(_of_user(actor)) as work:
            given = await payout_addresses.challenge(work.tx, challenge_id)
            if given is None or given.user_id != actor.user_id:
                raise not_found("challenge")
            self._check(given, proof, work.now)
            if not await self._calls_off(work, given):
                await self._refuse_too_many(work, actor.user_id)
            if not await payout_addresses.use(work.tx, challenge_id, actor.user_id, work.now):
                raise conflict("this challenge was used, or is over: ask for another", reason="challenge_over")
            return await self._taken(work, given, proof)

    async def mine(self, actor: Actor) -> dict[int, Standing]:
        """Return where a seller is paid, by chain."""
        async with self._units.db.read() as tx:
            history = await payout_addresses.history(tx, actor.user_id)
        now = self._units.clock.now_ms()
        chains = dict.fromkeys(each.chain_id for each in history)
        return {chain: standing([each for each in history if each.chain_id == chain], now) for chain in chains}

    async def current(self, user_id: str, chain_id: int) -> str | None:
        """Return where a seller is paid on one chain now; None when they proved no address."""
        async with self._units.db.read() as tx:
            return await proved_address(tx, user_id, chain_id, self._units.clock.now_ms())

    async def listing(self, page: Page, *, user_id: str | None) -> tuple[list[PayoutAddress], int]:
        """Return one page of what was proved, newest first."""
        async with self._units.db.read() as tx:
            return await payout_addresses.listing(tx, page, user_id=user_id)

    def _challenge(self, work: UnitOfWork, actor: Actor, chain: Chain, form: str, address: str) -> PayoutChallenge:
        nonce, expires_at = secrets.token_hex(16), work.now + CHALLENGE_MS
        lines = (
            f"{self.domain} asks you to prove that money may be paid out to this address.",
            f"Account: {actor.user_id}",
            f"Chain: {chain.name} ({chain.chain_id})",
            f"Address: {address}",
            f"Nonce: {nonce}",
            f"Expires: {rfc3339(expires_at)}",
        )
        return PayoutChallenge(
            id=new_id(),
            user_id=actor.user_id,
            chain_id=chain.chain_id,
            address=form,
            shown_address=address,
            nonce=nonce,
            message=nonce if chain.chain_type == "ton" else "\n".join(lines),
            created_at=work.now,
            expires_at=expires_at,
            used_at=None,
        )

    @staticmethod
    async def _calls_off(work: UnitOfWork, given: PayoutChallenge) -> bool:
        """
        Say whether an address is the present one, and proving it again calls a change off.

        Whoever stole a session uses up the changes of a day: what takes theirs back is always free.
        """
        now = standing(await payout_addresses.history(work.tx, given.user_id, given.chain_id), work.now)
        return now.pending is not None and now.current is not None and now.current.address == given.address

    @staticmethod
    async def _refuse_too_many(work: UnitOfWork, user_id: str) -> None:
        if await payout_addresses.proved_since(work.tx, user_id, work.now - COOL_DOWN_MS) >= MAX_A_DAY:
            raise conflict(f"at most {MAX_A_DAY} addresses are proved in a day", reason="too_many")

    def _check(self, given: PayoutChallenge, proof: str | TonProof, now: int) -> None:
        family = self._chain(given.chain_id).chain_type
        try:
            if isinstance(proof, TonProof):
                if family != "ton":
                    raise NotProved("this chain's accounts sign the text of the challenge")
                times = {"issued_s": given.created_at // 1000, "now_s": now // 1000}
                check_ton(given.address, proof, nonce=given.nonce, domain=self.domain, **times)
            elif family == "ton":
                raise NotProved("a TON wallet answers with a ton-proof")
            else:
                check_text(family, given.address, given.message, proof)
        except NotProved as exc:
            raise Refused("not_proved", str(exc)) from exc

    async def _taken(self, work: UnitOfWork, given: PayoutChallenge, proof: str | TonProof) -> Standing:
        before = await payout_addresses.history(work.tx, given.user_id, given.chain_id)
        was = standing(before, work.now)
        said = {"signature": proof if isinstance(proof, str) else proof.signature}
        if isinstance(proof, TonProof):
            said |= {"timestamp": str(proof.timestamp), "stateInit": proof.state_init, "domain": proof.domain}
        taken = PayoutAddress(
            id=new_id(),
            user_id=given.user_id,
            chain_id=given.chain_id,
            address=given.address,
            shown_address=given.shown_address,
            challenge_id=given.id,
            proof=said,
            effective_at=work.now if was.current is None else work.now + COOL_DOWN_MS,
            created_at=work.now,
        )
        await payout_addresses.add(work.tx, taken)
        now = standing([*before, taken], work.now)
        self._tell(work, taken, now)
        return now

    def _tell(self, work: UnitOfWork, taken: PayoutAddress, now: Standing) -> None:
        """Tell the seller: whoever stole a session cannot hide the change for the day it takes."""
        name = self._chain(taken.chain_id).name
        if now.pending is not None:
            when = rfc3339(now.pending.effective_at)
            what = (
                f"Payouts on {name} go to {taken.shown_address} from {when} on: if that was not you, prove yours again"
            )
        else:
            what = f"Payouts on {name} go to {taken.shown_address}"
        work.notify([taken.user_id], "account", "payout_address_changed", what, about=taken.id)

    def _chain(self, chain_id: int) -> Chain:
        chain = self._catalog.chains.get(chain_id)
        if chain is None:
            raise invalid("chainId", "is no chain of the registry")
        return chain


def _of_user(actor: Actor) -> str:
    return f"payout addresses of {actor.user_id}"
