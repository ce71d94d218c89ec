"""
Requests nobody would write, made from ones that are accepted by small changes, the same for every seed.

What a literal of JSON or a header may be that nobody expects is a list; which of them stands where is drawn.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.service_contract.raw import HOST

LITERALS = [
    *("null", "true", "false", "0", "-1", "1", "-0", "1.5", "1e3", "1e400", "-1e400", "1e-400", "NaN", "Infinity"),
    *("9" * 30, "9" * 4_000, "9223372036854775808", "18446744073709551616", "01", "+1", ".5", "1.", "0x10"),
    *('""', '" "', '"0"', '"-1"', '"1.5"', '"1e3"', '"NaN"', '"\\u0661"', '"97"', '"null"', '"' + "9" * 90 + '"'),
    *('"\\u0000"', '"a\\u0000b"', '"a\\nb"', '"\\u001b[2K"', '"\\u0085"', '"\\u2028"', '"\\u202e"', '"\\ufffe"'),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\x"', "'a'", "undefined", '"' + "x" * 3_000 + '"', '"\\ud83d\\ude00"'),
    *("[]", "{}", "[[]]", "[{}]", '[null, 0, ""]', "[" + ",".join(["0"] * 2_000) + "]"),
    *("[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "[" * 5_000, "[" * 1_000 + "]" * 1_000),
    *('"2026-01-01T00:00:00Z"', '"9999-12-31T23:59:60Z"', '"0001-01-01T00:00:00+23:59"', '"2099-01-01"'),
    *('"http://[::1"', '"http://a:99999/"', '"http://127.0.0.1:9/\\u0000"', '"javascript:alert(1)"', '"//a"'),
    *('"."', '".."', '"a/../b"', '"%00"', '"0x0"', '"' + "0x" + "0" * 40 + '"', '"proxy"', '"native"'),
]
EVERYWHERE = [  # what every field has to bear, in every run
    *("null", "0", "1e400", "NaN", "9" * 400, '""', '"a\\u0000b"', '"\\ud800"', "[]", "{}", "[" * 1_000 + "]" * 1_000),
]
NAMES = ["", " ", "\0", "a\nb", "__proto__", "constructor", "intentid", "INTENTID", "id", "status", "\ud800", "x" * 300]
PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
TYPES = [
    *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary="),
    *("application/json; charset=nonsense", "application/xml", "", ";", "*/*", "application/json, text/plain"),
]
AROUND: list[tuple[bytes, bytes]] = [
    *((b"\xef\xbb\xbf", b""), (b"\xff\xfe", b""), (b"", b"\0"), (b"", b"}"), (b"", b"{}"), (b" \r\n\t", b" \n")),
    *((b"/* a */", b""), (b"[", b"]"), (b'"', b'"'), (b"a=", b""), (b")]}',\n", b""), (b"", b"\xff")),
]

METHODS = [
    *(b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"PRI", b"get"),
    *(b"", b"G\0T", b"GET GET", b"G" * 9_000, b"\xff"),
]
TARGETS = [
    *(b"/", b"//", b"*", b"", b".", b"/.", b"/..", b"/../../etc/passwd", b"/%2e%2e/", b"/%00", b"/\0", b"/%zz", b"/%"),
    *(b"/health?%ff=%zz&&=", b"/health#a", b"/health;a=b", b"/HEALTH", b"/health/", b"//health", b"/health\\"),
    *(b"http://127.0.0.1/health", b"http://127.0.0.1:0/", b"http://[::1]/health", b"http://[::/", b"http:///", b"a:1"),
    *(b"https://user:word@127.0.0.1/health", b"ftp://127.0.0.1/", b"/" + b"a" * 8_100, b"/?" + b"a=&" * 3_000),
    *(b"/\xc3\xa9", b"/\xff", b"/health HTTP/1.1\r\nX:", b"/" + b"a/" * 3_000, b"/{intentId}", b"/intents/%0a"),
]
VERSIONS = [
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/1.10",
    b"HTTP/1",
    b"http/1.1",
    b"",
    b"HTTP/1.1 x",
]
HEADERS = [
    *(
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: +1",
        b"Content-Length: 1, 1",
    ),
    *(b"Content-Length: 0x1", b"Content-Length: " + b"9" * 25, b"Content-Length: 70000", b"Content-Length:"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity"),
    *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: nonsense", b"Transfer-Encoding:", b"TE: trailers"),
    *(b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: zstd", b"Content-Encoding: gzip, gzip"),
    *(b"Content-Encoding: nonsense", b"Content-Encoding:", b"Expect: 100-continue", b"Expect: nonsense", b"Expect:"),
    *(b"Connection: Upgrade\r\nUpgrade: websocket", b"Connection: keep-alive", b"Connection: \xff", b"Upgrade: h2c"),
    *(b"Host: a", b"Host:", b"Host: a b", b"Host: [::", b"Host: 127.0.0.1:99999", b"Host: \xff"),
    *(b"Sec-WebSocket-Key1: a", b"X: " + b"a" * 8_300, b"a" * 8_300 + b": a", b": a", b"X", b"X : a", b" folded: a"),
    *(b"X: a\0b", b"X: a\rb", b"X: \x7f", b"X\xff: a", b"\tX: a", b"X: \r\n folded", b"\r\n".join([b"X: a"] * 200)),
    *(b"Cookie: \xff;=;a", b"Range: bytes=9-1", b"If-None-Match: \xff", b"Accept-Encoding: br;q=9", b"Accept: \xff"),
    *(b"Authorization: Bearer", b"Authorization: \xff", b"X-Forwarded-For: ,,\xff", b"X-Request-Id: \xff\xfe"),
    *(b"Last-Event-ID: " + b"9" * 99, b"Content-Type: multipart/form-data", b"Origin: http://evil.example"),
]
BYTES = [b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\xff", b"%", b"?", b"0", b"{", b'"', b"\x7f"]
CHUNKS = [
    *(
        b"2\r\n{}\r\n0\r\n\r\n",
        b"zz\r\n{}\r\n",
        b"2\r\n{}",
        b"2;a=b\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n",
        b"0\r\nX: a\r\n\r\n",
    ),
    *(
        b"ffffffffffffffffff\r\n{}",
        b"2\r\n{}\r\n1",
        b"2\n{}\n0\n\n",
        b"1\r\n{}\r\n0\r\n\r\n",
        b"\r\n",
        b"0\r\n\0\r\n\r\n",
    ),
]
CHANGES = [
    (kind, value)
    for kind, values in (
        ("method", METHODS),
        ("target", TARGETS),
        ("version", VERSIONS),
        ("header", HEADERS),
        ("chunks", CHUNKS),
        ("without", [b"Host", b"Authorization"]),
    )
    for value in values
]


@dataclass(frozen=True)
class FuzzSample:
    """A call that is accepted, and who makes it; `{n}` in a body is another number each time."""

    method: str
    path: str
    body: Mapping[str, Any]
    who: str = ""

    @property
    def named(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Changed:
    """A changed body and the headers that come with it."""

    body: bytes
    headers: Mapping[str, str]

    def sent(self, number: int) -> bytes:
        """Return what is sent as this request of so many."""
        pack = PACKED.get(self.headers.get("Content-Encoding", ""), bytes)
        return pack(self.body.replace(b"{n}", b"%06d" % number))


class Literal(str):
    """A piece of JSON as it is written, right or wrong."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object whose names may repeat."""


