"""What is no JSON object is known to be none, whatever it is instead: it comes from anybody who holds the secret."""

from __future__ import annotations

import pytest

from protocol import codec


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"NaN",
        b'{"a":"\xff"}',
        b'{"\xe9":1}',
        b"\xff\xfe{}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\x"}',
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":1}{}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_object_is_none(raw: bytes) -> None:
    assert codec.as_object(raw) is None


def test_an_object_is_what_it_says() -> None:
    assert codec.as_object(b'{"a":[1,"b",null,{"c":true}]}') == {"a": [1, "b", None, {"c": True}]}
