"""What an endpoint makes up, changes or keeps back, alike wherever it is asked: only hashes find it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from tests.chains.evm.proofs.chain import root_of
from tests.simulation import plans as kinds

Json = dict[str, Any]
Ask = Callable[[str, list[Any]], Any]  # what the chain itself answers
OF_MONEY = {TRANSFER_TOPIC: 0, EVENT_TOPIC: 2}  # which word of the data is an amount
INVENTED_INDEX = 500


def lied(kind: str, call: Json, result: Any, ask: Ask) -> Any:
    """Return what a liar answers in place of the truth."""
    method = call["method"] if result is not None else ""
    found: Any
    match method:
        case "eth_getBlockReceipts" if kind == kinds.OTHER_RECEIPTS:
            found = _of_another(int(call["params"][0], 16), ask)
        case "eth_getTransactionReceipt" if kind == kinds.DENIES:
            found = {**result, "status": "0x0", "logs": []} if _drawn(result) else result
        case _ if kind in {kinds.OTHER_RECEIPTS, kinds.DENIES}:
            found = result
        case "eth_getLogs":
            found = _changed(kind, result)
        case "eth_getTransactionReceipt":
            found = _receipt(kind, result)
        case "eth_getBlockReceipts":
            found = [_receipt(kind, each) for each in result]
        case "eth_getBlockByNumber" if kind == kinds.OTHER_ROOT:
            found = _block(kind, result, ask)
        case _:
            found = result
    return found


def _drawn(told: Json) -> bool:
    return int(told["transactionHash"], 16) % 2 == 0


def _changed(kind: str, logs: list[Json]) -> list[Json]:
    match kind:
        case kinds.WITHHOLDS_LOGS:
            return [log for log in logs if not _drawn(log)]
        case kinds.WITHHOLDS_BLOCKS:
            return [log for log in logs if int(log["blockNumber"], 16) % 2]
        case kinds.INVENTS:
            more = [{**log, "logIndex": hex(int(log["logIndex"], 16) + INVENTED_INDEX)} for log in logs if _drawn(log)]
            return [*logs, *more]
        case _:
            return [_doubled(log) if _drawn(log) else log for log in logs]


def _doubled(log: Json) -> Json:
    place = OF_MONEY.get(log["topics"][0])
    if place is None:
        return log
    words = [log["data"][2:][start : start + 64] for start in range(0, len(log["data"]) - 2, 64)]
    words[place] = f"{min(2 * int(words[place], 16), 2**256 - 1):064x}"
    return {**log, "data": "0x" + "".join(words)}


def _receipt(kind: str, receipt: Json) -> Json:
    return {**receipt, "logs": _changed(kind, receipt["logs"])}


def _of_another(number: int, ask: Ask) -> list[Json]:
    """Return the receipts of the newest block below one that has any."""
    while number > 0:
        number -= 1
        if found := ask("eth_getBlockReceipts", [hex(number)]):
            return list(found)
    return []


def _block(kind: str, block: Json, ask: Ask) -> Json:
    """Return a block whose root is that of what the liar says its receipts are."""
    receipts = [_receipt(kind, each) for each in ask("eth_getBlockReceipts", [block["number"]]) or []]
    if not any(_drawn(log) for each in receipts for log in each["logs"]):
        return block
    return {**block, "receiptsRoot": "0x" + root_of(receipts).hex()}
