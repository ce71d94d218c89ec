"""The ERC20FeeProxy contract: its event, its one call, and the call data a wallet sends."""

from __future__ import annotations

import re

from addresses.keccak import keccak

EVENT = "TransferWithReferenceAndFee(address,address,uint256,bytes,uint256,address)"
FUNCTION = "transferFromWithReferenceAndFee(address,address,uint256,bytes,uint256,address)"
EVENT_TOPIC = "0x" + keccak(EVENT.encode()).hex()


def selector(function: str) -> str:
    """Return how a call names a function."""
    return "0x" + keccak(function.encode())[:4].hex()


SELECTOR = selector(FUNCTION)

_REFERENCE = re.compile(r"0x[0-9a-fA-F]{16}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_WORDS_BEFORE_BYTES = 6  # token, to, amount, offset of the reference, fee amount, fee address
_WORD = 32


def payment_calldata(
    *, token: str, destination: str, amount: int, reference: str, fee_amount: int, fee_address: str
) -> str:
    """
    Return the call that pays one intent, as 0x hex. `reference` is 0x + 16 hex.

    Raises:
        ValueError: a value does not fit its ABI type.
    """
    if _REFERENCE.fullmatch(reference) is None:
        raise ValueError("a payment reference is 0x and 16 hex digits")
    digits = reference[2:].lower()
    words = (
        _address_word(token),
        _address_word(destination),
        _uint_word(amount),
        _uint_word(_WORDS_BEFORE_BYTES * _WORD),
        _uint_word(fee_amount),
        _address_word(fee_address),
        _uint_word(len(digits) // 2),
        digits.ljust(2 * _WORD, "0"),
    )
    return SELECTOR + "".join(words)


def _address_word(address: str) -> str:
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError("an EVM address is 0x and 40 hex digits")
    return address[2:].lower().rjust(2 * _WORD, "0")


def _uint_word(value: int) -> str:
    if not 0 <= value < 1 << 256:
        raise ValueError("an amount must fit 256 bits")
    return f"{value:064x}"
