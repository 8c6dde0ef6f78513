"""Every kind of query, alone and combined."""

from __future__ import annotations

import unittest
from typing import Any

import harness
from both import Tour, for_both, ids, match
from qdrant_client import models

VECTORS = {
    1: [1.0, 0.0],
    2: [0.8, 0.2],
    3: [0.6, 0.6],
    4: [0.2, 0.8],
    5: [0.0, 1.0],
    6: [-1.0, 0.0],
}


def tests(target: harness.Target) -> list[unittest.TestCase]:
    return for_both(target, Queries, Examples, Combined, Texts, Together)


def payload(number: int) -> dict[str, Any]:
    return {
        "n": number,
        "kind": "a" if number in (1, 2, 6) else "b",
        "doc": 100 if number <= 3 else 200,
    }


class Points(Tour):
    """Six points in the plane under Dot: every score below can be worked out by hand."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.client.create_collection(
            self.name,
            vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT),
        )
        points = [
            models.PointStruct(id=number, vector=vector, payload=payload(number))
            for number, vector in VECTORS.items()
        ]
        await self.client.upsert(self.name, points=points)

    async def found(self, query: Any, **options: Any) -> list[tuple[int, float]]:
        response = await self.client.query_points(self.name, query=query, **options)
        return [(point.id, point.score) for point in response.points]

    async def check(self, query: Any, wanted: list[tuple[int, float]], **options: Any) -> None:
        found = await self.found(query, **options)
        self.assertEqual([one for one, _ in found], [one for one, _ in wanted], found)
        self.near([score for _, score in found], [score for _, score in wanted])


class Queries(Points):
    RIGHT = [(1, 1.0), (2, 0.8), (3, 0.6), (4, 0.2), (5, 0.0), (6, -1.0)]

    async def test_nearest_to_a_vector(self) -> None:
        await self.check([1.0, 0.0], self.RIGHT)
        await self.check(models.NearestQuery(nearest=[1.0, 0.0]), self.RIGHT)
        await self.check([1.0, 0.0], self.RIGHT, using="")
        await self.check([1.0, 0.0], self.RIGHT[2:4], limit=2, offset=2)
        await self.check([1.0, 0.0], self.RIGHT[:3], score_threshold=0.5)
        params = models.SearchParams(exact=True)
        await self.check([1.0, 0.0], self.RIGHT, search_params=params)
        params = models.SearchParams(
            hnsw_ef=64, quantization=models.QuantizationSearchParams(ignore=True)
        )
        await self.check([1.0, 0.0], self.RIGHT, search_params=params, timeout=30)

    async def test_nearest_to_a_point_leaves_that_point_out(self) -> None:
        await self.check(1, self.RIGHT[1:])

    async def test_nearest_among_what_matches(self) -> None:
        await self.check([1.0, 0.0], self.RIGHT[2:5], query_filter=match("kind", "b"))

    async def test_payload_and_vectors_come_as_asked_for(self) -> None:
        async def first(**options: Any) -> models.ScoredPoint:
            response = await self.client.query_points(
                self.name, query=[1.0, 0.0], limit=1, **options
            )
            return response.points[0]

        point = await first()
        self.assertEqual((point.payload, point.vector), (payload(1), None))
        point = await first(with_payload=["n"], with_vectors=True)
        self.assertEqual((point.payload, point.vector), ({"n": 1}, [1.0, 0.0]))
        self.assertIsNone((await first(with_payload=False)).payload)

    async def test_no_query_scrolls(self) -> None:
        self.assertEqual([one for one, _ in await self.found(None, limit=3)], [1, 2, 3])

    async def test_order_by_a_key(self) -> None:
        await self.client.create_payload_index(self.name, "n", models.PayloadSchemaType.INTEGER)
        order = models.OrderBy(key="n", direction=models.Direction.DESC)
        found = await self.found(models.OrderByQuery(order_by=order), limit=4)
        self.assertEqual([one for one, _ in found], [6, 5, 4, 3])

    async def test_a_sample_has_no_point_twice(self) -> None:
        query = models.SampleQuery(sample=models.Sample.RANDOM)
        found = [one for one, _ in await self.found(query, limit=4)]
        self.assertEqual(len(found), 4)
        self.assertLess(set(found), set(VECTORS))

    async def test_mmr_prefers_what_is_new(self) -> None:
        query = models.NearestQuery(
            nearest=[1.0, 0.1], mmr=models.Mmr(diversity=0.5, candidates_limit=6)
        )
        found = await self.found(query, limit=3)
        self.assertEqual([one for one, _ in found], [1, 5, 3])
        query = models.NearestQuery(nearest=[1.0, 0.1], mmr=models.Mmr(diversity=0.0))
        found = await self.found(query, limit=3)
        self.assertEqual([one for one, _ in found], [1, 2, 3])


class Examples(Points):
    """Queries by examples, which are themselves never found."""

    def recommend(self, strategy: models.RecommendStrategy) -> models.RecommendQuery:
        return models.RecommendQuery(
            recommend=models.RecommendInput(positive=[1], negative=[5], strategy=strategy)
        )

    async def test_recommend_by_the_average(self) -> None:
        query = models.RecommendQuery(recommend=models.RecommendInput(positive=[1, [1.0, 0.0]]))
        await self.check(query, Queries.RIGHT[1:])
        query = self.recommend(models.RecommendStrategy.AVERAGE_VECTOR)
        await self.check(query, [(2, 1.4), (3, 0.6), (4, -0.4), (6, -2.0)])

    async def test_recommend_by_the_best_score(self) -> None:
        query = self.recommend(models.RecommendStrategy.BEST_SCORE)
        await self.check(query, [(2, 0.72222), (6, -0.5), (3, -0.6875), (4, -0.72222)])

    async def test_recommend_by_the_sum_of_scores(self) -> None:
        query = self.recommend(models.RecommendStrategy.SUM_SCORES)
        await self.check(query, [(2, 0.6), (3, 0.0), (4, -0.6), (6, -1.0)])

    async def test_discover_ranks_by_context_and_then_by_target(self) -> None:
        context = models.ContextPair(positive=5, negative=1)
        query = models.DiscoverQuery(
            discover=models.DiscoverInput(target=[1.0, 0.0], context=[context])
        )
        await self.check(query, [(4, 1.58333), (6, 1.25), (3, 0.6875), (2, -0.27778)])

    async def test_context_alone_counts_losses(self) -> None:
        context = models.ContextPair(positive=5, negative=1)
        found = await self.found(models.ContextQuery(context=context))
        self.assertEqual({one for one, _ in found[:2]}, {4, 6})
        self.assertEqual([one for one, _ in found[2:]], [3, 2])
        self.near([score for _, score in found], [0.0, 0.0, 0.0, -0.375])

    async def test_relevance_feedback_moves_towards_what_was_liked(self) -> None:
        def query(weight: float) -> models.RelevanceFeedbackQuery:
            return models.RelevanceFeedbackQuery(
                relevance_feedback=models.RelevanceFeedbackInput(
                    target=[1.0, 0.0],
                    feedback=[
                        models.FeedbackItem(example=5, score=0.9),
                        models.FeedbackItem(example=1, score=0.1),
                    ],
                    strategy=models.NaiveFeedbackStrategy(
                        naive=models.NaiveFeedbackStrategyParams(a=1.0, b=1.0, c=weight)
                    ),
                )
            )

        await self.check(query(0.0), [(2, 0.8), (3, 0.6), (4, 0.2), (6, -1.0)])
        await self.check(query(1.0), [(4, 0.68), (3, 0.6), (2, 0.32), (6, -0.2)])

    async def test_examples_are_looked_up_in_another_collection(self) -> None:
        other = f"{self.name}_other"
        await self.client.create_collection(
            other,
            vectors_config={"v": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        )
        point = models.PointStruct(id=1, vector={"v": [0.0, 1.0]})
        await self.client.upsert(other, points=[point])
        lookup = models.LookupLocation(collection=other, vector="v")
        found = await self.found(1, lookup_from=lookup, limit=3)
        # Number 1 is an example there, and a point like any other here.
        self.assertEqual([one for one, _ in found], [5, 4, 3])
        await self.client.delete_collection(other)


class Combined(Points):
    PREFETCH = [
        models.Prefetch(query=[1.0, 0.0], limit=3),
        models.Prefetch(query=[0.0, 1.0], limit=3),
    ]

    async def scores(self, query: Any, **options: Any) -> dict[int, float]:
        options = {"prefetch": self.PREFETCH, **options}
        return dict(await self.found(query, **options))

    def same(self, found: dict[int, float], wanted: dict[int, float]) -> None:
        self.assertEqual(set(found), set(wanted))
        for one, score in wanted.items():
            self.assertAlmostEqual(found[one], score, places=4)

    async def test_reciprocal_ranks_are_added_up(self) -> None:
        found = await self.scores(models.FusionQuery(fusion=models.Fusion.RRF))
        self.same(found, {1: 1 / 2, 2: 1 / 3, 3: 1 / 2, 4: 1 / 3, 5: 1 / 2})
        found = await self.scores(models.RrfQuery(rrf=models.Rrf(k=60)))
        self.same(found, {1: 1 / 60, 2: 1 / 61, 3: 2 / 62, 4: 1 / 61, 5: 1 / 60})
        found = await self.scores(models.RrfQuery(rrf=models.Rrf(weights=[3.0, 1.0])))
        self.assertGreater(found[1], found[5])

    async def test_distributions_are_added_up(self) -> None:
        found = await self.scores(models.FusionQuery(fusion=models.Fusion.DBSF))
        self.same(found, {1: 2 / 3, 2: 0.5, 3: 2 / 3, 4: 0.5, 5: 2 / 3})

    async def test_prefetches_nest(self) -> None:
        inner = models.Prefetch(query=[0.0, 1.0], limit=3)
        middle = models.Prefetch(query=[1.0, 0.0], limit=2, prefetch=[inner])
        # Of 5, 4 and 3, the two that lie most to the right; of these, the higher one.
        await self.check([0.0, 1.0], [(4, 0.8)], prefetch=middle, limit=1)

    async def test_a_prefetch_has_its_own_filter_and_threshold(self) -> None:
        prefetch = models.Prefetch(
            query=[1.0, 0.0], filter=match("kind", "b"), score_threshold=0.1, limit=5
        )
        await self.check([0.0, 1.0], [(4, 0.8), (3, 0.6)], prefetch=prefetch)

    async def test_a_formula_rescores(self) -> None:
        prefetch = models.Prefetch(query=[1.0, 0.0], limit=6)
        kind = models.FieldCondition(key="kind", match=models.MatchValue(value="b"))
        boosted = models.SumExpression(sum=["$score", models.MultExpression(mult=[10.0, kind])])
        await self.check(
            models.FormulaQuery(formula=boosted),
            [(3, 10.6), (4, 10.2), (5, 10.0), (1, 1.0), (2, 0.8), (6, -1.0)],
            prefetch=prefetch,
        )
        weighed = models.MultExpression(mult=["$score", "weight"])
        await self.check(
            models.FormulaQuery(formula=weighed, defaults={"weight": 3.0}),
            [(1, 3.0), (2, 2.4)],
            prefetch=prefetch,
            limit=2,
        )
        await self.client.create_payload_index(self.name, "n", models.PayloadSchemaType.INTEGER)
        near = models.ExpDecayExpression(
            exp_decay=models.DecayParamsExpression(x="n", target=3.0, scale=1.0, midpoint=0.5)
        )
        found = await self.scores(models.FormulaQuery(formula=near), prefetch=prefetch)
        self.same(found, {1: 0.25, 2: 0.5, 3: 1.0, 4: 0.5, 5: 0.25, 6: 0.125})


class Texts(Tour):
    async def test_the_server_computes_bm25(self) -> None:
        """Documents are sent as they are; what they become is the server's to say."""
        client = self.connect(cloud_inference=True)
        self.addAsyncCleanup(client.close)
        await client.create_collection(
            self.name,
            vectors_config={},
            sparse_vectors_config={
                "bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)
            },
        )
        texts = ["The quick brown fox", "Lazy dogs sleep all day", "A fox and two dogs met"]

        def document(text: str) -> models.Document:
            return models.Document(text=text, model="Qdrant/bm25")

        points = [
            models.PointStruct(id=number, vector={"bm25": document(text)})
            for number, text in enumerate(texts, 1)
        ]
        self.completed(await client.upsert(self.name, points=points))
        found = await client.query_points(self.name, query=document("dog"), using="bm25")
        self.assertEqual(sorted(ids(found.points)), [2, 3])
        found = await client.query_points(self.name, query=document("brown foxes"), using="bm25")
        self.assertEqual(ids(found.points), [1, 3])
        self.assertGreater(found.points[0].score, found.points[1].score)


