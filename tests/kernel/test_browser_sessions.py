"""What a browser keeps of its session."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from kernel.web.browser_sessions import BrowserCookies, form_token, is_token, new_token, token_hash


def kept(public_url: str | None, hops: int, headers: dict[str, str]) -> str:
    """Return the cookie of a browser that was signed in."""
    cookies = BrowserCookies("amn", "/admin", public_url=public_url, trusted_hops=hops)
    response = web.Response()
    cookies.sign_in(make_mocked_request("POST", "/admin/login", headers=headers), response, "token")
    return response.cookies["amn"].OutputString()


@pytest.mark.parametrize(
    ("public_url", "hops", "headers", "secure"),
    [
        ("https://shop.example/market", 0, {}, True),
        ("http://shop.example", 0, {}, False),
        (None, 1, {"X-Forwarded-Proto": "https"}, True),
        (None, 1, {"X-Forwarded-Proto": "https, http"}, False),
        (None, 0, {"X-Forwarded-Proto": "https"}, False),
        (None, 0, {}, False),
    ],
)
def test_behind_tls_the_cookie_is_sent_over_tls_alone(
    public_url: str | None, hops: int, headers: dict[str, str], secure: bool
) -> None:
    assert ("Secure" in kept(public_url, hops, headers)) is secure


def test_the_cookie_is_sent_below_the_prefix_of_the_public_url_alone() -> None:
    assert "Path=/market/admin" in kept("https://shop.example/market/", 0, {})
    assert "Path=/admin" in kept(None, 0, {})


def test_neither_what_is_stored_nor_what_a_form_carries_is_the_token() -> None:
    token = new_token()

    assert is_token(token)
    assert len({token, token_hash(token), form_token(token)}) == 3
    assert not any(map(is_token, ("", token[1:], f"{token}x", f"é{token[1:]}")))
