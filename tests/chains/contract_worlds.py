"""One small world a family, all with the same handles, for the tests of what every adapter promises."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, NamedTuple, Protocol

from chains.base import ChainAdapter
from chains.evm.adapter import open_adapter as open_evm
from chains.evm.events import TRANSFER_TOPIC
from chains.ton import transfers as ton_paging
from chains.tron.address import to_hex
from chains.types import BalanceKey, Cursor, TokenMeta, Transfer
from config.catalog import Chain
from devnet.evm.anvil import CHAIN_ID as EVM_CHAIN_ID
from devnet.evm.anvil import PROXY, anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.tron.ledger import USDT as TRON_USDT
from devnet.tron.ledger import account
from tests.chains.evm_world import Calls, Now
from tests.chains.ton_world import TonWorld
from tests.chains.tron_world import TronWorld
from tests.harness import MULTICALL

FAMILIES = ("evm", "tron", "ton")


class Paid(NamedTuple):
    """One payment that was made, in the family's canonical forms."""

    tx_hash: str
    destination: str
    amount: int
    token: str


class Land(Protocol):
    """A chain to pay on, one upstream that shows it, and adapters that read it."""

    upstream: Any  # `fail`, `heal` and `release`, as all stand-ins have them
    shop: str  # canonical addresses
    other: str
    buyer: str
    token: str
    meta: TokenMeta
    no_token: str  # an address nothing is deployed at
    spellings: Mapping[str, str]  # how people write addresses, and the canonical form
    mistyped: str  # a checksum that does not match
    foreign: str  # an address of another family
    unknown_tx: str
    malformed_tx: str

    scan_question: str  # what the upstream calls the question for transfers

    async def adapter(self, stack: AsyncExitStack | None = None) -> ChainAdapter:
        """Open an adapter, to be closed with the land or with a stack of the caller's."""

    async def here(self) -> Cursor:
        """Return a cursor below everything that happens from now on."""

    async def pay(self, to: str | None = None, amount: int = 5, token: str | None = None) -> Paid:
        """Pay, and let it become as final as the family scans for."""

    async def pay_together(self) -> list[Paid]:
        """Pay two addresses at once."""

    async def give_coin(self, to: str, amount: int) -> None: ...
    async def unreadable(self) -> BalanceKey:
        """Return a holding nobody can tell the balance of."""

    async def vanish(self, transfer: Transfer) -> None:
        """Let the chain no longer hold a transfer it held."""

    async def fail(self, transfer: Transfer) -> None:
        """Let the chain say that a transfer moved nothing."""

    def fall_behind(self) -> None:
        """Let the upstream show only what happened some blocks ago."""

    def small_pages(self, patch: Any) -> None:
        """Let a handful of payments fill more than one page."""

    def calls(self) -> int:
        """Return how often the upstream was asked anything."""

    def transfer_questions(self) -> int:
        """Return how often the upstream was asked for plain transfers."""

    def later(self, seconds: float) -> None:
        """Let the adapter's own clock move on."""


