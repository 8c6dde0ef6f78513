//! Ids in queries, and the vectors that they stand for.
//!
//! All ids of a request are read first, one call a collection, and put in their places after.

use std::collections::{BTreeSet, HashMap};

use qdrant_edge::{
    OperationError, PointId, VectorInternal, VectorStructInternal, WithPayloadInterface, WithVector,
};

use super::context::Served;
use super::strict;
use crate::error::{Error, ErrorKind, Result};
use crate::store::engine::Collection;
use crate::wire::rest::refuse;
use crate::wire::rest::{LookupLocation, VectorInput};

/// Ids of one collection, and the vector of theirs that is meant.
pub(super) struct Wanted {
    /// As it was written; `None` is the collection that is searched.
    pub(super) collection: Option<String>,
    pub(super) vector: String,
    pub(super) ids: Vec<PointId>,
}

impl Wanted {
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            collection: self.collection.as_deref(),
            vector: &self.vector,
        }
    }
}

/// Where the ids of one query lead.
#[derive(Clone, Copy)]
pub(super) struct Place<'q> {
    pub(super) collection: Option<&'q str>,
    pub(super) vector: &'q str,
}

impl<'q> Place<'q> {
    /// The vector of a lookup that names none is the one that the query uses.
    pub(super) fn of_query(lookup: Option<&'q LookupLocation>, using: &'q str) -> Self {
        Self::new(lookup, using, using)
    }

    /// The older calls differ: a lookup that names no vector means the unnamed one.
    pub(super) fn of_examples(lookup: Option<&'q LookupLocation>, using: &'q str) -> Self {
        Self::new(lookup, using, "")
    }

    fn new(lookup: Option<&'q LookupLocation>, using: &'q str, otherwise: &'q str) -> Self {
        match lookup {
            None => Self {
                collection: None,
                vector: using,
            },
            Some(lookup) => Self {
                collection: Some(&lookup.collection),
                vector: lookup.vector.as_deref().unwrap_or(otherwise),
            },
        }
    }

    /// Points of the collection that is searched are not among its results when they are examples.
    pub(super) fn is_own(&self, own: &str) -> bool {
        self.collection.is_none_or(|collection| collection == own)
    }

    pub(super) fn wanted(&self, ids: Vec<PointId>) -> Wanted {
        Wanted {
            collection: self.collection.map(str::to_owned),
            vector: self.vector.to_owned(),
            ids,
        }
    }

    /// To an id whose point has no such vector.
    pub(super) fn no_vector(&self) -> Error {
        let name = self.vector;
        refuse::not_found(&format!("Vector with name {name:?} for point not found"))
    }
}

/// What the ids stand for.
#[derive(Default)]
pub(super) struct Resolved {
    points: HashMap<Option<String>, HashMap<PointId, Option<VectorStructInternal>>>,
}

impl Resolved {
    /// Reads all that is wanted. Points that are not there are not among what is returned.
    pub(super) async fn fetch(
        served: &Served,
        own: &Collection,
        wanted: impl IntoIterator<Item = &Wanted>,
    ) -> Result<Self> {
        let mut resolved = Self::default();
        for (collection, ids, vectors) in by_collection(wanted) {
            let other = match &collection {
                None => None,
                Some(other) => Some(looked_up(served, other).await?),
            };
            let place = other.as_deref().unwrap_or(own);
            if ids.is_empty() {
                continue;
            }
            strict::spend_reads(served, place, ids.len())?;
            let payload = WithPayloadInterface::Bool(false);
            let vector = WithVector::Selector(vectors);
            let read = served.engine.retrieve(&place.name, ids, payload, vector);
            let records = read.await?;
            let points = records.into_iter().map(|record| (record.id, record.vector));
            resolved.points.insert(collection, points.collect());
        }
        Ok(resolved)
    }

    fn point(&self, place: Place<'_>, id: PointId) -> Option<&Option<VectorStructInternal>> {
        // The few collections that one request names are sooner compared than hashed.
        let mut collections = self.points.iter();
        let (_, points) = collections.find(|(name, _)| name.as_deref() == place.collection)?;
        points.get(&id)
    }

    /// Fails with Qdrant's 404 if one of `wanted` is not there.
    pub(super) fn check<'w>(&self, wanted: impl IntoIterator<Item = &'w Wanted>) -> Result<()> {
        for part in wanted {
            let mut ids = part.ids.iter();
            if let Some(id) = ids.find(|id| self.point(part.place(), **id).is_none()) {
                return Err(refuse::not_found(&no_point(*id)));
            }
        }
        Ok(())
    }

    /// The vector of a point, if the point is there and has it.
    pub(super) fn vector(&self, place: Place<'_>, id: PointId) -> Option<VectorInternal> {
        let vectors = self.point(place, id)?.as_ref()?;
        named_vector(vectors, place.vector)
    }

    /// What an input stands for: itself if it is a vector. What is to be inferred has been before.
    pub(super) fn input(&self, place: Place<'_>, input: VectorInput) -> Option<VectorInternal> {
        match input.id() {
            Some(id) => self.vector(place, id),
            None => input.into_vector(),
        }
    }
}

/// One entry a collection: its ids and the names of their vectors, none twice.
fn by_collection<'w>(
    wanted: impl IntoIterator<Item = &'w Wanted>,
) -> Vec<(Option<String>, Vec<PointId>, Vec<String>)> {
    let mut collections: Vec<(Option<String>, BTreeSet<PointId>, BTreeSet<String>)> = vec![];
    for part in wanted {
        let known = collections
            .iter()
            .position(|(name, _, _)| *name == part.collection);
        let at = known.unwrap_or_else(|| {
            let new = (part.collection.clone(), BTreeSet::new(), BTreeSet::new());
            collections.push(new);
            collections.len() - 1
        });
        if let Some((_, ids, vectors)) = collections.get_mut(at) {
            ids.extend(&part.ids);
            vectors.insert(part.vector.clone());
        }
    }
    collections
        .into_iter()
        .map(|(name, ids, vectors)| {
            let (ids, vectors) = (ids.into_iter().collect(), vectors.into_iter().collect());
            (name, ids, vectors)
        })
        .collect()
}

/// A collection that a request names in its body.
pub(super) async fn looked_up(served: &Served, name: &str) -> Result<std::sync::Arc<Collection>> {
    served.collection(name).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            refuse::not_found(&format!("Collection {name} not found"))
        } else {
            error
        }
    })
}

pub(super) fn no_point(id: PointId) -> String {
    format!("No point with id {id} found")
}

/// One of a point's vectors.
pub(super) fn named_vector(vectors: &VectorStructInternal, name: &str) -> Option<VectorInternal> {
    match vectors {
        VectorStructInternal::Single(vector) => {
            (name.is_empty()).then(|| VectorInternal::Dense(vector.clone()))
        }
        VectorStructInternal::MultiDense(rows) => {
            (name.is_empty()).then(|| VectorInternal::MultiDense(rows.clone()))
        }
        VectorStructInternal::Named(vectors) => vectors.get(name).cloned(),
    }
}

/// A fault that the engine's own types find in a request.
pub(super) fn refused(error: &OperationError) -> Error {
    refuse::wrong_input(&error.to_string())
}
