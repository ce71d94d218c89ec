"""What a browser may be sent to."""

from __future__ import annotations

import pytest

from kernel.web.links import is_web_link


@pytest.mark.parametrize("link", ["https://shop.example/a?b=c#d", "http://127.0.0.1:8080", "https://[::1]/x"])
def test_a_link_of_the_web_is_one(link: str) -> None:
    assert is_web_link(link)


@pytest.mark.parametrize(
    "text",
    [
        *("", "shop.example", "//shop.example", "javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x"),
        *(
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://[::1",
            "https://a b",
            "ht\ntps://a",
            "https://a\x7f",
        ),
        "https://a\x00",
    ],
)
def test_what_could_be_anything_else_is_none(text: str) -> None:
    assert not is_web_link(text)
