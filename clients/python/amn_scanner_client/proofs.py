"""
What a proof of payments says, checked without a network and without trust in the scanner.

Only hashes are believed: the caller's own hash of each block names the header, the header names the root of the
receipts, each node of that tree names the next, and the last one holds the receipt with the token's own log.
Nothing is decoded before its hash is known to be the one that was named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

import rlp
from eth_hash.auto import keccak

from .errors import InvalidProof

MAX_TRANSFERS = 1_000
MAX_CHARACTERS = 64 * 2**20  # of all headers, receipts and nodes together, in hex
MAX_INDEX = 2**24 - 1  # of a transaction in its block
MAX_NUMBER = 2**53 - 1  # of a block, of a chain

HASH_BYTES = 32
ADDRESS_BYTES = 20
HEADER_ITEMS = 15  # at least; later forks and other chains add more at the end
ROOT_PLACE, NUMBER_PLACE = 5, 8  # of the root of the receipts, and of the block's number
BRANCH_ITEMS = 17
PATH_ITEMS = 2  # of a leaf, or of an extension, which names one node behind a path
LEAF = 2  # added to the first half byte of a path; 1 is added where the path has an odd length
KINDS = 4
LIST_PREFIX = 0xC0  # a receipt without a type begins with its list
STATUS_PLACE, LOGS_PLACE = 0, 3
RECEIPT_ITEMS = {
    None: (4,),
    1: (4,),
    2: (4,),
    3: (4,),
    4: (4,),
    0x7E: (4, 5, 6),
}  # by type; 0x7e: deposits of OP chains
SUCCEEDED = b"\x01"
LOG_ITEMS = 3
TRANSFER_TOPICS = 3
TRANSFER_TOPIC = keccak(b"Transfer(address,address,uint256)")
PADDING = bytes(HASH_BYTES - ADDRESS_BYTES)

Item: TypeAlias = Union[bytes, "list[Item]"]


@dataclass(frozen=True, slots=True)
class ProvenTransfer:
    """
    One transfer of a token that is in a block, whoever said so.

    The caller's hashes say of which chain the block is: compare `chain_id` with the one they were asked of.
    """

    chain_id: int
    block_number: int
    block_hash: str
    transaction_index: int
    log_position: int  # in its receipt
    token: str
    sender: str
    recipient: str
    amount: int  # base units


def verify_proof(proof: Mapping[str, Any], block_hashes: Mapping[int, str]) -> list[ProvenTransfer]:
    """
    Return what a proof shows to be paid, in its order.

    `proof` is what `GET /intents/{id}/proof` answers. `block_hashes` are the hashes, by number, of the blocks it
    names, from a node that the caller trusts; that they are deep enough is the caller's to know. `txHash` is a
    label, and not proven.

    Raises:
        InvalidProof: a step of it does not follow from those hashes.
    """
    told = proof.get("proof", proof) if isinstance(proof, Mapping) else None
    if not isinstance(told, Mapping):
        raise InvalidProof("the proof is no object")
    chain_id = _integer(told, "chainId", MAX_NUMBER)
    transfers = told.get("transfers")
    if not isinstance(transfers, list) or not transfers:
        raise InvalidProof("the proof holds no transfers")
    if len(transfers) > MAX_TRANSFERS:
        raise InvalidProof("the proof holds too many transfers")
    hexes = _HexReader()
    found: dict[tuple[int, int, int], ProvenTransfer] = {}
    for each in transfers:
        if not isinstance(each, Mapping):
            raise InvalidProof("a transfer is no object")
        proven = _proven(each, chain_id, block_hashes, hexes)
        key = (proven.block_number, proven.transaction_index, proven.log_position)
        if key in found:  # one payment would count twice
            raise InvalidProof("a log is given twice")
        found[key] = proven
    return list(found.values())


def _proven(
    told: Mapping[str, Any], chain_id: int, block_hashes: Mapping[int, str], hexes: _HexReader
) -> ProvenTransfer:
    number = _integer(told, "blockNumber", MAX_NUMBER)
    index = _integer(told, "transactionIndex", MAX_INDEX)
    position = _integer(told, "logPosition", MAX_NUMBER)
    if number not in block_hashes:
        raise InvalidProof("no hash was given for a block")
    trusted = hexes.read(block_hashes[number])
    if hexes.read(told.get("blockHash")) != trusted:
        raise InvalidProof("the block has another hash than the one given for it")
    root = _receipts_root(hexes.read(told.get("header")), number, trusted)
    receipt = hexes.read(told.get("receipt"))
    if _value_at(rlp.encode(index), told.get("nodes"), root, hexes) != receipt:
        raise InvalidProof("the receipt is another one than the block's")
    token, sender, recipient, amount = _moved(_logs(receipt), position)
    return ProvenTransfer(
        chain_id=chain_id,
        block_number=number,
        block_hash="0x" + trusted.hex(),
        transaction_index=index,
        log_position=position,
        token=token,
        sender=sender,
        recipient=recipient,
        amount=amount,
    )


def _receipts_root(header: bytes, number: int, trusted: bytes) -> Item:
    if keccak(header) != trusted:
        raise InvalidProof("the header is another one than the block's")
    items = _items(header)
    if len(items) < HEADER_ITEMS:
        raise InvalidProof("the header has too few items")
    if items[NUMBER_PLACE] != number.to_bytes((number.bit_length() + 7) // 8):
        raise InvalidProof("the header has another number")
    return items[ROOT_PLACE]


def _value_at(key: bytes, nodes: object, root: Item, hexes: _HexReader) -> Item:
    """Return what a tree holds under a key; `nodes` are those on the way, the first named by `root`."""
    if not isinstance(nodes, list):
        raise InvalidProof("the nodes are no list")
    path = list(_half_bytes(key))
    named = root
    for place, text in enumerate(nodes):
        node = hexes.read(text)
        # A receipt is longer than a hash, so that no node on the way to one lies inside another.
        if keccak(node) != named:
            raise InvalidProof("a node is another one than the one that is named")
        is_leaf, named = _follow(path, _items(node))
        if not is_leaf:
            continue
        if place != len(nodes) - 1:
            raise InvalidProof("there are nodes after the last one")
        return named
    raise InvalidProof("the nodes end before the receipt")


def _follow(path: list[int], node: list[Item]) -> tuple[bool, Item]:
    """Take the way through one node off a path; return whether it is a leaf, and what it names or holds."""
    if len(node) == BRANCH_ITEMS:
        if not path:
            raise InvalidProof("a path ends in a branch")
        return False, node[path.pop(0)]
    if len(node) != PATH_ITEMS:
        raise InvalidProof("a node has a number of items that no node has")
    is_leaf, shared = _shared_path(node[0])
    if path[: len(shared)] != shared:
        raise InvalidProof("a node is on the way to another transaction")
    del path[: len(shared)]
    if is_leaf and path:
        raise InvalidProof("a path ends before its key does")
    return is_leaf, node[1]


def _shared_path(item: Item) -> tuple[bool, list[int]]:
    if not isinstance(item, bytes) or not item:
        raise InvalidProof("a node has no path")
    kind, *path = _half_bytes(item)
    if kind >= KINDS:
        raise InvalidProof("a node is of no kind")
    if kind % 2 == 0 and path.pop(0) != 0:
        raise InvalidProof("a path is filled up with something")
    return kind >= LEAF, path


def _half_bytes(text: bytes) -> Iterator[int]:
    for byte in text:
        yield byte >> 4
        yield byte & 15


def _logs(receipt: bytes) -> Item:
    """Return the logs of a receipt, whatever its type, of a transaction that did not fail."""
    if not receipt:
        raise InvalidProof("the receipt is empty")
    kind, rest = (None, receipt) if receipt[0] >= LIST_PREFIX else (receipt[0], receipt[1:])
    if kind not in RECEIPT_ITEMS:
        raise InvalidProof("the receipt is of an unknown type")
    items = _items(rest)
    if len(items) not in RECEIPT_ITEMS[kind]:
        raise InvalidProof("the receipt has another number of items than its type has")
    if items[STATUS_PLACE] != SUCCEEDED:
        raise InvalidProof("the transaction failed, or its receipt does not say")
    return items[LOGS_PLACE]


def _moved(logs: Item, position: int) -> tuple[str, str, str, int]:
    """Return token, sender, recipient and amount of a log that is a `Transfer` of a token."""
    if not isinstance(logs, list) or position >= len(logs):
        raise InvalidProof("the receipt holds no log at this position")
    log = logs[position]
    if not isinstance(log, list) or len(log) != LOG_ITEMS:
        raise InvalidProof("a log has another number of items than three")
    token, topics, amount = log
    if not isinstance(token, bytes) or len(token) != ADDRESS_BYTES:
        raise InvalidProof("the log is of no contract")
    if not isinstance(topics, list) or len(topics) != TRANSFER_TOPICS:
        raise InvalidProof("the log has another number of topics than a Transfer")
    if topics[0] != TRANSFER_TOPIC:
        raise InvalidProof("the log is of another event than a Transfer")
    if not isinstance(amount, bytes) or len(amount) != HASH_BYTES:
        raise InvalidProof("the log holds no amount")
    return "0x" + token.hex(), _address(topics[1]), _address(topics[2]), int.from_bytes(amount)


def _address(topic: Item) -> str:
    if not isinstance(topic, bytes) or len(topic) != HASH_BYTES:
        raise InvalidProof("a topic has another length than 32 bytes")
    if not topic.startswith(PADDING):
        raise InvalidProof("a topic is no address")
    return "0x" + topic[len(PADDING) :].hex()


def _items(encoded: bytes) -> list[Item]:
    try:
        items = rlp.decode(encoded)
    except (rlp.DecodingError, RecursionError) as exc:  # lists in lists, a thousand times
        raise InvalidProof("something is no RLP") from exc
    if not isinstance(items, list):
        raise InvalidProof("something is no list")
    return items


class _HexReader:
    """Reads hex, and no more of it than a proof may hold."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS

    def read(self, text: object) -> bytes:
        if not isinstance(text, str) or not text.startswith("0x"):
            raise InvalidProof("a text is no hex")
        self._left -= len(text)
        if self._left < 0:
            raise InvalidProof("the proof is too large")
        try:
            found = bytes.fromhex(text[2:])
        except ValueError as exc:
            raise InvalidProof("a text has digits that are no hex") from exc
        if 2 * len(found) != len(text) - 2:
            raise InvalidProof("a text has digits that are no hex")
        return found


def _integer(told: Mapping[str, Any], name: str, most: int) -> int:
    value = told.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidProof(f"{name} is no number within its bounds")
    return value
