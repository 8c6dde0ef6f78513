//! How full a collection is.
//!
//! As in Qdrant, the figures are not asked for at every write: they are those of the last time
//! that was, every 32nd write, and before the first time they are nought. So a limit may be
//! passed by what 32 writes bring.

use std::collections::HashMap;

use parking_lot::Mutex;
use qdrant_edge::{ScrollRequest, VectorStorageDatatype};

use crate::error::Result;
use crate::store::engine::Collection;
use crate::store::rest::context::Served;
use crate::wire::rest::{StrictModeConfig, VectorKind, refuse};

const WRITES_PER_LOOK: u32 = 32;
/// So many points are weighed, and the rest taken to be like them.
const POINTS_WEIGHED: usize = 256;
const MIB: f32 = 1024.0 * 1024.0;

/// Which limits bear on a write.
#[derive(Clone, Copy)]
pub(super) enum Needs {
    All,
    Payload,
}

/// The figures of all collections that have limits.
#[derive(Default)]
pub(in crate::store::rest) struct Fullness {
    looks: Mutex<HashMap<String, Look>>,
}

#[derive(Clone, Copy, Default)]
struct Look {
    writes: u32,
    figures: Figures,
}

#[derive(Clone, Copy, Default)]
struct Figures {
    points: usize,
    vector_bytes: usize,
    payload_bytes: usize,
}

impl Fullness {
    pub(in crate::store::rest) fn forget(&self, collection: &str) {
        self.looks.lock().remove(collection);
    }

    /// Counts a write; the second is true when it is time to look again.
    fn count(&self, collection: &str) -> (Figures, bool) {
        let mut looks = self.looks.lock();
        let look = looks.entry(collection.to_owned()).or_default();
        look.writes = look.writes.wrapping_add(1);
        (look.figures, look.writes.is_multiple_of(WRITES_PER_LOOK))
    }

    fn set(&self, collection: &str, figures: Figures) {
        if let Some(look) = self.looks.lock().get_mut(collection) {
            look.figures = figures;
        }
    }
}

/// Whether a write may add to the collection.
pub(super) async fn check(
    served: &Served,
    collection: &Collection,
    config: &StrictModeConfig,
    needs: Needs,
) -> Result<()> {
    let (points, vectors) = match needs {
        Needs::All => (
            config.max_points_count,
            config.max_collection_vector_size_bytes,
        ),
        Needs::Payload => (None, None),
    };
    let payload = config.max_collection_payload_size_bytes;
    if points.is_none() && vectors.is_none() && payload.is_none() {
        return Ok(());
    }
    let (mut figures, look_again) = served.fullness.count(&collection.name);
    if look_again {
        figures = look(served, collection, payload.is_some()).await?;
        served.fullness.set(&collection.name, figures);
    }
    let megabytes = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_or(f64::MAX, f64::from);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Qdrant prints single precision"
        )]
        let bytes = bytes as f32;
        bytes / MIB
    };
    let full = |text: String| Err(refuse::bad_request(&text));
    if let Some(limit) = vectors
        && figures.vector_bytes >= limit
    {
        return full(format!(
            "Max vector storage size limit of {}MB reached!",
            megabytes(limit)
        ));
    }
    if let Some(limit) = payload
        && figures.payload_bytes >= limit
    {
        return full(format!(
            "Max payload storage size limit of {}MB reached!",
            megabytes(limit)
        ));
    }
    if let Some(limit) = points
        && figures.points >= limit
    {
        return full(format!("Max points count limit of {limit} reached!"));
    }
    Ok(())
}

async fn look(served: &Served, collection: &Collection, weigh: bool) -> Result<Figures> {
    let points = served
        .engine
        .condition(&collection.name)
        .await?
        .points_count;
    let mut figures = Figures {
        points,
        vector_bytes: points.saturating_mul(vector_bytes(collection)),
        payload_bytes: 0,
    };
    if weigh && points > 0 {
        let request = ScrollRequest {
            limit: Some(POINTS_WEIGHED),
            ..ScrollRequest::default()
        };
        let (page, _) = served.engine.scroll(&collection.name, request).await?;
        let payloads = page.iter().filter_map(|point| point.payload.as_ref());
        let weights = payloads.filter_map(|payload| serde_json::to_vec(payload).ok());
        let bytes: usize = weights.map(|text| text.len()).sum();
        figures.payload_bytes = bytes.saturating_mul(points) / page.len().max(1);
    }
    Ok(figures)
}

/// What the dense vectors of a point take, when each has one of each.
fn vector_bytes(collection: &Collection) -> usize {
    let sizes = collection.config.vectors().map(|(_, kind)| match kind {
        VectorKind::Sparse(_) => 0,
        VectorKind::Dense(params) => {
            let dimensions = params.dimensions();
            match params.datatype.unwrap_or_default() {
                VectorStorageDatatype::Float32 => dimensions.saturating_mul(4),
                VectorStorageDatatype::Float16 => dimensions.saturating_mul(2),
                VectorStorageDatatype::Uint8 => dimensions,
                VectorStorageDatatype::Turbo4 => dimensions.div_ceil(2),
            }
        }
    });
    sizes.sum()
}
