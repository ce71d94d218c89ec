"""What a cart of a shop comes to: one request and one offer. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marketplace.errors import Refused, invalid
from marketplace.model import ProductType
from marketplace.payments.money import to_base_units, to_decimal
from marketplace.store.shops import Template
from marketplace.trade.offers import OfferDraft
from marketplace.trade.requests import RequestDraft

MAX_LINES = 20
MAX_QUANTITY = 100  # of all lines together, as of any request
MAX_TOTAL = "100000"  # as the budget of any request
FRACTION = 18
TITLE, TEXT = 200, 2000
HOURS = {"hours": 1, "days": 24, "weeks": 7 * 24}
# What a mixed cart is: what takes longest to arrive says when it was delivered.
SLOWEST = (ProductType.PHYSICAL, ProductType.SERVICE, ProductType.CONSULTATION, ProductType.DIGITAL)


@dataclass(frozen=True, slots=True)
class CartLine:
    """How many of what: `share_id` is what its link says."""

    share_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ChosenLine:
    """A line with what it names."""

    template: Template
    quantity: int


def digest_of(lines: Sequence[CartLine]) -> str:
    """Name a cart by what is in it, so that the same name for another one is found out."""
    text = "\n".join(f"{line.share_id} {line.quantity}" for line in sorted(lines, key=lambda each: each.share_id))
    return hashlib.sha256(text.encode()).hexdigest()


def check_cart(lines: Sequence[CartLine]) -> None:
    """
    Refuse a cart that names something twice, or too much.

    Raises:
        Refused: says which field.
    """
    if len({line.share_id for line in lines}) < len(lines):
        raise invalid("lines", "must name each template once: say how many in quantity")
    if sum(line.quantity for line in lines) > MAX_QUANTITY:
        raise invalid("lines", f"must come to at most {MAX_QUANTITY} in all")


def choose(lines: Sequence[CartLine], found: Mapping[str, Template]) -> list[ChosenLine]:
    """
    Return the lines of a cart with what they name.

    Raises:
        Refused: something is not there, or they are of several sellers or currencies.
    """
    missing = [line.share_id for line in lines if line.share_id not in found]
    if missing:
        raise Refused("not_found", "there is no such template", shareId=missing[0])
    chosen = [ChosenLine(found[line.share_id], line.quantity) for line in lines]
    if len({line.template.seller_id for line in chosen}) > 1:
        raise invalid("lines", "must be of one seller")
    if len({line.template.price_currency for line in chosen}) > 1:
        raise invalid("lines", "must be in one currency")
    return chosen


def total_of(chosen: Sequence[ChosenLine]) -> str:
    """
    Add up what a cart costs, exactly.

    Raises:
        Refused: it is more than a request may cost.
    """
    total = sum(to_base_units(line.template.price_amount, FRACTION) * line.quantity for line in chosen)
    if total > to_base_units(MAX_TOTAL, FRACTION):
        raise invalid("lines", f"must cost at most {MAX_TOTAL} in all")
    return to_decimal(total, FRACTION)


def units_of(chosen: Sequence[ChosenLine]) -> dict[str, int]:
    """Return how many goods of which stock a cart hands over."""
    units: Counter[str] = Counter()
    for line in chosen:
        if line.template.pool_id is not None:
            units[line.template.pool_id] += line.quantity
    return dict(units)


def request_of(chosen: Sequence[ChosenLine], email: str | None) -> RequestDraft:
    """Return the request a cart comes to."""
    types = {line.template.product_type for line in chosen}
    product_type = next(each for each in SLOWEST if each in types)
    total = total_of(chosen)
    return RequestDraft(
        title=_title(chosen),
        description=_text(chosen),
        product_type=product_type,
        product_link=None,
        quantity=sum(line.quantity for line in chosen),
        budget_min=total,
        budget_max=total,
        budget_currency=chosen[0].template.price_currency,
        urgency="medium",
        delivery_type="physical" if product_type is ProductType.PHYSICAL else "online",
        delivery_email=email,
    )


def offer_of(chosen: Sequence[ChosenLine]) -> OfferDraft:
    """Return the offer a cart comes to."""
    slowest = max((line.template for line in chosen), key=lambda each: each.delivery_amount * HOURS[each.delivery_unit])
    return OfferDraft(
        title=_title(chosen),
        description=_text(chosen),
        price_amount=total_of(chosen),
        price_currency=chosen[0].template.price_currency,
        delivery_amount=slowest.delivery_amount,
        delivery_unit=slowest.delivery_unit,
        notes=None,
        valid_until=None,
        require_aml_check=any(line.template.require_aml_check for line in chosen),
        aml_block_on_failure=any(line.template.aml_block_on_failure for line in chosen),
    )


def _title(chosen: Sequence[ChosenLine]) -> str:
    first, more = chosen[0].template.title, len(chosen) - 1
    tail = f" and {more} more" if more else ""
    return f"{first[: TITLE - len(tail)]}{tail}"


def _text(chosen: Sequence[ChosenLine]) -> str:
    listed = [
        f"{line.quantity} x {line.template.title} ({line.template.price_amount} {line.template.price_currency} each)"
        for line in chosen
    ]
    text = "\n".join([*listed, "", *([chosen[0].template.description] if len(chosen) == 1 else [])]).strip()
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"
