"""What pages say, in one catalogue file a language, and which of them somebody reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kernel.pages import files

MAX_ACCEPTED = 20  # languages of a browser that are looked at
DEFAULT = "en"
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})
LATIN_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Language:
    """One language, and everything that is said in it."""

    code: str
    texts: Mapping[str, str]

    @property
    def direction(self) -> str:
        """In which direction it is written, as HTML says it."""
        return "rtl" if self.code in RIGHT_TO_LEFT else "ltr"

    def say(self, key: str, **values: Any) -> str:
        """Return a text with its values in place; whole numbers in the language's digits."""
        shown = {name: self.number(value) if type(value) is int else value for name, value in values.items()}
        return self.texts[key].format_map(shown)

    def number(self, value: int) -> str:
        """Return a whole number in the language's digits."""
        return str(value).translate(str.maketrans(LATIN_DIGITS, self.texts.get("digits", LATIN_DIGITS)))


class Languages:
    """The catalogues of one package."""

    def __init__(self, package: str) -> None:
        found = files.texts(package, "texts", ".json").items()
        self.known: Mapping[str, Language] = {
            (code := name.removesuffix(".json")): Language(code, orjson.loads(text)) for name, text in found
        }

    def choose(self, *wanted: str | None, accepted: str = "") -> Language:
        """Return the first language that is wanted and known, else what the browser accepts, else English."""
        for tag in (*wanted, *_by_preference(accepted)):
            language = self.known.get((tag or "").partition("-")[0].lower())
            if language is not None:
                return language
        return self.known[DEFAULT]


def _by_preference(accepted: str) -> Iterable[str]:
    """Return the tags of an `Accept-Language`, the most wanted first."""
    weighed: list[tuple[float, str]] = []
    for part in accepted.split(",", MAX_ACCEPTED)[:MAX_ACCEPTED]:
        tag, _, parameter = part.strip().partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            weighed.append((float(weight) if weight else 1.0, tag.strip()))
        except ValueError:
            continue
    return [tag for weight, tag in sorted(weighed, key=lambda each: -each[0]) if weight > 0]
