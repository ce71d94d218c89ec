"""Callback secrets at rest."""

from kernel.sealing.secret_box import SecretBox, key_id

__all__ = ["SecretBox", "key_id"]
