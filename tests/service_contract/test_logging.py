"""One event is one line, whoever chose its words."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

import marketplace.__main__
import scanner.__main__

FORGED = [
    "a\n2026-01-01T00:00:00.000Z ERROR scanner forged",
    "a\r\nforged",
    "a\x0bforged",
    "a\x1b[2K\x1b[1Gforged",
    "a\x85forged",
    "a\u2028forged",
    "a\u2029forged",
    "a\u202egnirrof",
    "a\x00forged",
]


def configure(service: str, form: str) -> None:
    {"scanner": scanner.__main__, "marketplace": marketplace.__main__}[service].configure(level="info", form=form)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("service", ["scanner", "marketplace"])
@pytest.mark.parametrize("text", FORGED)
def test_what_a_stranger_wrote_makes_no_line_of_its_own(
    service: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(service, "console")
    logging.getLogger("x").info("[x] said %s", text)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert out.rstrip("\n").isprintable()


@pytest.mark.parametrize("service", ["scanner", "marketplace"])
@pytest.mark.parametrize("text", FORGED)
def test_a_line_of_json_is_one_line_and_keeps_the_text(
    service: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(service, "json")
    logging.getLogger("x").info("[x] said %s", text)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert orjson.loads(out)["message"] == f"[x] said {text}"


@pytest.mark.parametrize("service", ["scanner", "marketplace"])
@pytest.mark.parametrize("form", ["console", "json"])
def test_a_trace_forges_no_line_and_tells_no_token(service: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(service, form)
    try:
        raise ValueError("a\n2026-01-01T00:00:00.000Z ERROR forged Bearer abc.def")
    except ValueError:
        logging.getLogger("x").exception("[x] failed")
    out = capsys.readouterr().out
    assert not any(line.startswith("2026-01-01T00:00:00.000Z") for line in out.splitlines())
    assert "abc.def" not in out
