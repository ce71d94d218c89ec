"""A code is six random digits, matches itself alone, and is never shown by accident."""

from __future__ import annotations

import json
import secrets

import orjson
import pytest

from marketplace.trade.delivery_codes import Code, hash_code, matches, new_code, new_salt


def test_a_code_is_six_digits_with_its_leading_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda limit: 42 if limit == 1_000_000 else -1)

    assert new_code() == "000042"


def test_codes_differ() -> None:
    made = [new_code() for _ in range(200)]

    assert len(set(made)) > 150
    assert all(len(code) == 6 and code.isascii() and code.isdigit() for code in made)


def test_a_code_matches_itself_and_no_other() -> None:
    salt = new_salt()
    hashed = hash_code("123456", salt)

    assert matches("123456", salt, hashed)
    assert not matches("123457", salt, hashed)


def test_the_same_code_is_stored_differently_under_another_salt() -> None:
    assert hash_code("123456", new_salt()) != hash_code("123456", new_salt())


def test_a_store_without_its_pepper_is_not_enough() -> None:
    hashed = hash_code("123456", "salt", pepper="secret")

    assert matches("123456", "salt", hashed, pepper="secret")
    assert not matches("123456", "salt", hashed)
    assert hash_code("1", "ab", pepper="c") != hash_code("1", "a", pepper="bc")


@pytest.mark.parametrize(
    "given", ["", "12345", "1234567", " 123456", "123456\n", "\u0661\u0662\u0663\u0664\u0665\u0666", "\ud800"]
)
def test_what_is_not_six_digits_never_matches(given: str) -> None:
    assert not matches(given, "salt", hash_code(given, "salt"))


def test_a_code_is_in_no_repr_and_still_in_the_one_answer() -> None:
    code = Code("123456")

    assert "123456" not in repr(code) + repr({"code": code}) + f"{[code]}" + "%r" % code  # noqa: UP031
    assert orjson.dumps({"code": code}) == b'{"code":"123456"}'
    assert json.loads(json.dumps({"code": code})) == {"code": "123456"}
