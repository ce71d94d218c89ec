"""From the daemon's facts to what goes over the wire: fields of one name are taken over, the others are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chains.types import EndpointReport, Rail
from protocol import answers
from protocol.codec import of
from protocol.wire import Moment, Units, moment
from scanner.cluster import NodeView
from scanner.deliveries import DeliveryView
from scanner.inspections import Inspection
from scanner.model import DeliveryStatus, Intent, StoredTransfer, Watch, WatchStatus
from scanner.reading.folding import first_key
from scanner.services import ChainStatus, IntentView, RecheckedTransfer, Services, UnmatchedView
from scanner.store.samples import Sample
from scanner.store.webhook_log import LoggedEvent
from scanner.upkeep.health import ChainState

STUCK_SHOWN = 20
PROBLEMS_SHOWN = 50
SENTENCE = 500  # characters of what an endpoint or a chain said


def created_intent(services: Services, intent: Intent) -> answers.CreatedIntent:
    """Return the answer to a registration."""
    warnings = tuple(of(answers.RailWarning, warning) for warning in services.warnings(intent))
    return of(
        answers.CreatedIntent,
        intent,
        checkout_block=checkout_block(services, intent),
        warnings=warnings,
        payment_url=services.payment_url(intent),
    )


def checkout_block(services: Services, intent: Intent) -> answers.CheckoutBlock:
    """Return what a wallet needs to pay."""
    checkout = services.checkout(intent)
    return of(
        answers.CheckoutBlock,
        intent,
        proxy_address=services.proxy_address(intent.chain_id) if intent.rail is Rail.PROXY else None,
        amount_wei=Units(intent.amount),
        payment_uri=checkout.payment_uri,
        calldata=checkout.calldata,
    )


def intent(stored: Intent) -> answers.Intent:
    """Return an intent; the secret and the salt have no place here."""
    return of(answers.Intent, stored)


def full_intent(view: IntentView) -> answers.FullIntent:
    """Return an intent with everything known about it."""
    return of(
        answers.FullIntent,
        view.intent,
        transfers=tuple(map(transfer, view.transfers)),
        transfer_count=view.transfer_count,
        deliveries=tuple(map(delivery, view.deliveries)),
        delivery_count=view.delivery_count,
    )


def transfer(stored: StoredTransfer) -> answers.Transfer:
    """Return one transfer of an intent."""
    return of(answers.Transfer, stored, tx_hash=stored.tx_hash or None, count=stored.times)


def delivery(event: Mapping[str, Any]) -> answers.Delivery:
    """Return one webhook event with its attempts."""
    return of(
        answers.Delivery,
        event,
        next_attempt_at=moment(event["next_attempt_at"] if event["status"] == "pending" else None),
        attempts=tuple(of(answers.Attempt, attempt) for attempt in event["tries"]),
    )


def stats_point(sample: Sample) -> answers.StatsPoint:
    """Return how a chain was doing at one time."""
    seconds = None if sample.detection_ms is None else sample.detection_ms / 1000
    return of(answers.StatsPoint, sample, detection_seconds=seconds)


def webhook(event: LoggedEvent) -> answers.Webhook:
    """Return one webhook."""
    return of(answers.Webhook, event, **_webhook(event))


def full_webhook(view: DeliveryView) -> answers.FullWebhook:
    """Return one webhook with its body and its tries."""
    tries = tuple(of(answers.Attempt, each) for each in view.tries)
    return of(answers.FullWebhook, view.event, **_webhook(view.event), body=view.body, tries=tries)


def _webhook(event: LoggedEvent) -> dict[str, Any]:
    waits = event.status is DeliveryStatus.PENDING
    return {
        "receiver": event.receiver.partition("://")[2],
        "next_attempt_at": moment(event.next_attempt_at if waits else None),
    }


def rechecked(view: IntentView, seen: list[RecheckedTransfer]) -> answers.Rechecked:
    """Return what a recheck saw, and what it means."""
    return answers.Rechecked(
        intent=full_intent(view),
        seen=tuple(of(answers.RecheckedTransfer, each, tx_hash=each.tx_hash or None) for each in seen),
        settled=view.intent.confirmed_at is not None,
        missing=Units(max(0, view.intent.amount - view.intent.amount_received)),
    )


def inspection(seen: Inspection) -> answers.InspectedTransaction:
    """Return what a transaction did."""
    moved = tuple(of(answers.InspectedTransfer, each) for each in seen.transfers)
    return of(answers.InspectedTransaction, seen, transfers=moved)


def unmatched(view: UnmatchedView) -> answers.UnmatchedTransfer:
    """Return what settled nothing, one or several as one; of an overpayment `amount` is the part that did not."""
    stored = view.stored
    return of(
        answers.UnmatchedTransfer,
        stored,
        id=str(stored.id),
        handled=None if view.handled is None else of(answers.Handled, view.handled),
        tx_hash=stored.tx_hash or None,
        event_key=first_key(stored),
        count=stored.times,
        last_tx_hash=stored.last_tx_hash or stored.tx_hash or None,
        last_block_number=stored.last_block_number or stored.block_number,
        amount=Units(stored.amount if stored.surplus is None else stored.surplus),
        transfer_amount=Units(stored.amount),
    )


def watch(stored: Watch) -> answers.Watch:
    """Return a balance watch; the secret has no place here."""
    following = stored.next_check_at if stored.status is WatchStatus.WATCHING else None
    return of(answers.Watch, stored, next_check_at=moment(following))


def chain_status(status: ChainStatus, now: int) -> answers.ChainStatus:
    """Return one chain's condition."""
    health, backlog, head = status.health, status.backlog, status.health.head
    return answers.ChainStatus(
        chain_id=status.chain.chain_id,
        name=status.chain.name,
        chain_type=status.chain.chain_type,
        state=_state(status),
        last_scanned_block=health.checkpoint,
        chain_head=head.position if head else None,
        finalized_head=head.finalized if head else None,
        lag=health.lag,
        lag_seconds=_lag_seconds(status),
        pending_intents=status.pending_intents,
        active_balance_watches=status.active_watches,
        endpoint=health.endpoint,
        last_error=_cut(health.last_error),
        last_success_at=moment(health.last_success_at),
        restarts=health.restarts,
        problems=_problems(status),
        endpoints=tuple(map(_endpoint, status.condition.endpoints)),
        sockets=tuple(of(answers.Socket, s, last_error=_cut(s.last_error)) for s in status.condition.sockets),
        stuck=tuple(of(answers.StuckTransfer, s, why=s.why[:SENTENCE]) for s in health.stuck[:STUCK_SHOWN]),
        stuck_count=len(health.stuck),
        sweep=_sweep(status),
        undelivered_webhooks=0 if backlog is None else backlog.pending + backlog.failed,
        oldest_undelivered_age_seconds=None if backlog is None else (now - backlog.oldest_created_at) // 1000,
        tokens=tuple(of(answers.Token, token) for token in status.tokens),
        leader=status.leader,
    )


