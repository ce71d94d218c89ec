"""
Sanctions screening of addresses against the list OFAC publishes (the SDN list, in XML).

`sdn.xml` states a currency and an address beside each other; `sdn_advanced.xml` refers from each
feature to a table of types. Both are read as a stream. `sdn.csv` is refused: it cuts remarks at a
thousand characters, and an address that was cut off would be clear. The currency of an entry is not
used to choose a chain: OFAC files Tron addresses under USDT, and BSC addresses under ETH.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeAlias
from xml.parsers import expat

import aiohttp

log = logging.getLogger(__name__)

LABEL = "Digital Currency Address - "
CHUNK = 1 << 20
MAX_BYTES = 512 << 20  # the advanced list was 80 MB in 2023
DAY_S = 86_400
RETRY_S = 300

_EVM = re.compile(r"0x[0-9a-fA-F]{40}")
_TRON = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_TRON_HEX = re.compile(r"(?:0x)?41[0-9a-fA-F]{40}")
_TON_RAW = re.compile(r"(-1|0):([0-9a-fA-F]{64})")
_TON_FRIENDLY = re.compile(r"[A-Za-z0-9_/+-]{48}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Clear:
    """The address is not on a list that is fresh enough."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The address is on the list; `entry` says under which currency and whose it is."""

    entry: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nobody can tell now."""

    reason: str


Verdict: TypeAlias = Clear | Listed | Unavailable


class Screener(Protocol):
    """Tells whether money from an address may be taken."""

    async def screen(self, address: str, chain_type: str) -> Verdict:
        """Return what is known of an address of a family (`evm`, `tron`, `ton`); never raises."""


async def screen_all(screener: Screener, addresses: Iterable[str], chain_type: str) -> Verdict:
    """Return the worst verdict over several senders: listed, then unavailable, then clear."""
    worst: Verdict = Clear()
    for address in addresses:
        verdict = await screener.screen(address, chain_type)
        if isinstance(verdict, Listed):
            return verdict
        if isinstance(verdict, Unavailable):
            worst = verdict
    return worst


# -- addresses ---------------------------------------------------------------------------------------


def canonical_address(address: str, chain_type: str) -> str | None:
    """
    Return the one form in which addresses of a family are compared; None for what is no address of it.

    EVM in lower case, Tron in base58 (also given as 41 + 40 hex), TON as `workchain:hash`.
    """
    canonical = FAMILIES.get(chain_type)
    return None if canonical is None else canonical(address)


def _evm(address: str) -> str | None:
    return address.lower() if _EVM.fullmatch(address) else None


def _tron(address: str) -> str | None:
    if _TRON_HEX.fullmatch(address):
        payload = bytes.fromhex(address.removeprefix("0x"))
        return _base58(payload + _check(payload))
    if _TRON.fullmatch(address) is None:
        return None
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    raw = number.to_bytes(25, "big")  # 34 characters that start with T always fit
    return address if raw[0] == 0x41 and _check(raw[:21]) == raw[21:] else None  # noqa: PLR2004 - Tron's prefix


def _check(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]


def _base58(raw: bytes) -> str:
    """Encode bytes that do not start with a zero."""
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return text


def _ton(address: str) -> str | None:
    raw = _TON_RAW.fullmatch(address)
    if raw is not None:
        return f"{raw[1]}:{raw[2].lower()}"
    if _TON_FRIENDLY.fullmatch(address) is None:
        return None
    data = base64.b64decode(address.replace("-", "+").replace("_", "/"))
    # One byte of flags (bounceable or not, test network or not), one of workchain, the hash, a CRC.
    if data[0] & 0x7F not in {0x11, 0x51} or binascii.crc_hqx(data[:34], 0) != int.from_bytes(data[34:], "big"):
        return None
    return f"{int.from_bytes(data[1:2], 'big', signed=True)}:{data[2:34].hex()}"


FAMILIES = {"evm": _evm, "tron": _tron, "ton": _ton}


def _key(address: str) -> str | None:
    """Return the canonical form of a listed address; None for Bitcoin's and the like."""
    forms = (canonical(address) for canonical in FAMILIES.values())
    return next((form for form in forms if form is not None), None)


# -- the list ----------------------------------------------------------------------------------------


class UnreadableList(Exception):
    """What was read is no SDN list, or not a whole one."""


