"""One framework, its own table, and its Qdrant provider reading it through Outrigger.

A framework is an `Adapter`; the tests are the same for all of them. Beside the adopted collection
stands a twin: a collection of Outrigger's own into which the framework's Qdrant provider wrote the
same memories itself. What the adopted table shows has to be what is there.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import traceback
import unittest
from dataclasses import dataclass
from typing import Any

import harness
import postgres
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from adopt.memories import Memory, embed, shown_id

QUERIES = ["memory number 7", "Grüße", "something nobody kept"]
SCORE_DIFFERENCE_MAX = 1e-5
# The schemas that are PostgreSQL's and Outrigger's.
NOT_OF_USERS = ("pg_catalog", "information_schema", "pg_toast", "qd", "qdc", "qd_data")


@dataclass
class Found:
    """What a search, a retrieval or a list gave, in terms that both providers share."""

    id: str
    text: str
    metadata: dict[str, Any]
    score: float | None = None


class Adapter:
    """A framework with both of its providers. `name` is the adopted collection's; `twin` that of
    the collection into which its Qdrant provider writes."""

    name = "memories"
    twin = "twin"
    # False when one provider leaves out, or cannot tell apart, what is far away.
    shows_the_far = True
    memories: list[Memory]

    def __init__(self, address: str, database: str) -> None:
        """`address` is the database's, as a URL without a scheme's driver."""
        self.address = address
        self.database = database

    def write(self) -> None:
        """The pgvector provider writes `self.memories`."""
        raise NotImplementedError

    def settings(self) -> str:
        """The section of the adopted collection."""
        raise NotImplementedError

    def connect(self, url: str) -> None:
        """The Qdrant provider opens the adopted collection, as an application's start does."""
        raise NotImplementedError

    def write_twin(self, url: str) -> None:
        """The Qdrant provider writes the same memories into the twin; those it can."""
        raise NotImplementedError

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        raise NotImplementedError

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        raise NotImplementedError

    def table_get(self, ids: list[str]) -> list[Found]:
        raise NotImplementedError

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        raise NotImplementedError

    def table_list(self, kind: str | None = None) -> list[Found]:
        raise NotImplementedError

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        raise NotImplementedError

    def qdrant_write(self) -> None:
        """Any write through the Qdrant provider."""
        raise NotImplementedError

    def close(self) -> None:
        pass


@dataclass
class Rig:
    """What a tour of adoption gets to work with."""

    server: postgres.Postgres
    binary: pathlib.Path
    outcome: harness.Outcome
    stack: contextlib.ExitStack
    databases: int = 0

    def database(self) -> tuple[str, str]:
        self.databases += 1
        name = f"adopt_{self.databases}"
        return self.server.database(name), name


class Scene:
    """The table written, the sidecar started, both providers open."""

    def __init__(self, rig: Rig, made: type[Adapter], in_workers: bool, **options: Any) -> None:
        address, self.database = rig.database()
        self.server = rig.server
        if in_workers:
            # What PostgreSQL does by itself when a table is large.
            self.server.sql(f'alter database "{self.database}" set debug_parallel_query = on')
        self.adapter = made(address, self.database, **options)
        rig.stack.callback(self.adapter.close)
        self.adapter.write()
        self.before = self.definition()
        self.rows_before = self.rows()
        store = f'[primary]\nkind = "pgvector"\nurl = {json.dumps(address)}\n'
        store += self.adapter.settings()
        sidecar = harness.sidecar(rig.binary, rig.outcome, store)
        self.target = rig.stack.enter_context(sidecar)
        self.client = QdrantClient(url=self.target.url, timeout=60, check_compatibility=False)
        rig.stack.callback(self.client.close)
        self.adapter.connect(self.target.url)
        self.adapter.write_twin(self.target.url)

    def definition(self) -> str:
        """All that there is in the users' schemas."""
        of_users = f"n.nspname not in {NOT_OF_USERS}"
        return self.server.sql(
            f"""
            select 'column', n.nspname, c.relname, a.attnum, a.attname, a.attnotnull,
                   format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)
            from pg_attribute a join pg_class c on c.oid = a.attrelid
            join pg_namespace n on n.oid = c.relnamespace
            left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
            where c.relkind in ('r', 'p', 'v', 'm') and {of_users} order by 2, 3, 4;

            select 'index', n.nspname, c.relname, pg_get_indexdef(c.oid)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind = 'i' and {of_users} order by 2, 3;

            select 'constraint', n.nspname, c.conname, pg_get_constraintdef(c.oid)
            from pg_constraint c join pg_namespace n on n.oid = c.connamespace
            where {of_users} order by 2, 3;

            select 'trigger', n.nspname, c.relname, t.tgname, pg_get_triggerdef(t.oid)
            from pg_trigger t join pg_class c on c.oid = t.tgrelid
            join pg_namespace n on n.oid = c.relnamespace
            where not t.tgisinternal and {of_users} order by 2, 3, 4;

            select 'function', n.nspname, p.proname, p.prosrc
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            join pg_language l on l.oid = p.prolang
            where l.lanname <> 'c' and {of_users} order by 2, 3, 4
            """,
            self.database,
        )

    def rows(self) -> str:
        """Every row with the transaction that wrote it: a row written again is another row."""
        tables = self.server.sql(
            "select format('%I.%I', schemaname, tablename) from pg_tables "
            f"where schemaname not in {NOT_OF_USERS} order by 1",
            self.database,
        ).splitlines()
        return "\n".join(
            self.server.sql(
                f"select t.xmin, t::text from {table} t order by t::text", self.database
            )
            for table in tables
        )

    def points(self, name: str) -> dict[str, models.Record]:
        points, after = self.client.scroll(name, limit=1000, with_payload=True, with_vectors=True)
        assert after is None
        return {str(point.id): point for point in points}


