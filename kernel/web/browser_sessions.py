"""What a browser keeps of its session, and how a form of ours shows that this browser was given it."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from kernel.web.clients import client_of

LIFE_MS: Final = 12 * 3_600_000
TOKEN_LENGTH: Final = 43  # characters of 32 bytes


def new_token() -> str:
    """Return a secret for a browser to keep."""
    return secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Say whether a text could be such a secret; anything else is not looked up."""
    return len(text) == TOKEN_LENGTH and text.isascii()


def token_hash(token: str) -> str:
    """Return what is stored of a token: it holds 256 random bits, so a fast hash is enough."""
    return _hash(token)


def form_token(token: str) -> str:
    """Return what a form of a browser carries, to show that it is ours; the token itself is in no page."""
    return _hash(f"form\n{token}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class BrowserCookies:
    """The cookies of one set of pages: who is signed in, and whose the form to sign in is."""

    def __init__(self, name: str, root: str, *, public_url: str | None, trusted_hops: int) -> None:
        self.name = name
        self._form_name = f"{name}_form"
        self._hops = trusted_hops
        public = urlsplit(public_url or "")
        self._public_tls = public.scheme == "https"
        self._path = f"{public.path.rstrip('/')}{root}"

    def client(self, request: web.Request) -> str:
        """Return the address that asks."""
        return client_of(request, self._hops)

    def token(self, request: web.Request) -> str:
        """Return the token that a browser shows; empty when it shows none."""
        return request.cookies.get(self.name, "")

    def sign_in(self, request: web.Request, response: web.Response, token: str) -> None:
        """Let a browser keep the token of its session."""
        self._keep(request, response, self.name, token)

    def sign_out(self, response: web.Response) -> None:
        """Let a browser forget its session."""
        response.del_cookie(self.name, path=self._path, httponly=True, samesite="Strict")

    def form_of(self, request: web.Request) -> tuple[str, str | None]:
        """Return the token of the form to sign in, and a secret that this browser has to keep for it."""
        held = request.cookies.get(self._form_name, "")
        if is_token(held):
            return form_token(held), None
        made = new_token()
        return form_token(made), made

    def keep_form(self, request: web.Request, response: web.Response, made: str | None) -> web.Response:
        """Let the browser keep the secret of its form."""
        if made is not None:
            self._keep(request, response, self._form_name, made)
        return response

    def _keep(self, request: web.Request, response: web.Response, name: str, value: str) -> None:
        response.set_cookie(
            name,
            value,
            path=self._path,
            max_age=LIFE_MS // 1000,
            httponly=True,
            samesite="Strict",
            secure=self._behind_tls(request),
        )

    def _behind_tls(self, request: web.Request) -> bool:
        if self._public_tls or request.secure:
            return True
        # What anybody else says of itself proves nothing; our own proxy's word is the last one.
        said = request.headers.getall("X-Forwarded-Proto", [])
        return self._hops > 0 and bool(said) and said[-1].rpartition(",")[2].strip().lower() == "https"
