"""LangChain's own Qdrant store, as applications use it."""

from __future__ import annotations

import unittest
import uuid

import embeddings
import harness
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant import SparseVector as LangChainSparseVector
from langchain_qdrant.qdrant import QdrantVectorStoreError
from qdrant_client import QdrantClient, models

TEXTS = [
    "the quick brown fox jumps",
    "the lazy dog sleeps",
    "a brown bear eats honey",
    "honey tastes sweet",
]
METADATA = [{"source": "a" if number % 2 else "b", "number": number} for number in range(4)]


def tests(target: harness.Target) -> list[unittest.TestCase]:
    LangChain.target = target
    return list(unittest.defaultTestLoader.loadTestsFromTestCase(LangChain))


class Words(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embeddings.embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embeddings.embed(text)


class Sparse(SparseEmbeddings):
    def embed_documents(self, texts: list[str]) -> list[LangChainSparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> LangChainSparseVector:
        parts = {i: value for i, value in enumerate(embeddings.embed(text)) if value >= 1.0}
        return LangChainSparseVector(indices=list(parts), values=list(parts.values()))


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


class LangChain(harness.Patient):
    target: harness.Target

    def setUp(self) -> None:
        self.name = f"langchain_{uuid.uuid4().hex[:6]}"
        self.connect = {"url": self.target.url, "api_key": self.target.api_key, "timeout": 60}
        self.client = QdrantClient(**self.connect, check_compatibility=False)
        self.addCleanup(self.client.close)
        self.addCleanup(self.client.delete_collection, self.name)

    def store(self, **options: object) -> QdrantVectorStore:
        return QdrantVectorStore.from_texts(
            TEXTS,
            embedding=Words(),
            metadatas=METADATA,
            collection_name=self.name,
            check_compatibility=False,
            **self.connect,
            **options,
        )

    def test_documents_are_added_and_found(self) -> None:
        documents = [Document(f"number {number}", metadata={"i": number}) for number in range(130)]
        store = QdrantVectorStore.from_documents(
            documents,
            Words(),
            collection_name=self.name,
            check_compatibility=False,
            **self.connect,
        )
        # More than one request of 64.
        self.assertEqual(self.client.count(self.name).count, 130)
        [found] = store.similarity_search("number 77", k=1)
        self.assertEqual((found.page_content, found.metadata["i"]), ("number 77", 77))

    def test_search_ranks_filters_and_scores(self) -> None:
        store = self.store()
        self.assertEqual(texts(store.similarity_search("sweet honey", k=2)), [TEXTS[3], TEXTS[2]])
        condition = models.FieldCondition(
            key="metadata.source", match=models.MatchValue(value="b")
        )
        wanted = models.Filter(must=[condition])
        found = store.similarity_search("sweet honey", k=4, filter=wanted)
        self.assertEqual({document.metadata["source"] for document in found}, {"b"})
        self.assertEqual(texts(found)[0], TEXTS[2])
        [(document, score)] = store.similarity_search_with_score(TEXTS[0], k=1)
        self.assertEqual(document.page_content, TEXTS[0])
        self.assertAlmostEqual(score, 1.0, places=4)
        self.assertEqual(store.similarity_search_with_score("unheard", score_threshold=0.9), [])
        found = store.similarity_search_by_vector(embeddings.embed(TEXTS[1]), k=1, offset=0)
        self.assertEqual(texts(found), [TEXTS[1]])

    def test_mmr_chooses_different_documents(self) -> None:
        found = self.store().max_marginal_relevance_search(
            "brown honey bear", k=3, fetch_k=4, lambda_mult=0.5
        )
        self.assertEqual(len(set(texts(found))), 3)
        self.assertEqual(texts(found)[0], TEXTS[2])

    def test_a_retriever_asks_the_store(self) -> None:
        retriever = self.store().as_retriever(search_kwargs={"k": 1})
        self.assertEqual(texts(retriever.invoke("lazy dog")), [TEXTS[1]])

    def test_documents_are_fetched_updated_and_deleted_by_id(self) -> None:
        store = self.store()
        ids = [str(uuid.uuid4()), uuid.uuid4().hex]
        self.assertEqual(store.add_texts(["one", "two"], ids=ids), ids)
        self.assertEqual(sorted(texts(store.get_by_ids(ids))), ["one", "two"])
        store.add_texts(["uno"], ids=ids[:1])
        self.assertEqual(texts(store.get_by_ids(ids[:1])), ["uno"])
        self.assertTrue(store.delete(ids))
        self.assertEqual(store.get_by_ids(ids), [])
        self.assertEqual(self.client.count(self.name).count, 4)

    async def test_the_asynchronous_forms_do_the_same(self) -> None:
        store = self.store()
        [added] = await store.aadd_texts(["green frog"])
        self.assertEqual(texts(await store.asimilarity_search("frog", k=1)), ["green frog"])
        [(document, score)] = await store.asimilarity_search_with_score("green frog", k=1)
        self.assertEqual(document.page_content, "green frog")
        self.assertAlmostEqual(score, 1.0, places=4)
        found = await store.amax_marginal_relevance_search("green frog", k=2, fetch_k=4)
        self.assertEqual(texts(found)[0], "green frog")
        self.assertTrue(await store.adelete([added]))
        self.assertEqual(self.client.count(self.name).count, 4)

    def test_an_existing_collection_is_opened_and_checked(self) -> None:
        self.store()
        options = {
            "collection_name": self.name,
            "embedding": Words(),
            "check_compatibility": False,
            **self.connect,
        }
        store = QdrantVectorStore.from_existing_collection(**options)
        self.assertEqual(texts(store.similarity_search("lazy dog", k=1)), [TEXTS[1]])
        with self.assertRaisesRegex(QdrantVectorStoreError, "similarity"):
            QdrantVectorStore.from_existing_collection(
                **options, distance=models.Distance.EUCLID
            )

    def test_force_recreate_begins_anew(self) -> None:
        self.store()
        self.store(force_recreate=True)
        self.assertEqual(self.client.count(self.name).count, 4)

    def test_sparse_and_hybrid_retrieval(self) -> None:
        for mode in (RetrievalMode.SPARSE, RetrievalMode.HYBRID):
            with self.subTest(mode):
                store = self.store(
                    retrieval_mode=mode, sparse_embedding=Sparse(), force_recreate=True
                )
                found = store.similarity_search("sweet honey", k=2)
                self.assertEqual(texts(found), [TEXTS[3], TEXTS[2]])
