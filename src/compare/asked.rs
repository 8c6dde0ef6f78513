//! What was asked for, as far as it bears on comparing the answers: how many, in which order, and
//! whether the store may guess.
//!
//! Read from the body of the request, and read generously: what cannot be understood is asked for
//! as by default, for both stores refuse it anyway.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::model::Operation;

/// Qdrant's defaults.
const LIMIT: usize = 10;
const GROUP_SIZE: usize = 3;

/// By what the rows of an answer are ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// By likeness: what an approximate index finds.
    Ranked,
    /// By a value of the payload, without an index that guesses.
    ByValue,
    /// By id, likewise.
    ById,
    /// As the ids were given.
    AsGiven,
    /// At random, so that two answers have nothing to do with each other.
    Random,
}

/// One question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    pub order: Order,
    /// How many rows, or groups, are wanted; `None` if all are.
    pub limit: Option<usize>,
    /// How many rows of each group.
    pub group_size: usize,
    /// How many ranked rows are left out first.
    pub offset: usize,
    /// The store was told not to guess, or has nothing to guess.
    pub exact: bool,
    pub filtered: bool,
}

impl Asked {
    /// What nothing is known of.
    pub(super) const DEFAULT: Self = Self {
        order: Order::Ranked,
        limit: Some(LIMIT),
        group_size: GROUP_SIZE,
        offset: 0,
        exact: false,
        filtered: false,
    };
}

/// What one call asks: one question, or as many as the batch has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Questions {
    pub(super) operation: Operation,
    pub(super) each: Vec<Asked>,
}

impl Questions {
    /// `None` for calls whose answers are not compared: what is no read of points, and the
    /// distance matrices, which are of a random sample.
    pub fn read(operation: Operation, body: &[u8]) -> Option<Self> {
        let kind = Kind::of(operation)?;
        let one = |body: &RawValue| {
            let body = serde_json::from_str(body.get()).unwrap_or_default();
            kind.asked(&body)
        };
        let each = if kind.is_batch() {
            let batch: Option<Batch<'_>> = serde_json::from_slice(body).ok();
            let searches = batch.map(|batch| batch.searches).unwrap_or_default();
            searches.into_iter().map(one).collect()
        } else {
            vec![serde_json::from_slice(body).map_or_else(|_| kind.asked(&Body::default()), one)]
        };
        Some(Self { operation, each })
    }

    pub fn operation(&self) -> Operation {
        self.operation
    }

    pub fn each(&self) -> &[Asked] {
        &self.each
    }
}

/// The kinds of body that calls have.
#[derive(Clone, Copy)]
enum Kind {
    Ids,
    Scroll,
    Number,
    Facet,
    Search,
    Searches,
    SearchGroups,
    Query,
    Queries,
    QueryGroups,
}

impl Kind {
    fn of(operation: Operation) -> Option<Self> {
        let kinds = [
            (Operation::GetPoint, Self::Ids),
            (Operation::GetPoints, Self::Ids),
            (Operation::ScrollPoints, Self::Scroll),
            (Operation::CountPoints, Self::Number),
            (Operation::Facet, Self::Facet),
            (Operation::SearchPoints, Self::Search),
            (Operation::RecommendPoints, Self::Search),
            (Operation::DiscoverPoints, Self::Search),
            (Operation::SearchBatch, Self::Searches),
            (Operation::RecommendBatch, Self::Searches),
            (Operation::DiscoverBatch, Self::Searches),
            (Operation::SearchGroups, Self::SearchGroups),
            (Operation::RecommendGroups, Self::SearchGroups),
            (Operation::QueryPoints, Self::Query),
            (Operation::QueryBatch, Self::Queries),
            (Operation::QueryGroups, Self::QueryGroups),
        ];
        let mut kinds = kinds.into_iter();
        kinds.find(|row| row.0 == operation).map(|row| row.1)
    }

    fn is_batch(self) -> bool {
        matches!(self, Self::Searches | Self::Queries)
    }

