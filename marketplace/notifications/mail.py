"""E-mail over SMTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib

from marketplace.notifications.courier import TryLater, Undeliverable, one_line

SEND_S = 15.0
MOST_SUBJECT = 200
PERMANENT = 500
SMTPS, SMTP, STARTTLS = "smtps", "smtp", "smtp+starttls"
PORTS = {SMTPS: 465, SMTP: 587, STARTTLS: 587}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)


def mail_server(url: str) -> MailServer:
    """
    Read `SMTP_URL`: `smtps://` (TLS), `smtp+starttls://` (TLS or nothing), `smtp://` (TLS where it is offered).

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be smtps://, smtp+starttls:// or smtp://, then user:password@host:port")
    return MailServer(
        parts.scheme,
        parts.hostname,
        parts.port or PORTS[parts.scheme],
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


class Mail:
    """Sends mail from one address."""

    def __init__(self, server: MailServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, address: str, title: str) -> None:
        """Send a line to an address."""
        server, line = self._server, one_line(title, MOST_SUBJECT)
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, address, line
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{line}\n")
        try:
            await aiosmtplib.send(
                mail,
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.scheme == SMTPS,
                start_tls={SMTPS: False, STARTTLS: True, SMTP: None}[server.scheme],
                timeout=SEND_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as exc:
            if all(each.code >= PERMANENT for each in exc.recipients):
                raise Undeliverable("the mail server takes nothing for this address") from None
            raise TryLater("the mail server takes nothing for this address now") from None
        except aiosmtplib.SMTPException as exc:  # what it says may name the address
            raise TryLater(f"the mail server did not take it ({type(exc).__name__})") from None
        except OSError as exc:
            raise TryLater(f"the mail server cannot be reached ({type(exc).__name__})") from None
