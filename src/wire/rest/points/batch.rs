//! Any write to points, and several of them in one request.

use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use super::change::{DeletePayload, DeleteVectors, PointsSelector, SetPayload, UpdateVectors};
use super::insert::PointInsertOperations;

/// A write to the points of a collection, however it was asked for.
#[derive(Clone, Debug)]
pub enum PointWrite {
    Upsert(PointInsertOperations),
    Delete(PointsSelector),
    SetPayload(SetPayload),
    OverwritePayload(SetPayload),
    DeletePayload(DeletePayload),
    ClearPayload(PointsSelector),
    UpdateVectors(UpdateVectors),
    DeleteVectors(DeleteVectors),
}

impl PointWrite {
    /// Whether vectors have to be made of something first.
    pub fn needs_models(&self) -> bool {
        match self {
            Self::Upsert(insert) => insert.needs_models(),
            Self::UpdateVectors(update) => update
                .points
                .iter()
                .any(|point| point.vector.inputs().next().is_some()),
            Self::Delete(_)
            | Self::SetPayload(_)
            | Self::OverwritePayload(_)
            | Self::DeletePayload(_)
            | Self::ClearPayload(_)
            | Self::DeleteVectors(_) => false,
        }
    }
}

impl From<UpdateOperation> for PointWrite {
    fn from(operation: UpdateOperation) -> Self {
        match operation {
            UpdateOperation::Upsert(it) => Self::Upsert(it.upsert),
            UpdateOperation::Delete(it) => Self::Delete(it.delete),
            UpdateOperation::SetPayload(it) => Self::SetPayload(it.set_payload),
            UpdateOperation::OverwritePayload(it) => Self::OverwritePayload(it.overwrite_payload),
            UpdateOperation::DeletePayload(it) => Self::DeletePayload(it.delete_payload),
            UpdateOperation::ClearPayload(it) => Self::ClearPayload(it.clear_payload),
            UpdateOperation::UpdateVectors(it) => Self::UpdateVectors(it.update_vectors),
            UpdateOperation::DeleteVectors(it) => Self::DeleteVectors(it.delete_vectors),
        }
    }
}

/// Writes to be done one after the other, until the first that fails.
#[derive(Clone, Debug, Deserialize, Validate)]
pub struct UpdateOperations {
    #[validate(nested)]
    pub operations: Vec<UpdateOperation>,
}

/// In the order in which the forms are tried: a stranger key beside a known one is passed over.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum UpdateOperation {
    Upsert(UpsertOperation),
    Delete(DeleteOperation),
    SetPayload(SetPayloadOperation),
    OverwritePayload(OverwritePayloadOperation),
    DeletePayload(DeletePayloadOperation),
    ClearPayload(ClearPayloadOperation),
    UpdateVectors(UpdateVectorsOperation),
    DeleteVectors(DeleteVectorsOperation),
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct UpsertOperation {
    #[validate(nested)]
    upsert: PointInsertOperations,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct DeleteOperation {
    #[validate(nested)]
    delete: PointsSelector,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct SetPayloadOperation {
    #[validate(nested)]
    set_payload: SetPayload,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct OverwritePayloadOperation {
    #[validate(nested)]
    overwrite_payload: SetPayload,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct DeletePayloadOperation {
    #[validate(nested)]
    delete_payload: DeletePayload,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct ClearPayloadOperation {
    #[validate(nested)]
    clear_payload: PointsSelector,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct UpdateVectorsOperation {
    #[validate(nested)]
    update_vectors: UpdateVectors,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct DeleteVectorsOperation {
    #[validate(nested)]
    delete_vectors: DeleteVectors,
}

impl Validate for UpdateOperation {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Upsert(operation) => operation.validate(),
            Self::Delete(operation) => operation.validate(),
            Self::SetPayload(operation) => operation.validate(),
            Self::OverwritePayload(operation) => operation.validate(),
            Self::DeletePayload(operation) => operation.validate(),
            Self::ClearPayload(operation) => operation.validate(),
            Self::UpdateVectors(operation) => operation.validate(),
            Self::DeleteVectors(operation) => operation.validate(),
        }
    }
}
