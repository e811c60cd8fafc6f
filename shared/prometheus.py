"""Asking a Prometheus server for one number."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import Permanent, Retryable
from shared.http import body_of

TIMEOUT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
LARGEST = 1024 * 1024  # bytes of an answer that is read


class PrometheusUnavailable(Retryable):
    code = "PrometheusUnavailable"


class BadQuery(Permanent):
    code = "BadQuery"


class _Sample(BaseModel):
    model_config = ConfigDict(extra="ignore")

    value: tuple[float, str]


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    resultType: str
    result: list[_Sample] | tuple[float, str] = []


class _Answer(BaseModel):
    """Prometheus' own form of an answer to an instant query."""

    model_config = ConfigDict(extra="ignore")

    status: str
    data: _Data | None = None
    error: str = ""


class Prometheus:
    """Use `connect`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls) -> AsyncIterator[Prometheus]:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            yield cls(session)

    async def value(self, url: str, query: str) -> float | None:
        """The one value of an instant query now; None where it has none (nothing matches, or not a number).

        Raises PrometheusUnavailable, and BadQuery where it cannot be evaluated or has several values.
        """
        address = url.rstrip("/") + "/api/v1/query"
        try:
            async with self._session.post(address, data={"query": query}) as response:
                body = await body_of(response, LARGEST)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PrometheusUnavailable(f"{address} does not answer: {type(error).__name__}") from error
        except ValueError as error:
            raise BadQuery(f"{url!r} is no address of a Prometheus server") from error
        if response.status >= 500:
            raise PrometheusUnavailable(f"{address} answers {response.status}")
        return _value(_read(address, body), query)


def _read(address: str, body: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(body)
    except ValidationError as error:
        raise PrometheusUnavailable(f"{address} does not answer as Prometheus does") from error


def _value(answer: _Answer, query: str) -> float | None:
    if answer.status != "success" or answer.data is None:
        raise BadQuery(f"the query {query!r} cannot be evaluated: {answer.error or 'no reason was given'}")
    found = answer.data.result
    if isinstance(found, tuple):
        return _number(found[1])
    if len(found) > 1:
        raise BadQuery(f"the query {query!r} has {len(found)} values; aggregate it to one")
    return _number(found[0].value[1]) if found else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
