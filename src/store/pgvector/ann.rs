//! Indexes for approximate search (HNSW): how they are made, how hard a search tries, and when it
//! rather looks at everything.
//!
//! An index takes part only when it is ready, and only where its answer is checked: a search that
//! found fewer points than were asked for is repeated over everything, because pgvector filters
//! after the fact and gives up early.

mod build;
mod watch;

use qdrant_edge::{Distance, HnswIndexConfig, SearchParams};

use super::catalog::{VectorKind, VectorTable};
use super::query::similarity::Element;
use super::vectors::{Space, VectorColumn};

pub(super) use build::{BUILDER_LOCK, Built, Pending, build_due, may_be_due, newest};
pub(super) use watch::{Touched, start};

/// What pgvector indexes of either type.
const VECTOR_DIMENSIONS_MAX: usize = 2_000;
const HALF_DIMENSIONS_MAX: usize = 4_000;
/// The greatest number of half the digits.
const HALF_MAX: f32 = 65_504.0;
/// pgvector looks at no more candidates at once.
pub(super) const EFFORT_MAX: usize = 1_000;
/// Of a search that names none: as hard as Qdrant tries, which is as hard as it built.
const EFFORT_DEFAULT: usize = 100;
/// A filtered search that has looked at so many is given up, and everything looked at.
const SCANNED_MAX: usize = 40_000;

/// The version of pgvector that goes on searching until enough points have passed a filter.
const ITERATIVE_FROM: (u32, u32) = (0, 8);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum AnnState {
    #[default]
    None,
    Building,
    Ready,
}

impl AnnState {
    /// As the catalogue keeps it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Building => "building",
            Self::Ready => "ready",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "ready" => Self::Ready,
            "building" => Self::Building,
            _ => Self::None,
        }
    }
}

/// How every session searches. Scores are computed anew of what is found, so the order in which a
/// filtered search goes on is free: the strict one would leave out what it finds late.
///
/// What this pgvector cannot do is not set: it would take offence.
pub(super) fn session() -> String {
    format!(
        "select pg_catalog.set_config('hnsw.ef_search', '{EFFORT_DEFAULT}', false); \
         select pg_catalog.set_config('hnsw.iterative_scan', 'relaxed_order', false), \
         pg_catalog.set_config('hnsw.max_scan_tuples', '{SCANNED_MAX}', false) \
         from pg_catalog.pg_extension where extname = 'vector' \
         and pg_catalog.string_to_array(pg_catalog.substring(extversion, '^[0-9]+[.][0-9]+'), '.')::int[] \
         >= '{{{major}, {minor}}}'",
        major = ITERATIVE_FROM.0,
        minor = ITERATIVE_FROM.1,
    )
}

/// What the installed pgvector can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// Goes on searching until enough points have passed the filter.
    pub(super) iterative_scan: bool,
}

impl Abilities {
    /// `version` as in `pg_extension.extversion`.
    pub(super) fn of_version(version: &str) -> Self {
        let mut parts = version
            .split('.')
            .map_while(|part| part.parse::<u32>().ok());
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Self {
            iterative_scan: version >= ITERATIVE_FROM,
        }
    }
}

/// How hard the searches of one transaction try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Effort {
    candidates: usize,
    iterative_scan: bool,
    /// Lists of an IVFFlat index.
    probes: Option<usize>,
}

impl Effort {
    /// Enough for a search of `limit` points.
    pub(super) fn of(params: Option<&SearchParams>, limit: usize, abilities: Abilities) -> Self {
        let asked = params.and_then(|params| params.hnsw_ef);
        let candidates = asked.unwrap_or(EFFORT_DEFAULT).max(limit);
        Self {
            candidates: candidates.clamp(1, EFFORT_MAX),
            iterative_scan: abilities.iterative_scan,
            probes: None,
        }
    }

    pub(super) fn with_probes(self, probes: Option<usize>) -> Self {
        Self { probes, ..self }
    }