    fn asked(self, body: &Body<'_>) -> Asked {
        let exact = body.params.as_ref().and_then(|params| params.exact);
        let asked = Asked {
            order: Order::Ranked,
            limit: Some(body.limit.unwrap_or(LIMIT)),
            group_size: body.group_size.unwrap_or(GROUP_SIZE),
            offset: number(body.offset),
            exact: exact.unwrap_or(false),
            filtered: body.filter.is_some(),
        };
        let certain = Asked {
            offset: 0,
            exact: true,
            ..asked
        };
        match self {
            Self::Ids => Asked {
                order: Order::AsGiven,
                limit: None,
                ..certain
            },
            Self::Scroll => Asked {
                order: if body.order_by.is_some() {
                    Order::ByValue
                } else {
                    Order::ById
                },
                ..certain
            },
            Self::Number => Asked {
                order: Order::AsGiven,
                limit: None,
                exact: body.exact.unwrap_or(true),
                ..certain
            },
            Self::Facet => Asked {
                order: Order::ByValue,
                exact: body.exact.unwrap_or(false),
                ..certain
            },
            Self::Search | Self::Searches => asked,
            Self::SearchGroups => Asked { offset: 0, ..asked },
            Self::Query | Self::Queries => match ordered(body) {
                Order::Ranked => asked,
                order @ (Order::ByValue | Order::ById | Order::AsGiven | Order::Random) => Asked {
                    order,
                    exact: true,
                    ..asked
                },
            },
            Self::QueryGroups => Asked {
                order: ordered(body),
                offset: 0,
                ..asked
            },
        }
    }
}

/// By what a universal query orders its points.
fn ordered(body: &Body<'_>) -> Order {
    if body.prefetch.is_some_and(|prefetch| samples(prefetch, 0)) {
        return Order::Random;
    }
    let ranked_before = body.prefetch.is_some_and(|prefetch| prefetch.get() != "[]");
    match body.query.map(kind_of_query) {
        Some(order) => order,
        // Without a query the points come by id, be they all or those of the prefetch.
        None if ranked_before => Order::Ranked,
        None => Order::ById,
    }
}

fn kind_of_query(query: &RawValue) -> Order {
    if !query.get().starts_with('{') {
        return Order::Ranked;
    }
    let named: Named = serde_json::from_str(query.get()).unwrap_or_default();
    if named.sample.is_some() {
        Order::Random
    } else if named.order_by.is_some() {
        Order::ByValue
    } else {
        Order::Ranked
    }
}

/// So deep prefetches are looked into; the stores refuse them sooner.
const DEPTH_MAX: usize = 64;

/// Whether a prefetch takes a random sample, at whatever depth.
fn samples(prefetch: &RawValue, depth: usize) -> bool {
    let text = prefetch.get();
    let one = |body: Body<'_>| {
        let random = body
            .query
            .is_some_and(|query| kind_of_query(query) == Order::Random);
        random || body.prefetch.is_some_and(|next| samples(next, depth + 1))
    };
    if depth >= DEPTH_MAX {
        false
    } else if text.starts_with('[') {
        let each: Vec<Body<'_>> = serde_json::from_str(text).unwrap_or_default();
        each.into_iter().any(one)
    } else {
        serde_json::from_str(text).is_ok_and(one)
    }
}

/// The number of rows to leave out; the offset of a scroll is an id.
fn number(offset: Option<&RawValue>) -> usize {
    offset
        .and_then(|offset| offset.get().parse().ok())
        .unwrap_or(0)
}

#[derive(Deserialize)]
struct Batch<'b> {
    #[serde(borrow)]
    searches: Vec<&'b RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'b"))]
