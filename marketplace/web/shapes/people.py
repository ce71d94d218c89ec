"""Accounts and their tokens."""

from __future__ import annotations

from typing import Annotated

from marketplace import model
from marketplace.web.shapes.basics import one_of
from protocol.wire import Wire


class User(Wire):
    id: str
    email: str
    role: Annotated[str, one_of(model.Role)]
    name: str


class Tokens(Wire):
    access_token: str
    refresh_token: str


class LoggedIn(Wire):
    tokens: Tokens
    user: User


class Refreshed(Wire):
    tokens: Tokens


class OneUser(Wire):
    user: User