def text_of(value: Any) -> str:
    """Return JSON, or what looks like it."""
    match value:
        case Literal():
            return str(value)
        case Pairs():
            return "{" + ",".join(f"{json.dumps(name)}:{text_of(each)}" for name, each in value) + "}"
        case dict():
            return text_of(Pairs(value.items()))
        case list():
            return "[" + ",".join(text_of(each) for each in value) + "]"
        case _:
            return json.dumps(value)


def each_field(sample: FuzzSample) -> Iterator[Changed]:
    """Return a body with each of `EVERYWHERE` in the place of each of its values, the inner ones too."""
    for literal in map(Literal, EVERYWHERE):
        for value in _with(sample.body, literal):
            yield Changed(text_of(value).encode("utf-8", "surrogatepass"), {})


def _with(value: Any, literal: Literal) -> Iterator[Any]:
    """Return a value with the literal in the place of one after another of all that is in it."""
    match value:
        case dict():
            for name in value:
                yield from ({**value, name: each} for each in _with(value[name], literal))
                yield {**value, name: literal}
        case [first, *rest]:
            yield from ([each, *rest] for each in (*_with(first, literal), literal))


def bodies(sample: FuzzSample, random: Random, count: int) -> Iterator[Changed]:
    """Return so many changes of a body."""
    for _ in range(count):
        headers = {"Content-Type": random.choice(TYPES)} if random.random() < 0.1 else {}
        body = _changed_text(_changed(sample.body, random), random)
        yield Changed(
            body, headers | ({"Content-Encoding": random.choice([*PACKED])} if random.random() < 0.05 else {})
        )


