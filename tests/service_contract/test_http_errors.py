"""What is no request, or one of a kind we do not serve, is answered like every other error, on both services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kernel.web.http_errors import ANY_ROUTE, CODES, MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from marketplace import errors as marketplace_errors
from protocol import errors as scanner_errors
from tests.service_contract.raw import CLOSE, HOST, asked, chunked, final, get, post
from tests.service_contract.services import BOTH, MARKETPLACE, ServiceUnderTest

HEALTH = b"/health"
MANY = b"".join(b"X%d: a\r\n" % number for number in range(MAX_HEADERS))
REFUSED = {
    "an expectation nobody knows": (get(HEALTH, b"Expect: the best\r\n"), 417, "expectation_failed"),
    "two expectations": (get(HEALTH, b"Expect: 100-continue\r\nExpect: x\r\n"), 417, "expectation_failed"),
    "an expectation where nothing is": (get(b"/none", b"Expect: the best\r\n"), 404, "not_found"),
    "no request": (b"garbage\r\n\r\n", 400, "bad_http"),
    "an unknown method": (b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_http"),
    "TLS": (bytes.fromhex("16030100" + "a5" * 40), 400, "bad_http"),
    "the next protocol": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_http"),
    "a version to come": (b"GET /health HTTP/3.0\r\n" + HOST + b"\r\n", 400, "bad_http"),
    "a version of others": (b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", 400, "bad_http"),
    "a version long gone": (b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n", 400, "bad_http"),
    "no host": (b"GET /health HTTP/1.1\r\n" + CLOSE + b"\r\n", 400, "bad_http"),
    "two hosts": (get(HEALTH, HOST), 400, "bad_http"),
    "a NUL in the path": (get(b"/a\0b"), 400, "bad_http"),
    "bytes in the path": (get(b"/\xff"), 400, "bad_http"),
    "a wrong port": (get(b"http://x:99999/"), 400, "bad_http"),
    "a wrong host": (get(b"http://[::/"), 400, "bad_http"),
    "no path": (get(b"health"), 400, "bad_http"),
    "a control character in a header": (get(HEALTH, b"X: a\x01\r\n"), 400, "bad_http"),
    "a long path": (get(b"/" + b"a" * MAX_TARGET_BYTES), 414, "target_too_long"),
    "a long query": (get(b"/health?" + b"a" * MAX_TARGET_BYTES), 414, "target_too_long"),
    "a long header": (get(HEALTH, b"X: a" + b"a" * MAX_HEADER_BYTES + b"\r\n"), 431, "headers_too_large"),
    "a long name of a header": (get(HEALTH, b"a" * MAX_HEADER_BYTES + b": a\r\n"), 431, "headers_too_large"),
    "many headers": (get(HEALTH, MANY), 431, "headers_too_large"),
    "nothing there": (get(b"/none"), 404, "not_found"),
    "a star": (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", 404, "not_found"),
    "a proxy's": (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", 404, "not_found"),
    "what is allowed": (b"OPTIONS /health HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", 405, "method_not_allowed"),
    "a trace": (b"TRACE /health HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", 405, "method_not_allowed"),
    "no gzip": (post(b"%POST", b"{}", b"Content-Encoding: gzip\r\n"), 400, "bad_http"),
    "brotli": (post(b"%POST", b"{}", b"Content-Encoding: br\r\n"), 415, "unsupported_encoding"),
    "an unknown encoding": (post(b"%POST", b"{}", b"Content-Encoding: x\r\n"), 415, "unsupported_encoding"),
    "two encodings": (
        post(b"%POST", b"{}", b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n"),
        415,
        "unsupported_encoding",
    ),
    "a body in a body": (chunked(b"%POST", b"0\r\n\r\n", b"gzip, chunked"), 400, "bad_http"),
    "an unknown body": (chunked(b"%POST", b"", b"nonsense"), 400, "bad_http"),
    "a wrong chunk": (chunked(b"%POST", b"zz\r\n{}\r\n"), 400, "bad_http"),
    "a length nobody can have": (b"%POST" + b"9" * 30, 400, "bad_http"),
    "a body that will be too long": (b"%POST" + b"9" * 18, 413, "payload_too_large"),
}


def request_of(service: ServiceUnderTest, raw: bytes) -> bytes:
    if raw.startswith(b"%POST"):  # a body that is announced, and not sent
        head = b"POST " + service.post.encode() + b" HTTP/1.1\r\n" + HOST + CLOSE
        return head + b"Content-Length: " + raw.removeprefix(b"%POST") + b"\r\n\r\n"
    return raw.replace(b"%POST", service.post.encode())


@asynccontextmanager
async def serving(service: ServiceUnderTest, folder: Path) -> AsyncIterator[str]:
    async with service.running(service.environment(folder)) as running:
        yield service.url(running)


@BOTH
async def test_every_refusal_has_the_shape_of_all_errors(service: ServiceUnderTest, tmp_path: Path) -> None:
    found = {}
    async with serving(service, tmp_path) as url:
        for name, (raw, _, _) in REFUSED.items():
            answer = final(await asked(url, request_of(service, raw)))
            found[name] = answer.status, service.code(answer.json) if answer.status >= 400 else ""
            assert service.name == "scanner" or answer.headers["x-request-id"]
    assert found == {name: (status, code) for name, (_, status, code) in REFUSED.items()}


@pytest.mark.parametrize("codes", [scanner_errors.CODES, marketplace_errors.CODES], ids=["scanner", "marketplace"])
def test_every_code_of_http_is_one_of_the_service_with_the_same_status(codes: Mapping[str, int]) -> None:
    assert CODES.items() <= codes.items()


@BOTH
async def test_what_any_route_may_answer_is_described_for_each(service: ServiceUnderTest, tmp_path: Path) -> None:
    async with serving(service, tmp_path) as url:
        document = final(await asked(url, get(b"/openapi.json"))).json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            missing = {str(CODES[code]) for code in ANY_ROUTE} - operation["responses"].keys()
            assert not missing, (method, path)


@BOTH
async def test_a_method_that_is_not_there_is_answered_with_those_that_are(
    service: ServiceUnderTest, tmp_path: Path
) -> None:
    async with serving(service, tmp_path) as url:
        answer = final(await asked(url, b"DELETE /health HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@BOTH
async def test_a_body_is_asked_for_where_one_is_read(service: ServiceUnderTest, tmp_path: Path) -> None:
    async with serving(service, tmp_path) as url:
        asks = post(service.post.encode(), b"{}", b"Expect: 100-Continue\r\n")
        statuses = [answer.status for answer in await asked(url, asks)]
        assert (statuses[0], len(statuses), statuses[1] // 100) == (100, 2, 4)
        nowhere = post(b"/none", b"{}", b"Expect: 100-continue\r\n")
        assert [answer.status for answer in await asked(url, nowhere)] == [404]
        without = get(HEALTH, b"Expect: 100-continue\r\n")
        assert [answer.status for answer in await asked(url, without)] == [200]
        older = asks.replace(b"HTTP/1.1", b"HTTP/1.0")
        assert 100 not in [answer.status for answer in await asked(url, older)]


@BOTH
async def test_the_largest_that_is_read_is_read(service: ServiceUnderTest, tmp_path: Path) -> None:
    async with serving(service, tmp_path) as url:
        for raw in (
            get(b"/health?" + b"a" * (MAX_TARGET_BYTES - len("/health?"))),
            get(HEALTH, b"X: " + b"a" * (MAX_HEADER_BYTES - 1) + b"\r\n"),
            get(HEALTH, MANY.partition(b"\r\n")[2].partition(b"\r\n")[2]),
            post(service.post.encode(), b"{}", b"Content-Encoding: identity\r\n"),
        ):
            assert final(await asked(url, raw)).status in {200, 400, 422}
        assert final(await asked(url, get(b"http://127.0.0.1/health"))).status == 200


@BOTH
@pytest.mark.parametrize("path", ["/health", "/openapi.json"])
async def test_a_head_is_a_get_without_its_body(service: ServiceUnderTest, tmp_path: Path, path: str) -> None:
    async with serving(service, tmp_path) as url:
        got = final(await asked(url, get(path.encode())))
        reported = final(await asked(url, get(path.encode()).replace(b"GET", b"HEAD", 1), head=True))
    assert (reported.status, reported.headers["content-length"], reported.body) == (200, str(len(got.body)), b"")


async def test_a_head_of_a_stream_is_not_held_open(tmp_path: Path) -> None:
    async with MARKETPLACE.running(MARKETPLACE.environment(tmp_path)) as running:
        token = f"Authorization: Bearer {running.admin.token}\r\n".encode()
        raw = get(b"/api/events", token).replace(b"GET", b"HEAD", 1)
        answer = final(await asked(running.nobody.url, raw, head=True))
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


@BOTH
async def test_a_failure_outside_of_every_route_is_logged_reported_as_one_of_ours_and_ends_the_connection(
    service: ServiceUnderTest, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    async with serving(service, tmp_path) as url:
        monkeypatch.setattr(web.UrlDispatcher, "resolve", broken)
        answer = final(await asked(url, get(HEALTH).replace(CLOSE, b"") * 2))
    assert (answer.status, service.code(answer.json)) == (500, "internal")
    assert b"bug" not in answer.body
    assert [record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR] == [True]


@BOTH
async def test_what_is_refused_is_answered_while_more_of_it_arrives(service: ServiceUnderTest, tmp_path: Path) -> None:
    """A connection is closed behind an answer: whoever sent on is told nothing else."""
    async with serving(service, tmp_path) as url:
        found = await asyncio.gather(*(asked(url, b"garb", b"age\r\n\r\n" + get(HEALTH)) for _ in range(5)))
    assert [[answer.status for answer in each] for each in found] == [[400]] * 5