def node(view: NodeView) -> answers.Node:
    """Return one process."""
    return of(answers.Node, view)


def _state(status: ChainStatus) -> ChainState:
    """A poll that hangs tells nothing: what endpoints are known to be like is asked anew."""
    state = status.health.state
    return ChainState.STALE if status.condition.stale and state is not ChainState.FAILING else state


def _lag_seconds(status: ChainStatus) -> int | None:
    known = [lag for lag in (status.health.lag_seconds, status.condition.lag_s) if lag is not None]
    return max(known, default=None)


def _problems(status: ChainStatus) -> tuple[str, ...]:
    found = dict.fromkeys((*status.health.problems, *status.condition.problems))
    return tuple(problem[:SENTENCE] for problem in list(found)[:PROBLEMS_SHOWN])


def _sweep(status: ChainStatus) -> answers.Sweep:
    last = status.health.sweep
    if last is None:
        return answers.Sweep(covered_to=None, at=None)
    return answers.Sweep(covered_to=Moment(last.covered_to * 1000), at=Moment(last.at))


def _endpoint(report: EndpointReport) -> answers.Endpoint:
    """Return what is known of one endpoint; null: not learnt."""
    return of(
        answers.Endpoint,
        report,
        head_time=moment(None if report.head_time is None else report.head_time * 1000),
        last_error=_cut(report.last_error),
        limits=of(answers.LearntLimits, report.limits),
    )


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:SENTENCE]
