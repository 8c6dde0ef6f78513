//! Groups as they fill.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use qdrant_edge::{JsonPath, PointId, ScoredPoint};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// What the points of a group have in common.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum GroupKey {
    Text(String),
    Unsigned(u64),
    Signed(i64),
}

impl GroupKey {
    fn of(value: &Value) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return Some(Self::Text(text.to_owned()));
        }
        let unsigned = value.as_u64().map(Self::Unsigned);
        unsigned.or_else(|| value.as_i64().map(Self::Signed))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unsigned(_) | Self::Signed(_) => None,
        }
    }

    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Text(_) => None,
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Signed(number) => Some(*number),
        }
    }

    /// The id of a point that the key is, or would be.
    pub(super) fn id(&self) -> Option<PointId> {
        match self {
            Self::Text(text) => Uuid::parse_str(text).ok().map(PointId::Uuid),
            Self::Unsigned(number) => Some(PointId::NumId(*number)),
            Self::Signed(_) => None,
        }
    }
}

impl From<PointId> for GroupKey {
    fn from(id: PointId) -> Self {
        match id {
            PointId::NumId(number) => Self::Unsigned(number),
            PointId::Uuid(uuid) => Self::Text(uuid.to_string()),
        }
    }
}

/// Which of two hits is the better one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    LargeFirst,
    SmallFirst,
    /// Points have no rank but that of their coming.
    AsFound,
}

impl Order {
    fn compare(self, one: &ScoredPoint, other: &ScoredPoint) -> Ordering {
        match self {
            // By the value that points are ordered by, or else by score.
            Self::LargeFirst => other.cmp(one),
            Self::SmallFirst => one.cmp(other),
            Self::AsFound => Ordering::Equal,
        }
    }
}

/// A group, best hit first.
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) hits: Vec<ScoredPoint>,
}

/// The groups that were found so far. Nothing is set aside for what may yet be found.
pub(super) struct Groups {
    limit: usize,
    size: usize,
    order: Order,
    /// In the order in which they were found, as are the hits in them.
    groups: Vec<Group>,
    places: HashMap<GroupKey, usize>,
    seen: HashSet<PointId>,
}

impl Groups {
    pub(super) fn new(limit: usize, size: usize, order: Order) -> Self {
        Self {
            limit,
            size,
            order,
            groups: vec![],
            places: HashMap::new(),
            seen: HashSet::new(),
        }
    }

    /// Puts a point into the groups of all its values. A point that has a value which is no key is
    /// in no group.
    pub(super) fn add(&mut self, point: ScoredPoint, by: &JsonPath) {
        let Some(keys) = keys(&point, by) else {
            return;
        };
        let is_new = !self.seen.contains(&point.id);
        for key in keys {
            let new = self.groups.len();
            let at = *self.places.entry(key.clone()).or_insert(new);
            if at == new {
                self.groups.push(Group { key, hits: vec![] });
            }
            let Some(group) = self.groups.get_mut(at) else {
                continue;
            };
            let mut hits = group.hits.iter_mut();
            let known = if is_new {
                None
            } else {
                hits.find(|hit| hit.id == point.id)
            };
            match known {
                None => group.hits.push(point.clone()),
                Some(hit) if hit.version < point.version => *hit = point.clone(),
                Some(_) => {}
            }
            self.seen.insert(point.id);
        }
    }

    /// Points that are in a group.
    pub(super) fn seen(&self) -> &HashSet<PointId> {
        &self.seen
    }

    /// Keys of the groups that need no more hits.
    pub(super) fn full(&self) -> Vec<&GroupKey> {
        let full = self.groups.iter().filter(|group| self.is_full(group));
        full.map(|group| &group.key).collect()
    }

    /// Keys of the best groups that could do with more hits.
    pub(super) fn wanting(&self) -> Vec<&GroupKey> {
        let best = self.ranked().into_iter();
        let wanting = best.filter(|group| !self.is_full(group));
        wanting.map(|group| &group.key).collect()
    }

    /// Whether the best groups are as many as are asked for, and each is full.
    pub(super) fn are_full(&self) -> bool {
        let best = self.ranked();
        best.len() >= self.limit && best.into_iter().all(|group| self.is_full(group))
    }

    fn is_full(&self, group: &Group) -> bool {
        group.hits.len() >= self.size
    }

    /// The best groups, by their best hits; of equal ones, the first found.
    fn ranked(&self) -> Vec<&Group> {
        let groups = self.groups.iter();
        let mut ranked: Vec<_> = groups
            .filter_map(|group| {
                let hits = group.hits.iter();
                let best = hits.min_by(|one, other| self.order.compare(one, other))?;
                Some((group, best))
            })
            .collect();
        ranked.sort_by(|(_, one), (_, other)| self.order.compare(one, other));
        ranked.truncate(self.limit);
        ranked.into_iter().map(|(group, _)| group).collect()
    }

