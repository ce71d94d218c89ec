"""A password verifies against its own hash alone, off the event loop, and nobody costs as much as somebody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError

from marketplace.identity.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    with Passwords(memory_kib=64, passes=1) as found:
        yield found


async def test_a_password_verifies_against_its_hash(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")

    assert await passwords.verify(hashed, "correct horse")


async def test_another_password_does_not(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")

    assert not await passwords.verify(hashed, "correct horse ")


async def test_the_hash_is_argon2id_and_salted(passwords: Passwords) -> None:
    first, second = await passwords.hash("same"), await passwords.hash("same")

    assert first.startswith("$argon2id$")
    assert first != second
    assert "same" not in first


async def test_an_unknown_user_is_refused_at_the_price_of_a_known_one(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    known = await passwords.hash("secret")
    really = PasswordHasher.verify

    def spy(self: PasswordHasher, hashed: str, password: bytes) -> bool:
        verified.append(hashed)
        return really(self, hashed, password)

    monkeypatch.setattr(PasswordHasher, "verify", spy)

    assert not await passwords.verify(None, "secret")
    assert [extract_parameters(hashed) for hashed in verified] == [extract_parameters(known)]


async def test_composed_and_decomposed_accents_are_one_password(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("caf\u00e9"), "cafe\u0301")


@pytest.mark.parametrize("password", ["", "\ud800", "\x00", "x" * 10_000])
async def test_any_text_can_be_a_password(passwords: Passwords, password: str) -> None:
    assert await passwords.verify(await passwords.hash(password), password)


async def test_a_hash_with_old_parameters_still_verifies_and_asks_for_a_new_one(passwords: Passwords) -> None:
    with Passwords(memory_kib=128, passes=1) as newer:
        old = await passwords.hash("secret")

        assert await newer.verify(old, "secret")
        assert newer.needs_rehash(old)
        assert not newer.needs_rehash(await newer.hash("secret"))


async def test_a_broken_stored_hash_is_an_error_and_not_a_wrong_password(passwords: Passwords) -> None:
    with pytest.raises(InvalidHashError):
        await passwords.verify("not a hash", "secret")


async def test_work_is_done_off_the_loop_and_in_a_bounded_number_of_threads(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: set[int] = set()

    def spy(_self: PasswordHasher, _password: bytes) -> str:
        observed.add(threading.get_ident())
        return "hash"

    monkeypatch.setattr(PasswordHasher, "hash", spy)

    await asyncio.gather(*(passwords.hash("x") for _ in range(20)))

    assert threading.get_ident() not in observed
    assert 1 <= len(observed) <= 2


async def test_the_defaults_are_at_least_what_owasp_asks_for() -> None:
    with Passwords() as passwords:
        made = extract_parameters(await passwords.hash("x"))

    assert (made.memory_cost, made.time_cost, made.parallelism) == (7 * 1024, 5, 1)


async def test_who_signs_in_does_not_wait_behind_accounts_that_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    begun = threading.Semaphore(0)

    def held(_self: PasswordHasher, _password: bytes) -> str:
        begun.release()
        assert free.wait(10)
        return "a hash"

    with Passwords(threads=2, memory_kib=64, passes=1) as passwords:
        known = await passwords.hash("secret")
        monkeypatch.setattr(PasswordHasher, "hash", held)
        made = [asyncio.create_task(passwords.hash(f"new {number}")) for number in range(5)]
        try:
            assert await asyncio.to_thread(begun.acquire, timeout=10)
            async with asyncio.timeout(10):
                assert await passwords.verify(known, "secret")
        finally:
            free.set()
        assert await asyncio.gather(*made) == ["a hash"] * 5
