"""
Proofs of payments and what a verifier has to say of each, for the verifiers of every language.

Real blocks are in `proofs/real.json`, each with its source. The others are made here: trees by the `trie` library,
and by hand where no honest builder would make them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import rlp
from eth_hash.auto import keccak
from trie import HexaryTrie

from tests.harness import ROOT

REAL = ROOT / "tests" / "clients" / "proofs" / "real.json"
CHAIN, NUMBER = 97, 41
TOKEN, SENDER, RECIPIENT = bytes.fromhex("aa" * 20), bytes.fromhex("bb" * 20), bytes.fromhex("cc" * 20)
TRANSFER = keccak(b"Transfer(address,address,uint256)")
OTHER_EVENT = keccak(b"Approval(address,address,uint256)")
AMOUNT = 2**200
BLOOM = bytes(256)
ZERO_HASH = bytes(32)

Item = Any  # bytes, or a list of items
Wrap = Callable[[bytes], list[Item]]  # what stands above a node of this hash


@dataclass(frozen=True)
class Vector:
    """One proof with the hashes it is checked by, and what it shows, or why it shows nothing."""

    name: str
    proof: Any
    hashes: dict[int, Any]
    shows: list[dict[str, Any]] | str
    limits: dict[str, int] = field(default_factory=dict)  # in the place of the verifier's own

    def as_json(self) -> dict[str, Any]:
        return {"proof": self.proof, "hashes": self.hashes}


def as_hex(text: bytes) -> str:
    return "0x" + text.hex()


def word(address: bytes) -> bytes:
    return address.rjust(32, b"\x00")


def log(amount: int = AMOUNT, **odd: Item) -> list[Item]:
    """Return a log of a payment; `odd` are fields that are others."""
    topics = [odd.get("event", TRANSFER), odd.get("sender", word(SENDER)), odd.get("recipient", word(RECIPIENT))]
    topics += odd.get("more", [])
    return [odd.get("token", TOKEN), topics, odd.get("data", amount.to_bytes(32))]


def receipt(*logs: Item, kind: int = 0, status: bytes = b"\x01", more: Sequence[Item] = ()) -> bytes:
    prefix = bytes([kind]) if kind else b""
    return prefix + rlp.encode([status, b"\x52\x08", BLOOM, list(logs), *more])


def header(root: Item, *, number: int = NUMBER, count: int = 16) -> bytes:
    """Return a header of a block after London, or one with so many items."""
    items = [
        ZERO_HASH,
        ZERO_HASH,
        bytes(20),
        ZERO_HASH,
        ZERO_HASH,
        root,
        BLOOM,
        b"",
        number.to_bytes((number.bit_length() + 7) // 8),
    ]
    items += [b"\x01", b"\x01", b"\x01", b"", ZERO_HASH, bytes(8), b"\x07", b"", b"", b"", b"", b""]
    return rlp.encode(items[:count])


def transfer(
    sealed: bytes, nodes: Sequence[bytes], paid: bytes, *, index: int = 0, position: int = 0, number: int = NUMBER
) -> dict[str, Any]:
    return {
        "txHash": as_hex(ZERO_HASH),
        "blockNumber": number,
        "blockHash": as_hex(keccak(sealed)),
        "header": as_hex(sealed),
        "transactionIndex": index,
        "receipt": as_hex(paid),
        "nodes": [as_hex(node) for node in nodes],
        "logPosition": position,
    }


def proof(*transfers: dict[str, Any]) -> dict[str, Any]:
    return {"chainId": CHAIN, "intentId": "order-1", "transfers": list(transfers)}


def shown(
    each: dict[str, Any], *, amount: int = AMOUNT, token: bytes = TOKEN, chain: int = CHAIN, **other: Any
) -> dict[str, Any]:
    """Return what a transfer of a proof shows."""
    same = {name: each[name] for name in ("blockNumber", "blockHash", "transactionIndex", "logPosition")}
    people = {"sender": as_hex(SENDER), "recipient": as_hex(RECIPIENT)}
    return {"chainId": chain, **same, "token": as_hex(token), **people, "amount": str(amount), **other}


def good(name: str, *transfers: dict[str, Any], **limits: int) -> Vector:
    hashes = {each["blockNumber"]: each["blockHash"] for each in transfers}
    return Vector(name, proof(*transfers), hashes, [shown(each) for each in transfers], limits)


def bad(name: str, why: str, *transfers: dict[str, Any], **limits: int) -> Vector:
    return Vector(name, proof(*transfers), {each["blockNumber"]: each["blockHash"] for each in transfers}, why, limits)


def tree(receipts: Sequence[bytes]) -> tuple[bytes, Callable[[int], list[bytes]]]:
    """Return the root of a block's receipts, and the nodes on the way to one of them."""
    built = HexaryTrie({})
    for index, each in enumerate(receipts):
        built[rlp.encode(index)] = each
    return built.root_hash, lambda index: [rlp.encode(node) for node in built.get_proof(rlp.encode(index))]


