"""Callback secrets at rest, and which of them sign."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.sealing.keys import parse_key
from kernel.sealing.secret_cipher import SecretCipher, key_id
from scanner.secrets.rotation import Rotation, signing_secrets
from scanner.store.errors import StoreError


def a_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


KEY, FORMER = a_key(), a_key()


@given(secret=st.text(st.characters(codec="utf-8"), min_size=1, max_size=100))
def test_what_was_encrypted_is_decrypted_and_cannot_be_read(secret: str) -> None:
    cipher = SecretCipher([KEY])
    sealed = cipher.encrypt(secret)
    assert cipher.decrypt(sealed) == secret
    assert len(secret) < 4 or secret not in sealed
    assert sealed.startswith(f"enc1:{key_id(parse_key(KEY))}:")
    assert cipher.is_current(sealed)


@pytest.mark.parametrize("secret", ["whsec_abc", "enc1:abc", "plain1:abc", "plain1:enc1:x"])
def test_without_a_key_a_secret_is_stored_so_that_a_key_that_comes_later_can_tell(secret: str) -> None:
    stored = SecretCipher().encrypt(secret)
    assert SecretCipher().decrypt(stored) == SecretCipher([KEY]).decrypt(stored) == secret
    assert not SecretCipher([KEY]).is_current(stored)
    assert SecretCipher().is_current(stored)


def test_a_former_key_still_opens_and_the_new_one_seals() -> None:
    old = SecretCipher([FORMER]).encrypt("secret")
    both = SecretCipher([KEY, FORMER])
    assert both.decrypt(old) == "secret"
    assert not both.is_current(old)
    assert SecretCipher([KEY]).decrypt(both.encrypt("secret")) == "secret"


def test_a_key_that_is_missing_is_named_by_its_id_and_no_secret_is_reported() -> None:
    sealed = SecretCipher([FORMER]).encrypt("secret")
    with pytest.raises(StoreError, match=key_id(parse_key(FORMER))) as refused:
        SecretCipher([KEY]).decrypt(sealed)
    assert FORMER not in str(refused.value)
    assert not SecretCipher().is_current(sealed)


def test_an_encrypted_secret_that_was_changed_is_refused() -> None:
    sealed = SecretCipher([KEY]).encrypt("secret")
    with pytest.raises(StoreError, match="was changed"):
        SecretCipher([KEY]).decrypt(sealed[:-6] + "AAAAA=")


@pytest.mark.parametrize("text", ["", "short", "!" * 44, base64.b64encode(b"x" * 31).decode()])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be base64"):
        SecretCipher([text])


def test_keys_are_taken_in_either_alphabet() -> None:
    raw = b"\xfb\xff" * 16
    assert parse_key(base64.b64encode(raw).decode()) == parse_key(base64.urlsafe_b64encode(raw).decode()) == raw


ROTATION = Rotation("http://shop/hook", "new", since=100, overlap_until=200, former_secret=None, former_since=None)
SECOND = Rotation("http://shop/hook", "newest", since=150, overlap_until=250, former_secret="new", former_since=100)


@pytest.mark.parametrize(
    ("rotation", "created_at", "now", "secrets"),
    [
        (None, 50, 120, ("own",)),
        (ROTATION, 50, 100, ("new", "own")),
        (ROTATION, 50, 199, ("new", "own")),
        (ROTATION, 50, 200, ("new",)),
        (ROTATION, 100, 120, ("own",)),  # registered with the new secret already
        (SECOND, 50, 160, ("newest", "new")),
        (SECOND, 120, 160, ("newest", "own")),
        (SECOND, 150, 160, ("own",)),
        (SECOND, 50, 250, ("newest",)),
    ],
)
def test_the_newest_secret_signs_and_for_a_while_the_one_before_it(
    rotation: Rotation | None, created_at: int, now: int, secrets: tuple[str, ...]
) -> None:
    assert signing_secrets("own", created_at, rotation, now) == secrets
