"""Every stored secret is encrypted with the key in use, a few rows at a time however many there are."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import select

from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database
from scanner.secrets import callback_secrets
from scanner.secrets.callback_secrets import CallbackSecrets
from scanner.secrets.rotation import Rotation
from scanner.store import intents, rotations, tables, watches
from tests.harness import FakeClock
from tests.scanner.facts import an_intent
from tests.scanner.test_watch_week import a_watch

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
BATCH = 7


class AnyCallback:
    def check_callback(self, url: str, secret: str) -> str:
        return url


def secrets(db: Database, clock: FakeClock, cipher: SecretCipher) -> CallbackSecrets:
    return CallbackSecrets(db, clock, cipher, AnyCallback())


async def everything(db: Database) -> list[str]:
    found: list[str] = []
    async with db.read() as tx:
        for column in rotations.HOLDERS:
            found += [text for text in (await tx.execute(select(column).order_by(column))).scalars() if text]
    return found


async def fill(db: Database, former: SecretCipher, count: int) -> None:
    """Every third in the clear, every third encrypted with a former key; of a hundred secrets, each many times."""

    def secret_of(number: int) -> str:
        return former.encrypt(f"secret {number % 100}") if number % 3 else f"secret {number % 100}"

    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(f"o-{n}", callback_secret=secret_of(n)) for n in range(count)])
        await watches.add(tx, a_watch("w-1", callback_secret=secret_of(1)))
        rotation = Rotation("http://a/hook", secret_of(2), 1, 2, former_secret=secret_of(3), former_since=0)
        await rotations.put(tx, rotation)


async def test_everything_stale_is_encrypted_anew_in_small_transactions(
    db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_secrets, "RESEAL_BATCH", BATCH)
    sizes: list[int] = []
    replace = rotations.replace_secrets

    async def counting(tx: Any, column: rotations.Holder, new: Any) -> None:
        sizes.append(len(new))
        await replace(tx, column, new)

    monkeypatch.setattr(rotations, "replace_secrets", counting)
    former = SecretCipher(KEYS[1:2])
    await fill(db, former, 100)
    before = sorted(map(former.decrypt, await everything(db)))
    cipher = SecretCipher([KEYS[0], KEYS[1]])
    assert await secrets(db, clock, cipher).rotate_at_rest() == 103
    after = await everything(db)
    assert all(map(cipher.is_current, after))
    assert sorted(map(cipher.decrypt, after)) == before
    assert max(sizes) == BATCH
    assert await secrets(db, clock, cipher).rotate_at_rest() == 0


async def test_a_secret_that_changed_after_it_was_read_is_left_alone(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent("o-1", callback_secret="new")])
        stale = rotations.Stale(1, "as it was read")
        await rotations.replace_secrets(tx, tables.intents.c.callback_secret, {stale: "sealed"})
    assert await everything(db) == ["new"]


async def test_a_store_says_with_which_keys_it_is_encrypted_by_one_secret_each(db: Database) -> None:
    ciphers = [SecretCipher([key]) for key in KEYS]
    async with db.write() as tx:
        held = [
            an_intent(f"o-{n}-{k}", callback_secret=ciphers[k].encrypt(f"{n}")) for n in range(20) for k in range(3)
        ]
        await intents.add_many(tx, [*held, an_intent("clear", callback_secret="enc0: in the clear")])
    async with db.read() as tx:
        found = await rotations.one_of_each_key(tx)
    assert len(found) == 3
    assert {cipher.prefix for cipher in ciphers} == {text[: len(ciphers[0].prefix)] for text in found}