class Adopted(harness.Patient):
    """What holds for every framework. Named in a tour by a class of its own, with its `scene`."""

    scene: Scene
    # Whether all that PostgreSQL may do in parallel workers is done there.
    in_workers = False
    maxDiff = 4000

    @property
    def adapter(self) -> Adapter:
        return self.scene.adapter

    def assert_same_json(self, one: Any, other: Any, about: str = "") -> None:
        """`1` is not `1.0` and not `true`."""
        said = [
            json.dumps(x, sort_keys=True, ensure_ascii=False, default=str) for x in (one, other)
        ]
        self.assertEqual(*said, about)

    def assert_same(self, through: list[Found], own: list[Found], scores: bool) -> None:
        """`through` Outrigger and the framework's `own`: the same memories in the same order."""
        self.assertEqual([one.id for one in through], [shown_id(one.id) for one in own])
        for one, other in zip(through, own, strict=True):
            self.assertEqual(one.text, other.text)
            self.assert_same_json(one.metadata, other.metadata)
            if scores:
                self.assertAlmostEqual(one.score, other.score, delta=SCORE_DIFFERENCE_MAX)

    def assert_length(self, found: list[Found], wanted: int) -> None:
        if self.adapter.shows_the_far:
            self.assertEqual(len(found), wanted)
        else:
            self.assertGreaterEqual(len(found), wanted // 3)

    def test_the_points_are_those_its_qdrant_provider_writes(self) -> None:
        adopted, twin = (self.scene.points(name) for name in (self.adapter.name, self.adapter.twin))
        self.assertGreater(len(twin), 40)
        for id, point in twin.items():
            self.assertIn(id, adopted)
            self.assert_same_json(adopted[id].payload, self.twin_payload(point.payload), id)
            for one, other in zip(adopted[id].vector, unnamed(point.vector), strict=True):
                self.assertAlmostEqual(one, other, delta=1e-6)
        # And those that it could not write, as Qdrant has no form for their ids.
        odd = {shown_id(one.id): one.id for one in self.adapter.memories}
        self.assertEqual(set(adopted), set(odd))
        for id in set(adopted) - set(twin):
            self.assertEqual(adopted[id].payload["_pg_id"], odd[id])

    def twin_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    def test_a_search_gives_what_the_table_gives(self) -> None:
        for query in QUERIES:
            for limit in (1, 5, 50):
                with self.subTest(query=query, limit=limit):
                    own = self.adapter.table_search(query, limit)
                    self.assert_length(own, limit)
                    self.assert_same(self.adapter.qdrant_search(query, limit), own, scores=True)

    def test_a_filtered_search_gives_what_the_table_gives(self) -> None:
        for kind in ("a", "b", "nobody"):
            with self.subTest(kind=kind):
                own = self.adapter.table_search("memory", 10, kind)
                self.assert_length(own, 0 if kind == "nobody" else 10)
                self.assert_same(self.adapter.qdrant_search("memory", 10, kind), own, scores=True)

    def test_memories_are_got_by_id(self) -> None:
        ids = [one.id for one in self.adapter.memories[:12]]
        own = {shown_id(one.id): one for one in self.adapter.table_get(ids)}
        self.assertEqual(len(own), 12)
        through = {one.id: one for one in self.adapter.qdrant_get([shown_id(id) for id in ids])}
        self.assertEqual(set(through), set(own))
        wanted = sorted(own)
        self.assert_same([through[id] for id in wanted], [own[id] for id in wanted], scores=False)
        self.assertEqual(self.adapter.qdrant_get(["00000000-0000-4000-8000-000000000000"]), [])

    def test_memories_are_listed_and_counted(self) -> None:
        for kind in (None, "c"):
            with self.subTest(kind=kind):
                own = sorted(self.adapter.table_list(kind), key=lambda one: shown_id(one.id))
                self.assertEqual(len(own), 50 if kind is None else 16)
                through = sorted(self.adapter.qdrant_list(kind), key=lambda one: one.id)
                self.assert_same(through, own, scores=False)
        self.assertEqual(self.scene.client.count(self.adapter.name, exact=True).count, 50)
        info = self.scene.client.get_collection(self.adapter.name)
        self.assertEqual(info.points_count, 50)

    def test_pages_show_every_memory_once(self) -> None:
        seen, after = [], None
        while True:
            points, after = self.scene.client.scroll(self.adapter.name, limit=7, offset=after)
            seen += [str(point.id) for point in points]
            if after is None:
                break
        self.assertEqual(len(seen), 50)
        self.assertEqual(sorted(seen), sorted(shown_id(one.id) for one in self.adapter.memories))

    def test_it_is_listed_beside_the_own_collections(self) -> None:
        names = {one.name for one in self.scene.client.get_collections().collections}
        self.assertLessEqual({self.adapter.name, self.adapter.twin}, names)
        self.assertTrue(self.scene.client.collection_exists(self.adapter.name))

    def test_a_write_is_refused_and_changes_nothing(self) -> None:
        with self.assertRaises(UnexpectedResponse) as refused:
            self.adapter.qdrant_write()
        self.assertEqual(refused.exception.status_code, 403)
        self.assertIn("writable", refused.exception.content.decode())
        client, name = self.scene.client, self.adapter.name
        some = shown_id(self.adapter.memories[0].id)
        everything = models.FilterSelector(filter=models.Filter(must=[]))
        for write in (
            lambda: client.delete(name, models.PointIdsList(points=[some])),
            lambda: client.delete(name, everything),
            lambda: client.set_payload(name, {"x": 1}, points=[some]),
            lambda: client.clear_payload(name, [some]),
            lambda: client.update_vectors(name, [models.PointVectors(id=some, vector=embed("x"))]),
        ):
            with self.assertRaises(UnexpectedResponse) as refused:
                write()
            self.assertEqual(refused.exception.status_code, 403)
        self.assertEqual(self.scene.rows(), self.scene.rows_before)

    def test_the_collection_is_not_dropped_and_not_made_again(self) -> None:
        client, name = self.scene.client, self.adapter.name
        with self.assertRaises(UnexpectedResponse) as refused:
            client.delete_collection(name)
        self.assertEqual(refused.exception.status_code, 403)
        with self.assertRaises(UnexpectedResponse) as refused:
            size = len(embed(""))
            vectors = models.VectorParams(size=size, distance=models.Distance.COSINE)
            client.create_collection(name, vectors_config=vectors)
        self.assertEqual(refused.exception.status_code, 409)

    def test_zz_nothing_of_the_users_schema_has_changed(self) -> None:
        """Last, as the loader sorts them: after all that went before."""
        self.assertIn("index", self.scene.before)
        self.assertEqual(self.scene.definition(), self.scene.before)
        self.assertEqual(self.scene.rows(), self.scene.rows_before)


def unnamed(vector: Any) -> list[float]:
    return vector[""] if isinstance(vector, dict) else vector


def kind_is(key: str, kind: str | None) -> models.Filter | None:
    if kind is None:
        return None
    return models.Filter(must=[models.FieldCondition(key=key, match=models.MatchValue(value=kind))])


def tests(
    rig: Rig, case: type[unittest.TestCase], made: type[Adapter], **options: Any
) -> list[unittest.TestCase]:
    """The tests of `case` in a scene of their own. A scene that cannot be set is one that fails,
    and the next is tried."""
    try:
        in_workers = getattr(case, "in_workers", False)
        case.scene = Scene(rig, made, in_workers, **options)
    except (Exception, SystemExit):
        rig.outcome.say(f"{case.__name__}.the_scene_is_set", traceback.format_exc(limit=-6))
        return []
    return list(unittest.defaultTestLoader.loadTestsFromTestCase(case))
