"""What answers about accounts are, beside those that every user gets (`shapes`)."""

from __future__ import annotations

from typing import Annotated

from marketplace import model
from marketplace.web.shapes import Page, Time, one_of
from protocol.wire import Wire


class Account(Wire):
    id: str
    email: str
    role: Annotated[str, one_of(model.Role)]
    name: str
    second_factor: bool
    suspended_at: Time | None
    created_at: Time


class AccountPage(Page):
    users: tuple[Account, ...]


class Session(Wire):
    kind: Annotated[str, one_of(("api", "pages"))]
    last_used_at: Time
    expires_at: Time


class OneAccount(Wire):
    user: Account
    sessions: tuple[Session, ...]


class Event(Wire):
    kind: Annotated[str, one_of(model.AccountEvent)]
    by_user_id: str | None
    detail: str | None
    created_at: Time


class EventPage(Page):
    events: tuple[Event, ...]


class Invitation(Wire):
    id: str
    email: str
    role: Annotated[str, one_of(model.Role)]
    created_by: str
    created_at: Time
    expires_at: Time
    used_at: Time | None
    revoked_at: Time | None


class InvitationPage(Page):
    invitations: tuple[Invitation, ...]


class NewInvitation(Wire):
    invitation: Invitation
    token: str
    path: str


class NewReset(Wire):
    expires_at: Time
    token: str
    path: str


class Done(Wire):
    done: bool


class Enrolment(Wire):
    secret: str
    uri: str


class RecoveryCodes(Wire):
    recovery_codes: tuple[str, ...]


class Choice(Wire):
    channel: Annotated[str, one_of(model.Channel)]
    category: str


class Channels(Wire):
    available: tuple[str, ...]
    telegram_linked: bool
    choices: tuple[Choice, ...]


class TelegramCode(Wire):
    code: str
    expires_at: Time
