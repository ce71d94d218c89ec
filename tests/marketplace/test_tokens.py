"""Only tokens we signed, with our algorithm, for us, and not yet over, are read."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.identity.tokens import ISSUER, AccessTokens, Claims, InvalidToken, digest, new_refresh
from tests.harness import FakeClock

SECRET = "a secret of at least thirty-two bytes"
NOW = 1_800_000_000_000
GOOD = {"iss": ISSUER, "sub": "user-1", "role": "buyer", "gen": 0, "iat": NOW // 1000, "exp": NOW // 1000 + 60}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def tokens(clock: FakeClock) -> AccessTokens:
    return AccessTokens(SECRET, clock.now_ms)


def signed(claims: dict[str, Any], *, key: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def test_what_was_issued_is_read(tokens: AccessTokens) -> None:
    assert tokens.read(tokens.issue("user-1", "buyer")) == Claims("user-1", "buyer", NOW + 900_000)


def test_a_token_ends_by_our_clock(tokens: AccessTokens, clock: FakeClock) -> None:
    token = tokens.issue("user-1", "buyer")

    clock.advance(899.999)
    assert tokens.read(token).user_id == "user-1"
    clock.advance(0.001)
    with pytest.raises(InvalidToken, match="expired"):
        tokens.read(token)


def test_the_helper_makes_a_token_that_is_read(tokens: AccessTokens) -> None:
    assert tokens.read(signed(GOOD)).user_id == "user-1"


@pytest.mark.parametrize("missing", ["iss", "sub", "role", "iat", "exp"])
def test_a_token_without_a_claim_is_refused(tokens: AccessTokens, missing: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.read(signed({name: value for name, value in GOOD.items() if name != missing}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "somebody"},
        {"sub": 7},
        {"role": ["admin"]},
        {"role": None},
        {"exp": "4000000000"},
        {"exp": True},
        {"exp": 4e9},
    ],
)
def test_a_token_with_a_claim_of_the_wrong_type_is_refused(tokens: AccessTokens, wrong: dict[str, Any]) -> None:
    # PyJWT itself refuses to write some of them; a forger with our secret is not held up by that.
    header, payload = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, GOOD | wrong)
    )
    signature = jwt.get_algorithm_by_name("HS256").sign(header + b"." + payload, SECRET.encode())
    token = b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()

    with pytest.raises(InvalidToken):
        tokens.read(token)


def test_a_token_signed_with_another_secret_is_refused(tokens: AccessTokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.read(signed(GOOD, key="another secret of thirty-two bytes!"))


def test_a_token_without_a_signature_is_refused(tokens: AccessTokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.read(signed(GOOD, key="", algorithm="none"))


def test_a_token_with_another_algorithm_is_refused(tokens: AccessTokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.read(signed(GOOD, key=SECRET * 2, algorithm="HS512"))


def test_a_changed_payload_is_refused(tokens: AccessTokens) -> None:
    header, payload, signature = tokens.issue("user-1", "buyer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"role": "admin"}).encode()).decode().rstrip("=")

    with pytest.raises(InvalidToken):
        tokens.read(f"{header}.{forged}.{signature}")


@given(st.text(max_size=200))
def test_any_other_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(InvalidToken):
        AccessTokens(SECRET, lambda: NOW).read(text)


@pytest.mark.parametrize("token", ["", "a.b.c", "\ud800.x.y", "x" * 5000])
def test_odd_texts_are_refused(tokens: AccessTokens, token: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.read(token)


def test_even_a_signed_token_is_refused_when_it_is_too_long_to_be_ours(tokens: AccessTokens) -> None:
    with pytest.raises(InvalidToken, match="too long"):
        tokens.read(signed(GOOD | {"more": "x" * 5000}))


def test_a_short_secret_is_refused_at_start_and_not_shown() -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        AccessTokens("short-one", lambda: NOW)

    assert "short-one" not in str(caught.value)


def test_the_secret_is_in_no_repr(tokens: AccessTokens) -> None:
    assert SECRET not in repr(tokens)


def test_refresh_tokens_are_random_and_only_their_digest_is_stored() -> None:
    made = [new_refresh() for _ in range(100)]

    assert len({plain for plain, _ in made}) == 100
    assert all(len(plain) >= 43 and stored == digest(plain) != plain for plain, stored in made)


def test_the_digest_is_sha256() -> None:
    assert digest("abc") == hashlib.sha256(b"abc").hexdigest()


def test_a_signature_is_verified_once_and_a_forged_one_each_time(
    tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    really = jwt.decode

    def spy(token: str, *given: Any, **more: Any) -> dict[str, Any]:
        verified.append(token)
        return really(token, *given, **more)

    monkeypatch.setattr(jwt, "decode", spy)
    good = tokens.issue("user-1", "buyer")
    forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")

    for _ in range(3):
        tokens.read(good)
        with pytest.raises(InvalidToken):
            tokens.read(forged)

    assert verified.count(good) == 1
    assert verified.count(forged) == 3


def test_only_so_many_tokens_are_remembered(tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.identity.tokens.MAX_REMEMBERED", 3)
    few = AccessTokens(SECRET, FakeClock(NOW).now_ms)
    made = [few.issue(f"user-{number}", "buyer") for number in range(5)]

    for token in made:
        few.read(token)

    assert few._verified.cache_info().currsize == 3