def block(receipts: Sequence[bytes], *, number: int = NUMBER, count: int = 16) -> Callable[..., dict[str, Any]]:
    """Return what makes proofs of a block's transfers."""
    root, nodes = tree(receipts)
    sealed = header(root, number=number, count=count)

    def of(index: int = 0, position: int = 0) -> dict[str, Any]:
        return transfer(sealed, nodes(index), receipts[index], index=index, position=position, number=number)

    return of


def by_hand(paid: bytes, last: Item, *above: Wrap, index: int = 1, **other: Any) -> dict[str, Any]:
    """Return the proof of a tree of one way: the last node, and what stands above it, from the root down."""
    nodes = [rlp.encode(last)]
    for wrap in reversed(above):
        nodes.insert(0, rlp.encode(wrap(keccak(nodes[0]))))
    return transfer(header(keccak(nodes[0])), nodes, paid, index=index, **other)


def branch(place: int, count: int = 17) -> Wrap:
    return lambda named: [named if at == place else b"" for at in range(count)]


def under(path: bytes) -> Wrap:
    return lambda named: [path, named]


def forged(paid: bytes) -> dict[str, Any]:
    """Return a proof whose whole tree is one leaf: of transaction 0, with a receipt of any form."""
    return by_hand(paid, [b"\x20\x80", paid], index=0)


PAID = receipt(log())
OTHERS = [receipt(log(amount)) for amount in range(1, 4)]


def vectors() -> Iterator[Vector]:
    """Yield every proof that is tried."""
    yield from _real()
    yield from _good()
    yield from _shapes()
    yield from _blocks()
    yield from _ways()
    yield from _forms()
    yield from _receipts()
    yield from _logs()


def _real() -> Iterator[Vector]:
    for each in json.loads(REAL.read_text()):
        # Of one block the source has the tree alone: its header is made.
        sealed = (
            bytes.fromhex(each["header"][2:]) if "header" in each else header(bytes.fromhex(each["receiptsRoot"][2:]))
        )
        number = int.from_bytes(rlp.decode(sealed)[8])
        nodes = [bytes.fromhex(node[2:]) for node in each["nodes"]]
        paid = bytes.fromhex(each["receipt"][2:])
        told = transfer(sealed, nodes, paid, index=each["transactionIndex"], number=number)
        moved = shown(told) | each["shows"]
        yield Vector(each["name"], proof(told), {number: as_hex(keccak(sealed))}, [moved])


def _good() -> Iterator[Vector]:
    for kind in (0, 1, 2, 3, 4, 0x7E):
        yield good(f"receipt of type {kind}", block([receipt(log(), kind=kind)])())
    for more in ([b"\x01"], [b"\x01", b"\x01"]):
        yield good(f"deposit with {len(more)} more", block([receipt(log(), kind=0x7E, more=more)])())
    many = block([PAID] * 300)
    yield good("places in a large block", *(many(index) for index in (0, 1, 15, 16, 127, 128, 255, 256, 299)))
    yield good("places in a receipt", *(block([receipt(*[log()] * 3)])(0, position) for position in range(3)))
    yield good("several blocks", *(block([PAID], number=number)() for number in (1, 255, 256, 2**40)))
    yield good("block 0", block([PAID], number=0)())
    for count in (15, 17, 21):
        yield good(f"header of {count} items", block([PAID], count=count)())
    each = block([PAID])()
    yield Vector("as it is answered", {"proof": proof(each)}, {NUMBER: each["blockHash"]}, [shown(each)])
    upper = {NUMBER: "0x" + each["blockHash"][2:].upper()}
    yield Vector("a hash in upper case", proof(each), upper, [shown(each)])
    yield good("as many as may be", *(many(index) for index in range(2)), MAX_TRANSFERS=2)


