"""Logs are readable or JSON, one event a line, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from kernel.errors import ConfigError
from kernel.logging import configure, fields

log = logging.getLogger("scanner.test")
TOKEN = "abc.def-123"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Give the process its loggers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logger.level for name, logger in root.manager.loggerDict.items() if isinstance(logger, logging.Logger)
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            logger.setLevel(levels.get(name, logging.NOTSET))


class Output:
    """What a configured process writes."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def text(self) -> str:
        out, err = self._captured.readouterr()
        assert err == ""
        return out

    def entry(self) -> dict[str, Any]:
        out = self.text()
        assert out.count("\n") == 1, out
        return dict(json.loads(out))


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


def use(form: str, level: str = "info") -> None:
    configure(level=level, form=form)


def fail_with_a_token() -> None:
    raise RuntimeError(f"Authorization: Bearer {TOKEN}")


def log_failure() -> None:
    try:
        fail_with_a_token()
    except RuntimeError:
        log.exception("it broke")


def test_console_lines_read_as_documented(output: Output) -> None:
    use("console")
    record = logging.makeLogRecord(
        {
            "name": "scanner.worker",
            "levelname": "INFO",
            "levelno": 20,
            "msg": "[evm] scanner lag",
            "created": 1767225600.5,
        }
        | fields(chain=56, lag=120)
    )
    logging.getLogger().handle(record)
    assert output.text() == "2026-01-01T00:00:00.500Z INFO  scanner.worker [evm] scanner lag chain=56 lag=120\n"


def test_json_lines_hold_time_level_logger_message_and_fields(output: Output) -> None:
    use("json")
    record = logging.makeLogRecord(
        {
            "name": "scanner.worker",
            "levelname": "WARNING",
            "levelno": 30,
            "msg": "lag of %s",
            "args": ("BSC",),
            "created": 1767225600.5,
        }
        | fields(chain=56, lag=120)
    )
    logging.getLogger().handle(record)
    assert output.entry() == {
        "ts": "2026-01-01T00:00:00.500Z",
        "level": "warning",
        "logger": "scanner.worker",
        "message": "lag of BSC",
        "chain": 56,
        "lag": 120,
    }


def test_a_failure_is_one_json_line_with_its_traceback(output: Output) -> None:
    use("json")
    log_failure()
    entry = output.entry()
    assert entry["message"] == "it broke"
    assert "RuntimeError" in entry["traceback"]
    assert "fail_with_a_token" in entry["traceback"]


def test_a_failure_keeps_its_traceback_on_the_console(output: Output) -> None:
    use("console")
    log_failure()
    text = output.text()
    assert "it broke\n  Traceback" in text
    assert "RuntimeError" in text


@pytest.mark.parametrize("form", ["console", "json"])
def test_bearer_tokens_are_masked_wherever_they_are(output: Output, form: str) -> None:
    use(form)
    log.info("got Bearer %s", TOKEN)
    log.info("got", extra=fields(header=f"bearer {TOKEN}", nested={"headers": [f"Bearer  {TOKEN}"]}))
    log_failure()
    text = output.text()
    assert TOKEN not in text
    assert text.count("***") >= 4


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    "value", [10**30, -(2**63) - 1, "\ud800", float("inf"), b"\xff", {1: 2**64}, ConfigError("x"), (1, {2})], ids=repr
)
def test_no_value_of_a_field_loses_the_event(output: Output, form: str, value: object) -> None:
    use(form)
    log.info("event", extra=fields(value=value))
    assert "event" in output.text()


def test_amounts_beyond_64_bits_are_written_in_full(output: Output) -> None:
    use("json")
    log.info("paid", extra=fields(amount=10**30))
    assert output.entry()["amount"] == str(10**30)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_break_in_a_value_forges_no_line(output: Output, form: str) -> None:
    """Symbols and paths come from strangers."""
    use(form)
    log.info(
        "token %s", "A\r\n2026-01-01T00:00:00.000Z INFO  scanner forged", extra=fields(symbol="B\nforged\u2028x\x1b[2J")
    )
    text = output.text()
    assert text.count("\n") == 1
    assert "\r" not in text
    assert "\x1b" not in text


def test_a_field_cannot_pose_as_the_event_itself(output: Output) -> None:
    use("json")
    log.info("real", extra=fields(message="forged", level="debug", traceback="none", chain=1))
    entry = output.entry()
    assert (entry["message"], entry["level"], entry["chain"]) == ("real", "info", 1)
    assert (entry["message_"], entry["level_"], entry["traceback_"]) == ("forged", "debug", "none")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_decides_what_is_written(output: Output, level: str) -> None:
    use("console", level)
    for name in ("debug", "info", "warning", "error"):
        log.log(logging.getLevelNamesMapping()[name.upper()], "said at %s", name)
    names = ["debug", "info", "warning", "error"]
    assert [line.rsplit(" ", 1)[1] for line in output.text().splitlines()] == names[names.index(level) :]


@pytest.mark.parametrize("name", ["aiohttp.access", "apscheduler.scheduler", "web3.providers", "httpx"])
def test_libraries_are_quiet_below_a_warning(output: Output, name: str) -> None:
    use("console")
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("trouble")
    assert "chatter" not in (text := output.text())
    assert "trouble" in text


def test_libraries_are_never_louder_than_the_level_asked_for(output: Output) -> None:
    use("console", "error")
    logging.getLogger("aiohttp.access").warning("trouble")
    assert output.text() == ""


def test_configuring_twice_writes_each_event_once(output: Output) -> None:
    use("console")
    use("console")
    log.info("once")
    assert output.text().count("once") == 1
