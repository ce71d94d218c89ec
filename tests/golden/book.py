"""
Golden answers: what clients are reported, recorded once and compared for ever after.

Time and ids of the scanner are the test's own, so that most of an answer is recorded as it is. What changes from
run to run all the same (ports, the marketplace's ids and tokens) is replaced by a name that counts up in order of
appearance: the same value has the same name everywhere, so that what belongs together still has to.

`make golden` records anew. A recording that changes something a client sees belongs into the changelog.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parent / "answers"
RECORDING = os.environ.get("GOLDEN") == "record"
OURS = ("Content-Type", "WWW-Authenticate", "Retry-After", "Cache-Control", "Allow", "X-Request-Id")
_CHANGING = {
    "host": r"127\.0\.0\.1:(?!9\b)[0-9]+",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "token": r"eyJ[\w-]+\.[\w-]+\.[\w-]+",
    "reference": r"PAY-[0-9a-f]{8}",
    "nonce": r"(?<=Nonce: )[0-9a-f]{32}",
    "seconds": r"(?<=left alone for )[0-9]+",
}
_PATTERN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _CHANGING.items()))
_MEASURED = {"latencyMs", "checksum", "fileName"}  # what a clock of the machine says, and what hashes ids
_DRAWN = {
    "secret": re.compile(r"[A-Z2-7]{32}"),
    "uri": re.compile(r"otpauth://.+"),
    "recoveryCodes": re.compile(r"([A-Z2-9]{4}-?){4}"),
    "token": re.compile(r"[\w-]{43}"),
    "path": re.compile(r"/admin/links/[\w-]{43}"),
    "refreshToken": re.compile(r".+"),
    "code": re.compile(r"[0-9]{6}|([A-Z2-9]{4}-?){4}|[\w-]{43}"),
    "nonce": re.compile(r"[0-9a-f]{32}"),
    "signature": re.compile(r"0x[0-9a-f]{130}"),
    "X-Request-Id": re.compile(r"[0-9a-f]{32}"),
}


class Names:
    """Replaces what changes from run to run."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def of(self, kind: str, value: str) -> str:
        """Return the name of a value, a new one when it appears for the first time."""
        if (kind, value) not in self._known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[kind, value] = f"<{kind} {self._counts[kind]}>"
        return self._known[kind, value]

    def masked(self, value: Any) -> Any:
        """Return a value as it is recorded."""
        match value:
            case str():
                return _PATTERN.sub(lambda found: self.of(str(found.lastgroup), found[0]), value)
            case list() | tuple():
                return [self.masked(each) for each in value]
            case dict():
                return {self.masked(name): self._field(name, each) for name, each in value.items()}
            case _:
                return value

    def _field(self, name: str, value: Any) -> Any:
        if name in _MEASURED and value is not None:
            return f"<{name}>"
        if name in _DRAWN and isinstance(value, str) and _DRAWN[name].fullmatch(value):
            return self.of(name, value)
        if name in _DRAWN and isinstance(value, list):
            return [self._field(name, each) for each in value]
        return self.masked(value)


class Book:
    """The recordings of one file, in the order they were made."""

    def __init__(self, name: str) -> None:
        self._path = FOLDER / f"{name}.json"
        self.names = Names()
        self.entries: list[Any] = []

    def keep(self, **facts: Any) -> None:
        self.entries.append(self.names.masked(facts))

    def close(self) -> None:
        """Compare everything with what was recorded, or record it."""
        if RECORDING:
            FOLDER.mkdir(exist_ok=True)
            self._path.write_text(_text(self.entries) + "\n")
            return
        assert self._path.exists(), f"{self._path.name} was never recorded: make golden"
        golden = json.loads(self._path.read_text())
        differing = [
            (before, after) for before, after in zip(golden, self.entries, strict=False) if before != _plain(after)
        ]
        assert not differing, (
            f"{self._path.name}, {len(differing)} differ, the first one:\n{_difference(*differing[0])}"
        )
        assert len(golden) == len(self.entries), f"{self._path.name} has {len(golden)} entries, not {len(self.entries)}"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _difference(before: Any, after: Any) -> str:
    return "\n".join(difflib.unified_diff(_text(before).split("\n"), _text(after).split("\n"), "golden", "now", n=4))


