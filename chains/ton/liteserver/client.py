"""Liteservers over ADNL, through pytoniq, which only this file imports: bounded, and its errors end here."""

from __future__ import annotations

import asyncio
import binascii
import copy
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pytoniq.liteclient.client import LiteClient, LiteServerError

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable, ProvenLie
from chains.rpc.endpoint import Endpoint
from chains.ton.jettons import cells
from chains.ton.liteserver.proofs import MASTERCHAIN, ProofFailed, UnreadableProof, follow_shard, holds
from chains.ton.liteserver.proven_chain import ProvenChain
from chains.ton.liteserver.tl import (
    Forward,
    ShardBlock,
    ShardLink,
    parse_answer,
    parse_block_proof,
    parse_shard_proof,
    written_block,
)
from config.liteservers import BlockId, Liteserver, Liteservers

MAX_FRAME_BYTES = 1 << 20  # of one answer
MAX_REMEMBERED = 2_000  # transactions and wallets that were read
CONNECT_S = 3.0  # eight that are all silent must not hold a poll up for minutes
CONVERSATION_ANSWERS = 3  # a conversation takes at most so many times the longest wait for one answer
SMC_RESULT = 0b100  # of what a get-method may answer: its stack alone
NAMED_CHARS = 200

# What the library logs of a connection, with a traceback, is a stranger's to choose.
_UNHEARD = logging.getLogger("pytoniq.liteclient")
_UNHEARD.disabled = True

# The answers that are asked for, and how many elements a list in them may have: what a stranger's bytes are read as
# is never theirs to choose.
_ANSWERS = {
    "liteServer.error": 0,
    "liteServer.masterchainInfo": 0,
    "liteServer.runMethodResult": 0,
    "liteServer.transactionInfo": 0,
    "liteServer.transactionList": 1,
}
_PROOFS = {"liteServer.partialBlockProof", "liteServer.shardBlockProof"}  # read by `tl`, in linear time
RAW = "raw"


def method_id(name: str) -> int:
    """Return the number a get-method is called by."""
    return binascii.crc_hqx(name.encode(), 0) | 0x10000


class _Cut(ConnectionResetError):
    """What came is not read any further; pytoniq ends a connection at this without a word."""


