"""Reading settings: the environment above a file of NAME=value lines, and no name that is silently ignored."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from kernel.errors import ConfigError

# What container platforms set for a service of this name: its address, `tcp://10.0.0.1:8080` and the like.
_SERVICE_LINK = re.compile(r"PORT_.*|SERVICE_.*")
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://.*", re.IGNORECASE)
# How secrets in deploy/.env.example begin, as text and where 32 bytes in base64 are asked for.
_EXAMPLES = ("example-", "ZXhhbXBsZS")


def given_settings(
    environ: Mapping[str, str],
    env_file: Path | None,
    *,
    prefix: str,
    known: Collection[str],
    ignored: Collection[str] = (),
) -> dict[str, str]:
    """
    Return what is set; an empty variable does not hide the file's value.

    A name with our prefix that is none of ours stops the start: it would be a setting that does nothing. Names of
    others (`ignored`, and those container platforms set for a service) are left out.

    Raises:
        ConfigError: names the variable or the line of the file.
    """
    below = _read(env_file) if env_file is not None else {}
    found = _nonempty(below) | _nonempty(environ)
    for name in [name for name in found if name.startswith(prefix)]:
        if name in ignored or _is_service_link(name.removeprefix(prefix), found[name]):
            del found[name]
        elif name not in known:
            raise ConfigError(f"{name}: unknown setting{_hint(name.removeprefix(prefix), prefix, known)}")
    return found


def refuse_examples(given: Mapping[str, str], environment: str) -> None:
    """
    Refuse the values of the example file where anybody but a developer could meet them: everybody knows them.

    Raises:
        ConfigError: names the variable.
    """
    if environment == "development":
        return
    for name, value in given.items():
        if any(part.strip().startswith(_EXAMPLES) for part in value.split(",")):
            raise ConfigError(f"{name}: is the example's, which everybody knows: set one of your own (make env)")


def _is_service_link(rest: str, value: str) -> bool:
    # `<NAME>_PORT` may be a setting of ours as well: with an address for a value it is not meant as one.
    return _SERVICE_LINK.fullmatch(rest) is not None or (rest == "PORT" and _ADDRESS.fullmatch(value) is not None)


def _hint(rest: str, prefix: str, known: Collection[str]) -> str:
    ours = [name.removeprefix(prefix) for name in known if name.startswith(prefix)]
    close = difflib.get_close_matches(rest, ours, n=1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def _nonempty(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value is not None and value.strip()}


def _read(env_file: Path) -> Mapping[str, str | None]:
    try:
        if not env_file.is_file():
            return {}
        text = env_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{env_file}: cannot be read: {type(exc).__name__}") from None
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            # The library would leave it out, and with it, perhaps, the key. A name by itself is no value either.
            raise ConfigError(f"{env_file}: line {binding.original.line}: is not NAME=value")
    return dotenv_values(stream=io.StringIO(text), interpolate=False)
