"""A liteserver over a ledger: the real protocol, written without the client under test, and every lie it may tell."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devnet.ton.blocks import Block, Held, SignedChain, Validators, key_block, shard_block
from devnet.ton.cells import Bits, Cell, Known, address_of, parse_boc
from devnet.ton.ledger import Payment, TonLedger

MAINNET_ZERO_STATE = base64.b64decode("F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk=")
SHARD = -(1 << 63)
_PRIME = 2**255 - 19
_CURVE_ORDER_BYTES = 32


def _tl(definition: str) -> bytes:
    """Return the number a TL constructor begins with, as it is on the wire."""
    return binascii.crc32(definition.translate({ord(c): None for c in "()"}).encode()).to_bytes(4, "little")


_BLOCK_ID = "tonNode.blockIdExt"
_QUERY = _tl("adnl.message.query query_id:int256 query:bytes = adnl.Message")
_ANSWER = _tl("adnl.message.answer query_id:int256 answer:bytes = adnl.Message")
_LITE_QUERY = _tl("liteServer.query data:bytes = Object")
_ERROR = _tl("liteServer.error code:int message:string = liteServer.Error")
_INFO = _tl(
    f"liteServer.masterchainInfo last:{_BLOCK_ID} state_root_hash:int256 init:tonNode.zeroStateIdExt"
    " = liteServer.MasterchainInfo"
)
_LIST = _tl(f"liteServer.transactionList ids:(vector {_BLOCK_ID}) transactions:bytes = liteServer.TransactionList")
_RUN_RESULT = _tl(
    f"liteServer.runMethodResult mode:# id:{_BLOCK_ID} shardblk:{_BLOCK_ID} shard_proof:mode.0?bytes"
    " proof:mode.0?bytes state_proof:mode.1?bytes init_c7:mode.3?bytes lib_extras:mode.4?bytes exit_code:int"
    " result:mode.2?bytes = liteServer.RunMethodResult"
)
_GET_INFO = _tl("liteServer.getMasterchainInfo = liteServer.MasterchainInfo")
_GET_TRANSACTIONS = _tl(
    "liteServer.getTransactions count:# account:liteServer.accountId lt:long hash:int256 = liteServer.TransactionList"
)
_RUN = _tl(
    f"liteServer.runSmcMethod mode:# id:{_BLOCK_ID} account:liteServer.accountId method_id:long params:bytes"
    " = liteServer.RunMethodResult"
)
_TRANSACTION_INFO = _tl(
    f"liteServer.transactionInfo id:{_BLOCK_ID} proof:bytes transaction:bytes = liteServer.TransactionInfo"
)
_GET_ONE = _tl(
    f"liteServer.getOneTransaction id:{_BLOCK_ID} account:liteServer.accountId lt:long = liteServer.TransactionInfo"
)
_SHARD_PROOF = _tl(
    f"liteServer.shardBlockProof masterchain_id:{_BLOCK_ID} links:(vector liteServer.shardBlockLink)"
    " = liteServer.ShardBlockProof"
)
_GET_SHARD_PROOF = _tl(f"liteServer.getShardBlockProof id:{_BLOCK_ID} = liteServer.ShardBlockProof")
_BLOCK_PROOF = _tl(
    f"liteServer.partialBlockProof complete:Bool from:{_BLOCK_ID} to:{_BLOCK_ID} steps:(vector liteServer.BlockLink)"
    " = liteServer.PartialBlockProof"
)
_GET_BLOCK_PROOF = _tl(
    f"liteServer.getBlockProof mode:# known_block:{_BLOCK_ID} target_block:mode.0?{_BLOCK_ID}"
    " = liteServer.PartialBlockProof"
)
_FORWARD = _tl(
    f"liteServer.blockLinkForward to_key_block:Bool from:{_BLOCK_ID} to:{_BLOCK_ID} dest_proof:bytes config_proof:bytes"
    " signatures:liteServer.SignatureSet = liteServer.BlockLink"
)
_SIGNATURES = bytes.fromhex("e6a644f6")
_TRUE = _tl("boolTrue = Bool")
_FALSE = _tl("boolFalse = Bool")
NAMES = {
    _GET_INFO: "getMasterchainInfo",
    _GET_TRANSACTIONS: "getTransactions",
    _RUN: "runSmcMethod",
    _GET_ONE: "getOneTransaction",
    _GET_SHARD_PROOF: "getShardBlockProof",
    _GET_BLOCK_PROOF: "getBlockProof",
}
WALLET_METHOD = binascii.crc_hqx(b"get_wallet_address", 0) | 0x10000


BLOCK_LIES = (
    "the block holds another transaction",
    "the block holds nothing of the account",
    "cells are shared without end",
    "the masterchain names another block",
    "a block follows another one",
    "the way ends early",
    "no way is shown",
    "no step is shown",
    "validators are made up",
    "a step begins elsewhere",
    "half of them signed",
    "one of them signed as often as it takes",
    "a signature is none",
    "strangers signed",
    "a step ends at another block",
)


class _Failure(Exception):
    """What is answered as an error of the liteserver."""


class Liteserver:
    """
    One liteserver. Attributes are its defects; `heal` ends them all. Open as a context manager.

    Several may share a ledger, and one may show another ledger than the index does.
    """

    def __init__(self, ledger: TonLedger, chain: SignedChain | None = None) -> None:
        self.ledger = ledger
        self.chain = chain or SignedChain()
        self.calls: Counter[str] = Counter()  # by what was asked
        self.connections = 0
        self._key = Ed25519PrivateKey.generate()
        self._talks: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self.heal()

    def heal(self) -> None:
        """Behave from now on."""
        self.zero_state = MAINNET_ZERO_STATE
        self.refuses = False  # every connection is cut at once
        self.cuts_at: str | None = None  # the connection is cut where this is asked
        self.silent_at: str | None = None  # nothing is answered to this; "handshake" for nothing at all
        self.raw: dict[str, bytes] = {}  # answered to this instead, as it is
        self.frame: bytes | None = None  # sent instead of any answer, encrypted as it is
        self.hidden: set[str] = set()  # hashes (hex) of transactions it does not know
        self.knows_nothing = False  # of any transaction
        self.shows_another = False  # of those it knows, whichever is asked for
        self.swapped: dict[str, str] = {}  # the transaction shown for another, by hash
        self.wallets: dict[str, str] = {}  # owner: the jetton wallet it claims
        self.lie = ""  # about blocks: a key of `BLOCK_LIES`

    @property
    def listed(self) -> dict[str, Any]:
        """This server as a global config lists it."""
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        key = base64.b64encode(public).decode()
        return {"ip": 0x7F000001, "port": self._port, "id": {"@type": "pub.ed25519", "key": key}}

    @staticmethod
    def config(*servers: Liteserver) -> bytes:
        """Return a global config that lists some servers, as JSON; it begins at the first one's key block."""
        begins = servers[0].chain.init
        hashes = {"root_hash": _base64(begins.root_hash), "file_hash": _base64(begins.file_hash)}
        validator = {
            "zero_state": {"root_hash": _base64(MAINNET_ZERO_STATE)},
            "init_block": {"seqno": begins.seqno, **hashes},
        }
        return orjson.dumps({"liteservers": [server.listed for server in servers], "validator": validator})

    @property
    def label(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the door and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._talks.values():
            writer.transport.abort()
        if self._talks:
            await asyncio.wait(list(self._talks))

    # --- one connection --------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        async with self._held(writer):
            if self.refuses:
                return
            talk = self._welcomed(await reader.readexactly(256))
            if self.silent_at == "handshake":
                await reader.read()
                return
            writer.write(talk.sealed(b""))
            while True:
                asked = await talk.read(reader)
                writer.write(await self._answered(asked, talk, reader))

    @asynccontextmanager
    async def _held(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._talks[task] = writer
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                yield
        finally:
            del self._talks[task]
            writer.transport.abort()

    def _welcomed(self, hello: bytes) -> _Talk:
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if hello[:32] != hashlib.sha256(b"\xc6\xb4\x13\x48" + public).digest():
            raise ConnectionResetError("somebody else was meant")
        client, checksum = hello[32:64], hello[64:96]
        seed = self._key.private_bytes_raw()
        own = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
        shared = own.exchange(X25519PublicKey.from_public_bytes(_montgomery(client)))
        first = _cipher(shared[:16] + checksum[16:], checksum[:4] + shared[20:])
        agreed = first.update(hello[96:])
        if hashlib.sha256(agreed).digest() != checksum:
            raise ConnectionResetError("a handshake that is none")
        return _Talk(
            sends=_cipher(agreed[:32], agreed[64:80]),
            hears=_cipher(agreed[32:64], agreed[80:96]),
        )

    async def _answered(self, asked: bytes, talk: _Talk, reader: asyncio.StreamReader) -> bytes:
        if asked[:4] != _QUERY:
            raise ConnectionResetError("no query")
        question = _bytes(asked, 36)
        if question[:4] != _LITE_QUERY:
            raise ConnectionResetError("no query of a liteserver")
        data = _bytes(question, 4)
        name = NAMES.get(data[:4], data[:4].hex())
        self.calls[name] += 1
        if name == self.cuts_at:
            raise ConnectionResetError("cut")
        if name == self.silent_at:
            await reader.read()
        if self.frame is not None:
            return talk.encrypted(self.frame)
        return talk.sealed(_ANSWER + asked[4:36] + _written(self.raw.get(name) or self._answer(name, data)))

    def _answer(self, name: str, data: bytes) -> bytes:
        answers: dict[str, Callable[[bytes], bytes]] = {
            "getMasterchainInfo": self._info,
            "getTransactions": self._transactions,
            "runSmcMethod": self._run,
            "getOneTransaction": self._one,
            "getShardBlockProof": self._shard_proof,
            "getBlockProof": self._block_proof,
        }
        try:
            return answers[name](data)
        except KeyError:
            return _error(f"unknown method {name}")
        except _Failure as exc:
            return _error(str(exc))

    def _info(self, _: bytes) -> bytes:
        return _INFO + self._block(-1) + bytes(32) + _int(-1) + self.zero_state + bytes(32)

    def _block(self, workchain: int) -> bytes:
        named = hashlib.sha256(f"{workchain} {self.ledger.lt}".encode()).digest()
        shard = SHARD.to_bytes(8, "little", signed=True)
        return _int(workchain) + shard + _int(len(self.ledger.blocks)) + named + named

    # --- what is asked ---------------------------------------------------------------------------

    def _transactions(self, data: bytes) -> bytes:
        account, lt, tx_hash = data[12:44].hex().upper(), int.from_bytes(data[44:52], "little"), data[52:84].hex()
        if tx_hash in self.hidden or self.knows_nothing:
            raise _Failure("cannot locate transaction in block with specified logical time")
        for payment, row in self._happened():
            if row["account"].partition(":")[2] == account and int(row["lt"]) == lt:
                held = base64.b64decode(row["hash"]).hex()
                if held != tx_hash:
                    raise _Failure("transaction hash mismatch")
                other = self.swapped.get(held) or (self._another(held) if self.shows_another else None)
                shown = payment.cells[row["hash"]]() if other is None else self._shown(other)
                known = parse_boc(shown).known
                return listed(shown, block=self.chain.hold(Held(row["account"], lt, known)).named)
        raise _Failure("cannot find block with specified logical time")

    # --- proofs ----------------------------------------------------------------------------------

    def _one(self, data: bytes) -> bytes:
        root_hash = data[20:52]
        block = next(block for block, _ in self.chain.shards.values() if block.root_hash == root_hash)
        shown = block
        if self.lie == "the block holds another transaction":
            held = Held(f"0:{data[88:120].hex().upper()}", int.from_bytes(data[120:128], "little"), Known(bytes(32), 1))
            shown = shard_block(block.seqno, held)
        if self.lie == "the block holds nothing of the account":
            shown = self.chain.after(root_hash)
        proof = shown.proof
        if self.lie == "cells are shared without end":
            shared = Cell(Bits("1"))
            for _ in range(300):
                shared = Cell(Bits("1"), (shared, shared))
            proof = shared.proof().boc()
        return _TRANSACTION_INFO + block.named + _written(proof) + _written(b"")

    def _shard_proof(self, data: bytes) -> bytes:
        root_hash = data[20:52]
        block = next(block for block, _ in self.chain.shards.values() if block.root_hash == root_hash)
        after, master = self.chain.after(root_hash), self.chain.masters[root_hash]
        links = [(after, master.proof), (block, after.proof)]
        if self.lie == "the masterchain names another block":
            other = shard_block(7, None)
            links = [(other, master.proof), (block, after.proof)]
        if self.lie == "a block follows another one":
            stranger = shard_block(after.seqno, None, shard_block(8, None))
            links = [(after, master.proof), (block, stranger.proof)]
        if self.lie == "the way ends early":
            links = links[:1]
        if self.lie == "no way is shown":
            links = []
        return _SHARD_PROOF + master.named + _int(len(links)) + b"".join(b.named + _written(p) for b, p in links)

    def _block_proof(self, data: bytes) -> bytes:
        start, target = data[24:56], self.chain.master(data[104:136])
        chain = self.chain
        steps = [(chain.init, chain.key, chain.first)] if start == chain.init.root_hash else []
        if self.lie == "no step is shown":
            return _BLOCK_PROOF + _FALSE + chain.init.named + target.named + _int(0)
        signed = [*steps, (chain.key, target, chain.second)]
        if self.lie == "validators are made up":
            made_up = Validators()
            signed = [(chain.init, target, made_up)]
            steps_raw = [self._step(*signed[0], config=key_block(chain.init.seqno, made_up))]
        else:
            steps_raw = [self._step(*step) for step in signed]
        if self.lie == "a step begins elsewhere":
            steps_raw = steps_raw[-1:] if len(steps_raw) > 1 else [self._step(chain.init, target, chain.first)]
        return _BLOCK_PROOF + _TRUE + chain.init.named + target.named + _int(len(steps_raw)) + b"".join(steps_raw)

    def _step(self, start: Block, end: Block, by: Validators, config: Block | None = None) -> bytes:
        signatures = by.signatures(end)
        if self.lie == "half of them signed":
            signatures = signatures[:2]
        if self.lie == "one of them signed as often as it takes":
            signatures = signatures[:1] * 4
        if self.lie == "a signature is none":
            signatures = [(node, bytes(64)) for node, _ in signatures]
        if self.lie == "strangers signed":
            signatures = Validators().signatures(end)
        shown = end.proof if self.lie != "a step ends at another block" else key_block(end.seqno, by).proof
        signed = b"".join(node + _written(signature) for node, signature in signatures)
        head = _FORWARD + _TRUE + start.named + end.named + _written(shown) + _written((config or start).proof)
        return head + _SIGNATURES + bytes(8) + _int(len(signatures)) + signed

    def _happened(self) -> Iterator[tuple[Payment, dict[str, Any]]]:
        for payment in self.ledger.payments:
            for row in payment.happened:
                if row["hash"] in payment.cells:
                    yield payment, row

    def _another(self, tx_hash: str) -> str | None:
        others = (base64.b64decode(row["hash"]).hex() for _, row in self._happened())
        return next((other for other in others if other != tx_hash), None)

    def _shown(self, tx_hash: str) -> bytes:
        named = base64.b64encode(bytes.fromhex(tx_hash)).decode()
        return next(payment.cells[named]() for payment, row in self._happened() if row["hash"] == named)

    def _run(self, data: bytes) -> bytes:
        master = f"0:{data[92:124].hex().upper()}"
        params = _bytes(data, 132)
        if master not in self.ledger.masters or int.from_bytes(data[124:132], "little") != WALLET_METHOD:
            return self._ran(-256, Bits().uint(0, 24))
        (_, entry) = parse_boc(params).refs
        owner = address_of(entry.bits.text)
        wallet = self.wallets.get(owner) or self.ledger.wallet(master, owner)
        address = Cell(Bits().address(wallet))
        slice_ = Bits().uint(1, 24).uint(4, 8).uint(0, 10).uint(len(address.bits.text), 10).uint(0, 6)
        return self._ran(0, slice_, (Cell(Bits()), address))

    def _ran(self, code: int, stack: Bits, refs: tuple[Cell, ...] = ()) -> bytes:
        block = self._block(-1)
        return _RUN_RESULT + _int(4) + block + block + _int(code) + _written(Cell(stack, refs).boc())


class _Talk:
    """What is said on one connection, in both directions."""

    def __init__(self, *, sends: Any, hears: Any) -> None:
        self._sends = sends
        self._hears = hears

    def encrypted(self, data: bytes) -> bytes:
        encrypted: bytes = self._sends.update(data)
        return encrypted

    def sealed(self, payload: bytes) -> bytes:
        """Return a packet: its length, a nonce, what is said, and a hash of both."""
        body = os.urandom(32) + payload
        whole = body + hashlib.sha256(body).digest()
        return self.encrypted(len(whole).to_bytes(4, "little") + whole)

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        length = int.from_bytes(self._hears.update(await reader.readexactly(4)), "little")
        body: bytes = self._hears.update(await reader.readexactly(length))
        if hashlib.sha256(body[:-32]).digest() != body[-32:]:
            raise ConnectionResetError("a packet that is none")
        return body[32:-32]


def listed(boc: bytes, *, blocks: int = 1, block: bytes = bytes(80)) -> bytes:
    """Return the answer to `getTransactions`: the blocks they are in, and the transactions."""
    return _LIST + _int(blocks) + block + _written(boc)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _cipher(key: bytes, start: bytes) -> Any:
    return Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()


def _montgomery(public: bytes) -> bytes:
    """Return a key for signatures as the key for an exchange that it is on the other form of the curve."""
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    return ((1 + y) * pow(1 - y, -1, _PRIME) % _PRIME).to_bytes(_CURVE_ORDER_BYTES, "little")


def _int(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def _error(words: str) -> bytes:
    return _ERROR + _int(651) + _written(words.encode())


def _written(data: bytes) -> bytes:
    """Return bytes as TL has them: their length before them, and filled up to four."""
    head = bytes([len(data)]) if len(data) < 254 else b"\xfe" + len(data).to_bytes(3, "little")
    return head + data + bytes(-(len(head) + len(data)) % 4)


def _bytes(data: bytes, place: int) -> bytes:
    """Read bytes of TL at a place."""
    if data[place] == 0xFE:
        start, length = place + 4, int.from_bytes(data[place + 1 : place + 4], "little")
    else:
        start, length = place + 1, data[place]
    return data[start : start + length]
