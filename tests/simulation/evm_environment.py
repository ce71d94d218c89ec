"""The EVM environment of a simulation: a chain in memory behind the laboratory's two faulty endpoints."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import CHAIN_ID, PROXY
from devnet.evm.rpc_defects import Json
from tests.chaos.chain_controller import _of_proxy, _of_token, paired
from tests.chaos.evm_environment import EvmEnvironment
from tests.chaos.facts import ChainTransfer, Coin
from tests.chaos.rpc_faults import Endpoint
from tests.chaos.schedule import EPOCH, Plan, deepest_reorg
from tests.harness import MULTICALL
from tests.simulation.evm_ledger import EvmLedger, LedgerTx, approval_log, payment_logs, transfer_logs
from tests.simulation.liars import lied
from tests.simulation.plans import (
    BALANCED,
    CHAIN_STEP,
    DENIES,
    FROZEN,
    HASTY,
    HEADERS_ALONE,
    LATE_LOGS,
    LYING,
    MOST_LATE,
)

BLOCKS_BEFORE = 40  # before anybody looks
ANOTHER_CHAIN, ANOTHER_VARIABLE = 9797, "RPC_ANOTHER"  # a second chain, with the same contracts at the same addresses
OF_A_LEDGER = {
    FROZEN,
    BALANCED,
    HASTY,
    LATE_LOGS,
    HEADERS_ALONE,
    DENIES,
    *LYING,
}  # faults that a real local node cannot have
OF_HEADERS = {"eth_chainId", "eth_blockNumber", "eth_getBlockByNumber"}


class LedgerEndpoint(Endpoint):
    """One of the laboratory's endpoints, that asks the chain in memory."""

    def __init__(self, ledger: EvmLedger) -> None:
        super().__init__("")
        self._ledger = ledger

    def heal(self) -> None:
        super().heal()
        self.frozen: EvmLedger | None = None  # the chain as it once was, reorganised blocks included
        self.balanced: random.Random | None = None  # one of two nodes answers each request: this one's, or a frozen one
        self.hasty = False  # calls its newest block final, and has no receipts
        self.late_logs = 0  # of its newest blocks: so many are shown without any log
        self.lie = ""  # what it does with the truth (`liars`)
        self.headers_alone = False  # whatever asks for more than blocks is refused

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.headers_alone:
            asked = orjson.loads(await request.read())
            methods = {call["method"] for call in (asked if isinstance(asked, list) else [asked])}
            if methods - OF_HEADERS:
                return web.Response(status=503)
        return await super()._serve(request)

    async def _forward(self, calls: list[Json]) -> list[Json]:
        self._ledger.keep_up()
        frozen = self.frozen if self.balanced is None or self.balanced.random() < 0.5 else None
        return [self._answer(call, frozen or self._ledger) for call in calls]

    def _answer(self, call: Json, ledger: EvmLedger) -> Json:
        if self.hasty and call["method"] == "eth_getTransactionReceipt":
            return {"jsonrpc": "2.0", "id": call.get("id"), "result": None}
        if self.hasty and (call.get("params") or [None])[0] == "finalized":
            call = {**call, "params": ["latest", *call["params"][1:]]}
        answer = ledger.answer(call)
        if self.late_logs and call["method"] == "eth_getLogs":
            indexed = ledger.head - self.late_logs
            return {**answer, "result": [log for log in answer["result"] if int(log["blockNumber"], 16) <= indexed]}
        if self.lie and "result" in answer:
            ask = lambda method, params: ledger.answer({"method": method, "params": params})["result"]  # noqa: E731
            return {**answer, "result": lied(self.lie, call, answer["result"], ask)}
        return answer

    @asynccontextmanager
    async def beset(self, kind: str) -> AsyncIterator[None]:
        """Do what only an endpoint of a simulation does, until the block ends."""
        if kind in {FROZEN, BALANCED}:
            self.frozen = self._ledger.copy()
            self.balanced = random.Random(f"nodes behind {self.frozen.head}") if kind == BALANCED else None
            yield
            self.frozen = self.balanced = None
            return
        if kind in {DENIES, *LYING}:
            self.lie = kind
            yield
            self.lie = ""
            return
        during, afterwards = (MOST_LATE, 0) if kind == LATE_LOGS else (True, False)
        setattr(self, kind, during)
        yield
        setattr(self, kind, afterwards)


