//! A vector in a query: written out, a point's, or to be made from something else.

use qdrant_edge::{PointId, SparseVector, TypedMultiDenseVector, VectorInternal};
use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use crate::wire::rest::inference::{Document, Image, InferenceObject, Input};
use crate::wire::rest::rules;

/// In the order in which the forms are tried. `[[1, 2], [0.5, 0.5]]` therefore is a sparse vector.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum VectorInput {
    DenseVector(Vec<f32>),
    SparseVector(SparseVector),
    MultiDenseVector(Vec<Vec<f32>>),
    Id(PointId),
    Document(Document),
    Image(Image),
    Object(InferenceObject),
}

impl VectorInput {
    pub fn id(&self) -> Option<PointId> {
        match self {
            Self::Id(id) => Some(*id),
            Self::DenseVector(_)
            | Self::SparseVector(_)
            | Self::MultiDenseVector(_)
            | Self::Document(_)
            | Self::Image(_)
            | Self::Object(_) => None,
        }
    }

    /// What the vector is to be made of, if it is neither written out nor a point's.
    pub fn inference(&self) -> Option<Input<'_>> {
        match self {
            Self::Document(document) => Some(Input::Document(document)),
            Self::Image(image) => Some(Input::Image(image)),
            Self::Object(object) => Some(Input::Object(object)),
            Self::DenseVector(_)
            | Self::SparseVector(_)
            | Self::MultiDenseVector(_)
            | Self::Id(_) => None,
        }
    }

    /// The vector, if it is written out.
    pub fn into_vector(self) -> Option<VectorInternal> {
        match self {
            Self::DenseVector(vector) => Some(VectorInternal::Dense(vector)),
            Self::SparseVector(vector) => Some(VectorInternal::Sparse(vector)),
            Self::MultiDenseVector(rows) => {
                let rows = TypedMultiDenseVector::try_from_matrix(rows).ok()?;
                Some(VectorInternal::MultiDense(rows))
            }
            Self::Id(_) | Self::Document(_) | Self::Image(_) | Self::Object(_) => None,
        }
    }
}

impl Validate for VectorInput {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Id(_) | Self::DenseVector(_) => Ok(()),
            Self::SparseVector(sparse) => sparse.validate(),
            Self::MultiDenseVector(rows) => rules::rows(rows),
            Self::Document(document) => document.validate(),
            Self::Image(image) => image.validate(),
            Self::Object(object) => object.validate(),
        }
    }
}
