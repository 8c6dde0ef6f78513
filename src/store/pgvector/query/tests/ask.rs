//! Questions of every kind.

use ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, ContextPair, ContextQuery, CountRequest, Direction, DiscoverQuery, FacetRequest,
    FeedbackItem, FeedbackNaiveQuery, Filter, Formula, Fusion, HasIdCondition, Mmr,
    NaiveFeedbackStrategy, NamedQuery, OrderBy, OrderByInterface, PointId, Prefetch, QueryEnum,
    QueryRequest, RecommendQuery, Sample, ScoringQuery, ScrollRequest, SearchParams, StartFrom,
    VectorInternal, WithPayloadInterface, WithVector,
};
use serde_json::json;

use super::world::{DENSE, Dice, SPARSE, World, dense, rows, sparse};

pub(super) struct Asker {
    dice: Dice,
    ids: Vec<PointId>,
}

impl Asker {
    pub(super) fn new(dice: Dice, world: &World) -> Self {
        Self {
            dice,
            ids: world.ids.clone(),
        }
    }

    pub(super) fn request(mut self) -> (String, QueryRequest) {
        let kinds = [
            "nearest", "nearest", "nearest", "best", "sum", "discover", "context", "feedback",
            "order_by", "sample", "ids", "rrf", "dbsf", "formula", "mmr", "rescore", "deep", "odd",
        ];
        let kind = *self.dice.pick(&kinds);
        let limit = [1, 3, 10, 10, 40, 1000][self.dice.below(6)];
        let mut request = QueryRequest {
            prefetches: vec![],
            query: None,
            filter: self.filter(),
            score_threshold: None,
            limit,
            offset: [0, 0, 0, 2, 7][self.dice.below(5)],
            params: self.dice.chance(20).then(|| SearchParams {
                exact: true,
                ..SearchParams::default()
            }),
            with_vector: match self.dice.below(4) {
                0 => WithVector::Bool(true),
                1 => WithVector::Selector(vec!["cos".to_owned(), "words".to_owned()]),
                2 => WithVector::Selector(vec![String::new()]),
                _ => WithVector::Bool(false),
            },
            with_payload: match self.dice.below(3) {
                0 => WithPayloadInterface::Fields(vec!["n".parse().unwrap()]),
                1 => WithPayloadInterface::Bool(false),
                _ => WithPayloadInterface::Bool(true),
            },
        };
        let mut name = kind.to_owned();
        match kind {
            "ids" => {}
            "order_by" => request.query = Some(ScoringQuery::OrderBy(self.order())),
            "sample" => request.query = Some(ScoringQuery::Sample(Sample::Random)),
            "rrf" | "dbsf" => {
                let count = 1 + self.dice.below(3);
                request.prefetches = (0..count).map(|_| self.prefetch(0)).collect();
                request.query = Some(self.fusion(kind, count));
                if self.dice.chance(20) {
                    request.score_threshold = Some(OrderedFloat(self.dice.float().abs() * 0.5));
                }
            }
            "formula" => {
                let count = 1 + self.dice.below(2);
                request.prefetches = (0..count).map(|_| self.prefetch(0)).collect();
                request.query = Some(self.formula());
            }
            "mmr" => {
                if self.dice.chance(40) {
                    request.prefetches = vec![self.prefetch(0)];
                }
                request.query = Some(self.mmr());
            }
            "rescore" => {
                let count = 1 + self.dice.below(2);
                request.prefetches = (0..count).map(|_| self.prefetch(0)).collect();
                let kind = self.vector_kind();
                request.query = Some(ScoringQuery::Vector(self.vector(kind)));
            }
            "deep" => {
                request.prefetches = vec![self.prefetch(2), self.prefetch(1)];
                request.query = Some(self.fusion("rrf", 2));
            }
            "odd" => {
                let (odd, label) = self.odd();
                request.query = odd;
                name = format!("odd {label}");
                if label == "alone" {
                    request.prefetches = vec![self.prefetch(0)];
                }
            }
            vector => {
                let query = self.vector(vector);
                name = format!("{kind} {}", query.get_vector_name());
                request.query = Some(ScoringQuery::Vector(query));
                if self.dice.chance(20) {
                    request.score_threshold = Some(OrderedFloat(self.dice.float()));
                }
            }
        }
        (name, request)
    }

    pub(super) fn scroll(&mut self) -> ScrollRequest {
        let order = self.dice.chance(40).then(|| self.order());
        ScrollRequest {
            offset: (order.is_none() && self.dice.chance(50)).then(|| *self.dice.pick(&self.ids)),
            limit: [None, Some(1), Some(7), Some(500)][self.dice.below(4)],
            filter: self.filter(),
            with_payload: self
                .dice
                .chance(50)
                .then_some(WithPayloadInterface::Bool(false)),
            with_vector: WithVector::Bool(self.dice.chance(50)),
            order_by: order.map(OrderByInterface::Struct),
        }
    }

