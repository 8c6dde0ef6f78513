//! The vectors of a point as a client writes them.

use std::collections::HashMap;

use qdrant_edge::{SparseVector, VectorPersisted, VectorStructPersisted};
use serde::Deserialize;
use validator::{Validate, ValidationError, ValidationErrors};

use crate::error::Result;
use crate::wire::rest::inference::{Document, Embedder, Image, InferenceObject, Input};
use crate::wire::rest::{CollectionConfig, UNNAMED, VectorKind, refuse, rules};

/// A vector that has a name, in the order in which the forms are tried.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Vector {
    Dense(Vec<f32>),
    Sparse(Sparse),
    MultiDense(Vec<Vec<f32>>),
    Document(Document),
    Image(Image),
    Object(InferenceObject),
}

/// A sparse vector. Qdrant reads `[[1, 0], [0, 1]]` as one too, if its numbers are whole; that form
/// is kept apart, for it is meant as two rows where the collection has rows under this name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Sparse {
    Object { indices: Vec<u32>, values: Vec<f32> },
    Pair(Vec<u32>, Vec<f32>),
}

/// All vectors of a point, in the order in which the forms are tried.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum VectorStruct {
    Single(Vec<f32>),
    MultiDense(Vec<Vec<f32>>),
    Named(HashMap<String, Vector>),
    Document(Document),
    Image(Image),
    Object(InferenceObject),
}

/// How much a vector that has no fixed size holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Size {
    Rows(usize),
    Indices(usize),
}

impl Sparse {
    fn halves(&self) -> (&[u32], &[f32]) {
        let (Self::Object { indices, values } | Self::Pair(indices, values)) = self;
        (indices, values)
    }

    fn into_persisted(self, kind: Option<VectorKind<'_>>) -> VectorPersisted {
        match self {
            Self::Pair(first, second) if kind.is_some_and(|kind| kind.is_multi()) => {
                #[expect(clippy::cast_precision_loss, reason = "as a list of numbers is read")]
                let first = first.into_iter().map(|number| number as f32).collect();
                VectorPersisted::MultiDense(vec![first, second])
            }
            Self::Object { indices, values } | Self::Pair(indices, values) => {
                VectorPersisted::Sparse(SparseVector { indices, values })
            }
        }
    }
}

impl Vector {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Dense(vector) => vector.is_empty(),
            Self::Sparse(sparse) => sparse.halves().0.is_empty(),
            Self::MultiDense(rows) => rows.is_empty(),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => false,
        }
    }

    /// `None` for a dense vector, and for one that is still to be made.
    pub fn size(&self) -> Option<Size> {
        match self {
            Self::Sparse(sparse) => Some(Size::Indices(sparse.halves().0.len())),
            Self::MultiDense(rows) => Some(Size::Rows(rows.len())),
            Self::Dense(_) | Self::Document(_) | Self::Image(_) | Self::Object(_) => None,
        }
    }

    /// What it is to be made of, if it is not written out.
    pub fn input(&self) -> Option<Input<'_>> {
        match self {
            Self::Dense(_) | Self::Sparse(_) | Self::MultiDense(_) => None,
            Self::Document(document) => Some(Input::Document(document)),
            Self::Image(image) => Some(Input::Image(image)),
            Self::Object(object) => Some(Input::Object(object)),
        }
    }

    /// As the engine takes it. `kind` is what the collection has under its name.
    pub(super) fn into_persisted(
        self,
        kind: Option<VectorKind<'_>>,
        embedder: &mut Embedder,
    ) -> Result<VectorPersisted> {
        if let Some(input) = self.input() {
            return embedder.embed(input).map(VectorPersisted::Sparse);
        }
        Ok(match self {
            Self::Dense(vector) => VectorPersisted::Dense(vector),
            Self::Sparse(sparse) => sparse.into_persisted(kind),
            Self::MultiDense(rows) => VectorPersisted::MultiDense(rows),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => VectorPersisted::empty_sparse(),
        })
    }
}

