"""What clients of small HTTP APIs share."""

from __future__ import annotations

import aiohttp


async def body_of(response: aiohttp.ClientResponse, most: int) -> bytes:
    """A response's body, of which not more than `most` bytes are kept: one `read` gives only what has arrived."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) >= most:
            break
    return bytes(body[:most])
