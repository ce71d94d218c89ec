"""
The stories a scenario may tell: goods that are carried, digital goods, a cart of a shop, a fee, a split, lira.

A story is a name, its steps in order, and what its seller and buyer agree on. To add one: write its steps (each
takes a Scenario, asks over HTTP, compares what it is answered, and asserts who was notified), add a line to
STORIES, and teach `checks.Recipients` whom its notifications are for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devnet.runner.digital import check_out, fill_stocks, offer_in_a_shop, reveal_goods
from devnet.runner.disputing import argue, execute_parts, split
from devnet.runner.fulfilment import confirm_delivery, deliver, execute_payout, probe_access, release, set_fee
from devnet.runner.payment import await_confirmation, open_payment, pay
from devnet.runner.scenario import Scenario
from devnet.runner.trade import accept_lowest_offer, create_request, make_offers, register_users

Step = Callable[[Scenario], Awaitable[None]]

TRADE: tuple[Step, ...] = (register_users, create_request, make_offers, accept_lowest_offer)
PAYMENT: tuple[Step, ...] = (open_payment, pay, await_confirmation)
PAYOUT: tuple[Step, ...] = (confirm_delivery, release, execute_payout, probe_access)
STEPS: tuple[Step, ...] = (*TRADE, *PAYMENT, deliver, *PAYOUT)


@dataclass(frozen=True, slots=True)
class Story:
    """What happens, and what is agreed on besides."""

    name: str
    steps: Sequence[Step]
    agreed: Mapping[str, Any] = field(default_factory=dict)  # fields of the scenario


DIGITAL = {"product_type": "digital_product"}
STORIES: Mapping[str, Story] = {
    story.name: story
    for story in (
        Story("goods", STEPS),
        Story(
            "digital",
            (register_users, fill_stocks, *TRADE[1:], *PAYMENT, reveal_goods, *PAYOUT),
            DIGITAL,
        ),
        Story(
            "shop",
            (register_users, fill_stocks, offer_in_a_shop, check_out, pay, await_confirmation, reveal_goods, *PAYOUT),
            DIGITAL,
        ),
        Story("fee", (register_users, set_fee, *TRADE[1:], *PAYMENT, deliver, *PAYOUT)),
        Story("split", (*TRADE, *PAYMENT, deliver, argue, split, execute_parts, probe_access)),
        Story("lira", STEPS, {"currency": "TRY"}),
    )
}


def tell(scenario: Scenario, story: Story) -> Sequence[Step]:
    """Agree on what a story is about, and return its steps."""
    for name, value in story.agreed.items():
        setattr(scenario, name, value)
    return story.steps
