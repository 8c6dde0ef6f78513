//! Points in columns: ids, vectors and payloads each in a list of their own.

use std::collections::HashMap;

use qdrant_edge::{Payload, PointId, PointStructPersisted, VectorPersisted, VectorStructPersisted};
use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use super::vector::{Size, Vector, dense_rules};
use crate::error::Result;
use crate::wire::rest::inference::{
    Document, Embedder, Image, InferenceObject, Purpose, all_local,
};
use crate::wire::rest::{CollectionConfig, UNNAMED, refuse, rules};

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Batch {
    pub ids: Vec<PointId>,
    pub vectors: BatchVectorStruct,
    pub payloads: Option<Vec<Option<Payload>>>,
}

/// In the order in which the forms are tried.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum BatchVectorStruct {
    Single(Vec<Vec<f32>>),
    MultiDense(Vec<Vec<Vec<f32>>>),
    Named(HashMap<String, Vec<Vector>>),
    Document(Vec<Document>),
    Image(Vec<Image>),
    Object(Vec<InferenceObject>),
}

impl BatchVectorStruct {
    /// The first of its lists whose length is not `count`, by that length.
    fn other_length(&self, count: usize) -> Option<usize> {
        let only = match self {
            Self::Single(vectors) => vectors.len(),
            Self::MultiDense(vectors) => vectors.len(),
            Self::Named(named) => {
                let mut lengths = named.values().map(Vec::len);
                return lengths.find(|length| *length != count);
            }
            Self::Document(_) | Self::Image(_) | Self::Object(_) => return None,
        };
        (only != count).then_some(only)
    }

    pub(super) fn needs_models(&self) -> bool {
        match self {
            Self::Single(_) | Self::MultiDense(_) => false,
            Self::Named(named) => named.values().flatten().any(|it| it.input().is_some()),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => true,
        }
    }

    /// How much there is under each name of each point.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&str, Size)> {
        let (rows, named) = match self {
            Self::MultiDense(vectors) => (Some(vectors), None),
            Self::Named(named) => (None, Some(named)),
            Self::Single(_) | Self::Document(_) | Self::Image(_) | Self::Object(_) => (None, None),
        };
        let rows = rows.into_iter().flatten();
        let rows = rows.map(|rows| (UNNAMED, Size::Rows(rows.len())));
        let named = named.into_iter().flatten().flat_map(|(name, vectors)| {
            let sizes = vectors.iter().filter_map(Vector::size);
            sizes.map(move |size| (name.as_str(), size))
        });
        rows.chain(named)
    }

    /// One entry a point, in order. `count` points are made whatever is left out.
    fn into_rows(
        self,
        count: usize,
        config: &CollectionConfig,
    ) -> Result<Vec<VectorStructPersisted>> {
        let unsupported = |what: &str| {
            let text = format!("{what} processing is not supported in batch operations.");
            Err(refuse::inference_error(&text))
        };
        match self {
            Self::Single(vectors) => Ok(vectors
                .into_iter()
                .map(VectorStructPersisted::Single)
                .collect()),
            Self::MultiDense(vectors) => {
                let rows = vectors.into_iter().map(VectorStructPersisted::MultiDense);
                Ok(rows.collect())
            }
            Self::Named(named) => named_into_rows(named, count, config),
            Self::Document(_) => unsupported("Document"),
            Self::Image(_) => unsupported("Image"),
            Self::Object(_) => unsupported("Object"),
        }
    }
}

fn named_into_rows(
    named: HashMap<String, Vec<Vector>>,
    count: usize,
    config: &CollectionConfig,
) -> Result<Vec<VectorStructPersisted>> {
    all_local(named.values().flatten().filter_map(Vector::input))?;
    let mut rows: Vec<HashMap<String, VectorPersisted>> = Vec::new();
    rows.resize_with(count, || HashMap::with_capacity(named.len()));
    let mut embedder = Embedder::new(Purpose::Update);
    for (name, vectors) in named {
        let kind = config.vector(&name);
        for (row, vector) in rows.iter_mut().zip(vectors) {
            row.insert(name.clone(), vector.into_persisted(kind, &mut embedder)?);
        }
    }
    Ok(rows.into_iter().map(VectorStructPersisted::Named).collect())
}

impl Batch {
    pub(super) fn into_points(
        self,
        config: &CollectionConfig,
    ) -> Result<Vec<PointStructPersisted>> {
        let count = self.ids.len();
        let vectors = self.vectors.into_rows(count, config)?;
        let mut payloads = self.payloads.unwrap_or_default().into_iter();
        let points = self.ids.into_iter().zip(vectors).map(|(id, vector)| {
            let payload = payloads.next().flatten();
            PointStructPersisted {
                id,
                vector,
                payload: Some(payload.unwrap_or_default()),
            }
        });
        Ok(points.collect())
    }
}

impl Validate for BatchVectorStruct {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Single(vectors) => vectors.iter().try_for_each(|vector| dense_rules(vector)),
            Self::MultiDense(vectors) => vectors.iter().try_for_each(|rows| rules::rows(rows)),
            Self::Named(named) => rules::each(named.values().flatten()),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => Ok(()),
        }
    }
}

impl Validate for Batch {
    fn validate(&self) -> Result<(), ValidationErrors> {
        self.vectors.validate()?;
        let count = self.ids.len();
        let unequal = |what: &str, got: usize| {
            let text = format!("number of ids and {what} must be equal ({count} != {got})");
            let mut errors = ValidationErrors::new();
            errors.add("batch", rules::said("point_insert_operation", text));
            Err(errors)
        };
        if let Some(got) = self.vectors.other_length(count) {
            return unequal("vectors", got);
        }
        match &self.payloads {
            Some(payloads) if payloads.len() != count => unequal("payloads", payloads.len()),
            Some(_) | None => Ok(()),
        }
    }
}