class Together(Points):
    """Several queries in one call, groups, and distances between points."""

    async def test_a_batch_answers_in_order(self) -> None:
        responses = await self.client.query_batch_points(
            self.name,
            requests=[
                models.QueryRequest(query=[1.0, 0.0], limit=2, with_payload=True),
                models.QueryRequest(query=5, limit=1),
                models.QueryRequest(
                    query=models.FusionQuery(fusion=models.Fusion.RRF),
                    prefetch=Combined.PREFETCH,
                    filter=match("kind", "b"),
                    limit=10,
                ),
            ],
        )
        found = [ids(response.points) for response in responses]
        self.assertEqual(found[:2], [[1, 2], [4]])
        self.assertEqual(set(found[2]), {3, 4, 5})
        self.assertEqual(responses[0].points[0].payload, payload(1))
        self.assertIsNone(responses[1].points[0].payload)

    async def test_groups_hold_the_best_of_each_value(self) -> None:
        response = await self.client.query_points_groups(
            self.name, group_by="kind", query=[1.0, 0.0], limit=2, group_size=2
        )
        found = [(group.id, ids(group.hits)) for group in response.groups]
        self.assertEqual(found, [("a", [1, 2]), ("b", [3, 4])])
        self.near([hit.score for hit in response.groups[1].hits], [0.6, 0.2])

    async def test_groups_are_joined_with_another_collection(self) -> None:
        other = f"{self.name}_other"
        await self.client.create_collection(other, vectors_config={})
        points = [
            models.PointStruct(id=number, vector={}, payload={"title": f"doc {number}", "x": 1})
            for number in (100, 200)
        ]
        await self.client.upsert(other, points=points)
        response = await self.client.query_points_groups(
            self.name,
            group_by="doc",
            query=[1.0, 0.0],
            limit=5,
            group_size=2,
            with_lookup=models.WithLookup(collection=other, with_payload=["title"]),
        )
        found = [
            (group.id, ids(group.hits), group.lookup.id, group.lookup.payload)
            for group in response.groups
        ]
        wanted = [
            (100, [1, 2], 100, {"title": "doc 100"}),
            (200, [4, 5], 200, {"title": "doc 200"}),
        ]
        self.assertEqual(found, wanted)
        await self.client.delete_collection(other)

    async def test_a_matrix_has_the_distances_between_points(self) -> None:
        def dot(a: int, b: int) -> float:
            return sum(x * y for x, y in zip(VECTORS[a], VECTORS[b]))

        pairs = (await self.client.search_matrix_pairs(self.name, limit=2, sample=10)).pairs
        self.assertEqual(len(pairs), 12)
        for pair in pairs:
            self.assertNotEqual(pair.a, pair.b)
            self.near(pair.score, dot(pair.a, pair.b))
        self.assertEqual({pair.b for pair in pairs if pair.a == 2}, {1, 3})

        matrix = await self.client.search_matrix_offsets(
            self.name, query_filter=match("kind", "b"), limit=2, sample=10
        )
        self.assertEqual(matrix.ids, [3, 4, 5])
        entries = list(zip(matrix.offsets_row, matrix.offsets_col, matrix.scores))
        self.assertEqual(len(entries), 6)
        for row, column, score in entries:
            self.near(score, dot(matrix.ids[row], matrix.ids[column]))
