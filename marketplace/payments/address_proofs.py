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

from addresses import tron
from addresses.keccak import keccak
from marketplace.payments.ton_wallets import NotAWallet, key_of

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ETHEREUM = b"\x19Ethereum Signed Message:\n"
TRON = b"\x19TRON Signed Message:\n"
SIGNED_BYTES = 65
CLOCKS_S = 300  # a wallet's clock and ours may differ by this much
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
    except BadSignature as exc:
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
    try:
        key = key_of(address, proof.state_init)
        signature = base64.b64decode(proof.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except NotAWallet as exc:
        raise NotProved(str(exc)) from exc
    except (InvalidSignature, ValueError) as exc:
        raise NotProved("the signature is not of this wallet's key") from exc