class _BoundedClient(LiteClient):
    """pytoniq's client without what it does by itself, and with a bound on what it takes."""

    def __init__(self, server: Liteserver, *, timeout_s: float) -> None:
        key = binascii.b2a_base64(server.key, newline=False).decode()
        super().__init__(server.host, server.port, key, trust_level=2)
        self.timeout: float = timeout_s  # type: ignore[assignment]  # it only waits with it
        self.logger = _UNHEARD
        self.schemas._auto_deserialize = False  # noqa: SLF001 - it would read any bytes as any type it knows
        self.last: Mapping[str, Any] = {}  # the newest block of the masterchain
        self.network = ""  # hash of the network's first state

    def towards(self, server: Liteserver) -> _BoundedClient:
        """Return a client of another server; what both share is never written."""
        other = copy.copy(self)
        other.tasks, other.server = {}, type(self.server)(server.host, server.port, server.key)
        return other

    async def receive(self, data_len: int) -> bytes:
        if data_len > MAX_FRAME_BYTES:  # four bytes of a stranger would have reserved 4 GB
            await self.close()
            raise _Cut(f"an answer of {data_len} bytes")
        return await super().receive(data_len)

    def deserialize_adnl_query(self, data: bytes) -> dict[str, Any]:
        if len(data) == 32:  # noqa: PLR2004 - the nonce alone: the answer to a handshake
            return {}
        try:
            # As anything else, a packet of 1 MB took half a minute to read, and nothing else went on meanwhile.
            question, answer = parse_answer(data[32:])
            return {"query_id": question.hex(), "answer": self._answer(answer)}
        except Exception as exc:
            raise _Cut("an answer that cannot be read") from exc

    def _answer(self, raw: bytes) -> Mapping[str, Any]:
        schema = self.schemas.get_by_id(raw[:4], "little")
        if schema.name in _PROOFS:
            return {RAW: raw}
        most = _ANSWERS[schema.name]
        if most and int.from_bytes(raw[4:8], "little") > most:
            raise ValueError("a longer list than was asked for")
        told: Mapping[str, Any] = self.schemas.deserialize(raw, boxed=True)[0]
        return told

    async def update_last_blocks(self) -> None:
        """Learn which network this is, and its newest block; nothing else is asked for unasked."""
        told = await self.liteserver_request("getMasterchainInfo", {})
        self.last, self.network = told["last"], str(told["init"]["root_hash"])

    async def ping(self) -> None:
        """Do nothing: a conversation takes seconds."""

    async def block_updater(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Hang up at once: the library's own way waits, and swallows that it was cancelled."""
        self._cancel_all_tasks()  # type: ignore[no-untyped-call]
        if self.listener is not None and self.listener is not asyncio.current_task():
            self.listener.cancel()
        if self.writer is not None:
            self.writer.transport.abort()


class Conversation:
    """One connection to one liteserver. Every method raises a `ChainError` that says what is wrong with it."""

    def __init__(self, client: _BoundedClient, known: _Known, chain: ProvenChain | None) -> None:
        self._client = client
        self._known = known
        self._chain = chain  # where transactions have to be proven

    @property
    def newest(self) -> int:
        """The number of the newest block of the masterchain that it knew when the conversation began."""
        told = self._client.last.get("seqno")
        if not isinstance(told, int):
            raise ChainProtocolError("it does not tell its newest block")
        return told

    async def alive(self) -> None:
        """Ask for anything that every liteserver answers."""
        await self._ask("getMasterchainInfo", {})

    async def transaction(self, account: str, lt: int, tx_hash: str) -> cells.NodeTransaction:
        """
        Return a transaction of an account (in raw form) by its logical time and its hash.

        Raises:
            ProvenLie: another one was shown for it.
        """
        found = self._known.transactions.get((account, lt, tx_hash))
        if found is None:
            question = {"count": 1, "account": _account(account), "lt": lt, "hash": tx_hash}
            told = await self._ask("getTransactions", question)
            found = self._read(told.get("transactions"), account, lt, tx_hash)
            if self._chain is not None:
                await self._prove(self._chain, found, account, told.get("ids"))
            _remember(self._known.transactions, (account, lt, tx_hash), found)
        return found

    def _read(self, boc: Any, account: str, lt: int, tx_hash: str) -> cells.NodeTransaction:
        if not isinstance(boc, bytes):
            raise ChainProtocolError(f"no transaction was answered for {tx_hash}")
        try:
            found = cells.node_transaction(boc, tx_hash)
        except cells.OtherHash as exc:
            raise ProvenLie(f"transaction {exc} was shown for {tx_hash}") from exc
        if found is None:
            raise ChainProtocolError(f"transaction {tx_hash} cannot be read")
        if (found.account, found.lt) != (account.partition(":")[2], lt):
            raise ProvenLie(f"transaction {tx_hash} is one of {found.account} at {found.lt}")
        return found

    async def _prove(self, chain: ProvenChain, found: cells.NodeTransaction, account: str, ids: Any) -> None:
        """Follow hashes and signatures from a block that is trusted down to a transaction."""
        try:
            block = _named_block(ids)
            told = await self._ask(
                "getOneTransaction", {"id": written_block(block), "account": _account(account), "lt": found.lt}
            )
            holds(told["proof"], block, account, found.lt, found.hash)
            master, links = block, list[ShardLink]()
            if block.workchain != MASTERCHAIN:
                told = await self._ask("getShardBlockProof", {"id": written_block(block)})
                master, links = parse_shard_proof(told[RAW])
            follow_shard(master, links, block)
            await chain.reach(master, self._steps)
        except ProofFailed as exc:
            raise ProvenLie(f"transaction {found.hash} is not proven: {exc}") from exc
        except (UnreadableProof, ValueError, KeyError, TypeError) as exc:
            raise ChainProtocolError(f"transaction {found.hash} is not proven: {exc}") from exc

    async def _steps(self, start: ShardBlock, end: ShardBlock) -> list[Forward]:
        blocks = {"known_block": written_block(start), "target_block": written_block(end)}
        told = await self._ask("getBlockProof", {"mode": 1, **blocks})
        return parse_block_proof(told[RAW])

    async def is_wallet(self, account: str, *, master: str, owner: str) -> bool:
        """Say whether the jetton's master says now that an account is an owner's jetton wallet."""
        if self._known.wallets.get((master, owner)) == account:
            return True
        found = await self._wallet(master=master, owner=owner)
        if found == account:  # another answer is no hash's word, and may be another one next time
            _remember(self._known.wallets, (master, owner), found)
        return found == account

    async def _wallet(self, *, master: str, owner: str) -> str:
        question = {
            "mode": SMC_RESULT,
            "id": dict(self._client.last),
            "account": _account(master),
            "method_id": method_id("get_wallet_address"),
            "params": cells.address_stack(owner),
        }
        told = await self._ask("runSmcMethod", question)
        stack = told.get("result")
        found = cells.address_on_stack(stack) if isinstance(stack, bytes) else None
        if told.get("exit_code") != 0 or found is None:
            raise ChainProtocolError("the jetton's master does not answer get_wallet_address with an address")
        return found

    async def _ask(self, name: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            told = await self._client.liteserver_request(name, dict(question))
        except Exception as exc:
            raise _translated(exc) from exc
        if not isinstance(told, Mapping):
            raise ChainProtocolError(f"{name} was not answered")
        return told


class _Known:
    """What was read: transactions that hash to what was asked for, and wallets, by who said so."""

    def __init__(self) -> None:
        self.transactions: dict[tuple[str, int, str], cells.NodeTransaction] = {}
        self.wallets: dict[tuple[str, str], str] = {}


class LiteserverClient:
    """Opens conversations with the liteservers of one network; nobody is asked before the first."""

    def __init__(self, liteservers: Liteservers, *, timeout_s: float, chain: ProvenChain | None = None) -> None:
        self._chain = chain
        self.addresses = [f"adnl://{server.host}:{server.port}" for server in liteservers.servers]
        self._servers = dict(zip(self.addresses, liteservers.servers, strict=True))
        self._network = liteservers.zero_state.hex()
        self._timeout_s = timeout_s
        self._known: dict[Endpoint, _Known] = {}
        try:
            self._template = _BoundedClient(liteservers.servers[0], timeout_s=timeout_s)
            for server in liteservers.servers:
                self._template.towards(server)
        except Exception as exc:
            raise ChainMisconfigured("TON_LITESERVERS names a liteserver whose key is none") from exc

    @asynccontextmanager
    async def conversation(self, endpoint: Endpoint) -> AsyncIterator[Conversation]:
        """
        Open a connection, and close it afterwards. All of it takes a bounded time.

        Raises:
            ChainMisconfigured: it serves another network.
            ChainUnavailable: it does not answer, or not in time.
        """
        client = self._template.towards(self._servers[endpoint.url])
        try:
            async with asyncio.timeout(CONVERSATION_ANSWERS * self._timeout_s):
                await self._connect(client, endpoint)
                yield Conversation(client, self._known.setdefault(endpoint, _Known()), self._chain)
        except TimeoutError as exc:
            raise ChainUnavailable(f"no end after {CONVERSATION_ANSWERS * self._timeout_s:g} s") from exc
        finally:
            await client.close()
            await _ended(client.listener)

    async def _connect(self, client: _BoundedClient, endpoint: Endpoint) -> None:
        client.timeout = min(self._timeout_s, CONNECT_S)
        try:
            await client.connect()
        except Exception as exc:
            raise _translated(exc) from exc
        client.timeout = self._timeout_s
        if client.network != self._network:
            raise ChainMisconfigured(f"{endpoint.label} serves the network that begins with {client.network[:16]}")
        endpoint.checked = True


async def _ended(listener: asyncio.Task[None] | None) -> None:
    if listener is not None:
        await asyncio.wait([listener])


def _translated(error: Exception) -> ChainError:
    """Return what an error of the library means; whatever it cannot say is that the connection is of no use."""
    if isinstance(error, ChainError):
        return error
    if isinstance(error, LiteServerError):
        words = " ".join(str(error.message).split())[:NAMED_CHARS]
        return ChainUnavailable(f"liteserver error {error.code}: {words}")
    if isinstance(error, TimeoutError):
        return ChainUnavailable("no answer in time")
    if isinstance(error, OSError):
        return ChainUnavailable(f"no connection ({type(error).__name__})")
    return ChainUnavailable("the connection was cut, or what came cannot be read")


def _named_block(ids: Any) -> ShardBlock:
    """Return the block that a liteserver says a transaction is in."""
    (told,) = ids
    named = BlockId(told["seqno"], bytes.fromhex(told["root_hash"]), bytes.fromhex(told["file_hash"]))
    return ShardBlock(told["workchain"], told["shard"], named)


def _account(raw: str) -> Mapping[str, Any]:
    workchain, _, digits = raw.partition(":")
    return {"workchain": int(workchain), "id": digits.lower()}


def _remember(known: dict[Any, Any], key: Sequence[Any], value: Any) -> None:
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[key] = value