    /// Enough for both.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            candidates: self.candidates.max(other.candidates),
            ..self
        }
    }

    /// Whether every session searches so that has not been told otherwise.
    pub(super) fn is_usual(&self) -> bool {
        self.candidates == EFFORT_DEFAULT && self.probes.is_none()
    }

    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![("hnsw.ef_search", self.candidates.to_string())];
        if self.iterative_scan {
            settings.push(("hnsw.iterative_scan", "relaxed_order".to_owned()));
            settings.push(("hnsw.max_scan_tuples", SCANNED_MAX.to_string()));
        }
        if let Some(probes) = self.probes {
            settings.push(("ivfflat.probes", probes.to_string()));
            if self.iterative_scan {
                settings.push(("ivfflat.iterative_scan", "relaxed_order".to_owned()));
            }
        }
        settings
    }
}

/// How PostgreSQL compares the vectors of one table.
pub(super) struct Operator {
    /// Between a stored vector and the one asked with: the smaller the nearer.
    pub(super) symbol: &'static str,
    /// The name after `vector_` or `halfvec_`.
    opclass: &'static str,
}

/// Vectors of length 1 are compared by their inner product, which knows the length 0 too: that is
/// no number to the operator for angles. Bytes are not of length 1.
pub(super) fn operator(space: &Space, table: &VectorTable) -> Operator {
    let (symbol, opclass) = match (space.distance, space.element) {
        // What others have stored is as long as they liked.
        (Distance::Cosine, _) if table.own.is_some() => ("<=>", "cosine_ops"),
        (Distance::Cosine, Element::Byte) => ("<=>", "cosine_ops"),
        (Distance::Cosine, Element::Float | Element::Half) | (Distance::Dot, _) => {
            ("<#>", "ip_ops")
        }
        (Distance::Euclid, _) => ("<->", "l2_ops"),
        (Distance::Manhattan, _) => ("<+>", "l1_ops"),
    };
    Operator { symbol, opclass }
}

/// The stored side of a comparison as the index has it, alias `s`; the type of the side asked
/// with. `None` where nothing can be indexed.
pub(super) fn indexed(table: &VectorTable) -> Option<(String, &'static str)> {
    let dimensions = table.dim;
    if let Some(own) = &table.own {
        return Some(("s.o".to_owned(), own.asked?));
    }
    match table.column {
        VectorColumn::Vector if dimensions <= VECTOR_DIMENSIONS_MAX => {
            Some(("s.v".to_owned(), "vector"))
        }
        VectorColumn::Vector if dimensions <= HALF_DIMENSIONS_MAX => {
            Some((format!("(s.v::halfvec({dimensions}))"), "vector::halfvec"))
        }
        VectorColumn::HalfVec if dimensions <= HALF_DIMENSIONS_MAX => {
            Some(("s.v".to_owned(), "vector::halfvec"))
        }
        VectorColumn::Vector
        | VectorColumn::HalfVec
        | VectorColumn::Reals
        | VectorColumn::Rows
        | VectorColumn::FlatRows
        | VectorColumn::Sparse => None,
    }
}

/// Whether the index can be asked for what is near this vector: one that keeps half the digits knows
/// no number beyond those of half the digits.
pub(super) fn can_ask(table: &VectorTable, asked: &[f32]) -> bool {
    let is_half = indexed(table).is_some_and(|(_, asked)| asked != "vector");
    !is_half || asked.iter().all(|value| value.abs() <= HALF_MAX)
}

/// Whether the index knows less of a vector than the table.
pub(super) fn is_coarse(table: &VectorTable) -> bool {
    table.column == VectorColumn::Vector && table.dim > VECTOR_DIMENSIONS_MAX
}

/// The name of a table's index. It is in the table's schema.
pub(super) fn index_name(table: &VectorTable) -> String {
    let name = table.table.rsplit('.').next().unwrap_or_default();
    format!("{}_hnsw", name.trim_matches('"'))
}

