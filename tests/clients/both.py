"""One tour for both of Qdrant's Python clients: whatever a tour calls, it awaits."""

from __future__ import annotations

import inspect
import unittest
import uuid
from typing import Any

from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

import harness

# A debug build on a machine that has other things to do.
TIMEOUT_SECONDS = 60

# The methods that tours have called, by client.
CALLED: dict[type, set[str]] = {QdrantClient: set(), AsyncQdrantClient: set()}


class Both:
    """A client whose every method is to be awaited, whether or not it is a coroutine."""

    def __init__(self, client: QdrantClient | AsyncQdrantClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            CALLED[type(self.client)].add(name)
            outcome = method(*arguments, **named)
            return await outcome if inspect.isawaitable(outcome) else outcome

        return call


class Tour(harness.Patient):
    """A test has a client, and a collection name that is its own."""

    target: harness.Target
    client_class: type[QdrantClient] | type[AsyncQdrantClient]

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.client = self.connect()
        self.name = f"{self._testMethodName}_{uuid.uuid4().hex[:6]}"

    async def asyncTearDown(self) -> None:
        await self.client.delete_collection(self.name)
        await self.client.close()

    def connect(self, **options: Any) -> Both:
        options = {"check_compatibility": False, "timeout": TIMEOUT_SECONDS, **options}
        return Both(
            self.client_class(url=self.target.url, api_key=self.target.api_key, **options)
        )

    async def refused(self, status: int, text: str, call: Any) -> None:
        """As the client tells it: the status, and Qdrant's words."""
        with self.assertRaises(UnexpectedResponse) as raised:
            await call
        self.assertEqual(raised.exception.status_code, status)
        self.assertIn(text, raised.exception.structured()["status"]["error"])

    def completed(self, update: models.UpdateResult) -> None:
        self.assertEqual(update.status, models.UpdateStatus.COMPLETED)

    def near(self, found: Any, wanted: Any) -> None:
        """Numbers, or lists of them however deep, equal to about five digits."""
        if isinstance(wanted, (list, tuple)):
            self.assertEqual(len(found), len(wanted), (found, wanted))
            for one, other in zip(found, wanted):
                self.near(one, other)
        else:
            self.assertAlmostEqual(found, wanted, places=4)


def for_both(target: harness.Target, *tours: type[Tour]) -> list[unittest.TestCase]:
    tests: list[unittest.TestCase] = []
    for client_class, prefix in ((QdrantClient, "Sync"), (AsyncQdrantClient, "Async")):
        for tour in tours:
            members = {"client_class": client_class, "target": target}
            # The class's own words in the test's name, so that a failure says which client.
            kind = type(f"{prefix}{tour.__name__}", (tour,), members)
            kind.__qualname__ = kind.__name__
            tests += unittest.defaultTestLoader.loadTestsFromTestCase(kind)
    return tests


def ids(points: list[Any]) -> list[Any]:
    return [point.id for point in points]


def match(key: str, value: Any) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))]
    )
