"""The chain in memory as a local node with unlocked accounts: it carries out what is sent to it, as the laboratory's does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from eth_abi.abi import decode

from addresses.keccak import keccak
from chains.evm.fee_proxy import SELECTOR
from devnet.evm.anvil import CHAIN_ID, PROXY, ZERO, Anvil
from devnet.evm.local_node import AnvilError
from tests.harness import MULTICALL
from tests.simulation.evm_ledger import SYMBOLS, EvmLedger, LedgerLog, LedgerTx, payment_logs, transfer_logs

Json = dict[str, Any]
HISTORY = 20  # blocks before anybody pays
ENDLESS = 10**40  # base units of whoever was funded


def _selector(function: str) -> bytes:
    return keccak(function.encode())[:4]


TRANSFER = _selector("transfer(address,uint256)")
MINT = _selector("mint(address,uint256)")
APPROVE = _selector("approve(address,uint256)")
TOGETHER = _selector("aggregate3((address,bool,bytes)[])")
THROUGH_PROXY = bytes.fromhex(SELECTOR[2:])
TOKENS = {token.lower() for token in SYMBOLS}


class LedgerNode(Anvil):
    """
    What the laboratory does with a real node, done with a chain in memory.

    Whoever was funded has the token without end. A transaction is carried out when it is sent: what it says stays the
    same in whatever block it stands.
    """

    def __init__(self, ledger: EvmLedger, accounts: int) -> None:
        self.url = ""
        self.ledger = ledger
        self.accounts = [f"0x{'ac' * 16}{number:08x}" for number in range(accounts)]
        self._automine = True
        self._sent: dict[str, LedgerTx] = {}
        self._waiting: list[LedgerTx] = []  # until a block is made
        self._funded: set[tuple[str, str]] = {(token, MULTICALL.lower()) for token in TOKENS}
        self._calls: dict[str, Callable[..., Any]] = {
            "anvil_mine": self._mine,
            "anvil_reorg": self._reorg,
            "anvil_impersonateAccount": lambda _: None,
            "anvil_setBalance": self._give_coin,
            "eth_getRawTransactionByHash": lambda tx_hash: tx_hash,
            "eth_sendRawTransaction": lambda raw: self._take(self._sent[raw]),
            "eth_sendTransaction": self._execute,
            "evm_setAutomine": lambda _: None,
            "evm_setNextBlockTimestamp": self._set_time,
        }

    async def rpc(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method in self._calls:
            return self._calls[method](*params)
        answer = self.ledger.answer({"id": 1, "method": method, "params": list(params)})
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]

    async def fund(self, token: str, payer: str, proxy: str = PROXY) -> None:
        self._funded.add((token.lower(), payer.lower()))

    def blocks_replaced(self) -> None:
        """Do nothing: whoever was funded stays so."""

    def _mine(self, blocks: str) -> None:
        waiting, self._waiting = self._waiting, []
        self.ledger.mine(*waiting, blocks=int(blocks, 16))

    def _give_coin(self, address: str, amount: str) -> None:
        self.ledger.coins.append((0, address.lower(), int(amount, 16)))  # no reorganisation takes it back

    def _set_time(self, moment: int) -> None:
        self.ledger.ahead_s = moment - int(time.time())

    def _reorg(self, depth: int, transactions: Sequence[tuple[str, int]]) -> None:
        contents: list[list[LedgerTx]] = [[] for _ in range(depth)]
        for raw, place in transactions:
            contents[place].append(self._sent[raw])
        self.ledger.reorg(depth, contents)

    def _take(self, tx: LedgerTx) -> str:
        self._waiting.append(tx)
        if self._automine:
            self._mine("0x1")
        return tx.hash

    def _execute(self, call: Json) -> str:
        sender, to = call["from"].lower(), call["to"].lower()
        data, value = bytes.fromhex(str(call.get("data", "0x"))[2:]), int(call.get("value", "0x0"), 16)
        logs = self._called(sender, to, data, {})
        tx = self.ledger.tx(logs or (), succeeded=logs is not None, to=to, value=value, sender=sender)
        self._sent[tx.hash] = tx
        return self._take(tx)

    def _called(self, sender: str, to: str, data: bytes, spent: dict[tuple[str, str], int]) -> list[LedgerLog] | None:
        """Return what a call says; None: it fails. `spent` is what the transaction moved before."""
        function, rest = data[:4], data[4:]
        if to == MULTICALL.lower() and function == TOGETHER:
            (calls,) = decode(["(address,bool,bytes)[]"], rest)
            found = [self._called(to, str(target).lower(), bytes(inner), spent) for target, _, inner in calls]
            return None if None in found else [log for logs in found if logs is not None for log in logs]
        if to == PROXY.lower() and function == THROUGH_PROXY:
            kinds = ["address", "address", "uint256", "bytes", "uint256", "address"]
            token, whom, amount, reference, *_ = decode(kinds, rest)
            return self._moved(str(token), sender, str(whom), amount, spent, "0x" + bytes(reference).hex())
        if to in TOKENS and function == TRANSFER:
            whom, amount = decode(["address", "uint256"], rest)
            return self._moved(to, sender, str(whom), amount, spent, None)
        if to in TOKENS and function == MINT:
            whom, amount = decode(["address", "uint256"], rest)
            return transfer_logs(to, str(whom), amount, ZERO)
        if not data or function == APPROVE:
            return []
        raise AnvilError(f"no contract here does {function.hex()} at {to}")

    def _moved(
        self, token: str, sender: str, to: str, amount: int, spent: dict[tuple[str, str], int], reference: str | None
    ) -> list[LedgerLog] | None:
        key = token.lower(), sender
        has = ENDLESS if key in self._funded else self.ledger.balance(token, sender, self.ledger.head)
        spent[key] = spent.get(key, 0) + amount
        return None if spent[key] > has else payment_logs(token, to.lower(), amount, reference, sender)


def market_node(seed_hashes: Any, *, accounts: int, epoch: int) -> LedgerNode:
    """Return a node with some blocks already behind it."""
    ledger = EvmLedger(time.time, seed_hashes, epoch=epoch, chain_id=CHAIN_ID)
    ledger.mine(blocks=HISTORY)
    return LedgerNode(ledger, accounts)
