"""The least that storing logs can cost: the same requests, parsed by orjson, each log a row of one bare insert."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import orjson

HEADERS = {"Content-Type": "application/json"}
_TABLE = """
CREATE TABLE logs (tx_hash TEXT, log_index INTEGER, block_number INTEGER, block_hash TEXT, block_time INTEGER,
    address TEXT, topic TEXT, reference TEXT, data TEXT, PRIMARY KEY (tx_hash, log_index))
"""  # the key: what is read again must not be there twice
_INSERT = "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


async def bare_store(url: str, requests: Iterable[bytes]) -> int:
    """Fetch, parse and insert, a transaction a page, as durable as our store; return how many rows there are."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "logs.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(_TABLE)
        async with aiohttp.ClientSession() as session:
            for body in requests:
                async with session.post(url, data=body, headers=HEADERS) as response:
                    answers = orjson.loads(await response.read())
                with db:
                    db.executemany(_INSERT, _rows(answers))
        found: int = db.execute("SELECT count(*) FROM logs").fetchone()[0]
        return found


def _rows(answers: Iterable[dict[str, Any]]) -> Iterable[tuple[Any, ...]]:
    for answer in answers:
        for log in answer["result"] if isinstance(answer["result"], list) else ():
            topic, reference = log["topics"]
            index, block, time = (int(log[name], 16) for name in ("logIndex", "blockNumber", "blockTimestamp"))
            place = (log["transactionHash"], index, block, log["blockHash"], time)
            yield (*place, log["address"], topic, reference, log["data"])
