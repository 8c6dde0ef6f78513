"""LangChain: `PGVector` and `PGVectorStore` before, `QdrantVectorStore` after."""

from __future__ import annotations

import json
import unittest
import uuid
from typing import Any

import harness
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVector, PGVectorStore
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from adopt import memories, scene
from adopt.scene import Found

COLUMNS = {"kind": "TEXT", "number": "INTEGER", "even": "BOOLEAN"}


class Embedder(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [memories.embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return memories.embed(text)


def documents(written: list[memories.Memory]) -> list[Document]:
    return [Document(one.text, metadata=dict(one.metadata)) for one in written]


def found(document: Document, distance: float | None = None) -> Found:
    score = None if distance is None else 1.0 - distance
    return Found(document.id, document.page_content, document.metadata, score)


class LangChain(scene.Adapter):
    """What both have in common: the Qdrant provider."""

    store: Any

    def url(self) -> str:
        return self.address.replace("postgres://", "postgresql+psycopg://")

    def connect(self, url: str) -> None:
        options = {"url": url, "timeout": 60, "check_compatibility": False}
        # Looks at the collection's size and distance.
        self.through = QdrantVectorStore.from_existing_collection(
            collection_name=self.name, embedding=Embedder(), **options
        )
        self.client = QdrantClient(**options)

    def write_twin(self, url: str) -> None:
        written = [one for one in self.memories if len(one.id) in (32, 36)]
        QdrantVectorStore.from_documents(
            documents(written),
            Embedder(),
            ids=[one.id for one in written],
            collection_name=self.twin,
            url=url,
            check_compatibility=False,
        )

    def through_found(self, document: Document, score: float | None = None) -> Found:
        # It adds two keys of its own while it reads.
        metadata = dict(document.metadata)
        id = metadata.pop("_id")
        assert metadata.pop("_collection_name") == self.name
        return Found(id, document.page_content, metadata, score)

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        wanted = {"kind": kind} if kind else None
        hits = self.store.similarity_search_with_score(text, k=limit, filter=wanted)
        return [found(*hit) for hit in hits]

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        wanted = scene.kind_is("metadata.kind", kind)
        hits = self.through.similarity_search_with_score(text, k=limit, filter=wanted)
        return [self.through_found(*hit) for hit in hits]

    def table_get(self, ids: list[str]) -> list[Found]:
        return [found(one) for one in self.store.get_by_ids(ids)]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        return [self.through_found(one) for one in self.through.get_by_ids(ids)]

    def table_list(self, kind: str | None = None) -> list[Found]:
        """It has no list of its own."""
        all_of = self.table_get([one.id for one in self.memories])
        return [one for one in all_of if kind in (None, one.metadata["kind"])]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        points, _ = self.client.scroll(
            self.name, limit=1000, scroll_filter=scene.kind_is("metadata.kind", kind)
        )
        return [
            Found(str(one.id), one.payload["page_content"], one.payload["metadata"])
            for one in points
        ]

    def qdrant_write(self) -> None:
        self.through.add_texts(["one more"])


class Pgvector(LangChain):
    """One table for all collections; ids are any text; the column has no size of its own."""

    name = "my docs"
    # A name that no collection of Qdrant's can have.
    source = "my docs/2024 'ü'"

    def __init__(self, address: str, database: str, **options: Any) -> None:
        super().__init__(address, database)
        self.memories = memories.memories(odd_ids=True)
        # One without hyphens, as its Qdrant provider makes them.
        self.memories[1].id = self.memories[1].id.replace("-", "")
        self.writable = options.pop("writable", False)
        self.store = self.opened(self.source, **options)

    def opened(self, name: str, **options: Any) -> PGVector:
        return PGVector(
            Embedder(), connection=self.url(), collection_name=name, use_jsonb=True, **options
        )

    def write(self) -> None:
        self.store.add_documents(documents(self.memories), ids=[one.id for one in self.memories])
        # In the same table, and nothing of this collection.
        self.opened("another").add_documents(documents(memories.memories()[:5]))

    def settings(self) -> str:
        more = "writable = true\n" if self.writable else ""
        source = json.dumps(self.source)
        return f'[collections."{self.name}"]\nadopt = "langchain"\nsource = {source}\n{more}'


class PgvectorStore(LangChain):
    """A table a collection, with columns for some of the metadata."""

    name = "notes"

    def __init__(self, address: str, database: str) -> None:
        super().__init__(address, database)
        self.memories = memories.memories()
        # A column without a value.
        del self.memories[4].metadata["even"]
        self.engine = PGEngine.from_connection_string(self.url())

    def write(self) -> None:
        self.engine.init_vectorstore_table(
            self.name,
            vector_size=memories.SIZE,
            metadata_columns=[Column(name, type) for name, type in COLUMNS.items()],
        )
        self.store = PGVectorStore.create_sync(
            self.engine, Embedder(), self.name, metadata_columns=list(COLUMNS)
        )
        self.store.add_documents(documents(self.memories), ids=[one.id for one in self.memories])

    def settings(self) -> str:
        return f'[collections.{self.name}]\nadopt = "langchain"\ntable = "{self.name}"\n'

    def close(self) -> None:
        self.engine._run_as_sync(self.engine.close())


class LangChainPgvector(scene.Adopted):
    def test_another_collection_in_the_table_is_not_shown(self) -> None:
        count = self.scene.server.sql(
            "select count(*) from langchain_pg_embedding", self.scene.database
        )
        self.assertEqual(int(count), 55)
        self.assertEqual(self.scene.client.count(self.adapter.name).count, 50)

    def test_mmr_and_a_score_threshold(self) -> None:
        text = self.adapter.memories[0].text
        found = self.adapter.through.max_marginal_relevance_search(text, k=5, fetch_k=20)
        self.assertEqual(len({one.page_content for one in found}), 5)
        self.assertEqual(found[0].page_content, text)
        found = self.adapter.through.similarity_search_with_score(text, k=5, score_threshold=0.999)
        self.assertEqual([one.page_content for one, _ in found], [text])

    def test_conditions_on_nested_metadata(self) -> None:
        adapter = self.adapter

        def matching(*conditions: models.Condition) -> set[str]:
            points, _ = self.scene.client.scroll(
                adapter.name, limit=100, scroll_filter=models.Filter(must=list(conditions))
            )
            return {one.payload["page_content"] for one in points}

        def field(key: str, **condition: Any) -> models.FieldCondition:
            return models.FieldCondition(key=f"metadata.{key}", **condition)

        def own(wanted: dict) -> set[str]:
            hits = adapter.store.similarity_search("", k=100, filter=wanted)
            return {one.page_content for one in hits}

        numbers = own({"number": {"$between": [10, 13]}})
        self.assertEqual(len(numbers), 4)
        self.assertEqual(matching(field("number", range=models.Range(gte=10, lte=13))), numbers)
        anything = models.MatchAny(any=["a", "b"])
        self.assertEqual(
            matching(field("kind", match=anything)), own({"kind": {"$in": ["a", "b"]}})
        )
        deep = field("nested.deep.deeper[].a", match=models.MatchValue(value=1))
        self.assertEqual(matching(deep), {adapter.memories[0].text})
        tag = field("tags", match=models.MatchValue(value="ü"))
        self.assertEqual(matching(tag), {adapter.memories[30].text})
        odd = field('"a.dotted.key"', match=models.MatchValue(value=2))
        self.assertEqual(matching(odd), {adapter.memories[6].text})


class LangChainPgvectorSized(scene.Adopted):
    """With `embedding_length` the column has a size."""

    in_workers = True


class LangChainPgvectorStore(scene.Adopted):
    def twin_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A column is there in every row: what was not given reads as null, as it does through the
        framework's own provider."""
        columns = dict.fromkeys(COLUMNS)
        return {**payload, "metadata": {**columns, **payload["metadata"]}}

    def test_a_row_that_jsonb_cannot_hold_does_not_hide_the_others(self) -> None:
        """The column is json: unlike jsonb it takes the character zero, and so does the
        framework."""
        own, client, name = self.adapter.store, self.scene.client, self.adapter.name
        metadata = {"kind": "a", "number": 1, "zero": "a\x00b"}
        [id] = own.add_documents([Document("with a zero", metadata=metadata)])
        try:
            self.assertEqual(own.get_by_ids([id])[0].metadata["zero"], "a\x00b")
            points, _ = client.scroll(name, limit=99)
            written = {one.id for one in self.adapter.memories}
            self.assertLessEqual(written, {str(one.id) for one in points})
            vector = memories.embed("with a zero")
            found = client.query_points(name, vector, limit=33).points
            self.assertGreaterEqual(len(found), 33 - 1)
            wanted = scene.kind_is("metadata.kind", "a")
            self.assertGreaterEqual(client.count(name, wanted, exact=True).count, 17)
        finally:
            own.delete([id])


class LangChainPgvectorWritable(harness.Patient):
    """With `writable = true`: what its Qdrant provider adds and deletes, its own sees."""

    scene: scene.Scene

    def test_documents_added_and_deleted_are_so_in_the_table(self) -> None:
        own, through = self.scene.adapter.store, self.scene.adapter.through
        metadata = {"kind": "new", "nested": {"a": [1, None, "ü"]}, "whole": 1.0}
        ids = [str(uuid.uuid4()), uuid.uuid4().hex]
        written = [Document("wächst nach", metadata=metadata), Document("", metadata={})]
        through.add_documents(written, ids=ids)
        found = {one.page_content: one for one in own.get_by_ids([str(uuid.UUID(x)) for x in ids])}
        self.assertEqual(set(found), {"wächst nach", ""})
        self.assertEqual(found["wächst nach"].metadata, metadata)
        [(first, distance)] = own.similarity_search_with_score("wächst nach", k=1)
        self.assertEqual(first.page_content, "wächst nach")
        self.assertAlmostEqual(distance, 0.0, places=5)
        through.add_documents([Document("ist gewachsen", metadata={"kind": "old"})], ids=ids[:1])
        [one] = own.get_by_ids(ids[:1])
        self.assertEqual((one.page_content, one.metadata), ("ist gewachsen", {"kind": "old"}))
        self.assertTrue(through.delete(ids))
        self.assertEqual(own.get_by_ids([str(uuid.UUID(x)) for x in ids]), [])

    def test_a_row_with_an_id_of_its_own_is_deleted_by_the_id_shown(self) -> None:
        adapter = self.scene.adapter
        adapter.store.add_documents([Document("odd", metadata={})], ids=["odd/1"])
        adapter.through.delete([memories.shown_id("odd/1")])
        self.assertEqual(adapter.store.get_by_ids(["odd/1"]), [])

    def test_zz_nothing_else_has_changed(self) -> None:
        self.assertEqual(self.scene.definition(), self.scene.before)
        self.assertEqual(self.scene.rows(), self.scene.rows_before)


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return [
        *scene.tests(rig, LangChainPgvectorWritable, Pgvector, writable=True),
        *scene.tests(rig, LangChainPgvector, Pgvector),
        *scene.tests(rig, LangChainPgvectorSized, Pgvector, embedding_length=memories.SIZE),
        *scene.tests(rig, LangChainPgvectorStore, PgvectorStore),
    ]