class SdnParser:
    """
    Collects the digital currency addresses of a list that is fed in pieces.

    The document may declare no DTD, so no entity can expand or reach out. Element names are compared
    without their namespace, which OFAC has changed before.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.listed: dict[str, str] = {}
        self._types: dict[str, str] = {}  # id of a feature type -> currency
        self._text: list[str] = []
        self._currency: str | None = None
        self._names: dict[str, str] = {}
        self._attributes: dict[str, str] = {}
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._no_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        self._parser = parser

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """
        Take the next piece.

        Raises:
            UnreadableList: it is not well-formed, declares a DTD, or (at the end) names no address at all.
        """
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as exc:
            raise UnreadableList(f"not well-formed XML: {exc}") from exc
        if last and not self.seen:
            raise UnreadableList("names no digital currency address: this is not the SDN list")

    def _no_doctype(self, *_: object) -> None:
        raise UnreadableList("declares a DTD, which the SDN list does not")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        self._attributes = attributes
        match name.rpartition("}")[2]:
            case "sdnEntry" | "DistinctParty":
                self._names = {"FixedRef": attributes.get("FixedRef", "")}
            case "id":
                self._currency = None
            case "Feature":
                self._currency = self._types.get(attributes.get("FeatureTypeID", ""))
            case _:
                pass

    def _end(self, name: str) -> None:
        text = "".join(self._text).strip()
        match name.rpartition("}")[2]:
            case "FeatureType" if text.startswith(LABEL):
                self._types[self._attributes.get("ID", "")] = text.removeprefix(LABEL)
            case "idType" if text.startswith(LABEL):
                self._currency = text.removeprefix(LABEL)
            case "idNumber" | "VersionDetail" if self._currency is not None and text:
                self._add(self._currency, text)
            case "uid" | "lastName" | "NamePartValue" as field:
                self._names.setdefault(field, text)
            case _:
                pass
        self._text.clear()

    def _add(self, currency: str, address: str) -> None:
        self.seen += 1
        name = self._names.get("lastName") or self._names.get("NamePartValue") or "unnamed"
        number = self._names.get("uid") or self._names.get("FixedRef") or "?"
        key = _key(address)
        if key is not None:
            self.listed.setdefault(key, f"{currency} {address}: {name} (SDN {number})")


@dataclass(frozen=True, slots=True)
class Published:
    """A list on its way in: when it was published or last fetched (unix ms), and its bytes."""

    as_of: int
    pieces: AsyncIterator[bytes]


class Source(Protocol):
    """Where the list comes from."""

    def __call__(self) -> AbstractAsyncContextManager[Published]:
        """
        Open the list from its beginning.

        Raises:
            OSError, ClientError, TimeoutError, UnreadableList: it cannot be had now.
        """


def from_path(path: Path) -> Source:
    """Read a file that somebody keeps up to date; it is as old as its last change."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Published]:
        file = await asyncio.to_thread(path.open, "rb")
        try:
            changed = os.fstat(file.fileno()).st_mtime_ns // 1_000_000

            async def pieces() -> AsyncIterator[bytes]:
                while piece := await asyncio.to_thread(file.read, CHUNK):
                    yield piece

            yield Published(changed, pieces())
        finally:
            file.close()

    return opened


def from_url(session: aiohttp.ClientSession, url: str, now_ms: Callable[[], int], timeout_s: float = 900) -> Source:
    """Download the list; it is as old as the download."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Published]:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=30, sock_read=60)
        async with session.get(url, timeout=timeout) as response:  # OFAC redirects to signed addresses
            if response.status != HTTPStatus.OK:
                raise UnreadableList(f"its server answered {response.status}")
            yield Published(now_ms(), response.content.iter_chunked(CHUNK))

    return opened


async def read_list(pieces: AsyncIterator[bytes]) -> dict[str, str]:
    """
    Return canonical addresses and their entries, parsed off the event loop.

    Raises:
        UnreadableList: it is no SDN list, not a whole one, or too large to be one.
    """
    parser, size = SdnParser(), 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise UnreadableList(f"is larger than {MAX_BYTES} bytes")
        await asyncio.to_thread(parser.feed, piece)
    await asyncio.to_thread(parser.feed, b"", last=True)
    return parser.listed


@dataclass(frozen=True, slots=True)
class ListStatus:
    """What an operator wants to know; `as_of` in unix ms, None before the first good read."""

    addresses: int
    as_of: int | None
    error: str | None
    stale: bool


class OfacScreener:
    """
    Screens against the last list that was read well.

    A failed refresh keeps the list that is there. Once that is older than `max_age_s`, an address
    that is not on it is no longer clear but unavailable; one that is on it stays listed.
    """

    def __init__(self, source: Source, now_ms: Callable[[], int], *, max_age_s: int = 7 * DAY_S) -> None:
        self._source = source
        self._now_ms = now_ms
        self._max_age_s = max_age_s
        self._listed: dict[str, str] = {}
        self._as_of: int | None = None
        self._error: str | None = "it has not been read yet"

    @property
    def status(self) -> ListStatus:
        return ListStatus(len(self._listed), self._as_of, self._error, self._stale())

    async def run(self, sleep: Callable[[float], Awaitable[None]], *, every_s: float = DAY_S / 4) -> None:
        """Keep the list fresh, for ever; after a failure try again soon."""
        while True:
            await self.refresh()
            await sleep(every_s if self._error is None else min(every_s, RETRY_S))

    async def refresh(self) -> None:
        """Read the list again, or remember why that failed."""
        try:
            async with self._source() as published:
                listed = await read_list(published.pieces)
        except (OSError, aiohttp.ClientError, TimeoutError, UnreadableList) as exc:
            self._failed(f"{exc}" or type(exc).__name__)
            return
        self._listed, self._as_of, self._error = listed, published.as_of, None
        log.info("[screening] sanctions list read: %d addresses", len(listed))

    async def screen(self, address: str, chain_type: str) -> Verdict:
        """Return what the list says of an address."""
        key = canonical_address(address, chain_type)
        if key is None:
            return Unavailable(f"the sender is no {chain_type} address")
        if key in self._listed:
            return Listed(self._listed[key])
        if self._as_of is None:
            return Unavailable(f"the sanctions list cannot be read: {self._error}")
        if self._stale():
            return Unavailable(f"the sanctions list is {(self._now_ms() - self._as_of) // 3_600_000} hours old")
        return Clear()

    def _stale(self) -> bool:
        return self._as_of is None or self._now_ms() - self._as_of > self._max_age_s * 1000

    def _failed(self, reason: str) -> None:
        if self._error != reason:
            log.warning("[screening] the sanctions list cannot be read: %s", reason)
        self._error = reason
