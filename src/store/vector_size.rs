//! `VECTOR_SIZE` against the collections that are there: an application that embeds in one size
//! and searches in collections of another is told at the start, not by its first request.

use super::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::rest::{CollectionConfig, UNNAMED, VectorKind};

/// Fails with the settings' kind of error at the first collection that has dense vectors, none of
/// which has this size. A store that does not answer now is not waited for.
pub async fn check_vector_size(engine: &dyn Engine, size: u32) -> Result<()> {
    let names = match engine.names().await {
        Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(()),
        names => names?,
    };
    for name in names {
        let Some(collection) = engine.collection(&name).await? else {
            continue;
        };
        if let Some((vector, found)) = misfit(&collection.config, size) {
            let of = if vector == UNNAMED {
                String::new()
            } else {
                format!(" (vector \"{vector}\")")
            };
            return Err(Error::settings(format!(
                "VECTOR_SIZE is {size}, and collection \"{name}\" holds vectors of size \
                 {found}{of}; set vector_size to {found}, or move the collection to a model of \
                 size {size} first"
            )));
        }
    }
    Ok(())
}

/// A dense vector of a collection in which none has this size. Of several, only one is what the
/// application embeds.
fn misfit(config: &CollectionConfig, size: u32) -> Option<(&str, usize)> {
    let wanted = usize::try_from(size).unwrap_or(usize::MAX);
    let dense = config.vectors().filter_map(|(name, kind)| match kind {
        VectorKind::Dense(params) => Some((name, params.dimensions())),
        VectorKind::Sparse(_) => None,
    });
    let sizes: Vec<_> = dense.collect();
    if sizes.iter().any(|(_, found)| *found == wanted) {
        return None;
    }
    sizes.first().copied()
}
