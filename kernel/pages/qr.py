"""QR codes as images that lie in the page itself."""

from __future__ import annotations

import functools

import segno


# One takes 4 to 8 ms of processor: a stranger with many addresses could have all of it by loading one page.
@functools.lru_cache(maxsize=512)
def qr_image(text: str) -> str:
    """Return a QR code as the address of an image: black on white with a quiet zone, whatever the page's colours."""
    # Micro codes are smaller, and most wallets cannot read them.
    code = segno.make_qr(text, error="m", boost_error=False)
    return str(code.svg_data_uri(scale=8, border=4, dark="#000", light="#fff", omitsize=False))