class SimEvmEnvironment(EvmEnvironment):
    """The laboratory's, with faults of the chain and of nodes that a real local chain cannot have."""

    def __init__(self, ledger: EvmLedger, nodes: list[Endpoint], *, seed: int, since: int) -> None:
        controller: Any = LedgerController(ledger, random.Random(f"payers of {seed}"))
        super().__init__(controller, nodes, seed=seed, since=since)
        self.ledger = ledger
        self.chain_id = ledger.chain_id

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        found = super().environment(folder, plan)
        if self.chain_id == CHAIN_ID:
            return found
        for name in ("CHAINS_JSON_PATH", "TOKENS_JSON_PATH"):
            alike = [each for each in orjson.loads(Path(found[name]).read_bytes()) if each["chainId"] == CHAIN_ID]
            found[name] = str(folder / f"another-{name}.json")
            Path(found[name]).write_bytes(orjson.dumps([each | self._other(each) for each in alike]))
        endpoints = found.pop("RPC_BSC_TESTNET")
        return found | {ANOTHER_VARIABLE: endpoints, "SCANNER_ENABLED_CHAINS": str(self.chain_id)}

    def _other(self, entry: dict[str, Any]) -> dict[str, Any]:
        more = {"name": "Another chain", "rpcEnv": ANOTHER_VARIABLE} if "rpcEnv" in entry else {}
        return {"chainId": self.chain_id, **more}

    def _address(self, kind: int, number: int) -> str:
        """Return the same addresses on every chain, as those are who own them."""
        return super()._address(kind, number % CHAIN_STEP)

    def inject_fault(self, place: int, kind: str, method: str) -> AbstractAsyncContextManager[None]:
        node: Any = self._nodes[place]
        return node.beset(kind) if kind in OF_A_LEDGER else super().inject_fault(place, kind, method)

    async def height(self) -> int:
        return await self._controller.chain.height()

    async def delay(self, above: int) -> None:
        """Take back every block above one, and make what was in them anew, in the same order, behind empty ones."""
        await self._controller.delay(above)  # type: ignore[attr-defined]