def _shapes() -> Iterator[Vector]:
    each = block([PAID])()
    hashes = {NUMBER: each["blockHash"]}
    for told in (None, [], "0x", 7, {"proof": None}):
        yield Vector(f"{told} for a proof", told, hashes, "the proof is no object")
    for told in ([], None, {}, "0x"):
        yield Vector(f"{told} for transfers", proof() | {"transfers": told}, hashes, "the proof holds no transfers")
    for told in (None, [], "0x"):
        yield Vector(f"{told} for a transfer", proof() | {"transfers": [told]}, hashes, "a transfer is no object")
    for name, most in {"blockNumber": 2**53, "transactionIndex": 2**24, "logPosition": 2**53}.items():
        for value in (None, "0", -1, True, 0.5, most, 10**400):
            yield Vector(
                f"{value!r:.30} for {name}",
                proof(each | {name: value}),
                hashes,
                f"{name} is no number within its bounds",
            )
    for value in (None, "97", -1, 2**53):
        told = proof(each) | {"chainId": value}
        yield Vector(f"{value} for chainId", told, hashes, "chainId is no number within its bounds")
    yield from _texts(each)


# Node cuts each letter to a byte, and took the last of these for hex.
NO_HEX = {"half a byte": "0xf", "letters": "0xgg", "spaces": "0x f9 ", "letters of elsewhere": "0x\u0161\u0161"}


def _texts(each: dict[str, Any]) -> Iterator[Vector]:
    hashes = {NUMBER: each["blockHash"]}
    for name in ("blockHash", "header", "receipt"):
        for value in (None, 7, "", "f9", "0Xf9", ["0xf9"]):
            yield Vector(f"{value!r} for {name}", proof(each | {name: value}), hashes, "a text is no hex")
    for name, value in NO_HEX.items():
        yield bad(f"{name} for a receipt", "a text has digits that are no hex", each | {"receipt": value})
    for value in (None, {}, "0xf9", 7):
        yield bad(f"{value!r} for nodes", "the nodes are no list", each | {"nodes": value})
    yield bad("a node that is no text", "a text is no hex", each | {"nodes": [None]})
    yield bad("more transfers than may be", "the proof holds too many transfers", each, each, MAX_TRANSFERS=1)
    size = len(each["blockHash"]) * 2 + len(each["header"]) + len(each["receipt"]) + sum(map(len, each["nodes"]))
    yield good("as large as may be", each, MAX_CHARACTERS=size)
    yield bad("larger than may be", "the proof is too large", each, MAX_CHARACTERS=size - 1)
    yield bad("one log twice", "a log is given twice", each, each)


def _blocks() -> Iterator[Vector]:
    each, other = block([PAID])(), block([receipt(log(1))])()
    yield Vector("no hash for the block", proof(each), {NUMBER + 1: each["blockHash"]}, "no hash was given for a block")
    yield Vector("no hashes", proof(each), {}, "no hash was given for a block")
    for given in (None, 7, "", each["blockHash"][2:]):
        yield Vector(f"{given!r:.20} for a given hash", proof(each), {NUMBER: given}, "a text is no hex")
    yield Vector(
        "a block that is another one than is said",
        proof(each | {"blockHash": other["blockHash"]}),
        {NUMBER: each["blockHash"]},
        "the block has another hash than the one given for it",
    )
    yield Vector(
        "a block of another fork",
        proof(each),
        {NUMBER: other["blockHash"]},
        "the block has another hash than the one given for it",
    )
    why = "the header is another one than the block's"
    yield bad("a header of another block", why, each | {"header": other["header"]})
    yield bad("a header with one byte more", why, each | {"header": each["header"] + "00"})
    yield bad("no header", why, each | {"header": "0x"})
    short = block([PAID], count=14)()
    yield bad("a header of 14 items", "the header has too few items", short)
    why = "the header has another number"
    yield bad("a header of another number", why, block([PAID], number=NUMBER + 1)() | {"blockNumber": NUMBER})
    root, nodes = tree([PAID])
    items = rlp.decode(header(root))
    items[8] = b"\x00" + items[8]
    yield bad("a number after a zero", why, transfer(rlp.encode(items), nodes(0), PAID))
    items[8] = [items[8]]
    yield bad("a number in a list", why, transfer(rlp.encode(items), nodes(0), PAID))


