"""A body is one object of JSON, and no deeper than anything that is asked for."""

from __future__ import annotations

import orjson
import pytest

from kernel.web.http_errors import HttpError
from kernel.web.json_bodies import MAX_DEPTH, json_object


def nested(depth: int, *, lists: bool) -> bytes:
    opening, closing = (b"[", b"]") if lists else (b'{"a":', b"}")
    return b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"


@pytest.mark.parametrize("lists", [True, False])
def test_a_body_nests_only_so_deep(lists: bool) -> None:
    assert json_object(nested(MAX_DEPTH, lists=lists)) == orjson.loads(nested(MAX_DEPTH, lists=lists))
    for deeper in (MAX_DEPTH + 1, 900, 10_000):
        with pytest.raises(HttpError) as refused:
            json_object(nested(deeper, lists=lists))
        assert refused.value.code == "bad_json"


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'"a"', b"{", b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\ud800"}'])
def test_what_is_no_object_is_refused_with_one_line(raw: bytes) -> None:
    with pytest.raises(HttpError) as refused:
        json_object(raw)
    assert refused.value.code == "bad_json"
    assert len(str(refused.value).splitlines()) == 1
