"""Transactions as cells, written from the rows an index shows of them: what a node serves, and what hashes cover."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from devnet.ton.cells import Bits, Cell, first_bits

Json = Mapping[str, Any]

_STATUSES = {"uninit": 0b00, "frozen": 0b01, "active": 0b10, "nonexist": 0b11}
_SKIPPED = {"no_state": Bits("00"), "bad_state": Bits("01"), "no_gas": Bits("10")}
_NO_HASH = bytes(32)


def transaction_cell(row: Json, *, nonce: str) -> Cell:
    """Return the transaction of a row; `nonce` tells apart what would be the same twice."""
    messages = Bits().uint(1, 1)
    refs = [message_cell(row["in_msg"])]
    if row["out_msgs"]:
        messages = messages.uint(1, 1)
        refs.append(dictionary([message_cell(message) for message in row["out_msgs"]], width=15))
    else:
        messages = messages.uint(0, 1)
    bits = Bits("0111").raw(_account(row["account"])).uint(int(row["lt"]), 64)
    bits = bits.raw(hashlib.sha256(nonce.encode()).digest()).uint(int(row["prev_trans_lt"]), 64)
    bits = bits.uint(row["now"], 32).uint(len(row["out_msgs"]), 15)
    bits = bits.uint(_STATUSES[row["orig_status"]], 2).uint(_STATUSES[row["end_status"]], 2)
    bits = bits.coins(int(row["total_fees"])).uint(0, 1)
    update = Cell(Bits().uint(0x72, 8).raw(_NO_HASH).raw(_NO_HASH))
    return Cell(bits, (Cell(messages, tuple(refs)), update, _description(row["description"])))


def message_cell(row: Json) -> Cell:
    """Return a message between contracts, or the one from outside that a trace begins with; its body is a reference."""
    body = row.get("cell") or Cell(Bits(first_bits(row["message_content"]["body"])))
    if row["source"] is None:
        return Cell(Bits("10").uint(0, 2).address(row["destination"]).coins(0).uint(0, 1).uint(1, 1), (body,))
    bits = Bits("0").uint(row["ihr_disabled"], 1).uint(row["bounce"], 1).uint(row["bounced"], 1)
    bits = bits.address(row["source"]).address(row["destination"]).coins(int(row["value"])).uint(0, 1)
    bits = bits.coins(0).coins(int(row["fwd_fee"]))
    bits = bits.uint(int(row["created_lt"]), 64).uint(int(row["created_at"]), 32)
    return Cell(bits.uint(0, 1).uint(1, 1), (body,))


def dictionary(values: list[Cell], *, width: int) -> Cell:
    """Return the root of a dictionary from 0, 1, 2, … to references."""
    leaves = {f"{key:0{width}b}": Cell(Bits(), (value,)) for key, value in enumerate(values)}
    return edge(leaves, width)


def edge(leaves: Mapping[str, Cell], width: int) -> Cell:
    """Return the part of a dictionary below some keys, each of so many bits; a key's value is put into its leaf."""
    keys = sorted(leaves)
    common = _common(keys[0], keys[-1])
    label = _label(common, width)
    if len(keys) == 1:
        (leaf,) = leaves.values()
        return Cell(Bits(label + leaf.bits.text), leaf.refs)
    rest = len(common) + 1
    sides = [{k[rest:]: v for k, v in leaves.items() if k[len(common)] == side} for side in "01"]
    left, right = (edge(side, width - rest) for side in sides)
    return Cell(Bits(label), (left, right))


def _label(common: str, width: int) -> str:
    """Return the shortest way to write a label, as contracts do."""
    size = Bits().uint(len(common), width.bit_length()).text
    ways = ["0" + "1" * len(common) + "0" + common, "10" + size + common]
    if common and len(set(common)) == 1:
        ways.append("11" + common[0] + size)
    return min(ways, key=len)


def _common(first: str, last: str) -> str:
    same = 0
    while same < len(first) and first[same] == last[same]:
        same += 1
    return first[:same]


def _account(address: str) -> bytes:
    return bytes.fromhex(address.partition(":")[2])


def _description(told: Json) -> Cell:
    bits = Bits("0000").uint(told["credit_first"], 1).uint(0, 2)
    refs: tuple[Cell, ...] = ()
    compute = told["compute_ph"]
    if compute["skipped"]:
        bits = bits.uint(0, 1).joined(_SKIPPED[compute["reason"]])
    else:
        bits = bits.uint(1, 1).uint(compute["success"], 1).uint(1, 1).uint(compute["account_activated"], 1).coins(0)
        refs += (_gas(compute),)
    if told["action"] is None:
        bits = bits.uint(0, 1)
    else:
        bits = bits.uint(1, 1)
        refs += (_action(told["action"]),)
    bits = bits.uint(told["aborted"], 1)
    bounced = Bits() if told["bounce"] is None else Bits().uint(1, 1).uint(0, 6).coins(0).coins(0)  # tr_phase_bounce_ok
    bits = bits.uint(told["bounce"] is not None, 1).joined(bounced)
    return Cell(bits.uint(told["destroyed"], 1), refs)


def _gas(compute: Json) -> Cell:
    used = int(compute["gas_used"])
    bits = Bits().uint(3, 3).uint(used, 24).uint(0, 3).uint(0, 1).uint(0, 8)
    bits = bits.uint(compute["exit_code"] & 0xFFFFFFFF, 32).uint(0, 1).uint(compute["vm_steps"], 32)
    return Cell(bits.raw(_NO_HASH).raw(_NO_HASH))


def _action(action: Json) -> Cell:
    bits = Bits().uint(action["success"], 1).uint(action["valid"], 1).uint(action["no_funds"], 1).uint(0, 1)
    bits = bits.uint(0, 2).uint(action["result_code"] & 0xFFFFFFFF, 32).uint(0, 1)
    bits = bits.uint(action["tot_actions"], 16).uint(0, 16).uint(action["skipped_actions"], 16)
    return Cell(bits.uint(action["msgs_created"], 16).raw(_NO_HASH).uint(0, 6))
