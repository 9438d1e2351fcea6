"""Publishes ticks to a gateway over HTTP, on one kept-alive connection."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Sequence
from urllib.parse import urlsplit

from bus.contract import BusUnavailable
from ticks.tick import Tick

__all__ = ["Poster", "PublishRefused"]

_PATH = "/api/v1/ticks"


class PublishRefused(Exception):
    """The gateway answered that it does not take the ticks; another try would not help."""


class Poster:
    """Posts batches to the gateway at ``url``; without a path in it, to the API's own.

    :raises ValueError: ``url`` is not one of http or https.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"Not an address of a gateway: {url!r}. Write http://host:port")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path if parts.path.strip('/') else _PATH}"
        self._path = urlsplit(self.url).path
        self._connection = connection(parts.hostname, parts.port, timeout=timeout)
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Api-Key {key}"

    async def publish(self, ticks: Sequence[Tick]) -> None:
        """Posts the batch; :class:`BusUnavailable` if the gateway is away, :class:`PublishRefused` if it says no."""
        await asyncio.to_thread(self._post, f"[{','.join(f'{{{tick.json()}}}' for tick in ticks)}]".encode())

    def close(self) -> None:
        self._connection.close()

    def _post(self, body: bytes) -> None:
        try:
            status, answer = self._request(body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise BusUnavailable(f"{self.url} does not answer: {error or type(error).__name__}") from error
        if status >= 500 or status == 429:
            raise BusUnavailable(f"{self.url} answered {status}")
        if status != 202:
            raise PublishRefused(f"{self.url} answered {status}: {answer.decode(errors='replace')[:500]}")

    def _request(self, body: bytes) -> tuple[int, bytes]:
        was_kept = self._connection.sock is not None
        try:
            return self._exchange(body)
        except (ConnectionError, http.client.BadStatusLine):
            # A server may close a kept-alive connection at any moment; that alone does not mean that it is away.
            if not was_kept:
                raise
            self._connection.close()
            return self._exchange(body)

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()
