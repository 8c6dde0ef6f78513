"""Whether the tours before this one have called every method of the clients."""

from __future__ import annotations

import inspect
import unittest

import harness
from both import CALLED
from qdrant_client import AsyncQdrantClient, QdrantClient

# Methods that embed text on the client's side, with a package that is not installed here: what they
# send is what `upsert` and `query_points` send. And `migrate`, which wants two servers: what it does
# is read one with `scroll` and write the other with `upload_points`.
LEFT_OUT = {
    "add",
    "get_embedding_size",
    "get_fastembed_sparse_vector_params",
    "get_fastembed_vector_params",
    "get_sparse_vector_field_name",
    "get_vector_field_name",
    "migrate",
    "query",
    "query_batch",
    "set_model",
    "set_sparse_model",
}


def tests(_: harness.Target) -> list[unittest.TestCase]:
    return [Whole(name) for name in unittest.defaultTestLoader.getTestCaseNames(Whole)]


class Whole(unittest.TestCase):
    def check(self, client: type, left_out: set[str]) -> None:
        methods = {
            name
            for name, _ in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }
        self.assertEqual(methods - left_out - CALLED[client], set())

    def test_every_method_was_called(self) -> None:
        self.check(QdrantClient, LEFT_OUT)

    def test_every_asynchronous_method_was_called(self) -> None:
        self.check(AsyncQdrantClient, LEFT_OUT)