class EvmLand:
    """A real EVM chain behind a proxy that misbehaves on request."""

    shop = "0x" + "5e" * 20
    other = "0x" + "0d" * 20
    meta = TokenMeta("USDT", 6)
    no_token = "0x" + "77" * 20
    spellings: ClassVar[dict[str, str]] = {
        "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4": "0x70e36f6bf80a52b3b46b3af8e106cc0ed743e8e4",
        "0x70e36f6bf80a52b3b46b3af8e106cc0ed743e8e4": "0x70e36f6bf80a52b3b46b3af8e106cc0ed743e8e4",
        "0x70E36F6BF80A52B3B46B3AF8E106CC0ED743E8E4": "0x70e36f6bf80a52b3b46b3af8e106cc0ed743e8e4",
    }
    mistyped = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8E4"
    foreign = TRON_USDT
    scan_question = "eth_getLogs"
    unknown_tx = "0x" + "ab" * 32
    malformed_tx = "ab" * 32

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._now = Now()
        self._longest = 1000

    async def open(self) -> EvmLand:
        self._chain = await self._stack.enter_async_context(anvil())
        self.upstream = await self._stack.enter_async_context(FaultyRpc(self._chain.url))
        self._contract = await self._chain.token(self.meta.symbol, self.meta.decimals)
        self.token = self._contract.lower()
        self.buyer = self._chain.accounts[1].lower()
        await self._chain.place("Multicall3", MULTICALL)
        await self._chain.fund(self._contract, self._chain.accounts[1])
        self._printer = await self._chain.deploy("LogPrinter")
        await self._chain.mine(12)
        return self

    async def adapter(self, stack: AsyncExitStack | None = None) -> ChainAdapter:
        chain = Chain(
            chain_id=EVM_CHAIN_ID,
            name="Test",
            proxy_address=PROXY,
            confirmation_threshold=5,
            rpc_urls=(self.upstream.url,),
            max_log_range=self._longest,
        )
        opened = open_evm(chain, timeout_s=2, telemetry=Calls(), clock=self._now)
        return await (stack or self._stack).enter_async_context(opened)

    async def here(self) -> Cursor:
        block = await self._chain.block()
        assert block is not None
        return Cursor(int(block["number"], 16), block["hash"])

    async def pay(self, to: str | None = None, amount: int = 5, token: str | None = None) -> Paid:
        contract = self._contract if token is None else token
        tx = await self._chain.transfer(contract, to or self.shop, amount)
        await self._chain.mined(tx)
        return Paid(tx, to or self.shop, amount, contract.lower())

    async def another_token(self) -> str:
        return (await self._chain.token(self.meta.symbol, self.meta.decimals)).lower()

    async def pay_together(self) -> list[Paid]:
        first = int(self.shop, 16)
        await self._chain.print_transfers(self._printer, self.shop, 2)
        block = await self._chain.block()
        assert block is not None
        tx = block["transactions"][0]
        return [Paid(tx, f"0x{first + place:040x}", 1, self._printer.lower()) for place in range(2)]

    async def give_coin(self, to: str, amount: int) -> None:
        await self._chain.rpc("anvil_setBalance", [to, hex(amount)])
        await self._chain.mine(1)

    async def unreadable(self) -> BalanceKey:
        return BalanceKey(self.shop, self.no_token)

    async def vanish(self, transfer: Transfer) -> None:
        block = await self._chain.block()
        assert block is not None
        await self._chain.reorg(int(block["number"], 16) - transfer.block_number + 1)
        await self._chain.mine(1)

    async def fail(self, transfer: Transfer) -> None:
        receipt = await self._chain.receipt(transfer.tx_hash)
        assert receipt is not None
        self.upstream.fail("eth_getTransactionReceipt", result=receipt | {"status": "0x0", "logs": []})

    def fall_behind(self) -> None:
        self.upstream.stale_at = 15

    def small_pages(self, patch: Any) -> None:
        self._longest = 2

    def calls(self) -> int:
        return int(self.upstream.requests)

    def transfer_questions(self) -> int:
        queries = [params[0] for method, params in self.upstream.asked if method == "eth_getLogs"]
        return sum(query["topics"][0] == TRANSFER_TOPIC for query in queries)

    def later(self, seconds: float) -> None:
        self._now.seconds += seconds


class TronLand:
    """A Tron chain in memory behind a TronGrid stand-in."""

    shop, other, buyer = account("shop"), account("other"), account("buyer")
    token = TRON_USDT
    meta = TokenMeta("USDT", 6)
    no_token = account("nothing here")
    spellings: ClassVar[dict[str, str]] = {
        TRON_USDT: TRON_USDT,
        "41" + to_hex(TRON_USDT): TRON_USDT,
        "41" + to_hex(TRON_USDT).upper(): TRON_USDT,
    }
    mistyped = TRON_USDT[:-1] + "u"
    foreign = "0x" + "5e" * 20
    scan_question = "eth_getLogs"
    unknown_tx = "ab" * 32
    malformed_tx = "0x" + "ab" * 32

    def __init__(self, stack: AsyncExitStack) -> None:
        self._world = TronWorld(stack)

    async def open(self) -> TronLand:
        self.upstream = await self._world.grid()
        self._world.start()
        return self

    async def adapter(self, stack: AsyncExitStack | None = None) -> ChainAdapter:
        world = dataclasses.replace(self._world, stack=stack or self._world.stack)
        return await world.adapter(self.upstream, timeout_s=2)

    async def here(self) -> Cursor:
        return Cursor(self._world.ledger.times[self._world.ledger.solid])

    async def pay(self, to: str | None = None, amount: int = 5, token: str | None = None) -> Paid:
        tx = self._world.ledger.transfer(to or self.shop, amount, token=token or self.token)
        self._world.ledger.settle()
        return Paid(tx, to or self.shop, amount, token or self.token)

    async def another_token(self) -> str:
        return self._world.ledger.deploy("imitation", self.meta.symbol, self.meta.decimals)

    async def pay_together(self) -> list[Paid]:
        tx = self._world.ledger.transfers([(self.token, self.shop, 3), (self.token, self.other, 4)])
        self._world.ledger.settle()
        return [Paid(tx, self.shop, 3, self.token), Paid(tx, self.other, 4, self.token)]

    async def give_coin(self, to: str, amount: int) -> None:
        self._world.ledger.send_coin(to, amount)
        self._world.ledger.settle()

    async def unreadable(self) -> BalanceKey:
        return BalanceKey(self.shop, self._world.ledger.deploy("broken", "BAD", broken=True))

    async def vanish(self, transfer: Transfer) -> None:
        self.upstream.unindexed.add(transfer.tx_hash)

    async def fail(self, transfer: Transfer) -> None:
        tx = self._world.ledger.by_id[transfer.tx_hash]
        tx.result, tx.failed = "REVERT", True

    def fall_behind(self) -> None:
        self.upstream.behind = 40
        self.upstream.stale_at = self._world.ledger.times[-40]

    def small_pages(self, patch: Any) -> None:
        self.upstream.most_blocks = 4

    def calls(self) -> int:
        return int(self.upstream.requests)

    def transfer_questions(self) -> int:
        routes = ("eth_getLogs", "/v1/accounts/transactions/trc20", "/v1/contracts/events")
        return sum(int(self.upstream.calls[route]) for route in routes)

    def later(self, seconds: float) -> None:
        self._world.now.seconds += seconds


