"""Supabase's `vecs` before; Qdrant's own client after, as `vecs` has no provider for Qdrant."""

from __future__ import annotations

import unittest

import vecs
from qdrant_client import QdrantClient, models

from adopt import memories, scene
from adopt.scene import Found


class Vecs(scene.Adapter):
    name = "My Docs"

    def __init__(self, address: str, database: str) -> None:
        super().__init__(address, database)
        self.memories = memories.memories(odd_ids=True)
        url = address.replace("postgres://", "postgresql+psycopg2://")
        self.vecs = vecs.create_client(url)
        self.own = self.vecs.get_or_create_collection(self.name, dimension=memories.SIZE)

    def write(self) -> None:
        self.own.upsert([(one.id, one.vector, one.metadata) for one in self.memories])
        self.own.create_index(method=vecs.IndexMethod.hnsw)
        # A table of its own a collection.
        self.vecs.get_or_create_collection("another", dimension=3).upsert([("1", [1, 2, 3], {})])

    def settings(self) -> str:
        return f'[collections."{self.name}"]\nadopt = "vecs"\n'

    def connect(self, url: str) -> None:
        self.client = QdrantClient(url=url, timeout=60, check_compatibility=False)

    def write_twin(self, url: str) -> None:
        vectors = models.VectorParams(size=memories.SIZE, distance=models.Distance.COSINE)
        self.client.create_collection(self.twin, vectors_config=vectors)
        points = [
            models.PointStruct(id=one.id, vector=one.vector, payload=one.metadata)
            for one in self.memories
            if len(one.id) == 36
        ]
        self.client.upsert(self.twin, points)

    def through(self, one: models.ScoredPoint | models.Record, score: float | None = None) -> Found:
        payload = dict(one.payload)
        # What the row's id was, where it is not a UUID.
        payload.pop("_pg_id", None)
        return Found(str(one.id), "", payload, score)

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        hits = self.own.query(
            memories.embed(text),
            limit=limit,
            filters={"kind": {"$eq": kind}} if kind else None,
            include_value=True,
            include_metadata=True,
        )
        return [Found(id, "", metadata, 1.0 - distance) for id, distance, metadata in hits]

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        wanted = scene.kind_is("kind", kind)
        vector = memories.embed(text)
        hits = self.client.query_points(self.name, vector, limit=limit, query_filter=wanted).points
        return [self.through(one, one.score) for one in hits]

    def table_get(self, ids: list[str]) -> list[Found]:
        return [Found(id, "", metadata) for id, _, metadata in self.own.fetch(ids)]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        return [self.through(one) for one in self.client.retrieve(self.name, ids)]

    def table_list(self, kind: str | None = None) -> list[Found]:
        all_of = self.table_get([one.id for one in self.memories])
        return [one for one in all_of if kind in (None, one.metadata["kind"])]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        wanted = scene.kind_is("kind", kind)
        points, _ = self.client.scroll(self.name, limit=1000, scroll_filter=wanted)
        return [self.through(one) for one in points]

    def qdrant_write(self) -> None:
        point = models.PointStruct(id=1, vector=memories.embed("x"), payload={})
        self.client.upsert(self.name, [point])

    def close(self) -> None:
        self.vecs.disconnect()


class VecsAdopted(scene.Adopted):
    pass


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return scene.tests(rig, VecsAdopted, Vecs)
