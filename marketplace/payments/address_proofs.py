"""Whether whoever holds the key of an address signed a challenge: EIP-191, TIP-191, ton-proof. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from pytoniq_core.boc.cell import Cell

from addresses import ton, tron
from addresses.keccak import keccak

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ETHEREUM = b"\x19Ethereum Signed Message:\n"
TRON = b"\x19TRON Signed Message:\n"
SIGNED_BYTES = 65
MAX_STATE_INIT = 8192  # bytes of base64
CLOCKS_S = 300  # a wallet's clock and ours may differ by this much
# Where the key lies in the first state of a wallet, in bits; of other contracts nobody knows whose it is.
KEY_AT = {
    "b61041a58a7980b946e8fb9e198e3c904d24799ffa36574ea4251c41a566f581": 64,  # v3r1: seqno, subwallet
    "84dafa449f98a6987789ba232358072bc0f76dc4524002a5d0918b9a75d2d599": 64,  # v3r2
    "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0": 64,  # v4r2: seqno, wallet
    "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f": 65,  # v5r1: a flag, seqno, wallet
}
_SIGNATURE = re.compile(r"(?:0x)?([0-9a-fA-F]{130})")


class NotProved(ValueError):
    """A sentence for whoever sent the proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TonProof:
    """What a TON wallet answers to a request for a proof."""

    timestamp: int
    domain: str
    payload: str
    signature: str
    state_init: str


def check_text(family: str, address: str, message: str, signature: str) -> None:
    """
    Check the signature of a text by an account of EVM or Tron.

    Raises:
        NotProved: somebody else signed it, or something else was signed.
    """
    raw = message.encode()
    prefix = ETHEREUM if family == "evm" else TRON
    signer = _signer(keccak(prefix + str(len(raw)).encode() + raw), signature)
    found = f"0x{signer.hex()}" if family == "evm" else tron.from_hex(signer.hex())
    if found != address:
        raise NotProved("the signature is of another address, or of another text")


def _signer(digest: bytes, signature: str) -> bytes:
    """Return the 20 bytes of the account that signed a hash."""
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise NotProved("a signature is 0x and 130 hex digits")
    raw = bytes.fromhex(found[1])
    r, s, v = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64]
    if v >= 27:  # noqa: PLR2004 - the two ways to write it
        v -= 27
    # Of each signature there is a twin with the other s: only the low one is a signature (EIP-2).
    if not (0 < r < ORDER and 0 < s <= ORDER // 2 and v in {0, 1}):
        raise NotProved("this is no signature of an account: r, s or v is out of bounds")
    try:
        key = Signature(vrs=(v, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as exc:
        raise NotProved("this is no signature of an account") from exc
    return bytes(keccak(key.to_bytes())[-20:])


def check_ton(address: str, proof: TonProof, *, nonce: str, domain: str, issued_s: int, now_s: int) -> None:
    """
    Check a ton-proof for a raw address.

    Raises:
        NotProved: it is of another address, domain, time or challenge.
    """
    if proof.payload != nonce:
        raise NotProved("the proof answers another challenge")
    if proof.domain != domain:
        raise NotProved(f"the proof was given to {proof.domain[:100]}, not to {domain}")
    if not issued_s - CLOCKS_S <= proof.timestamp <= now_s + CLOCKS_S:
        raise NotProved("the proof is of another time than the challenge")
    workchain, digits = address.split(":")
    named = domain.encode()
    message = b"".join(
        (
            b"ton-proof-item-v2/",
            int(workchain).to_bytes(4, "big", signed=True),
            bytes.fromhex(digits),
            len(named).to_bytes(4, "little"),
            named,
            proof.timestamp.to_bytes(8, "little"),
            nonce.encode(),
        )
    )
    digest = hashlib.sha256(b"\xff\xffton-connect" + hashlib.sha256(message).digest()).digest()
    key = _key_of(address, proof.state_init)
    try:
        signature = base64.b64decode(proof.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except (InvalidSignature, ValueError) as exc:
        raise NotProved("the signature is not of this wallet's key") from exc


def _key_of(address: str, state_init: str) -> bytes:
    """Return the key in the first state of a wallet, which its address is the hash of."""
    if len(state_init) > MAX_STATE_INIT:
        raise NotProved("the state of a wallet is shorter")
    try:
        cell = Cell.one_from_boc(base64.b64decode(state_init, validate=True))
        code, data = _code_and_data(cell)
        place = KEY_AT.get(code.hash.hex())
        if place is None:
            raise NotProved("this wallet is none of v3r1, v3r2, v4r2 and v5r1")
        rest = data.begin_parse()  # type: ignore[no-untyped-call]  # the library says no types
        rest.load_bits(place)
        key = bytes(rest.load_bytes(32))
    except NotProved:
        raise
    except Exception as exc:
        raise NotProved("the state of the wallet cannot be read") from exc
    if ton.canonical_of(f"{address.split(':', maxsplit=1)[0]}:{cell.hash.hex()}") != address:
        raise NotProved("the state is of another wallet")
    return key


def _code_and_data(state_init: Cell) -> tuple[Cell, Cell]:
    """Return code and data of a plain state: no depth, no special, no library."""
    rest = state_init.begin_parse()  # type: ignore[no-untyped-call]  # as above
    flags = [rest.load_bit() for _ in range(5)]
    if flags != [0, 0, 1, 1, 0]:
        raise NotProved("the state of a wallet has code and data and nothing else")
    return rest.load_ref(), rest.load_ref()