def _ways() -> Iterator[Vector]:
    why = "a node is another one than the one that is named"
    of = block([PAID, *OTHERS])
    each, other = of(), of(1)
    yield bad(
        "another receipt of the block",
        "the receipt is another one than the block's",
        each | {"receipt": other["receipt"]},
    )
    yield bad(
        "a receipt that nobody has",
        "the receipt is another one than the block's",
        each | {"receipt": as_hex(receipt(log(7)))},
    )
    yield bad("the way to another transaction", why, each | {"nodes": other["nodes"]})
    yield bad("a root of another block", why, each | {"nodes": block([PAID])()["nodes"]})
    yield bad("nodes in another order", why, each | {"nodes": each["nodes"][::-1]})
    yield bad("a way without its root", why, each | {"nodes": each["nodes"][1:]})
    yield bad("a node that is empty", why, each | {"nodes": [*each["nodes"][:1], "0x"]})
    yield bad(
        "a transaction that is not there",
        why,
        transfer(header(tree([PAID] * 3)[0]), [*tree([PAID] * 3)[1](1), b""], PAID, index=9),
    )
    yield bad("a root that is a list", why, transfer(header([ZERO_HASH]), tree([PAID])[1](0), PAID))
    yield bad("no nodes", "the nodes end before the receipt", each | {"nodes": []})
    yield bad("a way without its end", "the nodes end before the receipt", each | {"nodes": each["nodes"][:-1]})
    yield bad(
        "a node after the last",
        "there are nodes after the last one",
        each | {"nodes": [*each["nodes"], each["nodes"][0]]},
    )
    leaf = [b"\x20", PAID]
    extension = under(b"\x00\x01")
    yield good("an extension, by hand", by_hand(PAID, leaf, extension))
    yield good("two branches, by hand", by_hand(PAID, leaf, branch(0), branch(1)))
    yield good("an odd path, by hand", by_hand(PAID, [b"\x31", PAID], branch(0)))
    yield bad("a branch at the end of a path", "a path ends in a branch", by_hand(PAID, leaf, extension, branch(0)))
    for count in (0, 1, 3, 16, 18):
        yield bad(
            f"a node of {count} items",
            "a node has a number of items that no node has",
            by_hand(PAID, [b"\x20\x01", PAID, *[b""] * 16][:count]),
        )
    why = "a node is on the way to another transaction"
    yield bad("a leaf of another transaction", why, by_hand(PAID, [b"\x20\x02", PAID]))
    yield bad("a leaf of a longer key", why, by_hand(PAID, [b"\x20\x01\x00", PAID]))
    yield bad("an extension to another transaction", why, by_hand(PAID, leaf, under(b"\x00\x02")))
    yield bad("a leaf of a shorter key", "a path ends before its key does", by_hand(PAID, [b"\x30", PAID]))
    for path in (b"", [b"\x20\x01"]):
        yield bad(f"{path!r} for a path", "a node has no path", by_hand(PAID, [path, PAID]))
    for first in (0x40, 0x50, 0x60, 0xF0):
        yield bad(
            f"a path that begins with {first:#x}", "a node is of no kind", by_hand(PAID, [bytes([first | 2, 1]), PAID])
        )
    for first in (0x21, 0x2F, 0x0F):
        yield bad(
            f"a path filled up with {first:#x}",
            "a path is filled up with something",
            by_hand(PAID, [bytes([first, 1]), PAID]),
        )
    yield bad(
        "a receipt in a list", "the receipt is another one than the block's", by_hand(PAID, [b"\x20\x01", [PAID]])
    )


