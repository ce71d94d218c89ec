"""How the buyers of a run behave: the runner's whole purchase, and the ones that go another way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from devnet.runner.digital import fill_stocks, reveal_goods
from devnet.runner.disputing import argue, buyer_part, execute_parts, split
from devnet.runner.facts import FlowFailed
from devnet.runner.fulfilment import confirm_delivery, deliver, execute_payout, release, set_fee
from devnet.runner.payment import assert_held, open_payment, wait_until_funded
from devnet.runner.scenario import Scenario
from devnet.runner.stories import STEPS, Step
from devnet.runner.trade import accept_lowest_offer, create_request, make_offers, register_users
from tests.chaos.market_chain import MarketChainController
from tests.chaos.market_facts import OpenedPayment
from tests.chaos.market_plan import PlannedScenario
from tests.chaos.market_strangers import GIVES_COIN_ONLY, Stranger
from tests.chaos.purchases import MANY
from tests.harness import USDC, USDT

POLL_S = 0.5
TIMEOUT_S = 300.0
OVER = ("cancelled", "failed")
OK, CONFLICT = 200, 409
PARTS_OF = {
    "parts": (400, 600),
    "over": (1300,),
    "twice": (1000,),
    "again": (1000,),
    "corrected": (1000,),
    "silent": (1000,),
    **dict.fromkeys(("digital", "fee", "split", "lira"), (1000,)),
    **dict.fromkeys(("dusted", "spammed", "zeroes", "listed", "hidden", "afterwards"), (1000,)),
    **dict.fromkeys(("plainly", "coin"), (1000,)),
}
BEFORE: dict[str, tuple[Step, ...]] = {"digital": (fill_stocks,), "fee": (set_fee,)}  # the request
SCREENED = {"listed", "hidden", "barred"}  # its offers ask for it
PAID_AFTER_THE_END = {"cancelled", "expired", "reused"}


@dataclass(slots=True)
class MarketScenarios:
    """What all buyers of a run share; `bought` grows as payments are opened."""

    scenarios: Sequence[PlannedScenario]
    controller: MarketChainController
    opened: dict[str, OpenedPayment] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)  # scenarios whose time has to run out first
    may_end: asyncio.Event = field(default_factory=asyncio.Event)  # everything that shall expire is open
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # the clocks have jumped: the others begin
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # no fault is left

    stranger: Stranger = field(init=False)

    def __post_init__(self) -> None:
        self.stranger = Stranger(self.controller)
        self.waiting = {number for number, planned in enumerate(self.scenarios) if planned.kind == "expired"}
        self._none_waiting()

    def _none_waiting(self) -> None:
        if not self.waiting:
            self.may_end.set()

    def steps_of(self, scenario: Scenario) -> Sequence[Step]:
        """Return how one scenario goes."""
        planned = self.scenarios[scenario.purchase.worker]
        if planned.kind in SCREENED:
            scenario.terms = {"requireAmlCheck": True}
        if planned.kind == "digital":
            scenario.product_type = "digital_product"
        if planned.kind == "lira":
            scenario.currency = "TRY"

        async def at_its_time(_: Scenario) -> None:
            if planned.kind != "expired":
                await self.begun.wait()
                await asyncio.sleep(planned.at)

        async def opens_payment(scenario: Scenario) -> None:
            await open_payment(scenario)
            if planned.kind == "exact":
                scenario.wallet = self.controller.wallet()
            self._note(scenario, planned)

        async def behaves(scenario: Scenario) -> None:
            await self._behave(scenario, planned)

        trade: list[Step] = [
            at_its_time,
            register_users,
            *BEFORE.get(planned.kind, ()),
            create_request,
            make_offers,
            accept_lowest_offer,
            opens_payment,
        ]
        if planned.kind == "exact":
            return [*trade, *STEPS[STEPS.index(open_payment) + 1 :]]
        return [*trade, behaves, *self._rest_of(planned)]

    def _rest_of(self, planned: PlannedScenario) -> Sequence[Step]:
        """Return how a scenario goes on once its buyer has paid."""
        if planned.kind not in PARTS_OF:
            return ()
        paid: list[Step] = [held]
        if planned.kind == "afterwards":
            paid.append(self._sends_dust)
        if planned.kind == "split":
            return [*paid, deliver, argue, split, execute_parts]
        paid += [reveal_goods if planned.kind == "digital" else deliver, confirm_delivery]
        if planned.kind != GIVES_COIN_ONLY:
            paid += [release, execute_payout]
        if planned.kind == "again":
            paid.append(self._pays_again)
        return paid

    def _note(self, scenario: Scenario, planned: PlannedScenario) -> None:
        block: dict[str, Any] = scenario.answer.get("checkoutBlock") or {}
        payment = scenario.answer["payment"]
        self.opened[payment["id"]] = OpenedPayment(
            kind=planned.kind,
            rail=planned.rail,
            payment_id=payment["id"],
            price=scenario.due,
            token=USDT.lower(),
            destination=payment["destination"].lower(),
            reference=block.get("paymentReference"),
            ended=planned.kind in PAID_AFTER_THE_END,
            screened=planned.kind in SCREENED,
            fee_bps=scenario.fee_bps,
            buyer_bps=buyer_part(scenario) if planned.kind == "split" else 0,
        )

    async def _behave(self, scenario: Scenario, planned: PlannedScenario) -> None:
        opened = self.opened[scenario.purchase.payment_id]
        await self.stranger.come_before(opened)
        match planned.kind:
            case "unpaid":
                return
            case "cancelled":
                await cancelled(scenario)
                await self._pay(scenario, 1000, needed=False)
                await self._says_so(scenario)
            case "expired":
                self.waiting.discard(scenario.purchase.worker)
                self._none_waiting()
                await ended(scenario)
                await self._pay(scenario, 1000, needed=False)
                await self._says_so(scenario)
            case "reused":
                await cancelled(scenario)
                await self.stranger.send_dust(opened)
            case "raced":
                await self.stranger.race(opened, cancelled(scenario))
                await self._says_so(scenario)
            case "barred":
                await self.stranger.pay_from_the_list_but_dust(opened)
                await barred(scenario)
            case "given_up":
                await self._pay(scenario, 400, needed=True)
                await seen_in_part(scenario)
                await cancelled(scenario)
                await self._pay(scenario, 600, needed=False)
                await self._says_so(scenario)
            case "corrected":
                await self._pay(scenario, 1000, needed=False, token=USDC)
                await asyncio.sleep(planned.pause_s)
                await self._pay_parts(scenario, planned)
            case "twice":
                await self._pay_parts(scenario, planned)
                await asyncio.sleep(planned.pause_s)
                await self._pay(scenario, 1000, needed=False)
            case _:
                await self._pay_parts(scenario, planned)

    async def _pay_parts(self, scenario: Scenario, planned: PlannedScenario) -> None:
        for share in PARTS_OF[planned.kind]:
            await self._pay(scenario, share, needed=True)
            await asyncio.sleep(planned.pause_s)
        scenario.surplus = scenario.due * max(0, sum(PARTS_OF[planned.kind]) - 1000) // 1000
        if planned.kind == "silent":
            await told_by_its_watch(scenario)

    async def _sends_dust(self, scenario: Scenario) -> None:
        await self.stranger.send_dust(self.opened[scenario.purchase.payment_id])

    async def _pays_again(self, scenario: Scenario) -> None:
        await self._pay(scenario, 1000, needed=False)

    async def _pay(self, scenario: Scenario, thousandths: int, *, needed: bool, token: str = USDT) -> None:
        opened = self.opened[scenario.purchase.payment_id]
        amount = opened.price * thousandths // 1000
        await self.controller.pay_from_fresh_wallet(token, opened.destination, amount, opened.reference, needed=needed)

    async def _says_so(self, scenario: Scenario) -> None:
        """Ask about what came too late; on the balance rails nothing else looks. It may take as long as a confirmation."""
        if not self.opened[scenario.purchase.payment_id].is_balance:
            return
        await self.settled.wait()  # what may still vanish is not asked about
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            answer = await checked(scenario)
            if int(answer["deltaBaseUnits"]) >= await self._there(scenario):
                return
            await asyncio.sleep(POLL_S)
        raise FlowFailed("what came too late was never seen")

    async def _there(self, scenario: Scenario) -> int:
        return await scenario.context.chain_actor.balance(self.opened[scenario.purchase.payment_id].destination)


async def held(scenario: Scenario) -> None:
    """Wait until the money is held, all of it."""
    payment = await wait_until_funded(scenario)
    if (counted := int(payment["evidence"]["amountReceivedBaseUnits"]) - scenario.due) == MANY:
        scenario.surplus = counted  # dust count where they lie before the honest money: the judge knows whether they do
    await assert_held(scenario, scenario.due)
    await scenario.assert_notified(
        [scenario.buyer.user_id, scenario.purchase.winner], "payment_confirmed", scenario.purchase.payment_id
    )


async def shown(scenario: Scenario) -> dict[str, Any]:
    data = await scenario.buyer.ok("read payment", "GET", f"/api/payment/{scenario.purchase.payment_id}")
    return dict(data["payment"])


async def checked(scenario: Scenario) -> dict[str, Any]:
    path = f"/api/payment/amn-scanner/direct-balance/check/{scenario.purchase.payment_id}"
    return await scenario.buyer.ok("balance check", "POST", path)


async def cancelled(scenario: Scenario) -> None:
    """Give the payment up; an answer that was lost is asked for again."""
    path = f"/api/payment/{scenario.purchase.payment_id}/cancel"
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        status, answer = await scenario.buyer.call("cancel", "POST", path)
        if status == OK or (await shown(scenario))["status"] in OVER:
            return
        if status != CONFLICT:
            raise FlowFailed(f"cancel: {status} {answer}")
        await asyncio.sleep(POLL_S)  # a part that is on its way, and is not yet known to be one
    raise FlowFailed("the payment could not be cancelled")


async def barred(scenario: Scenario) -> None:
    """Wait until the money is held for whose it is, and let an admin give the payment up."""
    await _until(scenario, lambda payment: payment["holdReason"] == "aml_sanctions", "was held for its senders")
    path = f"/api/payment/{scenario.purchase.payment_id}/cancel"
    status, answer = await scenario.context.admin.call("give up", "POST", path)
    if status != OK and (await shown(scenario))["status"] not in OVER:
        raise FlowFailed(f"give up: {status} {answer}")


async def ended(scenario: Scenario) -> None:
    """Wait until its time is up."""
    await _until(scenario, lambda payment: payment["status"] in OVER, "ran out")


async def seen_in_part(scenario: Scenario) -> None:
    """Wait until the marketplace knows of a part."""
    balance = scenario.rail.name == "direct_balance"
    await _until(scenario, lambda payment: payment["escrowState"] == "partial", "was seen in part", ask=balance)


async def told_by_its_watch(scenario: Scenario) -> None:
    """Wait for the webhook alone."""
    await _until(scenario, lambda payment: payment["status"] == "completed", "was completed by its watch")


async def _until(scenario: Scenario, condition: Any, what: str, *, ask: bool = False) -> None:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        if ask:
            await checked(scenario)
        if condition(await shown(scenario)):
            return
        await asyncio.sleep(POLL_S)
    raise FlowFailed(f"{scenario.purchase.payment_id} never {what}")
