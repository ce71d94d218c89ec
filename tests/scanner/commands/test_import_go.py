"""What the Go scanner waited for is taken over: nothing missed, nothing told twice, nothing written unasked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner.__main__ import main
from scanner.registration.reference import payment_reference, topic_ref
from tests.harness import MERCHANT, SECRET, USDT, environment, running

CREATED = "2026-01-02T03:04:05Z"
SALT = "5a" * 32
SCHEMA = """
CREATE TABLE intents (intent_id TEXT PRIMARY KEY, chain_id INTEGER, chain_type TEXT, token_address TEXT,
  destination TEXT, amount TEXT, payment_reference TEXT, topic_ref TEXT, status TEXT, callback_url TEXT,
  callback_secret TEXT, confirmations_required INTEGER, tx_hash TEXT, log_index INTEGER, block_number INTEGER,
  confirmations INTEGER, salt TEXT, webhook_delivered_at TEXT, created_at TEXT, updated_at TEXT);
CREATE TABLE checkpoints (chain_id INTEGER PRIMARY KEY, last_scanned_block INTEGER, updated_at TEXT);
CREATE TABLE balance_watches (watch_id TEXT PRIMARY KEY, chain_id INTEGER, chain_type TEXT, token_address TEXT,
  token_symbol TEXT, decimals INTEGER, address TEXT, baseline_balance TEXT, current_balance TEXT, status TEXT,
  callback_url TEXT, callback_secret TEXT, last_checked_at TEXT, next_check_at TEXT, change_count INTEGER,
  last_notified_at TEXT, expires_at TEXT, created_at TEXT, updated_at TEXT);