class LedgerController:
    """What miners, buyers and strangers do; as `ChainController` does it on a real node."""

    def __init__(self, ledger: EvmLedger, rng: random.Random) -> None:
        self.payments = 0
        self.chain = self
        self.ledger = ledger
        self._rng = rng
        self._returning: list[LedgerTx] = []

    async def height(self) -> int:
        return self.ledger.head

    async def mine(self, blocks: int) -> None:
        if blocks:
            returning, self._returning = self._returning, []
            self.ledger.mine(*returning, blocks=blocks)

    async def now(self) -> int:
        return self.ledger.blocks[-1].time

    async def advance_to(self, moment: int) -> None:
        ahead = moment - self.ledger.blocks[-1].time
        if ahead > 0:
            self.ledger.ahead_s += max(0, moment - int(time.time()) - self.ledger.ahead_s)
            self.ledger.mine()

    def _pay(self, *txs: LedgerTx) -> None:
        self.ledger.mine(*txs)
        self.payments += 1

    async def pay(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        self._pay(self.ledger.tx(payment_logs(token, destination, amount, reference)))

    async def pay_in_busy_block(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        stranger, elsewhere = f"0x{self._rng.randrange(2**63):016x}", f"0x6{self._rng.randrange(2**64):039x}"
        paid = ((elsewhere, stranger), (destination, reference), (elsewhere, None))
        txs = [self.ledger.tx(payment_logs(token, to, amount, name)) for to, name in paid]
        self._rng.shuffle(txs)
        self._pay(*txs)

    async def pay_together(self, payments: Sequence[tuple[str, str, int, str | None]]) -> None:
        logs = [
            log
            for token, to, amount, reference in payments
            for log in (
                *transfer_logs(token, MULTICALL, amount),
                approval_log(token, PROXY, amount),
                *payment_logs(token, to, amount, reference),
            )
        ]
        self._pay(self.ledger.tx(logs))

    async def pay_many(self, token: str, destination: str, amount: int, reference: str | None, count: int) -> None:
        logs = [log for _ in range(count) for log in payment_logs(token, destination, amount, reference)]
        self._pay(self.ledger.tx(logs))

    async def fail(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        self._pay(self.ledger.tx(payment_logs(token, destination, amount, reference), succeeded=False))

    async def approve(self, token: str, spender: str, amount: int) -> None:
        self._pay(self.ledger.tx([approval_log(token, spender, amount)]))

    async def send_coin(self, destination: str, amount: int) -> None:
        self._pay(self.ledger.tx(to=destination, value=amount))

    async def reorg(self, depth: int, kind: str) -> None:
        """Replace the newest blocks; their transactions stay, move, return later or never."""
        held = [list(block.txs) for block in self.ledger.blocks[-depth:]]
        contents: list[list[LedgerTx]] = [[] for _ in held]
        match kind:
            case "same":
                contents = held
            case "shuffled":
                txs = [tx for block in held for tx in block]
                for tx, place in zip(txs, sorted(self._rng.randrange(depth) for _ in txs), strict=True):
                    contents[place].append(tx)
            case "later":
                self._returning += [tx for block in held for tx in block]
            case _:
                pass  # gone for good
        self.ledger.reorg(depth, contents)

    async def spend_twice(self, destination: str, deepest: int) -> None:
        """Replace the last payment to an address by nothing, if it is not deeper than that; all else stays."""
        for depth in range(1, deepest + 1):
            held = [list(block.txs) for block in self.ledger.blocks[-depth:]]
            paid = [tx for tx in held[0] if tx.pays(destination)]
            if paid:
                self.ledger.reorg(depth, [[tx for tx in held[0] if tx is not paid[-1]], *held[1:]])
                return

    async def delay(self, above: int) -> None:
        depth = self.ledger.head - above
        held = [block.txs for block in self.ledger.blocks[-depth:] if block.txs]
        self.ledger.undone |= {tx.hash for txs in held for tx in txs}
        self.ledger.reorg(depth, [[] for _ in range(depth)])
        for txs in held:
            self.ledger.mine(*txs)

    async def transfers(self, destinations: set[str], since: int) -> tuple[ChainTransfer, ...]:
        logs = [log for block in self.ledger.blocks[since:] for log in block.logs]
        moved = [_of_token(log) for log in logs if log["topics"][0] == TRANSFER_TOPIC]
        events = [_of_proxy(log) for log in logs if log["topics"][0] == EVENT_TOPIC]
        through = paired(events, moved)
        behind = {place for event in through for place in event.behind}
        return (*(m for m in moved if m.destination in destinations and m.place not in behind), *through)

    async def coins(self, destinations: set[str], since: int) -> tuple[Coin, ...]:
        return tuple(Coin(*coin) for coin in self.ledger.coins if coin[0] >= since and coin[1] in destinations)


@asynccontextmanager
async def evm_environment(plan: Plan, chain_id: int = CHAIN_ID) -> AsyncIterator[SimEvmEnvironment]:
    """Start the chain and its endpoints."""
    async with AsyncExitStack() as stack:
        hashes, proven = random.Random(f"hashes of {plan.seed}"), "proof" in plan.guards
        ledger = EvmLedger(time.time, hashes, epoch=EPOCH, chain_id=chain_id, proven=proven)
        ledger.mine(blocks=BLOCKS_BEFORE)
        since = ledger.head  # a reorganisation may take the first payment back to here
        ledger.mine(blocks=deepest_reorg(plan.confirmations, plan.guards))
        nodes: list[Endpoint] = [await stack.enter_async_context(LedgerEndpoint(ledger)) for _ in range(2)]
        yield SimEvmEnvironment(ledger, nodes, seed=plan.seed, since=since)
