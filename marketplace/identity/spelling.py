"""What e-mail addresses and passwords of accounts look like, wherever they come from."""

from __future__ import annotations

from pydantic import AfterValidator

from kernel.web.ids import whole

MAX_EMAIL = 254
MIN_PASSWORD, MAX_PASSWORD = 8, 256
IS_EMAIL = AfterValidator(whole(r"[^@\s]{1,64}@[^@\s]{1,190}", "must be an e-mail address"))
