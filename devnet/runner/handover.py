"""The last part of a story: the goods change hands, and the money leaves the escrow on chain."""

from __future__ import annotations

from typing import Any

from devnet.runner.facts import Fault, Finding, FlowFailed
from devnet.runner.paying import holds
from devnet.runner.tale import Tale, decimal

CONFLICT = 409
HIDDEN = frozenset({403, 404})


async def deliver(tale: Tale) -> None:
    """Let the seller say it is on its way."""
    data = await tale.winner.ok("deliver", "PATCH", f"{tale.path}/delivery", {"proof": "handed to the carrier"})
    _expect(data["purchaseRequest"], "delivery")
    tale.world.say("delivered   the seller has handed it over")
    await tale.told([tale.buyer.user_id], "delivered", tale.deal.request_id)


async def receive(tale: Tale) -> None:
    """Let the buyer say it arrived: by the delivery code, or in so many words."""
    if tale.serial % 2:
        await _by_code(tale)
    else:
        await tale.buyer.ok("confirm delivery", "PATCH", f"{tale.path}/confirm-delivery", {"proof": "I have it"})
        tale.world.say("arrived     the buyer confirms")
    data = await tale.buyer.ok("read request", "GET", tale.path)
    if data["purchaseRequest"]["deliveryConfirmed"] is not True:
        raise FlowFailed("the delivery was confirmed and is not")
    await tale.told([tale.deal.winner], "delivery_confirmed", tale.deal.request_id)


async def _by_code(tale: Tale) -> None:
    data = await tale.buyer.ok("generate code", "POST", f"{tale.path}/delivery-code/generate")
    tale.codes.append(data["code"])
    body = {"code": data["code"]}
    status, answer = await tale.winner.call("verify code", "POST", f"{tale.path}/delivery-code/verify", body)
    # Used already: by our first attempt, whose answer was lost with the process.
    if status != 200 and not (status == CONFLICT and tale.winner.line.patience_s):
        raise FlowFailed(f"verify code: {status} {answer}")
    tale.world.say("arrived     the buyer's delivery code is right")


async def release(tale: Tale) -> None:
    """Let the admin order the release; the books are empty from then on."""
    street = tale.world.street
    tale.sellers_wallet = tale.sellers_wallet or await street.wallet()
    path = f"/api/admin/payments/{tale.deal.payment_id}/release"
    data = await tale.world.admin.ok("release", "POST", path, {"toAddress": tale.sellers_wallet})
    tale.instruction = data["instruction"]
    ordered = (tale.instruction["to"], int(tale.instruction["amountBaseUnits"]), tale.instruction["kind"])
    if ordered != (tale.sellers_wallet, tale.lowest, "release"):
        tale.accuse(Finding(Fault.LEDGER, f"the instruction is {ordered}"))
    await holds(tale, 0)
    tale.world.say(f"released    {decimal(tale.lowest)} USDT, by instruction to {tale.sellers_wallet}")
    await _everybody(tale, "payment_release")


async def settle(tale: Tale) -> None:
    """Carry the instruction out on chain, and say so: the seller is paid."""
    street = tale.world.street
    sent = await street.carry_out(tale.instruction)
    path = f"/api/admin/instructions/{tale.instruction['id']}/settle"
    data = await tale.world.admin.ok("settle", "POST", path, {"txHash": sent})
    if data["payment"]["escrowState"] != "released":
        raise FlowFailed(f"the escrow is {data['payment']['escrowState']} after the settlement")
    request = (await tale.buyer.ok("read request", "GET", tale.path))["purchaseRequest"]
    _expect(request, "seller_paid")
    has = await street.balance(tale.sellers_wallet)
    if has != tale.lowest:
        tale.accuse(Finding(Fault.LEDGER, f"the seller's wallet has {has}, not {tale.lowest}"))
    tale.world.say(f"seller paid {decimal(has)} USDT in the seller's wallet, transaction {sent}")
    await _everybody(tale, "payment_released")


async def _everybody(tale: Tale, kind: str) -> None:
    people = [tale.buyer.user_id, tale.deal.winner, tale.world.admin.user_id]
    await tale.told(people, kind, tale.deal.payment_id)


async def pry(tale: Tale) -> None:
    """Try to see what belongs to others: a loser looks at our payment, our buyer at a neighbour's."""
    loser = tale.sellers[tale.losers[0]]
    attempts = [(loser, tale.deal.payment_id)]
    others = [payment for payment, buyer in tale.world.paid.items() if buyer != tale.buyer.user_id]
    attempts += [(tale.buyer, payment) for payment in others[-1:]]
    for who, payment in attempts:
        status, _ = await who.call("read another's payment", "GET", f"/api/payment/{payment}")
        if status not in HIDDEN:
            tale.accuse(Finding(Fault.LEAK, f"{who.email} was answered {status} about payment {payment}"))
    mine = await tale.buyer.ok("payment history", "GET", "/api/payment/history?role=all&limit=100")
    foreign = [each["id"] for each in mine["payments"] if each["buyerId"] != tale.buyer.user_id]
    own = await tale.buyer.ok("my requests", "GET", "/api/marketplace/purchase-requests/my?limit=100")
    foreign += [each["id"] for each in own["purchaseRequests"] if each["buyerId"] != tale.buyer.user_id]
    if foreign:
        tale.accuse(Finding(Fault.LEAK, f"{tale.buyer.email} is shown {foreign}"))


def _expect(request: dict[str, Any], status: str) -> None:
    if request["status"] != status:
        raise FlowFailed(f"the request is {request['status']}, not {status}")
