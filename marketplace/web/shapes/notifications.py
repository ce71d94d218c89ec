"""What people are told."""

from __future__ import annotations

from marketplace.web.shapes.basics import Count, Page, Time
from protocol.wire import Wire


class Notification(Wire):
    id: str
    category: str
    type: str
    title: str
    related_id: str | None
    action_url: str | None
    read: bool
    created_at: Time


class NotificationPage(Page):
    notifications: tuple[Notification, ...]


class OneNotification(Wire):
    notification: Notification


class Unread(Wire):
    count: Count
