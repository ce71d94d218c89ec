"""What Tron services and nodes mean by an error."""

from __future__ import annotations

import pytest

from chains.tron.rpc.provider_errors import ErrorKind, asked_to_wait, classify


@pytest.mark.parametrize(
    ("text", "status", "seconds"),
    [
        ("The key exceeds the frequency limit(15), and the query server is suspended for 30s", 429, 30),
        ("The key exceeds the frequency limit(15), and the query server is suspended for 5s", 403, 5),
        ("The key exceeds the frequency limit(5), and the query server is suspended for 27 s", 503, 27),
        ("request rate exceeded the allowed_rps(5), and the query server is suspended for 2s", 429, 2),
        ("suspended for 999999s", 429, 600),
        ("", 429, 10),
        ("Too many requests", 200, 10),
        ("request too quickly, please retry later.", 403, 10),
        ("Exceed the user daily usage 100000", 403, 10),
        ("daily quota exceeded", 403, 10),
        ("your plan's quota is used up", 200, 10),
        ("You have reached the daily limit of requests", 503, 10),
        ("out of credits", 402, 10),
        ("rate limit reached, retry after 12 seconds", 403, 12),
        ("Too many requests, please try again in 2 minutes", 429, 120),
        ("daily quota exceeded, retry in 500 ms", 429, 0.5),
        ("quota exceeded, try again after 6h", 403, 600),
        ("wait 9 s before blocks are found", 200, None),
        ("Forbidden", 403, None),
        ("internal error", 500, None),
    ],
)
def test_a_suspension_is_read_from_the_text_for_there_is_no_retry_after(text, status, seconds):
    assert asked_to_wait(text, status=status) == seconds


@pytest.mark.parametrize(
    ("code", "message", "refusal", "allowed"),
    [
        (-32602, "exceed max block range: 5000", ErrorKind.RANGE, 5000),
        (-32005, "query returned more than 10000 results", ErrorKind.ROWS, None),
        (-32602, "eth_getLogs is limited to a 5 block range", ErrorKind.RANGE, 5),
        (-32000, "response is too large", ErrorKind.ROWS, None),
        (-32602, "exceed max sub topics: 20", ErrorKind.TOPICS, 20),
        (-32602, "exceed max addresses or topics per search position", ErrorKind.TOPICS, None),
        (-32601, "the method eth_getLogs does not exist/is not available", ErrorKind.UNSUPPORTED, None),
        (-32000, "method eth_getLogs is not supported", ErrorKind.UNSUPPORTED, None),
        (-32005, "this node has a lack of computing resources", ErrorKind.BUSY, None),
        (-32005, "the query server is suspended for 30s", ErrorKind.BUSY, None),
        (-32600, "REVERT opcode executed", ErrorKind.OTHER, None),
    ],
)
def test_a_json_rpc_error_says_what_to_do(code, message, refusal, allowed):
    advice = classify(code, message)
    assert (advice.kind, advice.suggested) == (refusal, allowed)
