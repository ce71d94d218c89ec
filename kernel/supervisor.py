"""Tells whoever started the process how far it is (systemd's `Type=notify`)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

ADDRESS = "NOTIFY_SOCKET"
READY = "READY=1"
STOPPING = "STOPPING=1"


def tell_supervisor(state: str, environ: Mapping[str, str]) -> None:
    """Say it where somebody listens; one that cannot be reached is logged, for it must not stop the service."""
    address = environ.get(ADDRESS)
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address  # `@` stands for an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.sendto(state.encode(), name)
    except OSError as exc:
        log.warning("the supervisor at %s was not told %s: %s", ADDRESS, state, exc.strerror)