"""


def intent(intent_id: str, **changed: Any) -> dict[str, Any]:
    reference = payment_reference(intent_id, SALT, MERCHANT)
    return {
        "intent_id": intent_id,
        "chain_id": 97,
        "chain_type": "evm",
        "token_address": USDT,
        "destination": MERCHANT,
        "amount": "5000",
        "payment_reference": reference,
        "topic_ref": topic_ref(reference),
        "status": "pending",
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": SECRET,
        "confirmations_required": 5,
        "salt": SALT,
        "created_at": CREATED,
        "updated_at": CREATED,
        **changed,
    }


def watch(**changed: Any) -> dict[str, Any]:
    return {
        "watch_id": "watch-1",
        "chain_id": 97,
        "chain_type": "evm",
        "token_address": USDT,
        "token_symbol": "USDT",
        "decimals": 18,
        "address": MERCHANT,
        "baseline_balance": "7",
        "current_balance": "9",
        "status": "watching",
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": SECRET,
        "change_count": 1,
        "expires_at": "2099-01-01T00:00:00Z",
        "created_at": CREATED,
        "updated_at": CREATED,
        **changed,
    }


def go_store(folder: Path, *intents: dict[str, Any], watches: Any = (), checkpoint: int | None = None) -> Path:
    """Write a store as the Go scanner does."""
    path = folder / "go.db"
    with closing(sqlite3.connect(path)) as store, store:
        store.executescript(SCHEMA)
        for table, rows in (("intents", intents), ("balance_watches", watches)):
            for row in rows:
                marks = ", ".join("?" * len(row))
                store.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608
        if checkpoint is not None:
            store.execute("INSERT INTO checkpoints VALUES (97, ?, ?)", (checkpoint, CREATED))
    return path


@pytest.fixture
def imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the command with the settings of the tests; return its exit code and what it says."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(tmp_path, "http://127.0.0.1:9", INTENT_TTL_HOURS="0").items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path) -> tuple[int, str]:
        code = main(["import-go", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_without_apply_it_says_what_it_would_do_and_writes_nothing(
    tmp_path: Path, imported: Callable[..., tuple[int, str]]
) -> None:
    rows = [
        intent("order-1"),
        intent("order-2", status="confirming", block_number=80, tx_hash="0x1"),
        intent("order-3", status="confirmed", tx_hash="0x2", webhook_delivered_at=CREATED),
        intent("order-4", status="webhook_failed", tx_hash="0x3"),
        intent("order-5", status="expired"),
    ]
    path = go_store(tmp_path, *rows, watches=[watch(), watch(watch_id="w2", status="expired")], checkpoint=100)
    before = path.read_bytes()

    code, said = imported(path)

    assert code == 0
    assert said.splitlines() == [
        "intents that wait for their payment: 3; that ended unpaid: 1",
        "intents that are confirmed and told: 1, which stay there",
        "watches: 1; ended and left out: 1",
        "chain 97, proxy rail: read on from 79",
        "UNTOLD intent order-4 is confirmed there and nobody knows: recheck it here with 0x3",
        "nothing was written: --apply does it, with the daemons of both scanners stopped",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"go.db"}
    assert path.read_bytes() == before


@pytest.mark.anvil
async def test_what_was_waiting_is_found_confirmed_and_told_once(
    tmp_path: Path, chain: Anvil, hooks: Receiver, imported: Callable[..., tuple[int, str]]
) -> None:
    """One was confirming below the checkpoint, one is paid above it, one later; what was told stays told."""
    url = {"callback_url": hooks.url()}
    ids = ("untold", "confirming", "told", "paid", "later")
    reference = {name: payment_reference(name, SALT, MERCHANT) for name in ids}
    block: dict[str, int] = {}
    sent: dict[str, str] = {}
    for name in ("untold", "confirming", "told"):
        sent[name] = await chain.pay(USDT, MERCHANT, 5000, reference[name])
        block[name] = int((await chain.mined(sent[name]))["blockNumber"], 16)
    await chain.mine(2)
    await chain.pay(USDT, MERCHANT, 5000, reference["paid"])
    evidence = {name: {"tx_hash": sent[name], "block_number": block[name], "log_index": 1} for name in block}
    path = go_store(
        tmp_path,
        intent("confirming", status="confirming", **evidence["confirming"], **url),
        intent("paid", **url),
        intent("later", **url),
        intent("told", status="confirmed", webhook_delivered_at=CREATED, **evidence["told"], **url),
        intent("untold", status="webhook_failed", **evidence["untold"], **url),
        watches=[watch(**url)],
        checkpoint=block["told"] + 1,
    )
    code, said = await asyncio.to_thread(imported, path, "--apply")
    assert (code, said.splitlines()[-1]) == (0, "written: 4 intents, 1 watches; 0 intents were there already")
    again = await asyncio.to_thread(imported, path, "--apply")
    assert again[1].splitlines()[-1] == "written: 0 intents, 0 watches; 4 intents were there already"
    assert SECRET.encode() not in (tmp_path / "scanner.db").read_bytes()

    async with running(environment(tmp_path, chain.url, INTENT_TTL_HOURS="0")) as scanner:
        await chain.mine(6)
        for name in ("paid", "confirming"):
            await scanner.api.status_is(name, "confirmed")
        status, _ = await scanner.api.call("POST", "/intents/untold/recheck", {"txHash": sent["untold"]})
        assert status == 200
        await chain.pay(USDT, MERCHANT, 5000, reference["later"])
        await chain.mine(6)
        for name in ("later", "untold"):
            await scanner.api.status_is(name, "confirmed")
        await hooks.wait_until(lambda: len(confirmed(hooks)) >= 4)
        replay = {
            "intentId": "later",
            "tokenAddress": USDT,
            "token": None,
            "amount": "5000",
            "callbackUrl": hooks.url(),
        }
        assert (await scanner.api.create(**replay))["paymentReference"] == reference["later"]
        assert (await scanner.api.get("/balance-watches/watch-1"))["watch"]["baselineBalance"] == "7"
        assert (await scanner.api.call("GET", "/intents/told"))[0] == 404

    assert sorted(confirmed(hooks)) == ["confirming", "later", "paid", "untold"]
    assert all(delivery.verified(SECRET) for delivery in hooks.deliveries)


def confirmed(hooks: Receiver) -> list[str]:
    return [each.json["intentId"] for each in hooks.distinct.values() if each.json.get("status") == "confirmed"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"chain_id": 4242}, "chain 4242 is not in the registry"),
        ({"chain_type": "tron"}, "chain 97 is evm in the registry, and tron there"),
        ({"status": "odd"}, "its status 'odd' is unknown"),
        ({"amount": "1.5"}, "amount: must be a base-10 integer string"),
        ({"amount": "0"}, "amount: must be greater than zero"),
        ({"destination": "0x12"}, "destination: "),
        ({"token_address": "nothing"}, "token_address: "),
        ({"callback_secret": ""}, "callback_secret must not be empty"),
        ({"callback_url": "ftp://x"}, "callback_url must be an http(s) URL"),
        ({"payment_reference": "0x12"}, "payment_reference is not 8 bytes of hex"),
        ({"topic_ref": "0x" + "00" * 32}, "topic_ref is not the hash of payment_reference"),
        ({"created_at": "yesterday"}, "created_at is no time that can be read"),
        ({"created_at": "2026-13-01 00:00:00"}, "created_at is no time that can be read"),
    ],
)
def test_a_row_that_could_not_be_settled_is_refused_and_stops_the_whole(
    tmp_path: Path, imported: Callable[..., tuple[int, str]], changed: dict[str, Any], why: str
) -> None:
    path = go_store(tmp_path, intent("good"), intent("bad", **changed), checkpoint=1)

    code, said = imported(path, "--apply")

    assert code == 1
    assert f"REFUSED intent bad: {why}" in said
    assert said.splitlines()[-1] == "nothing was written: correct what is refused, or leave it out with --skip"
    assert not (tmp_path / "scanner.db").exists()
    assert imported(path, "--apply", "--skip")[1].splitlines()[-1].startswith("written: 1 intents")


def test_of_two_intents_that_could_not_be_told_apart_the_second_is_refused(
    tmp_path: Path, imported: Callable[..., tuple[int, str]]
) -> None:
    same = {"payment_reference": intent("a")["payment_reference"], "topic_ref": intent("a")["topic_ref"]}

    _, said = imported(go_store(tmp_path, intent("a"), intent("b", **same), checkpoint=1))

    assert "REFUSED intent b: another intent has the same reference" in said


def test_a_chain_that_was_never_read_is_named(tmp_path: Path, imported: Callable[..., tuple[int, str]]) -> None:
    assert "WARNING chain 97 has no checkpoint there" in imported(go_store(tmp_path, intent("a")))[1]


@pytest.mark.parametrize(
    "written",
    [
        CREATED,
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:05.000000000 +0000 UTC",
        1767323045,
        1767323045000,
        "2026-01-02 06:34:05+03:30",
        "2026-01-02 03:04:05 +0000 UTC m=+0.5",
    ],
)
def test_times_are_read_however_they_were_written(
    tmp_path: Path, imported: Callable[..., tuple[int, str]], written: Any
) -> None:
    imported(go_store(tmp_path, intent("a", created_at=written), checkpoint=1), "--apply")
    with closing(sqlite3.connect(tmp_path / "scanner.db")) as store:
        assert store.execute("SELECT created_at FROM intents").fetchone() == (1767323045000,)


@pytest.mark.parametrize("content", [None, b"nonsense" * 200, b""])
def test_what_is_no_store_of_the_go_scanner_is_refused(
    tmp_path: Path, imported: Callable[..., tuple[int, str]], content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "go.db").write_bytes(content)

    code, said = imported(tmp_path / "go.db")

    assert code == 1
    assert said.count("\n") == 1
    assert "go.db" in said