def _changed(body: Mapping[str, Any], random: Random) -> Any:
    """Change one thing of an object: a value, a name, what is there, or all of it."""
    pairs = Pairs(body.items())
    kinds = ["value"] * 8 + ["drop", "add", "twice", "swap", "rename", "whole"]
    match random.choice(kinds) if pairs else "add":
        case "value":
            _set(pairs, random.randrange(len(pairs)), random)
        case "drop":
            pairs.pop(random.randrange(len(pairs)))
        case "add":
            pairs.insert(random.randrange(len(pairs) + 1), (random.choice(NAMES), _literal(random)))
        case "twice":
            name, value = random.choice(pairs)
            pairs.insert(random.randrange(len(pairs) + 1), (name, random.choice([value, _literal(random)])))
        case "swap":
            one, other = random.randrange(len(pairs)), random.randrange(len(pairs))
            (a, x), (b, y) = pairs[one], pairs[other]
            pairs[one], pairs[other] = (a, y), (b, x)
        case "rename":
            place = random.randrange(len(pairs))
            name, value = pairs[place]
            pairs[place] = random.choice([name.upper(), name + " ", "_" + name, name + "\0"]), value
        case "whole":
            return _literal(random)
    return pairs


def _set(pairs: Pairs, place: int, random: Random) -> None:
    """Put a literal where a value is, or somewhere within it."""
    name, value = pairs[place]
    if isinstance(value, Mapping) and value and random.random() < 0.7:
        inner = Pairs(value.items())
        _set(inner, random.randrange(len(inner)), random)
        pairs[place] = name, inner
    elif isinstance(value, list) and value and random.random() < 0.7 and isinstance(value[0], Mapping):
        inner = Pairs(value[0].items())
        _set(inner, random.randrange(len(inner)), random)
        pairs[place] = name, [inner, *value[1:]]
    else:
        pairs[place] = name, _literal(random)


def _literal(random: Random) -> Literal:
    return Literal(random.choice(LITERALS))


def _changed_text(value: Any, random: Random) -> bytes:
    raw = text_of(value).encode("utf-8", "surrogatepass")
    match random.choice(["as it is"] * 12 + ["cut", "around", "byte", "latin"]):
        case "cut":
            return raw[: random.randrange(len(raw) + 1)]
        case "around":
            before, behind = random.choice(AROUND)
            return before + raw + behind
        case "byte":
            return _with_byte(raw, random)
        case "latin":
            return raw.replace(b'":', b'\xe9":', 1)
        case _:
            return raw


def requests(
    samples: Sequence[FuzzSample], headers: Mapping[str, bytes], random: Random, count: int
) -> Iterator[list[bytes]]:
    """
    Return so many changed requests, each in the parts it is sent in; `headers` is who asks, by name.

    Each of `CHANGES` is among them, where there is room.
    """
    for change in (*CHANGES, *random.choices(CHANGES, k=count))[:count]:
        raw = _request(random.choice(samples), headers, random, *change)
        for _ in range(random.choice([0, 0, 0, 1, 1, 2])):
            raw = random.choice([_with_byte, _without_bytes, _with_bytes_twice])(raw, random)
        yield _in_parts(raw, random)


def _request(sample: FuzzSample, headers: Mapping[str, bytes], random: Random, kind: str, value: bytes) -> bytes:
    method, target, version = sample.method.encode(), sample.path.encode(), b"HTTP/1.1"
    lines = [HOST.strip(), b"Connection: close", headers[sample.who]]
    body = json.dumps(sample.body).encode() if sample.body else b""
    match kind:
        case "method":
            method = value
        case "target":
            target = value
        case "version":
            version = value
        case "header":
            lines.insert(random.randrange(len(lines) + 1), value)
        case "chunks":
            head = b"\r\n".join([b"%b %b %b" % (method, target, version), *lines, b"Transfer-Encoding: chunked"])
            return head + b"\r\n\r\n" + value
        case "without":
            lines = [line for line in lines if not line.startswith(value)]
    length = [b"Content-Length: %d" % len(body)] if body else []
    return b"\r\n".join([b"%b %b %b" % (method, target, version), *lines, *length, b"", body])


def _with_byte(raw: bytes, random: Random) -> bytes:
    place = random.randrange(len(raw) + 1)
    return raw[:place] + random.choice(BYTES) + raw[place + random.randrange(2) :]


def _without_bytes(raw: bytes, random: Random) -> bytes:
    place = random.randrange(len(raw) + 1)
    return raw[:place] + raw[place + random.choice([1, 1, 2, 10, 1_000]) :]


def _with_bytes_twice(raw: bytes, random: Random) -> bytes:
    place = random.randrange(len(raw) + 1)
    return raw[: place + random.choice([1, 2, 10, 100])] + raw[place:]


def _in_parts(raw: bytes, random: Random) -> list[bytes]:
    if random.random() < 0.7 or not raw:
        return [raw]
    place = random.randrange(len(raw))
    return [raw[:place], raw[place:]]
