"""Names that operators write down somewhere: settings, keys of the registries, targets of make."""

from __future__ import annotations

import re

from config.catalog import Chain, Token
from config.settings import VARIABLES
from marketplace.settings import VARIABLES as MARKETPLACE_VARIABLES
from tests.golden.book import Book
from tests.harness import ROOT


def test_every_name() -> None:
    book = Book("names")
    for what, names in (
        ("settings of the scanner", VARIABLES),
        ("settings of the marketplace", MARKETPLACE_VARIABLES),
        ("keys of a chain", (str(field.alias) for field in Chain.model_fields.values())),
        ("keys of a token", (str(field.alias) for field in Token.model_fields.values())),
        ("targets of make", re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)),
    ):
        book.keep(what=what, names=sorted(names))
    book.close()
