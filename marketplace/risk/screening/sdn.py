"""
Reads the digital currency addresses of the list OFAC publishes (the SDN list, in XML).

`sdn.xml` states a currency and an address beside each other; `sdn_advanced.xml` refers from each
feature to a table of types. Both are read as a stream. `sdn.csv` is refused: it cuts remarks at a
thousand characters, and an address that was cut off would be clear. The currency of an entry is not
used to choose a chain: OFAC files Tron addresses under USDT, and BSC addresses under ETH.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from addresses import listed_form

LABEL = "Digital Currency Address - "
# Currencies whose addresses are of chains we serve: one of them that cannot be read is a hole in the list. What is
# filed under another currency (XBT, LTC, XMR, …) is a hole only when it is spelt like one of ours.
OURS = frozenset({"ETH", "ETC", "USDT", "USDC", "TRX", "TRON", "TON", "BSC", "BNB", "ARB", "MATIC", "POL", "OP"})
_LIKE_OURS = re.compile(
    r"0[xX].*|T[1-9A-HJ-NP-Za-km-z]{30,36}|(?:EQ|UQ|kQ|0Q)[A-Za-z0-9_+/-]{40,50}|-?[0-9]+:[0-9a-fA-F]+"
)


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
        self.unreadable = 0
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
        key = listed_form(address)
        if key is None:
            # Dropped without a word, an address one digit short would leave a gap that nobody sees.
            self.unreadable += currency.upper() in OURS or _LIKE_OURS.fullmatch(address) is not None
        else:
            self.listed.setdefault(key, f"{currency} {address}: {name} (SDN {number})")
