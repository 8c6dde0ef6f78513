"""Open WebUI: `VECTOR_DB=pgvector` before, `VECTOR_DB=qdrant` after, in both ways its Qdrant client
keeps collections.

Its clients are modules of the program itself, which wants a hundred packages. They are run as they
are, from the folder that OUTRIGGER_TEST_OPEN_WEBUI names (`tests/run` takes them out of the
published wheel); only the rest of the program around them is stood in for.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
import types
import unittest
import warnings
from typing import Any

from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from adopt import memories, scene
from adopt.scene import Found

# Its client cannot be told not to compare versions, nor to do so in time.
warnings.filterwarnings("ignore", "Qdrant client version|Failed to obtain server version")

FOLDER = "OUTRIGGER_TEST_OPEN_WEBUI"
# Vectors are filled up with zeros to the length of the column.
COLUMN_SIZE = memories.SIZE + 16
SHARED = ["memories", "knowledge", "files", "web-search", "hash-based"]


def clients(address: str, url: str | None) -> dict[str, type]:
    """Its three clients, imported anew with these settings: they are read on import."""
    config: dict[str, Any] = {
        "PGVECTOR_DB_URL": address.replace("postgres://", "postgresql://"),
        "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": COLUMN_SIZE,
        "PGVECTOR_CREATE_EXTENSION": True,
        "PGVECTOR_HNSW_M": 16,
        "PGVECTOR_HNSW_EF_CONSTRUCTION": 64,
        "PGVECTOR_INDEX_METHOD": "hnsw",
        "PGVECTOR_ITERATIVE_SCAN": "strict_order",
        "PGVECTOR_IVFFLAT_LISTS": 100,
        "PGVECTOR_PGCRYPTO": False,
        "PGVECTOR_PGCRYPTO_KEY": None,
        "PGVECTOR_POOL_MAX_OVERFLOW": 0,
        "PGVECTOR_POOL_RECYCLE": 3600,
        "PGVECTOR_POOL_SIZE": None,
        "PGVECTOR_POOL_TIMEOUT": 30,
        "PGVECTOR_USE_HALFVEC": False,
        "QDRANT_API_KEY": None,
        "QDRANT_COLLECTION_PREFIX": "open-webui",
        "QDRANT_GRPC_PORT": 6334,
        "QDRANT_HNSW_M": 16,
        "QDRANT_ON_DISK": False,
        "QDRANT_PREFER_GRPC": False,
        "QDRANT_TIMEOUT": 60,
        "QDRANT_URI": url,
    }
    nothing = {"ScopedSession": None, "enable_iam_token_auth": lambda _: None}
    stand_ins = {
        "open_webui.config": config,
        "open_webui.env": {"RAG_METADATA_MAX_VALUE_CHARS": None},
        "open_webui.internal": {},
        "open_webui.internal.db": nothing,
        "open_webui.utils": {},
        "open_webui.utils.json_codec": {"JSONCodec": json},
        "open_webui.utils.misc": {"sanitize_text_for_db": lambda text: text},
    }
    for name in [name for name in sys.modules if name.partition(".")[0] == "open_webui"]:
        del sys.modules[name]
    folder = pathlib.Path(os.environ[FOLDER]) / "open_webui"
    # The packages without what stands in their `__init__`.
    for package in ("", ".retrieval", ".retrieval.vector", ".retrieval.vector.dbs"):
        module = types.ModuleType(f"open_webui{package}")
        module.__path__ = [str(folder.joinpath(*package.split(".")[1:]))]
        sys.modules[module.__name__] = module
    for name, contents in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        module.__path__ = []
        sys.modules[name] = module
    where = "open_webui.retrieval.vector.dbs"
    named = {
        "pgvector": "PgvectorClient",
        "qdrant": "QdrantClient",
        "qdrant_multitenancy": "QdrantClient",
    }
    return {
        module: getattr(importlib.import_module(f"{where}.{module}"), client)
        for module, client in named.items()
        if url or module == "pgvector"
    }


class OpenWebUi(scene.Adapter):
    """What both ways have in common. `kept_in` is Open WebUI's name of the collection."""

    kept_in = "file-0f8fad5b-d9cb-469f-a165-70867728950e"
    module = "qdrant"

    def __init__(self, address: str, database: str) -> None:
        super().__init__(address, database)
        self.memories = memories.memories()
        self.own = clients(address, None)["pgvector"]()

    def items(self, some: list[memories.Memory]) -> list[dict]:
        return [
            {"id": one.id, "text": one.text, "vector": one.vector, "metadata": dict(one.metadata)}
            for one in some
        ]

    def write(self) -> None:
        self.own.insert(self.kept_in, self.items(self.memories))
        other = self.items(memories.memories()[:5])
        for number, item in enumerate(other):
            item["id"] = f"{number:08}-0000-4000-8000-000000000000"
        self.own.insert("user-memory-1", other[:2])
        self.own.insert("another", other[2:])

    def connect(self, url: str) -> None:
        self.qdrant = clients(self.address, url)[self.module]()

    def both(self, found: Any, scores: bool = False) -> list[Found]:
        if found is None:
            return []
        [ids], [texts], [metadatas] = found.ids, found.documents, found.metadatas
        # Both bring a cosine into the range from 0 to 1, in the same way.
        [made] = found.distances if scores else [[None] * len(ids)]
        return [
            Found(str(one[0]), *one[1:]) for one in zip(ids, texts, metadatas, made, strict=True)
        ]

    def search(self, client: Any, text: str, limit: int, kind: str | None) -> list[Found]:
        filter = {"kind": kind} if kind else None
        found = client.search(self.kept_in, [memories.embed(text)], filter=filter, limit=limit)
        return self.both(found, scores=True)

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.own, text, limit, kind)

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.qdrant, text, limit, kind)

    def table_get(self, ids: list[str]) -> list[Found]:
        return [one for one in self.both(self.own.get(self.kept_in)) if one.id in ids]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        points = self.qdrant.client.retrieve(self.name, ids)
        return [Found(str(one.id), one.payload["text"], one.payload["metadata"]) for one in points]

    def listed(self, client: Any, kind: str | None) -> list[Found]:
        if kind is None:
            return self.both(client.get(self.kept_in))
        return self.both(client.query(self.kept_in, {"kind": kind}))

    def table_list(self, kind: str | None = None) -> list[Found]:
        return self.listed(self.own, kind)

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        return self.listed(self.qdrant, kind)

    def qdrant_write(self) -> None:
        point = models.PointStruct(id=self.memories[0].id, vector=memories.embed("x"), payload={})
        self.qdrant.client.upsert(self.name, [point])

    def close(self) -> None:
        self.own.session.remove()


