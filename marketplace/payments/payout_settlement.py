"""An instruction ends by what the chain shows: the transaction that is named for it has to pay it, deep enough."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from addresses import canonical_tx_hash
from clients.python.amn_scanner_client import BrokenAnswer, ScannerClient, ScannerRefused, ScannerUnavailable
from marketplace.catalog import Catalog, Chain
from marketplace.errors import Refused, conflict, invalid, not_found
from marketplace.model import Actor, Direction, Payment, PaymentStatus, Role
from marketplace.payments.checkout import found_payment
from marketplace.payments.inspecting import inspect, is_older
from marketplace.payments.payouts import PayoutInstruction, Payouts
from marketplace.store import locks, payments, payout_settlements
from marketplace.store.errors import StoreError
from marketplace.store.payout_settlements import PayoutSettlement
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory
from protocol.answers import InspectedTransaction, InspectedTransfer

log = logging.getLogger(__name__)

BATCH = 100  # instructions looked at in one sweep
MAX_SHOWN = 20  # transfers named in a refusal
PATIENCE_MS = 24 * 3_600_000  # after which somebody is told that a transaction is still not proved
MAX_PAUSE_MS = 600_000
OPEN = (PaymentStatus.PENDING, PaymentStatus.PROCESSING)


class Standing(StrEnum):
    """How far a transaction carries an instruction out."""

    UNKNOWN = "unknown"  # not found yet, or not all of it is there yet
    WRONG = "wrong"  # as it is now, it does not pay this instruction
    SEEN = "seen"  # it pays, and may still be taken back
    DEEP = "deep"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutProof:
    """What a transaction shows about an instruction."""

    standing: Standing
    reason: str | None = None  # why it is wrong
    transfers: tuple[InspectedTransfer, ...] = ()  # each of which would pay it, the smallest first


def proof_of(order: Payment, chain: Chain, catalog: Catalog, seen: InspectedTransaction) -> PayoutProof:
    """Say how far a transaction pays exactly this: its chain, token and recipient, at least its amount."""
    if not seen.found:
        return PayoutProof(standing=Standing.UNKNOWN)
    if seen.success is False:
        return PayoutProof(standing=Standing.WRONG, reason="failed")
    if is_older(seen, order):
        return PayoutProof(standing=Standing.WRONG, reason="older_than_the_instruction")
    paying = [each for each in seen.transfers if _pays(order, catalog, each)]
    if not paying:
        # What one message of TON causes happens piece by piece: its transfer may still be on its way.
        more_to_come = chain.chain_type == "ton" and not seen.final
        return PayoutProof(standing=Standing.UNKNOWN if more_to_come else Standing.WRONG, reason="pays_something_else")
    found = tuple(sorted(paying, key=lambda each: (each.amount, each.event_key)))
    deep = seen.success is True and seen.final and _as_deep_as_agreed(order, chain, seen)
    return PayoutProof(standing=Standing.DEEP if deep else Standing.SEEN, transfers=found)


def _pays(order: Payment, catalog: Catalog, transfer: InspectedTransfer) -> bool:
    same = catalog.same_address
    return (
        transfer.amount >= order.amount_base
        # Whoever is paid can send as much as they have to themselves.
        and not same(order.chain_id, transfer.sender, transfer.destination)
        and same(order.chain_id, order.token_address, transfer.token)
        and same(order.chain_id, order.paid_to, transfer.destination)
    )


def _as_deep_as_agreed(order: Payment, chain: Chain, seen: InspectedTransaction) -> bool:
    if chain.chain_type != "evm":
        return True  # there only `final` counts: positions are no blocks
    return seen.depth is not None and seen.depth >= order.confirmations_required


class PayoutSettlements:
    """Use cases of instructions that were carried out."""

    def __init__(self, units: UnitOfWorkFactory, catalog: Catalog, scanner: ScannerClient) -> None:
        self._units = units
        self._catalog = catalog
        self._scanner = scanner

    async def settle(self, actor: Actor, instruction_id: str, tx_hash: str) -> PayoutInstruction:
        """
        Take a transaction for the one that carries an instruction out, as far as the chain shows it.

        Done when it pays and is deep enough, `settling` before that. Another transaction may be named meanwhile.

        Raises:
            Refused: it pays something else, or another instruction; or the chain cannot be read now.
        """
        order = await self._order(instruction_id)
        spelt = canonical_tx_hash(self._chain(order).chain_type, tx_hash)
        if spelt is None:
            raise invalid("txHash", f"is no transaction hash of {self._chain(order).name}")
        if order.status in OPEN:
            seen = await self._asked(order, spelt)
            async with self._units.begin(locks.request_of_payment(instruction_id)) as work:
                order = await self._read(work, instruction_id)
                if order.status in OPEN:
                    await self._name(work, actor, order, spelt, seen)
        return await self._shown(order.id, spelt)

    async def look_again(self) -> int:
        """Look at what is not proved yet, as far as it is due; return how many were done."""
        async with self._units.begin(None) as work:
            found = await payout_settlements.due(work.tx, work.now, BATCH)
            for each in found:
                pause = min(MAX_PAUSE_MS, max(0, work.now - each.given_at) // 10)
                await payout_settlements.postpone(work.tx, [each.instruction_id], work.now + pause)
        done = 0
        silent: set[int] = set()
        for settlement in found:
            try:
                if settlement.chain_id not in silent:
                    done += await self._look(settlement)
                    continue
            except StoreError:
                raise
            except (ScannerUnavailable, ScannerRefused) as exc:
                log.debug("[payouts] %s: %s", settlement.instruction_id, exc)
                if not isinstance(exc, (BrokenAnswer, ScannerRefused)):
                    silent.add(settlement.chain_id)  # each more of them would wait for as long as this one did
            except Exception:
                # One that cannot be judged would otherwise keep every other from being judged.
                log.exception("[payouts] %s cannot be judged: the others go on", settlement.instruction_id)
            await self._remind(settlement)
        return done

    # -- one transaction

    async def _asked(self, order: Payment, tx_hash: str) -> InspectedTransaction:
        try:
            return await self._inspect(order, tx_hash)
        except ScannerUnavailable as exc:
            raise Refused("scanner_unavailable", "the chain cannot be read now: try again", retryAfter=5) from exc
        except ScannerRefused as exc:
            raise conflict(f"the scanner does not look at this transaction: {exc.message[:200]}") from exc

    async def _inspect(self, order: Payment, tx_hash: str) -> InspectedTransaction:
        return await inspect(self._scanner, order.chain_id, self._chain(order).chain_type, tx_hash)

    async def _name(
        self, work: UnitOfWork, actor: Actor, order: Payment, given_hash: str, seen: InspectedTransaction
    ) -> None:
        """Note which transaction it is said to be, unless it is plainly another."""
        before = await payout_settlements.get(work.tx, order.id)
        proof = proof_of(order, self._chain(order), self._catalog, seen)
        if proof.standing is Standing.WRONG:
            raise _wrong(proof.reason, seen)
        if before is not None and before.event_key is not None and proof.standing is Standing.UNKNOWN:
            if before.given_hash != given_hash:
                raise conflict("another transaction was seen to pay this: name no other before that one is gone")
            await self._unseen(work, order, before)
            return
        again = before is not None and before.given_hash == given_hash
        settlement = PayoutSettlement(
            instruction_id=order.id,
            chain_id=order.chain_id,
            given_hash=given_hash,
            tx_hash=seen.tx_hash,
            event_key=None,
            given_by=before.given_by if before is not None and again else actor.user_id,
            given_at=before.given_at if before is not None and again else work.now,
            next_look_at=work.now,
            reported_at=before.reported_at if before is not None and again else None,
            done_at=None,
        )
        log.info("[payouts] %s: %s is said to carry it out, by %s", order.id, given_hash, actor.user_id)
        await self._keep(work, order, settlement, proof, seen)

    async def _look(self, settlement: PayoutSettlement) -> bool:
        order = await self._order(settlement.instruction_id)
        seen = await self._inspect(order, settlement.given_hash)
        async with self._units.begin(locks.request_of_payment(order.id)) as work:
            order = await self._read(work, order.id)
            now = await payout_settlements.get(work.tx, order.id)
            if now is None or now.given_hash != settlement.given_hash or order.status is not PaymentStatus.PROCESSING:
                return False  # meanwhile it is done, or another transaction was named
            return await self._judge_again(work, order, now, seen)

    async def _judge_again(
        self, work: UnitOfWork, order: Payment, now: PayoutSettlement, seen: InspectedTransaction
    ) -> bool:
        proof = proof_of(order, self._chain(order), self._catalog, seen)
        if proof.standing is Standing.WRONG and seen.final:
            await self._take_back(work, order, now, proof.reason or "")
            return False
        if proof.standing in {Standing.UNKNOWN, Standing.WRONG}:
            await self._unseen(work, order, now)
            return False
        try:
            await self._keep(work, order, replace(now, tx_hash=seen.tx_hash), proof, seen)
        except Refused as exc:  # every transfer of it that would pay pays another instruction
            await self._take_back(work, order, now, str(exc.details.get("reason", exc.code)))
            return False
        if proof.standing is not Standing.DEEP:
            await self._remind_in(work, order, replace(now, tx_hash=seen.tx_hash))
        return proof.standing is Standing.DEEP

    async def _keep(
        self,
        work: UnitOfWork,
        order: Payment,
        settlement: PayoutSettlement,
        proof: PayoutProof,
        seen: InspectedTransaction,
    ) -> None:
        """Store how far it is, with the transfer that pays; no transfer pays two instructions."""
        event_key = None
        if proof.transfers:
            # Instructions of two requests may name one transaction at the same time, each under its own request's lock.
            await self._units.db.lock(work.tx, f"payout transaction {order.chain_id} {seen.tx_hash}")
            taken = await payout_settlements.taken(work.tx, order.chain_id, seen.tx_hash, but=order.id)
            free = [each.event_key for each in proof.transfers if each.event_key not in taken]
            if not free:
                raise _wrong("pays_another_instruction", seen)
            event_key = free[0]
        done = proof.standing is Standing.DEEP
        await payout_settlements.put(
            work.tx, replace(settlement, event_key=event_key, done_at=work.now if done else None)
        )
        named = {"status": PaymentStatus.PROCESSING, "tx_hash": seen.tx_hash}
        await payments.change(work.tx, order.id, work.now, expected=OPEN, **named)
        if done:
            await Payouts.mark_executed(work, order, seen.tx_hash)

    async def _unseen(self, work: UnitOfWork, order: Payment, now: PayoutSettlement) -> None:
        """Note that nothing is to be seen of it; what was seen before left the chain."""
        if now.event_key is not None:
            now = replace(now, event_key=None)
            await payout_settlements.put(work.tx, now)
            await self._tell(
                work, order, "payout_reorged", "the transaction that paid out is not on the chain any more"
            )
        await self._remind_in(work, order, now)

    async def _take_back(self, work: UnitOfWork, order: Payment, now: PayoutSettlement, reason: str) -> None:
        """Let the instruction wait for another transaction: this one will never pay it."""
        await payout_settlements.forget(work.tx, order.id)
        undone = {"status": PaymentStatus.PENDING, "tx_hash": None}
        await payments.change(work.tx, order.id, work.now, expected=(PaymentStatus.PROCESSING,), **undone)
        title = f"{now.given_hash} does not pay this instruction: {reason}"
        await self._tell(work, order, "payout_wrong_transaction", title)

    # -- whom it concerns

    async def _remind(self, settlement: PayoutSettlement) -> None:
        if settlement.reported_at is not None or self._units.clock.now_ms() - settlement.given_at < PATIENCE_MS:
            return
        async with self._units.begin(locks.request_of_payment(settlement.instruction_id)) as work:
            now = await payout_settlements.get(work.tx, settlement.instruction_id)
            if now is not None and now.done_at is None:
                await self._remind_in(work, await self._read(work, now.instruction_id), now)

    async def _remind_in(self, work: UnitOfWork, order: Payment, now: PayoutSettlement) -> None:
        """Tell admins once of what is not proved after a day; nothing is ever done without a proof."""
        if now.reported_at is not None or work.now - now.given_at < PATIENCE_MS:
            return
        kept = await payout_settlements.get(work.tx, order.id)
        if kept is not None:
            await payout_settlements.put(work.tx, replace(kept, reported_at=work.now))
        await self._tell(work, order, "payout_unproved", f"{now.given_hash} was not seen to pay this for a day: look")

    async def _tell(self, work: UnitOfWork, order: Payment, kind: str, what: str) -> None:
        """Tell admins: once, and then hourly with a count; a node that shows it and hides it would fill their lists."""
        payment = await found_payment(work.tx, order.settles_payment_id or "")
        admins = await work.people(Role.ADMIN)
        await work.notify_of_payment_seldom(admins, payment, kind, f"Payment {payment.ref}: {what}")

    # -- what is stored

    async def _order(self, instruction_id: str) -> Payment:
        async with self._units.db.read() as tx:
            return _instruction(await payments.get(tx, instruction_id))

    @staticmethod
    async def _read(work: UnitOfWork, instruction_id: str) -> Payment:
        return _instruction(await payments.get(work.tx, instruction_id))

    async def _shown(self, instruction_id: str, spelt: str) -> PayoutInstruction:
        async with self._units.db.read() as tx:
            order = _instruction(await payments.get(tx, instruction_id))
            settlement = await payout_settlements.get(tx, instruction_id)
            known = set() if settlement is None else {settlement.given_hash, settlement.tx_hash}
            if order.status is PaymentStatus.COMPLETED and spelt not in known:
                raise conflict("the instruction was carried out by another transaction", txHash=order.tx_hash)
            return PayoutInstruction(await found_payment(tx, order.settles_payment_id or ""), order)

    def _chain(self, order: Payment) -> Chain:
        return self._catalog.chains[order.chain_id]


def _instruction(found: Payment | None) -> Payment:
    if found is None or found.direction is Direction.IN or found.settles_payment_id is None:
        raise not_found("instruction")
    return found


def _wrong(reason: str | None, seen: InspectedTransaction) -> Refused:
    said = {
        "failed": "the transaction failed: it paid nothing",
        "older_than_the_instruction": "the transaction is older than the instruction: it paid something else",
        "pays_another_instruction": "what this transaction pays was counted for another instruction",
    }
    message = said.get(reason or "", "the transaction does not pay this instruction")
    return Refused("wrong_transaction", message, reason=reason, seen=_told(seen, seen.transfers[:MAX_SHOWN]))


def _told(seen: InspectedTransaction, transfers: Collection[InspectedTransfer]) -> Mapping[str, Any]:
    return {
        "chainId": seen.chain_id,
        "txHash": seen.tx_hash,
        "success": seen.success,
        "blockTime": None if seen.block_time is None else seen.block_time.written(),
        "depth": seen.depth,
        "final": seen.final,
        "transferCount": len(seen.transfers),
        "transfers": [
            {
                "eventKey": each.event_key,
                "token": each.token,
                "sender": each.sender,
                "destination": each.destination,
                "amount": str(each.amount),
            }
            for each in transfers
        ],
    }