def _forms() -> Iterator[Vector]:
    """Yield what is no RLP, or has another form than the only one."""
    why = "something is no RLP"
    one = rlp.encode([b"\x01", b"", BLOOM, [log()]])
    for name, form in {
        "nothing": b"",
        "bytes after the end": one + b"\x00",
        "bytes missing at the end": one[:-1],
        "an item beyond its list": b"\xc3\x01\x83\x01\x01\x01",
        "an item beyond its list, within the whole": b"\xc5\xc1\x82\x01\x01\x01",
        "one small byte with a prefix": b"\xc2\x81\x01",
        "a text cut off after its prefix": b"\xc1\x81",
        "a long text that is short": b"\xc3\xb8\x01\x01",
        "a long list that is short": b"\xf8\x01\x01",
        "a length after a zero": b"\xf9\x00\x38" + b"\x01" * 56,
        "a length cut off": b"\xf9\x01",
        "a length of eight bytes": b"\xff" * 9,
    }.items():
        yield bad(name, why, forged(b"\x02" + form))
    yield bad("a text for a list", "something is no list", forged(b"\x02" + rlp.encode(b"dog" * 20)))


def _receipts() -> Iterator[Vector]:
    yield bad("an empty receipt", "the receipt is empty", forged(b""))
    for kind in (5, 0x7B, 0x7D, 0x7F, 0xBF):
        yield bad(f"a receipt of type {kind}", "the receipt is of an unknown type", forged(receipt(log(), kind=kind)))
    yield bad("a receipt that says type 0", "the receipt is of an unknown type", forged(b"\x00" + PAID))
    why = "the receipt has another number of items than its type has"
    for kind, count in ((0, 1), (1, 1), (2, 2), (0x7E, 3)):
        yield bad(
            f"a receipt of type {kind} with {count} more",
            why,
            forged(receipt(log(), kind=kind, more=[b"\x01"] * count)),
        )
    yield bad("a receipt of three items", why, forged(rlp.encode([b"\x01", BLOOM, [log()]])))
    why = "the transaction failed, or its receipt does not say"
    for status in (b"", b"\x00", b"\x02", ZERO_HASH):
        yield bad(f"status {status.hex()}", why, forged(receipt(log(), status=status)))
    why = "the receipt holds no log at this position"
    yield bad("a position after the last", why, block([PAID])(0, 1))
    yield bad("a receipt without logs", why, block([receipt()])())
    yield bad("a text for logs", why, forged(rlp.encode([b"\x01", b"", BLOOM, b"logs"])))


def _logs() -> Iterator[Vector]:
    for name, why, odd in (
        ("a text for a log", "a log has another number of items than three", b"log"),
        ("a log of two items", "a log has another number of items than three", log()[:2]),
        ("a log of four items", "a log has another number of items than three", [*log(), b""]),
        ("a token of 21 bytes", "the log is of no contract", log(token=TOKEN + b"\x01")),
        ("a token in a list", "the log is of no contract", log(token=[TOKEN])),
        ("a text for topics", "the log has another number of topics than a Transfer", [TOKEN, TRANSFER, word(b"\x01")]),
        (
            "a token that is one of a kind",
            "the log has another number of topics than a Transfer",
            log(more=[ZERO_HASH]),
        ),
        ("another event", "the log is of another event than a Transfer", log(event=OTHER_EVENT)),
        ("an event in a list", "the log is of another event than a Transfer", log(event=[TRANSFER])),
        ("no amount", "the log holds no amount", log(data=b"")),
        ("an amount of 33 bytes", "the log holds no amount", log(data=bytes(33))),
        ("an amount in a list", "the log holds no amount", log(data=[bytes(32)])),
        ("a sender of 33 bytes", "a topic has another length than 32 bytes", log(sender=word(SENDER) + b"\x01")),
        ("a recipient of 20 bytes", "a topic has another length than 32 bytes", log(recipient=RECIPIENT)),
        ("a sender that is no address", "a topic is no address", log(sender=b"\x01" + word(SENDER)[1:])),
        ("a recipient that is no address", "a topic is no address", log(recipient=b"\x01" + word(RECIPIENT)[1:])),
    ):
        yield bad(name, why, forged(receipt(odd)))
