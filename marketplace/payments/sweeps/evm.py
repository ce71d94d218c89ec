"""Unsigned EIP-1559 transactions that move a token, and what they cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addresses.keccak import keccak
from marketplace.payments.sweeps.plan import AddressState, PlannedTransfer

TRANSFER = keccak(b"transfer(address,uint256)")[:4].hex()
BALANCE_OF = keccak(b"balanceOf(address)")[:4].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class GasPrice:
    """What a unit of gas may cost, in wei."""

    max_fee: int
    priority_fee: int


def transfer_data(to: str, amount: int) -> str:
    """Return the call of a token that moves an amount to somebody."""
    return f"0x{TRANSFER}{to.lower()[2:]:0>64}{amount:064x}"


def balance_data(owner: str) -> str:
    """Return the call of a token that asks what somebody has."""
    return f"0x{BALANCE_OF}{owner.lower()[2:]:0>64}"


def unsigned(chain_id: int, token: str, transfer: PlannedTransfer, gas: int, price: GasPrice) -> dict[str, Any]:
    """Return a transaction as JSON; its fields are those that signing libraries take."""
    return {
        "type": "0x2",
        "chainId": hex(chain_id),
        "nonce": hex(transfer.nonce),
        "to": token,
        "value": "0x0",
        "data": transfer_data(transfer.to, transfer.amount),
        "gas": hex(gas),
        "maxFeePerGas": hex(price.max_fee),
        "maxPriorityFeePerGas": hex(price.priority_fee),
    }


def needed_coins(entries: Sequence[Mapping[str, Any]], states: Mapping[str, AddressState]) -> list[dict[str, str]]:
    """Return for each address what its transactions may cost at most, and how much of that is not there."""
    costs: dict[str, int] = {}
    for each in entries:
        transaction = each["transaction"]
        cost = int(transaction["gas"], 16) * int(transaction["maxFeePerGas"], 16)
        costs[each["from"]] = costs.get(each["from"], 0) + cost
    return [
        {
            "address": address,
            "neededWei": str(cost),
            "missingWei": str(max(0, cost - states[address].coins)),
        }
        for address, cost in costs.items()
    ]
