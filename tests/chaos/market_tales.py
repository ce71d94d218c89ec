"""How the buyers of a run behave: the runner's whole purchase, and the ones that go another way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from devnet.runner.facts import FlowFailed
from devnet.runner.handover import deliver, receive, release, settle
from devnet.runner.level import STEPS, Step
from devnet.runner.paying import funded, holds, open_payment
from devnet.runner.tale import Tale
from devnet.runner.trade import accept, ask, bid, people_arrive
from tests.chaos.market_facts import Bought
from tests.chaos.market_ground import MarketGround
from tests.chaos.market_plan import Story
from tests.chaos.market_strangers import GIVES_COIN_ONLY, Stranger
from tests.chaos.payments import MANY
from tests.harness import USDC, USDT

POLL_S = 0.5
PATIENCE_S = 300.0
OVER = ("cancelled", "failed")
OK, CONFLICT = 200, 409
PARTS_OF = {
    "parts": (400, 600),
    "over": (1300,),
    "twice": (1000,),
    "again": (1000,),
    "corrected": (1000,),
    "silent": (1000,),
    **dict.fromkeys(("dusted", "spammed", "zeroes", "listed", "afterwards", "plainly", "coin"), (1000,)),
}
SCREENED = {"listed"}  # its offers ask for it
PAID_AFTER_THE_END = {"cancelled", "expired", "reused"}


@dataclass(slots=True)
class Stories:
    """What all buyers of a run share; `bought` grows as payments are opened."""

    stories: Sequence[Story]
    ground: MarketGround
    bought: dict[str, Bought] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)  # stories whose time has to run out first
    may_end: asyncio.Event = field(default_factory=asyncio.Event)  # everything that shall expire is open
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # the clocks have jumped: the others begin
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # no fault is left

    stranger: Stranger = field(init=False)

    def __post_init__(self) -> None:
        self.stranger = Stranger(self.ground)
        self.waiting = {number for number, story in enumerate(self.stories) if story.kind == "expired"}
        self._none_waiting()

    def _none_waiting(self) -> None:
        if not self.waiting:
            self.may_end.set()

    def steps_of(self, tale: Tale) -> Sequence[Step]:
        """Return how one story goes."""
        story = self.stories[tale.deal.worker]
        if story.kind in SCREENED:
            tale.terms = {"requireAmlCheck": True}

        async def at_its_time(_: Tale) -> None:
            if story.kind != "expired":
                await self.begun.wait()
                await asyncio.sleep(story.at)

        async def opened(tale: Tale) -> None:
            await open_payment(tale)
            if story.kind == "exact":
                tale.wallet = self.ground.wallet()
            self._note(tale, story)

        async def behaves(tale: Tale) -> None:
            await self._behave(tale, story)

        trade: list[Step] = [at_its_time, people_arrive, ask, bid, accept, opened]
        if story.kind == "exact":
            return [*trade, *STEPS[STEPS.index(open_payment) + 1 :]]
        return [*trade, behaves, *self._rest_of(story)]

    def _rest_of(self, story: Story) -> Sequence[Step]:
        """Return how a story goes on once its buyer has paid."""
        if story.kind not in PARTS_OF:
            return ()
        paid: list[Step] = [held]
        if story.kind == "afterwards":
            paid.append(self._sends_crumbs)
        paid += [deliver, receive]
        if story.kind != GIVES_COIN_ONLY:
            paid += [release, settle]
        if story.kind == "again":
            paid.append(self._pays_again)
        return paid

    def _note(self, tale: Tale, story: Story) -> None:
        block: dict[str, Any] = tale.answer.get("checkoutBlock") or {}
        payment = tale.answer["payment"]
        self.bought[payment["id"]] = Bought(
            kind=story.kind,
            rail=story.rail,
            payment_id=payment["id"],
            price=tale.lowest,
            token=USDT.lower(),
            destination=payment["destination"].lower(),
            reference=block.get("paymentReference"),
            ended=story.kind in PAID_AFTER_THE_END,
            screened=story.kind in SCREENED,
        )

    async def _behave(self, tale: Tale, story: Story) -> None:
        bought = self.bought[tale.deal.payment_id]
        await self.stranger.come_before(bought)
        match story.kind:
            case "unpaid":
                return
            case "cancelled":
                await cancelled(tale)
                await self._pay(tale, 1000, needed=False)
                await self._says_so(tale)
            case "expired":
                self.waiting.discard(tale.deal.worker)
                self._none_waiting()
                await ended(tale)
                await self._pay(tale, 1000, needed=False)
                await self._says_so(tale)
            case "reused":
                await cancelled(tale)
                await self.stranger.send_crumbs(bought)
            case "raced":
                await self.stranger.race(bought, cancelled(tale))
                await self._says_so(tale)
            case "given_up":
                await self._pay(tale, 400, needed=True)
                await seen_in_part(tale)
                await cancelled(tale)
                await self._pay(tale, 600, needed=False)
                await self._says_so(tale)
            case "corrected":
                await self._pay(tale, 1000, needed=False, token=USDC)
                await asyncio.sleep(story.pause_s)
                await self._pay_parts(tale, story)
            case "twice":
                await self._pay_parts(tale, story)
                await asyncio.sleep(story.pause_s)
                await self._pay(tale, 1000, needed=False)
            case _:
                await self._pay_parts(tale, story)

    async def _pay_parts(self, tale: Tale, story: Story) -> None:
        for share in PARTS_OF[story.kind]:
            await self._pay(tale, share, needed=True)
            await asyncio.sleep(story.pause_s)
        tale.beyond = tale.lowest * max(0, sum(PARTS_OF[story.kind]) - 1000) // 1000
        if story.kind == "silent":
            await told_by_its_watch(tale)

    async def _sends_crumbs(self, tale: Tale) -> None:
        await self.stranger.send_crumbs(self.bought[tale.deal.payment_id])

    async def _pays_again(self, tale: Tale) -> None:
        await self._pay(tale, 1000, needed=False)

    async def _pay(self, tale: Tale, thousandths: int, *, needed: bool, token: str = USDT) -> None:
        bought = self.bought[tale.deal.payment_id]
        amount = bought.price * thousandths // 1000
        await self.ground.give(token, bought.destination, amount, bought.reference, needed=needed)

    async def _says_so(self, tale: Tale) -> None:
        """Ask about what came too late; on the balance rails nobody else would look. It may take a depth."""
        if not self.bought[tale.deal.payment_id].is_balance:
            return
        await self.settled.wait()  # what may still vanish is not asked about
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = await checked(tale)
            if int(answer["deltaBaseUnits"]) >= await self._there(tale):
                return
            await asyncio.sleep(POLL_S)
        raise FlowFailed("what came too late was never seen")

    async def _there(self, tale: Tale) -> int:
        return await tale.world.street.balance(self.bought[tale.deal.payment_id].destination)


async def held(tale: Tale) -> None:
    """Wait until the money is held, all of it."""
    payment = await funded(tale)
    if (counted := int(payment["evidence"]["amountReceivedBaseUnits"]) - tale.lowest) == MANY:
        tale.beyond = counted  # crumbs count where they lie before the honest money: the judge knows whether they do
    await holds(tale, tale.lowest)
    await tale.told([tale.buyer.user_id, tale.deal.winner], "payment_confirmed", tale.deal.payment_id)


async def shown(tale: Tale) -> dict[str, Any]:
    data = await tale.buyer.ok("read payment", "GET", f"/api/payment/{tale.deal.payment_id}")
    return dict(data["payment"])


async def checked(tale: Tale) -> dict[str, Any]:
    path = f"/api/payment/amn-scanner/direct-balance/check/{tale.deal.payment_id}"
    return await tale.buyer.ok("balance check", "POST", path)


async def cancelled(tale: Tale) -> None:
    """Give the payment up; an answer that was lost is asked for again."""
    path = f"/api/payment/{tale.deal.payment_id}/cancel"
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        status, answer = await tale.buyer.call("cancel", "POST", path)
        if status == OK or (await shown(tale))["status"] in OVER:
            return
        if status != CONFLICT:
            raise FlowFailed(f"cancel: {status} {answer}")
        await asyncio.sleep(POLL_S)  # a part that is on its way, and is not yet known to be one
    raise FlowFailed("the payment could not be cancelled")


async def ended(tale: Tale) -> None:
    """Wait until its time is up."""
    await _until(tale, lambda payment: payment["status"] in OVER, "ran out")


async def seen_in_part(tale: Tale) -> None:
    """Wait until the marketplace knows of a part."""
    balance = tale.rail.name == "direct_balance"
    await _until(tale, lambda payment: payment["escrowState"] == "partial", "was seen in part", ask=balance)


async def told_by_its_watch(tale: Tale) -> None:
    """Wait for the webhook alone."""
    await _until(tale, lambda payment: payment["status"] == "completed", "was told by its watch")


async def _until(tale: Tale, condition: Any, what: str, *, ask: bool = False) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if ask:
            await checked(tale)
        if condition(await shown(tale)):
            return
        await asyncio.sleep(POLL_S)
    raise FlowFailed(f"{tale.deal.payment_id} never {what}")
