"""What a provider means by a JSON-RPC error."""

from __future__ import annotations

import pytest

from chains.rpc.provider_errors import ErrorAdvice, ErrorKind, classify


@pytest.mark.parametrize(
    ("code", "message", "span", "fixed"),
    [
        (-32000, "block range too large, max: 2000", 2000, True),
        (-32005, "exceed maximum block range: 5000", 5000, True),
        (-32005, "query returned more than 10000 results. Try with this block range [0x10, 0x1f].", 16, False),
        (-32600, "You can make eth_getLogs requests with up to a 10 block range.", 10, True),
        (-32600, "up to a 500 block range. This block range should work: [0x1, 0x1f4]", 500, True),
        (-32701, "maximum block range: 500", 500, True),
        (-32000, "logs matched by query exceeds limit of 10000", None, False),
        (-32008, "response size exceeded", None, False),
        (-32602, "Log response size exceeded. Max 150 MB", None, False),
        (-32005, "limit exceeded", None, False),
        (-32602, "range 1000000 exceeds limit of 10000", 10000, True),
        (-32614, "eth_getLogs is limited to a 10,000 range", 10000, True),
        (-32000, "block range is larger than max block range, block range = 5120, max block range = 5000", 5000, True),
        (-32600, "block range is too wide (maximum 1024)", 1024, True),
        (-32000, "requested too many blocks from 1 to 9999, maximum is set to 2048", 2048, True),
        (-32000, "eth_getLogs range is too large, max is 10k blocks", 10000, True),
        (-32000, "exceeds the range allowed for your plan (5000 > 100)", 100, True),
        (-32000, "query exceeds max results 20000, retry with the range 100-149", 50, False),
        (-32002, "query timeout exceeded", None, False),
        (-32602, "exceed max block range: 5000", 5000, True),
    ],
)
def test_a_range_refusal_is_recognised_with_what_the_node_would_take(code, message, span, fixed):
    refusal, *advice = classify(code, message)
    assert refusal in {ErrorKind.BLOCKS, ErrorKind.ROWS}
    assert advice == [span, fixed]


@pytest.mark.parametrize(
    ("code", "message", "refusal"),
    [
        (-32005, "daily request count exceeded, request rate limited", ErrorKind.RATE),
        (-32005, "rate limit exceeded", ErrorKind.RATE),
        (429, "slow down", ErrorKind.RATE),
        (-32000, "Too Many Requests", ErrorKind.RATE),
        (-32016, "Your app has exceeded its compute units per second capacity", ErrorKind.RATE),
        (-32602, "block range extends beyond current head block", ErrorKind.HEAD),
        (-39001, "Unknown block", ErrorKind.HEAD),
        (-32000, "header not found", ErrorKind.HEAD),
        (
            -32001,
            "One of the blocks specified in filter (fromBlock, toBlock or blockHash) cannot be found.",
            ErrorKind.HEAD,
        ),
        (-32601, "the method eth_getLogs does not exist/is not available", ErrorKind.UNSUPPORTED),
        (-32603, "Internal error", ErrorKind.OTHER),
        (0, "", ErrorKind.OTHER),
    ],
)
def test_other_refusals_are_told_apart(code, message, refusal):
    assert classify(code, message) == ErrorAdvice(refusal)