    pub(super) fn facet(&mut self) -> FacetRequest {
        let key = *self.dice.pick(&["k", "n", "u", "b", "deep.n", "f", "nope"]);
        FacetRequest {
            key: key.parse().unwrap(),
            limit: [1, 3, 100][self.dice.below(3)],
            filter: self.filter(),
            exact: self.dice.chance(50),
        }
    }

    pub(super) fn count(&mut self) -> CountRequest {
        CountRequest {
            filter: self.filter(),
            exact: true,
        }
    }

    fn filter(&mut self) -> Option<Filter> {
        if self.dice.chance(60) {
            return None;
        }
        let count = self.dice.below(60);
        let ids = (0..count).map(|_| *self.dice.pick(&self.ids));
        let ids: HasIdCondition = ids.collect();
        let condition = Condition::HasId(ids);
        Some(if self.dice.chance(50) {
            Filter::new_must(condition)
        } else {
            Filter::new_must_not(condition)
        })
    }

    fn vector_kind(&mut self) -> &'static str {
        let kinds = ["nearest", "nearest", "best", "sum", "discover", "feedback"];
        kinds[self.dice.below(kinds.len())]
    }

    fn name(&mut self) -> (&'static str, usize) {
        let at = self.dice.below(DENSE.len() + SPARSE.len());
        match DENSE.get(at) {
            Some(dense) => (dense.0, at),
            None => (SPARSE[at - DENSE.len()].0, at),
        }
    }

    fn example(&mut self, at: usize) -> VectorInternal {
        let Some((_, size, _, datatype, is_multi)) = DENSE.get(at) else {
            return sparse(&mut self.dice);
        };
        if *is_multi && self.dice.chance(80) {
            return rows(&mut self.dice, *size);
        }
        VectorInternal::Dense(dense(&mut self.dice, *size, datatype))
    }

    fn examples(&mut self, at: usize, least: usize) -> Vec<VectorInternal> {
        let count = least + self.dice.below(3);
        (0..count).map(|_| self.example(at)).collect()
    }

    fn pairs(&mut self, at: usize) -> Vec<ContextPair<VectorInternal>> {
        let count = self.dice.below(4);
        let pairs = (0..count).map(|_| ContextPair {
            positive: self.example(at),
            negative: self.example(at),
        });
        pairs.collect()
    }

    fn vector(&mut self, kind: &str) -> QueryEnum {
        let (name, at) = self.name();
        match kind {
            "best" | "sum" => {
                let query = RecommendQuery::new(self.examples(at, 1), self.examples(at, 0));
                if kind == "best" {
                    QueryEnum::RecommendBestScore(NamedQuery::new(query, name))
                } else {
                    QueryEnum::RecommendSumScores(NamedQuery::new(query, name))
                }
            }
            "discover" => {
                let query = DiscoverQuery::new(self.example(at), self.pairs(at));
                QueryEnum::Discover(NamedQuery::new(query, name))
            }
            "context" => {
                QueryEnum::Context(NamedQuery::new(ContextQuery::new(self.pairs(at)), name))
            }
            "feedback" => {
                let count = self.dice.below(4);
                let feedback = (0..count).map(|_| FeedbackItem {
                    vector: self.example(at),
                    score: OrderedFloat(self.dice.float()),
                });
                let query = FeedbackNaiveQuery {
                    feedback: feedback.collect(),
                    target: self.example(at),
                    coefficients: NaiveFeedbackStrategy {
                        a: OrderedFloat(1.0),
                        b: OrderedFloat(0.7),
                        c: OrderedFloat(self.dice.float()),
                    },
                };
                QueryEnum::FeedbackNaive(NamedQuery::new(query, name))
            }
            _ => QueryEnum::Nearest(NamedQuery::new(self.example(at), name)),
        }
    }

    fn order(&mut self) -> OrderBy {
        let key = *self.dice.pick(&["n", "f", "t", "deep.n", "k", "nope"]);
        OrderBy {
            key: key.parse().unwrap(),
            direction: match self.dice.below(3) {
                0 => None,
                1 => Some(Direction::Asc),
                _ => Some(Direction::Desc),
            },
            start_from: self.dice.chance(30).then(|| match key {
                "t" => StartFrom::Datetime("2012-03-04T05:06:07Z".parse().unwrap()),
                "f" => StartFrom::Float(12.5),
                _ => StartFrom::Integer(3),
            }),
        }
    }

    fn fusion(&mut self, kind: &str, count: usize) -> ScoringQuery {
        ScoringQuery::Fusion(if kind == "dbsf" {
            Fusion::Dbsf
        } else {
            Fusion::Rrf {
                k: 1 + self.dice.below(60),
                weights: self.dice.chance(40).then(|| {
                    let count = if self.dice.chance(10) {
                        count + 1
                    } else {
                        count
                    };
                    let weights = (0..count).map(|_| OrderedFloat(self.dice.float().abs() * 3.0));
                    weights.collect()
                }),
            }
        })
    }

    fn mmr(&mut self) -> ScoringQuery {
        let at = self.dice.below(DENSE.len());
        ScoringQuery::Mmr(Mmr {
            vector: self.example(at),
            using: DENSE[at].0.to_owned(),
            lambda: OrderedFloat(self.dice.float().abs()),
            candidates_limit: [1, 5, 50][self.dice.below(3)],
        })
    }

    fn formula(&mut self) -> ScoringQuery {
        let all = [
            json!("$score"),
            json!({"sum": ["$score", {"mult": [0.5, "n"]}]}),
            json!({"sum": ["$score[1]", "f"]}),
            json!({"abs": "f"}),
            json!({"div": {"left": "n", "right": "free", "by_zero_default": 3.0}}),
            json!({"div": {"left": "n", "right": {"sum": ["$score", 0.0]}}}),
            json!({"sqrt": {"abs": "n"}}),
            json!({"pow": {"base": "$score", "exponent": 2.0}}),
            json!({"exp": {"neg": "$score"}}),
            json!({"ln": "n"}),
            json!({"log10": {"sum": [200.0, "f"]}}),
            json!({"geo_distance": {"origin": {"lon": 10.0, "lat": 50.0}, "to": "geo"}}),
            json!({"gauss_decay": {"x": "f", "target": 10.0, "scale": 30.0}}),
            json!({"exp_decay": {
                "x": {"datetime_key": "t"}, "target": {"datetime": "2015-01-01T00:00:00Z"},
                "scale": 86_400_000.0, "midpoint": 0.3
            }}),
            json!({"lin_decay": {
                "x": {"geo_distance": {"origin": {"lon": 0.0, "lat": 0.0}, "to": "geo"}},
                "scale": 5_000_000.0
            }}),
            json!({"sum": [{"has_id": [self.ids[0], self.ids[1], self.ids[2]]}, "$score"]}),
            json!("deep.n"),
            json!("free"),
        ];
        let expression = self.dice.pick(&all).clone();
        let defaults = if self.dice.chance(80) {
            json!({
                "n": 7, "f": 1.5, "t": "2020-01-01T00:00:00Z", "deep.n": 2, "free": 9,
                "geo": {"lon": 1.0, "lat": 2.0}, "$score[1]": 0.25
            })
        } else {
            json!({})
        };
        let query = json!({"formula": expression, "defaults": defaults});
        let query: crate::wire::rest::query::FormulaQuery = serde_json::from_value(query).unwrap();
        let formula: Formula = query.formula();
        ScoringQuery::Formula(formula.try_into().unwrap())
    }

    fn odd(&mut self) -> (Option<ScoringQuery>, &'static str) {
        let named = |vector, name: &str| {
            let query = QueryEnum::Nearest(NamedQuery::new(vector, name));
            Some(ScoringQuery::Vector(query))
        };
        match self.dice.below(8) {
            0 => (named(VectorInternal::Dense(vec![1.0]), "cos"), "size"),
            1 => (named(VectorInternal::Dense(vec![1.0]), "nope"), "name"),
            2 => (named(VectorInternal::Dense(vec![1.0]), "words"), "dense"),
            3 => (named(sparse(&mut self.dice), "cos"), "sparse"),
            4 => (named(rows(&mut self.dice, 20), "euc"), "multi"),
            5 => (Some(self.fusion("dbsf", 0)), "fusion"),
            6 => (Some(self.formula()), "formula"),
            _ => (None, "alone"),
        }
    }

    fn prefetch(&mut self, depth: usize) -> Prefetch {
        let mut prefetch = Prefetch {
            prefetches: vec![],
            query: None,
            limit: [2, 5, 20, 200][self.dice.below(4)],
            params: None,
            filter: self.filter(),
            score_threshold: None,
        };
        if depth > 0 {
            let count = 1 + self.dice.below(2);
            prefetch.prefetches = (0..count).map(|_| self.prefetch(depth - 1)).collect();
            prefetch.query = Some(match self.dice.below(4) {
                0 => self.fusion("dbsf", count),
                1 => self.mmr(),
                _ => {
                    let kind = self.vector_kind();
                    ScoringQuery::Vector(self.vector(kind))
                }
            });
            return prefetch;
        }
        prefetch.query = match self.dice.below(10) {
            0 => None,
            1 => Some(ScoringQuery::OrderBy(OrderBy {
                key: "f".parse().unwrap(),
                direction: Some(Direction::Desc),
                start_from: None,
            })),
            2 => Some(self.mmr()),
            _ => {
                let kind = self.vector_kind();
                Some(ScoringQuery::Vector(self.vector(kind)))
            }
        };
        prefetch
    }
}
