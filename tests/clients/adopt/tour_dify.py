"""Dify. Its providers are no package of their own, so what they say is said here: the statements of
`vdb-pgvector` to the table, the requests of `vdb-qdrant` to Outrigger.
"""

from __future__ import annotations

import json
import unittest
import uuid
from typing import Any

import httpx
import psycopg2
import psycopg2.extras
from qdrant_client import QdrantClient, models

from adopt import memories, scene
from adopt.scene import Found

DATASET = "0b7e4f6c-5a3d-4f0e-9d5b-3c1a2b4d5e6f"
COLLECTION = f"Vector_index_{DATASET.replace('-', '_')}_Node"
# Not quoted by Dify, so PostgreSQL takes it in lower case.
TABLE = f"embedding_{COLLECTION}"


class Dify(scene.Adapter):
    name = COLLECTION

    def __init__(self, address: str, database: str) -> None:
        super().__init__(address, database)
        self.memories = memories.memories()
        documents = [str(uuid.UUID(int=number + 1, version=4)) for number in range(5)]
        for number, one in enumerate(self.memories):
            one.metadata |= {
                "doc_id": one.id,
                "doc_hash": f"{number:064x}",
                "document_id": documents[number % 5],
                "dataset_id": DATASET,
            }
        # Its index is asked, and would look at forty rows.
        self.database_of_its_own = psycopg2.connect(address, options="-c hnsw.ef_search=200")
        self.database_of_its_own.autocommit = True

    def ask(self, statement: str, *values: Any) -> list[tuple]:
        with self.database_of_its_own.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def write(self) -> None:
        with self.database_of_its_own.cursor() as cursor:
            cursor.execute("create extension vector")
            cursor.execute(
                f"create table if not exists {TABLE} (id uuid primary key, text text not null, "
                f"meta jsonb not null, embedding vector({memories.SIZE}) not null) using heap"
            )
            cursor.execute(
                f"create index if not exists embedding_cosine_v1_idx_01234567 on {TABLE} "
                "using hnsw (embedding vector_cosine_ops) with (m = 16, ef_construction = 64)"
            )
            rows = [
                (one.id, one.text, json.dumps(one.metadata), one.vector) for one in self.memories
            ]
            psycopg2.extras.execute_values(
                cursor, f"insert into {TABLE} (id, text, meta, embedding) values %s", rows
            )

    def settings(self) -> str:
        return f'[collections.{self.name}]\nadopt = "dify"\n'

    def connect(self, url: str) -> None:
        self.client = QdrantClient(url=url, timeout=60, check_compatibility=False)
        self.http = httpx.Client(base_url=url, timeout=60)
        # So it finds out whether there is something to be made.
        names = [one["name"] for one in self.post("GET", "/collections")["collections"]]
        assert self.name in names

    def post(self, method: str, path: str, body: dict | None = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["result"]

    def write_twin(self, url: str) -> None:
        vectors = models.VectorParams(size=memories.SIZE, distance=models.Distance.COSINE)
        diff = models.HnswConfigDiff(m=0, payload_m=16, ef_construct=100, on_disk=False)
        self.client.create_collection(self.twin, vectors_config=vectors, hnsw_config=diff)
        for field in ("group_id", "metadata.doc_id", "metadata.document_id"):
            self.client.create_payload_index(self.twin, field, models.PayloadSchemaType.KEYWORD)
        points = [
            models.PointStruct(
                id=one.id,
                vector=one.vector,
                payload={"page_content": one.text, "metadata": one.metadata, "group_id": DATASET},
            )
            for one in self.memories
        ]
        self.client.upsert(self.twin, points)

    def wanted(self, **matches: Any) -> dict:
        group = {"key": "group_id", "match": {"value": DATASET}}
        named = [{"key": f"metadata.{k}", "match": v} for k, v in matches.items()]
        return {"must": [group, *named]}

    # The same list from the table and through Outrigger, by the kind of a memory here and by its
    # document below: Dify itself looks for documents.
    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        rows = self.ask(
            f"select id::text, text, meta, embedding <=> %s as distance from {TABLE} "
            f"where %s::text is null or meta->>'kind' = %s order by distance limit {limit}",
            *(json.dumps(memories.embed(text)), kind, kind),
        )
        return [Found(id, text, meta, 1.0 - distance) for id, text, meta, distance in rows]

    def hits(self, text: str, limit: int, **more: Any) -> list[Found]:
        body = {
            "vector": memories.embed(text),
            "limit": limit,
            "with_payload": True,
            "with_vector": True,
            **more,
        }
        hits = self.post("POST", f"/collections/{self.name}/points/search", body)
        return [self.through(one) for one in hits]

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        matches = {"kind": {"value": kind}} if kind else {}
        return self.hits(text, limit, filter=self.wanted(**matches))

    def through(self, one: dict) -> Found:
        assert one["payload"]["group_id"] == DATASET
        payload = one["payload"]
        return Found(one["id"], payload["page_content"], payload["metadata"], one.get("score"))

    def table_get(self, ids: list[str]) -> list[Found]:
        rows = self.ask(f"select id::text, text, meta from {TABLE} where id in %s", tuple(ids))
        return [Found(*row) for row in rows]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        points = self.client.retrieve(self.name, ids)
        return [self.through(one.model_dump(exclude={"vector"})) for one in points]

    def table_list(self, kind: str | None = None) -> list[Found]:
        rows = self.ask(
            f"select id::text, text, meta from {TABLE} "
            "where %s::text is null or meta->>'kind' = %s",
            *(kind, kind),
        )
        return [Found(*row) for row in rows]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        matches = {"kind": {"value": kind}} if kind else {}
        body = {"filter": self.wanted(**matches), "limit": 1000, "with_payload": True}
        page = self.post("POST", f"/collections/{self.name}/points/scroll", body)
        return [self.through(one) for one in page["points"]]

    def qdrant_write(self) -> None:
        self.client.delete(
            self.name,
            models.FilterSelector(filter=scene.kind_is("metadata.doc_id", self.memories[0].id)),
        )

    def close(self) -> None:
        self.database_of_its_own.close()


class DifyAdopted(scene.Adopted):
    def test_a_search_among_some_documents(self) -> None:
        adapter = self.adapter
        documents = [one.metadata["document_id"] for one in adapter.memories[:2]]
        rows = adapter.ask(
            f"select id::text, embedding <=> %s as distance from {TABLE} "
            "where meta->>'document_id' in %s order by distance limit 10",
            *(json.dumps(memories.embed("x")), tuple(documents)),
        )
        # Its threshold is zero even where none is set.
        own = [(id, 1.0 - distance) for id, distance in rows if distance <= 1.0]
        self.assertGreater(len(own), 3)
        wanted = adapter.wanted(document_id={"any": documents})
        found = adapter.hits("x", 10, filter=wanted, score_threshold=0.0)
        self.assertEqual([one.id for one in found], [id for id, _ in own])
        for one, (_, score) in zip(found, own, strict=True):
            self.assertAlmostEqual(one.score, score, delta=scene.SCORE_DIFFERENCE_MAX)

    def test_a_search_for_a_word(self) -> None:
        text = {"key": "page_content", "match": {"text": "twice"}}
        wanted = {"must": [*self.adapter.wanted()["must"], text]}
        body = {"filter": wanted, "limit": 5, "with_payload": True, "with_vector": True}
        page = self.adapter.post("POST", f"/collections/{self.adapter.name}/points/scroll", body)
        found = [one["payload"]["page_content"] for one in page["points"]]
        self.assertEqual(found, [self.adapter.memories[5].text])


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return scene.tests(rig, DifyAdopted, Dify)