impl VectorStruct {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Single(vector) => vector.is_empty(),
            Self::MultiDense(rows) => rows.is_empty(),
            Self::Named(named) => named.values().all(Vector::is_empty),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => false,
        }
    }

    /// How much there is under each name.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, Size)> {
        let (rows, named) = match self {
            Self::MultiDense(rows) => (Some((UNNAMED, Size::Rows(rows.len()))), None),
            Self::Named(named) => (None, Some(named)),
            Self::Single(_) | Self::Document(_) | Self::Image(_) | Self::Object(_) => (None, None),
        };
        let named = named.into_iter().flatten();
        let named = named.filter_map(|(name, vector)| Some((name.as_str(), vector.size()?)));
        rows.into_iter().chain(named)
    }

    /// All that its vectors are to be made of.
    pub fn inputs(&self) -> impl Iterator<Item = Input<'_>> {
        let (one, named) = match self {
            Self::Single(_) | Self::MultiDense(_) => (None, None),
            Self::Named(named) => (None, Some(named)),
            Self::Document(document) => (Some(Input::Document(document)), None),
            Self::Image(image) => (Some(Input::Image(image)), None),
            Self::Object(object) => (Some(Input::Object(object)), None),
        };
        let named = named.into_iter().flat_map(HashMap::values);
        one.into_iter().chain(named.filter_map(Vector::input))
    }

    /// As the engine takes it.
    pub(super) fn into_persisted(
        self,
        config: &CollectionConfig,
        embedder: &mut Embedder,
    ) -> Result<VectorStructPersisted> {
        let alone = match self {
            Self::Single(vector) => return Ok(VectorStructPersisted::Single(vector)),
            Self::MultiDense(rows) => return Ok(VectorStructPersisted::MultiDense(rows)),
            Self::Named(named) => {
                let mut made = HashMap::with_capacity(named.len());
                for (name, vector) in named {
                    let vector = vector.into_persisted(config.vector(&name), embedder)?;
                    made.insert(name, vector);
                }
                return Ok(VectorStructPersisted::Named(made));
            }
            Self::Document(document) => embedder.embed(Input::Document(&document)),
            Self::Image(image) => embedder.embed(Input::Image(&image)),
            Self::Object(object) => embedder.embed(Input::Object(&object)),
        };
        // The models that are computed here make sparse vectors, and those have names.
        alone?;
        Err(refuse::bad_request("Sparse vector should be named"))
    }
}

impl Validate for Vector {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Dense(vector) => dense_rules(vector),
            Self::Sparse(sparse) => sparse.validate(),
            Self::MultiDense(rows) => rules::rows(rows),
            // Rules of their own they keep in queries only.
            Self::Document(_) | Self::Image(_) | Self::Object(_) => Ok(()),
        }
    }
}

impl Validate for Sparse {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let (indices, values) = self.halves();
        let mut errors = ValidationErrors::new();
        if indices.len() != values.len() {
            let fault = ValidationError::new("must be the same length as indices");
            errors.add("values", fault);
        }
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != indices.len() {
            errors.add("indices", ValidationError::new("must be unique"));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

impl Validate for VectorStruct {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Single(vector) => dense_rules(vector),
            Self::MultiDense(rows) => rules::rows(rows),
            Self::Named(named) => rules::each(named.values()),
            Self::Document(_) | Self::Image(_) | Self::Object(_) => Ok(()),
        }
    }
}

pub(super) fn dense_rules(vector: &[f32]) -> Result<(), ValidationErrors> {
    if !vector.is_empty() {
        return Ok(());
    }
    let mut errors = ValidationErrors::new();
    let fault = rules::said("empty_dense_vector", "dense vector must not be empty");
    errors.add("vector", fault);
    Err(errors)
}

/// Dense vectors and rows have the sizes that the collection has them in. Qdrant looks at this
/// before an upsert goes anywhere, whether or not the client waits.
pub fn sizes_fit(vectors: &VectorStructPersisted, config: &CollectionConfig) -> Result<()> {
    let size_of = |name: &str| match config.vector(name) {
        Some(VectorKind::Dense(params)) => Some(params.dimensions()),
        Some(VectorKind::Sparse(_)) | None => None,
    };
    match vectors {
        VectorStructPersisted::Single(vector) => {
            let Some(size) = size_of(UNNAMED) else {
                return Ok(());
            };
            same_size(size, vector.len(), "")
        }
        VectorStructPersisted::MultiDense(rows) => {
            let Some(size) = size_of(UNNAMED) else {
                return Ok(());
            };
            rows.iter()
                .try_for_each(|row| same_size(size, row.len(), ""))
        }
        VectorStructPersisted::Named(named) => named.iter().try_for_each(|(name, vector)| {
            let Some(size) = size_of(name) else {
                return Ok(());
            };
            named_size_fits(size, name, vector)
        }),
    }
}

fn named_size_fits(size: usize, name: &str, vector: &VectorPersisted) -> Result<()> {
    let tail = format!(" for vector '{name}'");
    match vector {
        VectorPersisted::Dense(vector) => same_size(size, vector.len(), &tail),
        VectorPersisted::MultiDense(rows) => rows
            .iter()
            .try_for_each(|row| same_size(size, row.len(), &tail)),
        VectorPersisted::Sparse(_) => Ok(()),
    }
}

fn same_size(expected: usize, got: usize, tail: &str) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(refuse::wrong_input(&format!(
        "Vector dimension error: expected dim: {expected}, got {got}{tail}"
    )))
}
