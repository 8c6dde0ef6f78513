//! Collections for the tests of other modules.

use super::*;

impl Known {
    /// A collection as the catalogue would tell of it. Its vectors are numbered from 1 on, as are
    /// its indexes: a path, what is on it, and whether it is ready.
    pub(in crate::store::pgvector) fn of_test(
        cid: i32,
        config: &CollectionConfig,
        indexes: &[(String, PayloadFieldSchema, bool)],
    ) -> Self {
        let vectors = config.vector_names().zip(1..).map(|(name, vno)| VectorRow {
            vno,
            name: name.to_owned(),
            ann: AnnState::None,
        });
        let indexes = indexes.iter().zip(1..).map(|((path, schema, ready), ino)| {
            let schema = serde_json::to_string(schema).unwrap();
            IndexRow {
                ino,
                path: path.clone(),
                schema,
                ready: *ready,
            }
        });
        let draft = Draft {
            epoch: 1,
            name: "test".to_owned(),
            config: serde_json::to_string(config).unwrap(),
            mapping: None,
            vectors: vectors.collect(),
            indexes: indexes.collect(),
        };
        draft.known(cid).unwrap()
    }
}