class TonLand:
    """Jetton transfers that real contracts made, behind a TonCenter stand-in."""

    shop, other = "0:" + "5E" * 32, "0:" + "0D" * 32
    meta = TokenMeta("USD₮", 6)
    no_token = "0:" + "77" * 32
    spellings: ClassVar[dict[str, str]] = {
        "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs": "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE",
        "UQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_p0p": "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE",
        "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id/sDs": "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE",
        "0:b113a994b5024a16719f69139328eb759596c38a25f59028b146fecdc3621dfe": "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE",
    }
    mistyped = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDt"
    foreign = TRON_USDT
    scan_question = "jetton/transfers"
    unknown_tx = "ab" * 32
    malformed_tx = base64.b64encode(bytes(32)).decode()

    def __init__(self, stack: AsyncExitStack) -> None:
        self._world = TonWorld(stack)
        self.token, self.buyer = self._world.ledger.master, self._world.ledger.buyer

    async def open(self) -> TonLand:
        self.upstream = await self._world.center()
        for _ in range(30):
            self._world.ledger.advance(10)
        return self

    async def adapter(self, stack: AsyncExitStack | None = None) -> ChainAdapter:
        world = dataclasses.replace(self._world, stack=stack or self._world.stack)
        return await world.adapter(self.upstream, timeout_s=2)

    async def here(self) -> Cursor:
        return Cursor(self._world.ledger.now)

    async def pay(self, to: str | None = None, amount: int = 5, token: str | None = None) -> Paid:
        self._world.ledger.advance(10)
        payment = self._world.ledger.pay(to or self.shop, amount, master=token)
        self._world.ledger.advance(10)
        return Paid(payment.tx_hash, to or self.shop, amount, token or self.token)

    async def another_token(self) -> str:
        self._world.ledger.issue("0:" + "FA" * 32, self.meta.symbol, self.meta.decimals)
        return "0:" + "FA" * 32

    async def pay_together(self) -> list[Paid]:
        self._world.ledger.advance(10)
        first = self._world.ledger.pay(self.shop, 3)
        second = self._world.ledger.pay(self.other, 4, with_=first)
        self._world.ledger.advance(10)
        return [Paid(first.tx_hash, self.shop, 3, self.token), Paid(second.tx_hash, self.other, 4, self.token)]

    async def give_coin(self, to: str, amount: int) -> None:
        self._world.ledger.coins[to] = amount

    async def unreadable(self) -> BalanceKey:
        await self.pay(self.other, 1)
        stranger = {"address": self.no_token, "owner": self.other, "jetton": self.token, "balance": "9"}
        self.upstream.strangers.append(stranger)
        return BalanceKey(self.other, self.token)

    async def vanish(self, transfer: Transfer) -> None:
        self._world.ledger.payments = [p for p in self._world.ledger.payments if p.tx_hash != transfer.tx_hash]

    async def fail(self, transfer: Transfer) -> None:
        (payment,) = [p for p in self._world.ledger.payments if p.tx_hash == transfer.tx_hash]
        for transaction in payment.transactions:
            if transaction["account"] == payment.wallet:
                transaction["description"] = {**transaction["description"], "aborted": True}

    def fall_behind(self) -> None:
        self.upstream.behind_s = 30

    def small_pages(self, patch: Any) -> None:
        patch.setattr(ton_paging, "PAGE", 3)
        patch.setattr(ton_paging, "MAX_PAGES", 1)

    def calls(self) -> int:
        return sum(self.upstream.calls.values())

    def transfer_questions(self) -> int:
        return int(self.upstream.calls["jetton/transfers"])

    def later(self, seconds: float) -> None:
        self._world.now.seconds += seconds


@asynccontextmanager
async def land_of(family: str) -> Any:
    """Open the world of one family; all of it is gone after the block."""
    made = {"evm": EvmLand, "tron": TronLand, "ton": TonLand}[family]
    async with AsyncExitStack() as stack:
        yield await made(stack).open()
