"""Raw JSON of TonCenter v3 to facts: strict, and nothing that does not make sense is skipped (pure)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from chains.errors import ChainProtocolError
from chains.labels import readable, sensible
from chains.ton.address import canonical_of
from chains.types import TokenMeta, Transfer

DEFAULT_DECIMALS = 9  # of a jetton that names none (TEP-64)

_FINAL = {"finalized", 2}  # its name, and its number inside the indexer
_NUMBER = re.compile(r"[0-9]{1,78}")
_WHOLE = re.compile(r"-?[0-9]{1,10}")
_HEX_NUMBER = re.compile(r"-?0x[0-9a-fA-F]{1,8}")
_HEX_HASH = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")

T = TypeVar("T")

Json = Mapping[str, Any]


class Tip(NamedTuple):
    """A masterchain block: all that is final is in it or below it."""

    time: int  # unix seconds
    lt: int  # logical time of its start
    network: int  # -239 is the main network, -3 the test network


class Row(NamedTuple):
    """One row of `/jetton/transfers`: the SENDER's half of a transfer."""

    tx_hash: str  # 64 lower-case hex digits
    lt: int
    time: int  # unix seconds
    aborted: bool
    master: str
    source: str
    destination: str
    amount: int
    trace_id: str | None

    @property
    def key(self) -> tuple[str, int]:
        """What tells one row from another."""
        return self.tx_hash, self.lt

    def transfer(self, chain_id: int) -> Transfer:
        """Return the row as the scanner knows transfers."""
        return Transfer(
            chain_id=chain_id,
            tx_hash=self.tx_hash,
            event_key=str(self.lt),
            log_index=None,
            block_number=self.time,
            block_hash=None,
            block_time=self.time,
            token=self.master,
            destination=self.destination,
            amount=self.amount,
            sender=self.source,
        )


class Leg(NamedTuple):
    """A transaction that a message between jetton wallets caused: the RECEIVER's half of a transfer."""

    account: str
    time: int  # unix seconds
    opcode: int | None
    sent_at: int  # logical time at which its message was made
    succeeded: bool
    body: str  # of the message, as base64
    hash: str | None = None  # of this transaction, where it can be read
    lt: int = 0  # of this transaction


class Origin(NamedTuple):
    """The transaction that sent a message: what identifies a transfer."""

    tx_hash: str
    lt: int
    time: int