class Caller:
    """A client whose calls are recorded."""

    def __init__(self, book: Book, url: str, session: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
        self._book = book
        self._url = url
        self._session = session
        self._headers = headers
        self.asked: set[tuple[str, str, int]] = set()  # method, path, status

    def as_(self, **headers: str) -> Caller:
        """Return the same with other headers; what both ask is counted together."""
        other = Caller(self._book, self._url, self._session, headers)
        other.asked = self.asked
        return other

    async def ask(
        self, method: str, path: str, body: Any = None, *, status: int | Container[int] = 200, **headers: str
    ) -> Any:
        """Ask, keep question and answer, and return the answer; a status that was not expected fails at once."""
        data = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        asked = {} if body is None else {"body": _shown(body)}
        async with self._session.request(
            method, self._url + path, data=data, headers={**self._headers, **headers}, allow_redirects=False
        ) as response:
            raw = await response.read()
            found: Any = orjson.loads(raw) if response.content_type == "application/json" else raw.decode()
            expected = (status,) if isinstance(status, int) else status
            assert response.status in expected, (method, path, response.status, found)
            self._keep(method, path, asked, response.status, response.headers, found)
            return found

    async def listen(self, path: str, *, lines: int) -> None:
        """Keep the first lines of a stream that is taken up from its beginning."""
        headers = {**self._headers, "Last-Event-ID": "0"}
        async with self._session.get(self._url + path, headers=headers) as response:
            found = [(await response.content.readline()).decode().rstrip("\n") for _ in range(lines)]
            said = [orjson.loads(line[6:]) if line.startswith("data: ") else line for line in found]
            self._keep("GET", path, {}, response.status, response.headers, said)

    async def measure(self) -> None:
        """Keep which metrics there are, with which labels; what they count is for other tests."""
        async with self._session.get(f"{self._url}/metrics", headers=self._headers) as response:
            families = [_family(family) for family in text_string_to_metric_families(await response.text())]
            self._keep("GET", "/metrics", {}, response.status, response.headers, families)

    async def drip(self, method: str, path: str) -> None:
        """Send a part of a body and no more; what is answered to that is kept."""
        parts = urlsplit(self._url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        given = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        writer.write(f'{method} {path} HTTP/1.1\r\nHost: a\r\n{given}Content-Length: 99\r\n\r\n{{"a"'.encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            answer = orjson.loads(await reader.readexactly(int(headers["Content-Length"])))
        finally:
            writer.close()
        self._keep(method, path, {"body": "<a part of one>"}, int(lines[0].split()[1]), headers, answer)

    def _keep(
        self, method: str, path: str, asked: dict[str, Any], status: int, headers: Mapping[str, str], answer: Any
    ) -> None:
        self.asked.add((method, urlsplit(path).path, status))
        said = {name: headers[name] for name in OURS if name in headers}
        self._book.keep(call=f"{method} {path}", **asked, status=status, headers=said, answer=answer)


def _family(family: Metric) -> dict[str, Any]:
    """Return a metric's name, kind, sentence, buckets, and every set of labels it has."""
    labels = {tuple(sorted((name, value) for name, value in s.labels.items() if name != "le")) for s in family.samples}
    buckets = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
    return {
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": sorted({sample.name for sample in family.samples}),
        "buckets": list(buckets),
        "labels": [" ".join(f"{name}={value}" for name, value in each) for each in sorted(labels)],
    }


def _shown(body: Any) -> Any:
    return "<many bytes>" if isinstance(body, bytes) and len(body) > 200 else _text_of(body)


def _text_of(body: Any) -> Any:
    return body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body