/// The statement that makes the index, outside of a transaction. `None` where there is to be none.
pub(super) fn create_index(
    table: &VectorTable,
    space: &Space,
    config: &HnswIndexConfig,
) -> Option<String> {
    // Qdrant takes `m` of 0 for no graph.
    if config.m == 0 || table.kind != VectorKind::Dense {
        return None;
    }
    let (_, asked) = indexed(table)?;
    let half = asked.ends_with("halfvec");
    let column = if half && table.column == VectorColumn::Vector {
        format!("(v::halfvec({}))", table.dim)
    } else {
        "v".to_owned()
    };
    let family = if half { "halfvec" } else { "vector" };
    // pgvector's own bounds, and that it wants twice as many candidates as links.
    let links = config.m.clamp(2, 100);
    let candidates = config.ef_construct.clamp(4, 1_000).max(links * 2);
    Some(format!(
        "create index concurrently if not exists {name} on {table} \
         using hnsw ({column} {family}_{opclass}) with (m = {links}, ef_construction = {candidates})",
        name = index_name(table),
        table = table.table,
        opclass = operator(space, table).opclass,
    ))
}

/// So many points are enough for an index: Qdrant counts their vectors in kilobytes.
fn due_from(space: &Space, threshold_kb: Option<usize>) -> Option<u64> {
    let threshold = threshold_kb.filter(|threshold| *threshold > 0)?;
    let bytes: usize = match space.element {
        Element::Float => 4,
        Element::Half => 2,
        Element::Byte => 1,
    };
    let vector = space.dimensions.saturating_mul(bytes).max(1);
    let least = threshold.saturating_mul(1024).div_ceil(vector);
    u64::try_from(least).ok()
}

/// Whether a search may use the index.
pub(super) fn serves(table: &VectorTable, params: Option<&SearchParams>, limit: usize) -> bool {
    table.ann == AnnState::Ready
        && !params.is_some_and(|params| params.exact)
        && limit <= EFFORT_MAX
        && indexed(table).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(column: VectorColumn, dim: usize) -> VectorTable {
        VectorTable {
            vno: 1,
            kind: VectorKind::Dense,
            table: "qd_data.c1_v1".to_owned(),
            dim,
            column,
            ann: AnnState::Ready,
            own: None,
        }
    }

    #[test]
    fn each_column_gets_the_index_that_pgvector_has_for_it() {
        let check = |column, dim, element, distance, expected: Option<&str>| {
            let table = table(column, dim);
            let space = Space {
                distance,
                element,
                dimensions: dim,
                is_multi: false,
                is_sparse: false,
            };
            let config = HnswIndexConfig {
                m: 16,
                ef_construct: 100,
                ..HnswIndexConfig::default()
            };
            let made = create_index(&table, &space, &config);
            let made = made.as_deref().and_then(|text| text.split("hnsw (").nth(1));
            let made = made.and_then(|text| text.split(") with").next());
            assert_eq!(made, expected);
        };
        let (float, half) = (Element::Float, Element::Half);
        let vector = VectorColumn::Vector;
        check(vector, 64, float, Distance::Cosine, Some("v vector_ip_ops"));
        check(vector, 64, float, Distance::Dot, Some("v vector_ip_ops"));
        check(vector, 64, float, Distance::Euclid, Some("v vector_l2_ops"));
        check(
            vector,
            64,
            float,
            Distance::Manhattan,
            Some("v vector_l1_ops"),
        );
        check(
            vector,
            64,
            Element::Byte,
            Distance::Cosine,
            Some("v vector_cosine_ops"),
        );
        check(
            vector,
            3072,
            float,
            Distance::Cosine,
            Some("(v::halfvec(3072)) halfvec_ip_ops"),
        );
        check(vector, 4001, float, Distance::Cosine, None);
        check(
            VectorColumn::HalfVec,
            3072,
            half,
            Distance::Euclid,
            Some("v halfvec_l2_ops"),
        );
        check(VectorColumn::Reals, 20_000, float, Distance::Dot, None);
    }

    #[test]
    fn iterative_scans_are_there_from_version_0_8_on() {
        let check = |version: &str, expected| {
            assert_eq!(Abilities::of_version(version).iterative_scan, expected);
        };
        check("0.7.4", false);
        check("0.8.0", true);
        check("0.8.5", true);
        check("1.0", true);
        check("0.10.1", true);
    }
}
