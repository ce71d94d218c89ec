"""What seals digital goods: bound to their row, opened by the key that is named, and by no other."""

from __future__ import annotations

import base64

import pytest

from kernel.errors import WrongKey
from marketplace.goods.cipher import GoodsCipher, digest, key_of

ONE, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def test_what_is_sealed_says_its_key_and_nothing_else() -> None:
    cipher = GoodsCipher([ONE])

    sealed = cipher.seal("AAAA-1111", "row")

    assert key_of(sealed) == cipher.key_id
    assert "AAAA" not in sealed
    assert cipher.seal("AAAA-1111", "row") != sealed
    assert cipher.open(sealed, "row") == "AAAA-1111"


def test_a_foreign_key_opens_nothing_and_is_named() -> None:
    sealed = GoodsCipher([ONE]).seal("A", "row")

    assert GoodsCipher([OTHER, ONE]).open(sealed, "row") == "A"
    with pytest.raises(WrongKey, match=key_of(sealed)):
        GoodsCipher([OTHER]).open(sealed, "row")


@pytest.mark.parametrize("row", ["another", ""])
def test_a_seal_is_of_its_row(row: str) -> None:
    cipher = GoodsCipher([ONE])

    with pytest.raises(WrongKey, match="changed"):
        cipher.open(cipher.seal("A", "row"), row)


@pytest.mark.parametrize("stored", ["", "A", "goods1", "goods1::", "enc1:abc:def"])
def test_what_is_no_seal_is_refused(stored: str) -> None:
    with pytest.raises(WrongKey):
        GoodsCipher([ONE]).open(stored, "row")


def test_a_changed_seal_is_found() -> None:
    cipher = GoodsCipher([ONE])
    sealed = cipher.seal("AAAA-1111", "row")
    head, raw = sealed.rsplit(":", 1)
    bytes_ = bytearray(base64.b64decode(raw))
    bytes_[-1] ^= 1

    for changed in (f"{head}:{base64.b64encode(bytes_).decode()}", f"{head}:AAAA", f"{head}:%"):
        with pytest.raises(WrongKey, match="changed"):
            cipher.open(changed, "row")


def test_a_digest_names_the_content_of_a_seller_to_whoever_has_its_key() -> None:
    assert digest(b"k", "seller", "A") == digest(b"k", "seller", "A")
    assert len({digest(b"k", "seller", "A"), digest(b"l", "seller", "A"), digest(b"k", "other", "A")}) == 3