class OneEach(OpenWebUi):
    """`ENABLE_QDRANT_MULTITENANCY_MODE=false`: a collection each."""

    name = f"open-webui_{OpenWebUi.kept_in}"
    twin = "open-webui_twin"

    def settings(self) -> str:
        return (
            f'[collections."{self.name}"]\nadopt = "open_webui"\nsource = "{self.kept_in}"\n'
            f"size = {memories.SIZE}\n"
        )

    def write_twin(self, url: str) -> None:
        client = clients(self.address, url)[self.module]()
        client.upsert(self.twin.removeprefix("open-webui_"), self.items(self.memories))


class Shared(OpenWebUi):
    """The default: five collections for everything, told apart by `tenant_id`."""

    name = "open-webui_files"
    module = "qdrant_multitenancy"

    def settings(self) -> str:
        return "".join(
            f'[collections."open-webui_{name}"]\nadopt = "open_webui"\nsize = {memories.SIZE}\n'
            for name in SHARED
        )

    def write_twin(self, url: str) -> None:
        client = clients(self.address, url)[self.module]()
        # Its names under another prefix.
        client.FILE_COLLECTION = self.twin
        client.upsert(self.kept_in, self.items(self.memories))


class OpenWebUiOneEach(scene.Adopted):
    def test_another_collection_in_the_table_is_not_shown(self) -> None:
        adapter = self.adapter
        self.assertTrue(adapter.own.has_collection("another"))
        self.assertTrue(adapter.qdrant.has_collection(adapter.kept_in))
        self.assertFalse(adapter.qdrant.has_collection("another"))


class OpenWebUiShared(scene.Adopted):
    def test_each_name_is_in_its_shared_collection(self) -> None:
        adapter = self.adapter
        for name, count in ((adapter.kept_in, 50), ("user-memory-1", 2), ("another", 3)):
            own = {one.id for one in adapter.both(adapter.own.get(name))}
            self.assertEqual(len(own), count)
            self.assertEqual({one.id for one in adapter.both(adapter.qdrant.get(name))}, own)
            self.assertTrue(adapter.qdrant.has_collection(name))
        counts = {name: self.scene.client.count(f"open-webui_{name}").count for name in SHARED}
        wanted = {"files": 50, "memories": 2, "knowledge": 3, "web-search": 0, "hash-based": 0}
        self.assertEqual(counts, wanted)

    def test_its_own_writes_are_refused(self) -> None:
        with self.assertRaises(UnexpectedResponse) as refused:
            self.adapter.qdrant.delete(self.adapter.kept_in, ids=[self.adapter.memories[0].id])
        self.assertEqual(refused.exception.status_code, 403)


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return [
        *scene.tests(rig, OpenWebUiOneEach, OneEach),
        *scene.tests(rig, OpenWebUiShared, Shared),
    ]