    /// The groups to answer with: the best, each with its best hits.
    pub(super) fn best(self) -> Vec<Group> {
        let best: Vec<GroupKey> = self
            .ranked()
            .into_iter()
            .map(|group| group.key.clone())
            .collect();
        let mut all: HashMap<_, _> = self
            .groups
            .into_iter()
            .map(|group| (group.key, group.hits))
            .collect();
        let (size, order) = (self.size, self.order);
        best.into_iter()
            .filter_map(|key| {
                let mut hits = all.remove(&key)?;
                hits.sort_by(|one, other| order.compare(one, other));
                hits.truncate(size);
                Some(Group { key, hits })
            })
            .collect()
    }
}

/// The different values of a point's field, each element of a list by itself. `None` if one of
/// them cannot be the key of a group.
fn keys(point: &ScoredPoint, by: &JsonPath) -> Option<Vec<GroupKey>> {
    let payload = point.payload.as_ref()?;
    let mut keys = vec![];
    for value in by.value_get(&payload.0) {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => std::slice::from_ref(value),
        };
        for value in values {
            keys.push(GroupKey::of(value)?);
        }
    }
    let mut known = HashSet::new();
    keys.retain(|key| known.insert(key.clone()));
    Some(keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn point(id: u64, score: f32, city: Value) -> ScoredPoint {
        ScoredPoint {
            id: PointId::NumId(id),
            version: 0,
            score,
            payload: Some(serde_json::from_value(json!({ "city": city })).unwrap()),
            vector: None,
            shard_key: None,
            order_value: None,
        }
    }

    fn filled(order: Order, points: Vec<ScoredPoint>) -> Groups {
        let mut groups = Groups::new(2, 2, order);
        let by = "city".parse().unwrap();
        for point in points {
            groups.add(point, &by);
        }
        groups
    }

    fn listed(groups: Groups) -> Vec<(Value, Vec<u64>)> {
        let id = |hit: &ScoredPoint| match hit.id {
            PointId::NumId(id) => id,
            PointId::Uuid(_) => unreachable!("all ids here are numbers"),
        };
        let groups = groups.best().into_iter();
        groups
            .map(|group| {
                let key = serde_json::to_value(&group.key).unwrap();
                (key, group.hits.iter().map(id).collect())
            })
            .collect()
    }

    #[test]
    fn best_groups_come_first_and_best_hits_first_in_them() {
        let points = || {
            vec![
                point(1, 0.5, json!("a")),
                point(2, 0.9, json!(["b", "a"])),
                point(3, 0.7, json!(7)),
                point(4, 0.6, json!("a")),
            ]
        };
        for (order, wanted) in [
            (
                // Both have the same best hit; `a` was found first.
                Order::LargeFirst,
                [(json!("a"), vec![2, 4]), (json!("b"), vec![2])],
            ),
            (
                Order::SmallFirst,
                [(json!("a"), vec![1, 4]), (json!(7), vec![3])],
            ),
            (
                Order::AsFound,
                [(json!("a"), vec![1, 2]), (json!("b"), vec![2])],
            ),
        ] {
            assert_eq!(listed(filled(order, points())), wanted, "{order:?}");
        }
    }

    #[test]
    fn a_point_with_a_value_that_is_no_key_is_in_no_group() {
        for value in [
            json!(1.5),
            json!(true),
            json!(null),
            json!({}),
            json!([1, 2.5]),
            json!([[1]]),
        ] {
            let groups = filled(Order::LargeFirst, vec![point(1, 1.0, value)]);
            assert!(groups.seen().is_empty());
            assert!(listed(groups).is_empty());
        }
    }

    #[test]
    fn groups_know_what_they_lack() {
        let mut groups = filled(
            Order::LargeFirst,
            vec![
                point(1, 0.9, json!("a")),
                point(2, 0.8, json!("a")),
                point(3, 0.7, json!("b")),
                point(4, 0.6, json!("c")),
            ],
        );
        let text = |text: &str| GroupKey::Text(text.to_owned());
        assert_eq!(groups.full(), [&text("a")]);
        assert_eq!(groups.wanting(), [&text("b")]);
        assert!(!groups.are_full());
        groups.add(point(5, 0.1, json!("b")), &"city".parse().unwrap());
        assert!(groups.are_full());
    }

    #[test]
    fn keys_that_are_ids_can_be_looked_up() {
        let uuid = "f9e4bd1f-93cd-4a02-b2f1-3a6ba6ab5c5c";
        for (value, id) in [
            (json!(5), Some(PointId::NumId(5))),
            (json!(-5), None),
            (json!("5"), None),
            (json!(uuid), Some(PointId::Uuid(uuid.parse().unwrap()))),
        ] {
            let key = GroupKey::of(&value).unwrap();
            assert_eq!(key.id(), id);
            if let Some(id) = id {
                assert_eq!(GroupKey::from(id), key);
            }
        }
    }
}
