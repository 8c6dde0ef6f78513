"""LlamaIndex's own Qdrant store, as applications use it."""

from __future__ import annotations

import unittest
import uuid

import embeddings
import harness
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

TEXTS = {
    "the quick brown fox jumps": {"source": "a", "year": 2001},
    "the lazy dog sleeps": {"source": "b", "year": 2002},
    "a brown bear eats honey": {"source": "a", "year": 2003},
    "honey tastes sweet": {"source": "b", "year": 2004},
}


def tests(target: harness.Target) -> list[unittest.TestCase]:
    LlamaIndex.target = target
    return list(unittest.defaultTestLoader.loadTestsFromTestCase(LlamaIndex))


class Words(MockEmbedding):
    def __init__(self) -> None:
        super().__init__(embed_dim=embeddings.SIZE)

    def _get_text_embedding(self, text: str) -> list[float]:
        return embeddings.embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embeddings.embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embeddings.embed(query)


class LlamaIndex(harness.Patient):
    target: harness.Target

    def setUp(self) -> None:
        options = {
            "url": self.target.url,
            "api_key": self.target.api_key,
            "timeout": 60,
            "check_compatibility": False,
        }
        self.name = f"llamaindex_{uuid.uuid4().hex[:6]}"
        self.client = QdrantClient(**options)
        self.aclient = AsyncQdrantClient(**options)
        self.addCleanup(self.client.close)
        self.addCleanup(self.client.delete_collection, self.name)
        self.addAsyncCleanup(self.aclient.close)

    def store(self) -> QdrantVectorStore:
        return QdrantVectorStore(self.name, client=self.client, aclient=self.aclient)

    def nodes(self) -> list[TextNode]:
        return [
            TextNode(
                text=text,
                metadata=metadata,
                embedding=embeddings.embed(text),
                relationships={
                    NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{metadata['source']}")
                },
            )
            for text, metadata in TEXTS.items()
        ]

    def ask(self, text: str, limit: int = 2, *filters: MetadataFilter) -> VectorStoreQuery:
        return VectorStoreQuery(
            query_embedding=embeddings.embed(text),
            similarity_top_k=limit,
            filters=MetadataFilters(filters=list(filters)) if filters else None,
        )

    def texts(self, found: list[TextNode]) -> list[str]:
        return [node.get_content() for node in found]

    def test_nodes_are_added_and_found(self) -> None:
        store, nodes = self.store(), self.nodes()
        self.assertEqual(store.add(nodes), [node.node_id for node in nodes])
        schema = self.client.get_collection(self.name).payload_schema
        self.assertEqual(schema["doc_id"].data_type.value, "keyword")
        result = store.query(self.ask("sweet honey"))
        wanted = ["honey tastes sweet", "a brown bear eats honey"]
        self.assertEqual(self.texts(result.nodes), wanted)
        self.assertEqual(result.ids[0], nodes[3].node_id)
        self.assertEqual(result.nodes[0].metadata, {"source": "b", "year": 2004})
        self.assertGreater(result.similarities[0], result.similarities[1])
        result = store.query(self.ask(nodes[0].text, 1))
        self.assertAlmostEqual(result.similarities[0], 1.0, places=4)

    def test_an_opened_collection_is_found_again(self) -> None:
        self.store().add(self.nodes())
        result = self.store().query(self.ask("lazy dog", 1))
        self.assertEqual(self.texts(result.nodes), ["the lazy dog sleeps"])

    def test_metadata_filters(self) -> None:
        store = self.store()
        store.add(self.nodes())
        one, of = MetadataFilter, FilterOperator
        for filters, years in (
            ([one(key="source", value="a")], {2001, 2003}),
            ([one(key="source", value="a", operator=of.NE)], {2002, 2004}),
            ([one(key="year", value=2003, operator=of.GTE)], {2003, 2004}),
            ([one(key="source", value=["b", "c"], operator=of.IN)], {2002, 2004}),
            ([one(key="source", value=["b", "c"], operator=of.NIN)], {2001, 2003}),
            ([one(key="source", value="a"), one(key="year", value=2001)], {2001}),
            ([one(key="absent", value=None, operator=of.IS_EMPTY)], {2001, 2002, 2003, 2004}),
        ):
            with self.subTest(filters):
                result = store.query(self.ask("honey", 10, *filters))
                self.assertEqual({node.metadata["year"] for node in result.nodes}, years)
        either = MetadataFilters(
            filters=[one(key="year", value=2001), one(key="year", value=2004)],
            condition=FilterCondition.OR,
        )
        found = store.get_nodes(filters=either)
        self.assertEqual({node.metadata["year"] for node in found}, {2001, 2004})

    def test_nodes_are_fetched_and_deleted(self) -> None:
        store, nodes = self.store(), self.nodes()
        store.add(nodes)
        [found] = store.get_nodes(node_ids=[nodes[1].node_id])
        self.assertEqual(found.get_content(), nodes[1].text)
        self.assertEqual(len(found.embedding), embeddings.SIZE)
        store.delete_nodes(node_ids=[nodes[1].node_id])
        self.assertEqual(self.client.count(self.name).count, 3)
        store.delete("doc-a")
        left = store.query(self.ask("honey", 10))
        self.assertEqual(self.texts(left.nodes), ["honey tastes sweet"])
        store.clear()
        self.assertFalse(self.client.collection_exists(self.name))

    async def test_the_asynchronous_forms_do_the_same(self) -> None:
        store, nodes = self.store(), self.nodes()
        await store.async_add(nodes)
        result = await store.aquery(self.ask("sweet honey"))
        self.assertEqual(result.ids, [nodes[3].node_id, nodes[2].node_id])
        [found] = await store.aget_nodes(node_ids=[nodes[0].node_id])
        self.assertEqual(found.get_content(), nodes[0].text)
        await store.adelete_nodes(node_ids=[nodes[0].node_id])
        await store.adelete("doc-b")
        self.assertEqual((await self.aclient.count(self.name)).count, 1)
        await store.aclear()
        self.assertFalse(await self.aclient.collection_exists(self.name))

    def test_an_index_of_documents_is_built_asked_and_changed(self) -> None:
        documents = [
            Document(text=text, metadata=metadata, doc_id=f"d{metadata['year']}")
            for text, metadata in TEXTS.items()
        ]
        words = Words()
        context = StorageContext.from_defaults(vector_store=self.store())
        index = VectorStoreIndex.from_documents(
            documents, storage_context=context, embed_model=words
        )

        def best(index: VectorStoreIndex, text: str) -> str:
            [found] = index.as_retriever(similarity_top_k=1).retrieve(text)
            return found.node.ref_doc_id

        self.assertEqual(best(index, "source a year 2001 the quick brown fox jumps"), "d2001")
        index.insert(Document(text="green frog", doc_id="frog"))
        self.assertEqual(best(index, "green frog"), "frog")
        index.delete_ref_doc("frog")
        self.assertNotEqual(best(index, "green frog"), "frog")
        again = VectorStoreIndex.from_vector_store(self.store(), embed_model=words)
        self.assertEqual(best(again, "source b year 2002 the lazy dog sleeps"), "d2002")