struct Body<'b> {
    #[serde(default, alias = "top")]
    limit: Option<usize>,
    #[serde(default)]
    group_size: Option<usize>,
    #[serde(default, borrow)]
    offset: Option<&'b RawValue>,
    #[serde(default)]
    filter: Option<IgnoredAny>,
    #[serde(default)]
    params: Option<Params>,
    #[serde(default)]
    exact: Option<bool>,
    #[serde(default)]
    order_by: Option<IgnoredAny>,
    #[serde(default, borrow)]
    query: Option<&'b RawValue>,
    #[serde(default, borrow)]
    prefetch: Option<&'b RawValue>,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    exact: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    sample: Option<IgnoredAny>,
    #[serde(default)]
    order_by: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: Operation, body: &str) -> Asked {
        let questions = Questions::read(operation, body.as_bytes()).unwrap();
        assert_eq!(questions.each().len(), 1, "{body}");
        *questions.each().first().unwrap()
    }

    fn order(body: &str) -> Order {
        asked(Operation::QueryPoints, body).order
    }

    #[test]
    fn every_read_of_points_is_compared_but_random_ones() {
        use crate::model::Class;
        for operation in Operation::ALL {
            let compared = matches!(operation.class(), Class::PointRead | Class::SearchRead);
            let read = Questions::read(operation, b"{}");
            assert_eq!(read.is_some(), compared, "{operation}");
        }
    }

    #[test]
    fn a_query_is_ordered_by_what_it_names() {
        assert_eq!(order(r#"{"query":[0.1,0.2]}"#), Order::Ranked);
        assert_eq!(order(r#"{"query":{"nearest":7}}"#), Order::Ranked);
        assert_eq!(
            order(r#"{"query":"7d1b0ca2-0000-4000-8000-000000000000"}"#),
            Order::Ranked
        );
        assert_eq!(order(r#"{"query":{"order_by":"n"}}"#), Order::ByValue);
        assert_eq!(order(r#"{"query":{"sample":"random"}}"#), Order::Random);
        assert_eq!(order(r#"{"query":null,"limit":5}"#), Order::ById);
        assert_eq!(order("{}"), Order::ById);
        assert_eq!(order(r#"{"prefetch":[]}"#), Order::ById);
        let fused = r#"{"prefetch":[{"query":[1]},{"query":{"sample":"random"}}],"query":{"fusion":"rrf"}}"#;
        assert_eq!(order(fused), Order::Random);
        let deep =
            r#"{"prefetch":{"prefetch":{"query":{"sample":"random"}},"query":[1]},"query":[2]}"#;
        assert_eq!(order(deep), Order::Random);
        let plain = r#"{"prefetch":{"query":[1]},"query":{"fusion":"rrf"}}"#;
        assert_eq!(order(plain), Order::Ranked);
    }

    #[test]
    fn limits_are_those_given_or_those_of_qdrant() {
        let query = asked(
            Operation::QueryPoints,
            r#"{"query":[1],"limit":7,"offset":3}"#,
        );
        assert_eq!((query.limit, query.offset), (Some(7), 3));
        assert!(!query.exact && !query.filtered);
        let search = asked(
            Operation::SearchPoints,
            r#"{"vector":[1],"top":4,"params":{"exact":true},"filter":{}}"#,
        );
        assert_eq!(search.limit, Some(4));
        assert!(search.exact && search.filtered);
        let groups = asked(Operation::QueryGroups, r#"{"query":[1],"group_by":"a"}"#);
        assert_eq!((groups.limit, groups.group_size), (Some(10), 3));
        let scroll = asked(Operation::ScrollPoints, r#"{"offset":40}"#);
        assert_eq!((scroll.limit, scroll.offset), (Some(10), 0));
        assert_eq!((scroll.order, scroll.exact), (Order::ById, true));
        let by = asked(Operation::ScrollPoints, r#"{"order_by":{"key":"n"}}"#);
        assert_eq!(by.order, Order::ByValue);
        assert_eq!(asked(Operation::GetPoint, "").limit, None);
        assert!(asked(Operation::CountPoints, "{}").exact);
        assert!(!asked(Operation::CountPoints, r#"{"exact":false}"#).exact);
        assert!(!asked(Operation::Facet, r#"{"key":"a"}"#).exact);
    }

    #[test]
    fn a_batch_asks_as_often_as_it_has_members() {
        let body = br#"{"searches":[{"query":[1],"limit":2},{"query":{"sample":"random"}}]}"#;
        let batch = Questions::read(Operation::QueryBatch, body).unwrap();
        let told: Vec<_> = batch
            .each()
            .iter()
            .map(|asked| (asked.order, asked.limit))
            .collect();
        assert_eq!(told, [(Order::Ranked, Some(2)), (Order::Random, Some(10))]);
        let none = Questions::read(Operation::SearchBatch, b"no JSON").unwrap();
        assert_eq!(none.each(), []);
    }

    #[test]
    fn prefetches_past_any_depth_do_not_overflow() {
        let deep = format!("{}{{}}{}", "{\"prefetch\":".repeat(9000), "}".repeat(9000));
        assert_eq!(order(&deep), Order::Ranked);
    }
}
