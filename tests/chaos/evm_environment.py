"""The EVM environment: a real local chain behind two faulty JSON-RPC endpoints, both rails, reorganisations."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, assert_never

import orjson

from devnet.evm.anvil import CHAIN_ID, anvil
from devnet.evm.head_server import HeadServer, SocketFault, head_server
from tests.chaos import rpc_faults
from tests.chaos.chain_controller import FEE_TOKEN, SILENT_TOKEN, ChainController
from tests.chaos.facts import ChainTransfer, Coin, Order
from tests.chaos.purchases import How, Part, PlannedPurchase
from tests.chaos.rpc_faults import Endpoint
from tests.chaos.schedule import EPOCH, SOCKETS, Plan, deepest_reorg
from tests.harness import MERCHANT, ROOT, USDC, USDT, environment, prepared

MOST_COIN = 10**15  # wei; payers are not endlessly rich
TOKENS = {"fee_token": FEE_TOKEN, "silent_token": SILENT_TOKEN}


class EvmEnvironment:
    """Open with `evm_environment`."""

    chain_id = CHAIN_ID

    def __init__(
        self,
        controller: ChainController,
        nodes: list[Endpoint],
        sockets: Sequence[HeadServer] = (),
        *,
        seed: int,
        since: int,
    ) -> None:
        self._controller = controller
        self._nodes = nodes
        self._sockets = sockets
        self._seed = seed
        self._since = since

    @property
    def payments(self) -> int:
        return self._controller.payments

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        chains = orjson.loads((ROOT / "supported-chains.json").read_bytes())
        registry = folder / "chains.json"
        registry.write_bytes(orjson.dumps([c | plan.guards if c["chainId"] == CHAIN_ID else c for c in chains]))
        more = {"CHAINS_JSON_PATH": str(registry)}
        if self._sockets:
            more["RPC_BSC_TESTNET_WS"] = ",".join(socket.url for socket in self._sockets)
        return environment(folder, ",".join(node.url for node in self._nodes), **more)

    def body(self, purchase: PlannedPurchase, number: int) -> dict[str, Any]:
        return {
            "chainId": self.chain_id,
            "token": None,
            "tokenAddress": TOKENS.get(purchase.kind, USDT),
            "destination": self._address(0x2, number) if purchase.rail == "direct" else MERCHANT,
        }

    def canonical(self, address: str) -> str:
        return address.lower()

    async def mine(self, blocks: int) -> None:
        await self._controller.mine(blocks)

    async def now(self) -> int:
        return await self._controller.now()

    async def advance_to(self, moment: int) -> None:
        await self._controller.advance_to(moment)

    async def pay(self, purchase: PlannedPurchase, order: Order, share: int, *, right: bool, how: How = "sent") -> None:
        reference = order.reference if order.rail == "proxy" else None
        if purchase.kind == "stranger":
            reference = f"0x{0xA0000000_00000000 + purchase.number:016x}"
        to = self._address(0x5, purchase.number) if purchase.kind == "wrong_destination" else order.destination
        token, amount = order.token if right else USDC, order.amount * share // 1000
        match how:
            case "sent" if purchase.kind == "crowded":
                await self._controller.pay_in_busy_block(token, to, amount, reference)
            case "sent":
                await self._controller.pay(token, to, amount, reference)
            case "plain":
                await self._controller.pay(token, to, amount, None)
            case "fails":
                await self._controller.fail(token, to, amount, reference)
            case "approves":
                await self._controller.approve(token, to, amount)
            case "coin":
                await self._controller.send_coin(to, 1 + amount % MOST_COIN)
            case "bounces":
                raise ValueError("on this chain a transfer happens or fails")
            case _:
                assert_never(how)

    async def pay_together(self, payments: Sequence[tuple[Order, int]]) -> None:
        await self._controller.pay_together(
            [
                (o.token, o.destination, o.amount * share // 1000, o.reference if o.rail == "proxy" else None)
                for o, share in payments
            ]
        )

    async def pay_many(self, order: Order, part: Part) -> None:
        reference = order.reference if order.rail == "proxy" else None
        token = order.token if part.right else USDC
        await self._controller.pay_many(token, order.destination, part.share, reference, part.count)

    async def reorg(self, depth: int, kind: str) -> None:
        await self._controller.reorg(depth, kind)

    def inject_fault(self, place: int, kind: str, method: str) -> AbstractAsyncContextManager[None]:
        if kind in SOCKETS and not self._sockets:
            return nullcontext()  # where nothing listens on a port, nothing is pushed
        if kind in SOCKETS:
            return _socket_fault(self._sockets[place], SocketFault(kind.removeprefix("socket_")))
        return rpc_faults.inject_fault(self._nodes[place], kind, self._controller.chain, method)

    def heal(self) -> None:
        for node in self._nodes:
            node.heal()
        for socket in self._sockets:
            socket.fault = None

    async def bury(self, plan: Plan) -> None:
        # Where the chain's own word on what is final counts, that lies two epochs of blocks below the head.
        await self._controller.mine(
            plan.confirmations + 2 + (2 * EPOCH if plan.guards.get("finality") == "both" else 0)
        )

    async def is_read(self, position: int) -> bool:
        return position == await self._controller.chain.height()

    async def transfers(self, orders: Sequence[Order]) -> tuple[ChainTransfer, ...]:
        return await self._controller.transfers({o.destination for o in orders}, self._since)

    async def coins(self, orders: Sequence[Order]) -> tuple[Coin, ...]:
        return await self._controller.coins({o.destination for o in orders if o.rail == "direct"}, self._since)

    def _address(self, kind: int, number: int) -> str:
        return f"0x{kind:x}{self._seed:029x}{number:010x}"


@asynccontextmanager
async def _socket_fault(socket: HeadServer, fault: SocketFault) -> AsyncIterator[None]:
    """Let a socket misbehave until the block ends; whoever refuses or serves another chain begins with new ones."""
    socket.fault = fault
    if fault in {SocketFault.REFUSES, SocketFault.OTHER_CHAIN}:
        await socket.drop()
    try:
        yield
    finally:
        if socket.fault is fault:  # else another one goes on
            socket.fault = None


@asynccontextmanager
async def evm_environment(plan: Plan) -> AsyncIterator[EvmEnvironment]:
    """Start the chain and its endpoints; nothing of them is left behind."""
    async with AsyncExitStack() as stack:
        chain = await prepared(await stack.enter_async_context(anvil(slots_in_epoch=EPOCH)))
        controller = ChainController(chain, random.Random(f"payers of {plan.seed}"))
        await controller.prepare(depth=deepest_reorg(plan.confirmations, plan.guards) + 1)
        since = await chain.height() - deepest_reorg(plan.confirmations, plan.guards)  # its first payment may move to
        nodes = [await stack.enter_async_context(Endpoint(chain.url)) for _ in range(2)]
        heads = chain.url.replace("http:", "ws:")
        sockets = [await stack.enter_async_context(head_server(CHAIN_ID, node=heads)) for _ in range(2 * plan.pushed)]
        yield EvmEnvironment(controller, nodes, sockets, seed=plan.seed, since=since)