def number(value: Any, what: str) -> int:
    """Read a natural number that may be written as a string."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value) is not None:
        return int(value)
    raise ChainProtocolError(f"{what} is not a number")


def rows_of(answer: Json, key: str) -> list[Json]:
    """Return the list an answer carries; null is an answer that cannot be read, and no empty list."""
    rows = answer.get(key)
    if not isinstance(rows, list):
        raise ChainProtocolError(f"the answer has no list of {key}")
    return [row if isinstance(row, dict) else {} for row in rows]


class Readable(NamedTuple, Generic[T]):
    """What could be read of a list, and why the rest could not: one strange row must not hide its neighbours."""

    rows: list[T]
    unreadable: dict[str, str]  # by what can be told of the row; one entry a row

    @classmethod
    def of(cls, raw: Sequence[Json], parse: Callable[[Json], T]) -> Readable[T]:
        """Read every row by itself."""
        found: list[T] = []
        unreadable: dict[str, str] = {}
        for row in raw:
            try:
                found.append(parse(row))
            except ChainProtocolError as exc:
                name = _name(row)
                unreadable[f"{name} ({len(unreadable) + 1})" if name in unreadable else name] = str(exc)
        return cls(found, unreadable)


def _name(row: Json) -> str:
    """Return what tells an unreadable row from others: its transaction, if that much can be read."""
    try:
        return _hash(row.get("transaction_hash", row.get("hash")))
    except ChainProtocolError:
        return "a row without a hash"


def parse_block(block: Any) -> Tip:
    """Read a masterchain block."""
    if not isinstance(block, dict):
        raise ChainProtocolError("the answer names no masterchain block")
    network = str(block.get("global_id"))
    if _WHOLE.fullmatch(network) is None:
        raise ChainProtocolError("a block does not say which network it is of")
    return Tip(number(block.get("gen_utime"), "gen_utime"), number(block.get("start_lt"), "start_lt"), int(network))


def time_of_block(block: Any) -> int | None:
    """Return the time of a block nobody has to tell of; None when it cannot be read."""
    try:
        return number(block.get("gen_utime"), "gen_utime") if isinstance(block, dict) else None
    except ChainProtocolError:
        return None


def parse_transfer(row: Json) -> Row:
    """Read one row of `/jetton/transfers`."""
    aborted = row.get("transaction_aborted")
    if not isinstance(aborted, bool):
        raise ChainProtocolError("a transfer does not say whether it was aborted")
    trace_id = row.get("trace_id")
    return Row(
        tx_hash=_hash(row.get("transaction_hash")),
        lt=number(row.get("transaction_lt"), "transaction_lt"),
        time=number(row.get("transaction_now"), "transaction_now"),
        aborted=aborted,
        master=address(row, "jetton_master"),
        source=address(row, "source"),
        destination=address(row, "destination"),
        amount=number(row.get("amount"), "amount"),
        trace_id=trace_id if isinstance(trace_id, str) else None,
    )


def parse_leg(row: Json) -> Leg | None:
    """Read a transaction as the effect of a message; None when it is none, or not final yet."""
    message = row.get("in_msg")
    # Nothing is asked of what is no message between wallets: strangers cause transactions of every kind.
    final = row.get("emulated") is not True and row.get("finality", "finalized") in _FINAL
    if not final or not isinstance(message, dict) or canonical_of(message.get("source")) is None:
        return None
    content = message.get("message_content")
    return Leg(
        account=address(row, "account"),
        time=number(row.get("now"), "now"),
        opcode=_opcode(message.get("opcode")),
        sent_at=number(message.get("created_lt"), "created_lt"),
        succeeded=_succeeded(row.get("description")) and not _flag(message, "bounced"),
        body=str(content.get("body", "")) if isinstance(content, dict) else "",
        hash=_hash_or_none(row.get("hash")),
        lt=_number_or_zero(row.get("lt")),
    )


def parse_origin(row: Json) -> Origin:
    """Read a transaction as the sender of a message."""
    return Origin(_hash(row.get("hash")), number(row.get("lt"), "lt"), number(row.get("now"), "now"))


def parse_token(answer: Json, master: str) -> TokenMeta | None:
    """Read what a jetton says of itself: on chain first, then in its metadata; None when it says nothing readable."""
    masters = [row for row in rows_of(answer, "jetton_masters") if canonical_of(row.get("address")) == master]
    if not masters:
        return None
    content = masters[0].get("jetton_content")
    told = content if isinstance(content, dict) else {}
    info = _token_info(answer.get("metadata"), master)
    extra = info.get("extra") if isinstance(info.get("extra"), dict) else {}
    symbol = readable(told.get("symbol") or info.get("symbol"))
    sent = str(told.get("decimals", (extra or {}).get("decimals", DEFAULT_DECIMALS)))
    decimals = sensible(int(sent)) if _NUMBER.fullmatch(sent) else None
    meta = TokenMeta(symbol, decimals)
    return None if meta == TokenMeta(None, None) else meta


def address(row: Json, key: str) -> str:
    """Read the address a row has under a key."""
    found = canonical_of(row.get(key))
    if found is None:
        raise ChainProtocolError(f"{key} is not an address")
    return found


def _token_info(metadata: Any, master: str) -> Json:
    """Return what the indexer fetched for a jetton, if it did."""
    about = metadata.get(master) if isinstance(metadata, dict) else None
    infos = about.get("token_info") if isinstance(about, dict) else None
    for info in infos if isinstance(infos, list) else []:
        if isinstance(info, dict) and info.get("type") == "jetton_masters":
            return info
    return {}


def _succeeded(description: Any) -> bool:
    """
    Say how a transaction went: an aborted one changed nothing; its phases say the same, and both must.

    Raises:
        ChainProtocolError: it does not say. What is left out is no proof that a payment bounced.
    """
    if not isinstance(description, dict) or not isinstance(compute := description.get("compute_ph"), dict):
        raise ChainProtocolError("a transaction does not say how it went")
    if _flag(description, "aborted", needed=True) or _flag(compute, "skipped"):
        return False
    action = description.get("action")
    acted = not isinstance(action, dict) or _flag(action, "success", needed=True)
    return acted and _flag(compute, "success", needed=True)


def _flag(told: Json, name: str, *, needed: bool = False) -> bool:
    """Read a yes or no; what is not needed and not there is a no."""
    value = told.get(name)
    if isinstance(value, bool):
        return value
    if needed or value is not None:
        raise ChainProtocolError(f"a transaction does not say whether it was {name}")
    return False


def _opcode(value: Any) -> int | None:
    """Read an opcode: hex text with its prefix, or a number that may be negative; None when it is neither."""
    if isinstance(value, str):
        return int(value, 16) if _HEX_NUMBER.fullmatch(value) is not None else None
    return value & 0xFFFFFFFF if isinstance(value, int) and not isinstance(value, bool) else None


def _hash(value: Any) -> str:
    """
    Return a hash as lower-case hex, however it is spelt.

    The indexer writes base64, explorers and other versions of it url-safe base64 or hex: two spellings of one
    transaction must not become two payments.
    """
    if isinstance(value, str) and _HEX_HASH.fullmatch(value) is not None:
        return value.lower().removeprefix("0x")
    try:
        digest = base64.b64decode(_padded(value), altchars=b"-_" if _is_url_safe(value) else b"+/", validate=True)
    except (TypeError, ValueError, AttributeError, binascii.Error):
        digest = b""
    if len(digest) != 32:  # noqa: PLR2004 - bytes of a SHA-256
        raise ChainProtocolError("transaction_hash is not a hash")
    return digest.hex()


def _hash_or_none(value: Any) -> str | None:
    try:
        return _hash(value)
    except ChainProtocolError:
        return None


def _number_or_zero(value: Any) -> int:
    try:
        return number(value, "lt")
    except ChainProtocolError:
        return 0


def _is_url_safe(text: str) -> bool:
    return "-" in text or "_" in text


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
