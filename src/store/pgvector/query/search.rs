//! The points that score best by a query with vectors.
//!
//! Where the score is a distance, PostgreSQL finds somewhat more candidates than are asked for and
//! what they score is computed here. Where it is not, every vector that the filter lets through
//! comes by, one after the other, and the best are kept.

use deadpool_postgres::tokio_postgres::{Error as PgError, Row};
use qdrant_edge::{Filter, Modifier, QueryEnum, SearchParams};

use super::fill::no_vector;
use super::hit::{Best, Hit};
use super::idf::Weights;
use super::reader::Reader;
use super::refused;
use super::score::Scorer;
use crate::store::pgvector::catalog::{Known, VectorTable};
use crate::store::pgvector::filter_sql::{self, Param, Params};
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::vectors::{self, Space, Stored, VectorColumn};
use crate::store::pgvector::{ann, ids};
use crate::wire::rest::VectorKind;

const DOING: &str = "search";
/// Beyond the limit so many more are fetched, and a tenth: the last digit of a distance may differ
/// between here and there, and must not decide who is seen.
const SPARE: usize = 8;
/// As many candidates as there are for the limits that most clients ask for, or somewhat more. With
/// one of these in its text a statement needs to be planned only once, and planning is a tenth of a
/// search.
const USUAL_CANDIDATES: [usize; 8] = [9, 11, 13, 18, 28, 38, 58, 110];
/// A query of more rows is answered by looking at every point.
const ROWS_MAX: usize = 256;
/// After so many points other tasks get their turn.
const POINTS_AT_ONCE: usize = 64;

/// Where points are looked for.
#[derive(Clone, Debug)]
pub(in crate::store::pgvector) enum Scope {
    All(Option<Filter>),
    /// Those found before.
    Points(Vec<i64>),
}

impl Scope {
    /// As a condition on alias `c`; `None` where all points are meant.
    pub(in crate::store::pgvector) fn condition(
        &self,
        known: &Known,
        params: &mut Params,
    ) -> Result<Option<String>, Fault> {
        match self {
            Self::All(None) => Ok(None),
            Self::All(Some(filter)) => {
                let condition = filter_sql::condition(filter, known, params)?;
                let anew = filter_sql::planned_anew(known, params);
                Ok(Some(format!("({condition}) and {anew}")))
            }
            Self::Points(pids) => Ok(Some(known.by_pids(pids, params))),
        }
    }
}

pub(super) struct Wanted {
    pub(super) scope: Scope,
    pub(super) params: Option<SearchParams>,
    pub(super) limit: usize,
    pub(super) threshold: Option<f32>,
}

pub(super) async fn search(
    reader: &Reader<'_>,
    known: &Known,
    query: QueryEnum,
    wanted: &Wanted,
) -> Result<Vec<Hit>, Fault> {
    let name = query.get_vector_name().to_owned();
    let (table, space) = Space::of(known, &name).ok_or_else(|| no_vector(&name))?;
    let weights = match known.declared.config.vector(&name) {
        Some(VectorKind::Sparse(params)) if params.modifier == Some(Modifier::Idf) => {
            Some(Weights::load(reader, table, &query).await?)
        }
        _ => None,
    };
    let scorer = Scorer::new(query, space, |vector| {
        if let Some(weights) = &weights {
            weights.weigh(vector);
        }
    });
    let search = Search {
        reader,
        known,
        table,
        space,
        scorer: scorer.map_err(refused)?,
        wanted,
    };
    if wanted.limit == 0 {
        return Ok(vec![]);
    }
    let mut hits = search.best().await?;
    for hit in &mut hits {
        hit.score = search.scorer.shown(hit.score);
    }
    if let Some(threshold) = wanted.threshold {
        let failed = hits
            .iter()
            .position(|hit| !search.scorer.passes(hit.score, threshold));
        hits.truncate(failed.unwrap_or(hits.len()));
    }
    Ok(hits)
}

struct Search<'s> {
    reader: &'s Reader<'s>,
    known: &'s Known,
    table: &'s VectorTable,
    space: Space,
    scorer: Scorer,
    wanted: &'s Wanted,
}

impl Search<'_> {
    async fn best(&self) -> Result<Vec<Hit>, Fault> {
        let is_all = matches!(self.wanted.scope, Scope::All(_));
        let Some(asked) = self.scorer.nearest().filter(|_| is_all) else {
            return self.scan().await;
        };
        match (asked, self.table.column) {
            (Stored::Rows(row), VectorColumn::Vector | VectorColumn::HalfVec)
                if row.iter().all(|value| value.is_finite()) =>
            {
                self.nearest(row).await
            }
            (Stored::Rows(rows), VectorColumn::Rows)
                if rows.iter().all(|value| value.is_finite())
                    && rows.len() <= ROWS_MAX.saturating_mul(self.space.dimensions) =>
            {
                self.nearest_rows(rows).await
            }
            (Stored::Sparse(vector), VectorColumn::Sparse) if vector.is_empty() => Ok(vec![]),
            (Stored::Sparse(vector), VectorColumn::Sparse) => {
                let indices = vector.indices.iter().map(|index| i64::from(*index));
                self.overlapping(indices.collect(), vector.values.clone())
                    .await
            }
            (Stored::Rows(_) | Stored::Sparse(_), _) => self.scan().await,
        }
    }

    /// What the vectors in the scope come from; the condition is none where all are meant.
    fn sources(&self, params: &mut Params) -> Result<(String, Option<String>), Fault> {
        let (from, there) = self.known.joined(self.table);
        let scope = self.wanted.scope.condition(self.known, params)?;
        Ok((
            from,
            there
                .into_iter()
                .chain(scope)
                .reduce(|one, other| format!("{one} and {other}")),
        ))
    }

    /// How many candidates are fetched, as SQL wants it.
    fn candidates(&self) -> usize {
        let limit = self.wanted.limit;
        limit.saturating_add(SPARE.max(limit / 10))
    }

    /// How many are asked of the index. A search without a filter has looked at more than that
    /// already; for a filtered one each costs a good part of the search, and what it leaves out it
    /// leaves out by more than a last digit.
    fn near(&self, candidates: usize) -> usize {
        let is_filtered = !matches!(self.wanted.scope, Scope::All(None));
        // By half the digits the nearest are not yet told apart.
        let is_coarse = ann::is_coarse(self.table);
        match (is_filtered, is_coarse) {
            (true, false) => self.wanted.limit,
            (true, true) | (false, false) => candidates,
            (false, true) => candidates.saturating_mul(2),
        }
    }

    /// By the index if there is one that serves, and else over everything.
    async fn nearest(&self, asked: &[f32]) -> Result<Vec<Hit>, Fault> {
        let params = self.wanted.params.as_ref();
        let (limit, candidates) = (self.wanted.limit, self.candidates());
        // Nothing is at an angle to nothing.
        let is_nothing = self.table.own.is_some() && asked.iter().all(|value| *value == 0.0);
        let is_asked = !is_nothing && ann::can_ask(self.table, asked);
        if is_asked && ann::serves(self.table, params, candidates) {
            let near = self.near(candidates);
            let found = self.nearest_of(asked, near, Plan::Index).await?;
            let is_enough = found.len() >= limit;
            if is_enough || params.is_some_and(|params| params.indexed_only) {
                return Ok(found);
            }
        }
        self.nearest_of(asked, candidates, Plan::Exact).await
    }

    async fn nearest_of(
        &self,
        asked: &[f32],
        candidates: usize,
        plan: Plan,
    ) -> Result<Vec<Hit>, Fault> {
        let mut params = Params::default();
        let asked = match &self.table.own {
            Some(own) => own.padded(asked.to_vec()),
            None => asked.to_vec(),
        };
        let query = params.push(Param::Vector(asked.into()));
        let symbol = ann::operator(&self.space, self.table).symbol;
        let order = match (plan, ann::indexed(self.table)) {
            (Plan::Index, Some((stored, asked))) => {
                format!("{stored} {symbol} {query}::{asked}")
            }
            (Plan::Index, None) | (Plan::Exact, _) => {
                // In this form no index is looked at.
                let stored = match self.table.column {
                    VectorColumn::HalfVec => "s.v::vector",
                    VectorColumn::Vector
                    | VectorColumn::Reals
                    | VectorColumn::Rows
                    | VectorColumn::FlatRows
                    | VectorColumn::Sparse => "s.v",
                };
                let mut far = format!("({stored} {symbol} {query}::vector)");
                if self.table.own.is_some() && symbol == "<=>" {
                    // A vector of length 0 is at a right angle to all others.
                    far = format!("coalesce(nullif({far}, 'NaN'), 1)");
                }
                format!("{far} + 0, c.id")
            }
        };
        let (from, condition) = self.sources(&mut params)?;
        let usual = USUAL_CANDIDATES.iter().find(|usual| **usual >= candidates);
        let limit = match usual.filter(|_| condition.is_none() && plan == Plan::Index) {
            Some(usual) => usual.to_string(),
            None => params.push(Param::Int(i64::try_from(candidates).unwrap_or(i64::MAX))),
        };
        let (table, points) = (&self.table.table, self.known.points_table());
        let text = match (condition, plan) {
            // An adopted row has everything in itself.
            (condition, _) if self.table.own.is_some() => format!(
                "select c.pid, c.id, c.ver, {selected}{brought} from {from} where {condition} \
                 order by {order} limit {limit}::bigint",
                selected = self.table.column.selected(),
                brought = self.reader.brought(),
                condition = condition.as_deref().unwrap_or("true"),
            ),
            // What the index leads to is at hand.
            (None, Plan::Index) => format!(
                "select c.pid, c.id, c.ver, {selected}{brought} from \
                 (select s.pid, s.v from {table} s order by {order} limit {limit}::bigint) s \
                 join {points} c on c.pid = s.pid",
                selected = self.table.column.selected(),
                brought = self.reader.brought(),
            ),
            (condition, Plan::Index | Plan::Exact) => self.fetched(&format!(
                "select s.pid from {from} where {condition} order by {order} limit {limit}::bigint",
                condition = condition.as_deref().unwrap_or("true"),
            )),
        };
        self.pick(&text, &params, true).await
    }

    /// A statement that fetches the points which another has found. It comes after these are put in
    /// order, so that no vector and no payload is carried through that.
    fn fetched(&self, found: &str) -> String {
        format!(
            "select c.pid, c.id, c.ver, {selected}{brought} from ({found}) n \
             join {table} s on s.pid = n.pid join {points} c on c.pid = n.pid",
            selected = self.table.column.selected(),
            brought = self.reader.brought(),
            table = self.table.table,
            points = self.known.points_table(),
        )
    }

    /// Of points with several rows: by the sum of what is most like each row that is asked with.
    async fn nearest_rows(&self, asked: &[f32]) -> Result<Vec<Hit>, Fault> {
        let mut params = Params::default();
        let rows = asked.chunks(self.space.dimensions.max(1));
        let rows = rows.map(|row| params.push(Param::Vector(row.to_vec().into())));
        let rows: Vec<_> = rows.map(|row| format!("{row}::vector")).collect();
        let symbol = ann::operator(&self.space, self.table).symbol;
        // The sum of squares is what Qdrant compares by, not that of their roots.
        let near = match symbol {
            "<->" => "(d.v <-> q.v) ^ 2".to_owned(),
            // No angle to a vector of length 0: as if it were a right one.
            "<=>" => "coalesce(nullif(d.v <=> q.v, 'NaN'), 1)".to_owned(),
            _ => format!("d.v {symbol} q.v"),
        };
        let condition = self.wanted.scope.condition(self.known, &mut params)?;
        let candidates = i64::try_from(self.candidates()).unwrap_or(i64::MAX);
        let limit = params.push(Param::Int(candidates));
        let text = self.fetched(&format!(
            "select s.pid from {table} s \
             join {points} c on c.pid = s.pid where {condition} order by \
             (select sum((select min({near}) from unnest(s.v) d(v))) \
              from unnest(array[{rows}]) q(v)), c.id limit {limit}::bigint",
            table = self.table.table,
            points = self.known.points_table(),
            condition = condition.as_deref().unwrap_or("true"),
            rows = rows.join(", "),
        ));
        self.pick(&text, &params, true).await
    }

    /// Of sparse vectors: those that have something in common with the one asked with.
    async fn overlapping(&self, indices: Vec<i64>, values: Vec<f32>) -> Result<Vec<Hit>, Fault> {
        let mut params = Params::default();
        let indices = params.push(Param::Ints(indices));
        let values = params.push(Param::Reals(values));
        let condition = self.wanted.scope.condition(self.known, &mut params)?;
        let candidates = i64::try_from(self.candidates()).unwrap_or(i64::MAX);
        let limit = params.push(Param::Int(candidates));
        let product = format!(
            "(select sum(t.v::float8 * q.v::float8) from unnest(s.idx, s.val) t(i, v) \
             join unnest({indices}::bigint[], {values}::real[]) q(i, v) on q.i = t.i)"
        );
        let text = self.fetched(&format!(
            "select s.pid from {table} s \
             join {points} c on c.pid = s.pid \
             where s.idx && {indices}::bigint[] and {condition} \
             order by {product} desc, c.id limit {limit}::bigint",
            table = self.table.table,
            points = self.known.points_table(),
            condition = match &condition {
                Some(condition) => condition.clone(),
                // Qdrant's lists of postings do not tell nothing from nothing in sum.
                None => format!("{product} <> 0"),
            },
        ));
        let mut hits = self.pick(&text, &params, true).await?;
        if condition.is_none() {
            hits.retain(|hit| hit.score != 0.0);
        }
        Ok(hits)
    }

    /// Looks at every vector in the scope.
    async fn scan(&self) -> Result<Vec<Hit>, Fault> {
        if matches!(&self.wanted.scope, Scope::Points(pids) if pids.is_empty()) {
            return Ok(vec![]);
        }
        // Payloads are for the few that are left in the end: they are asked for after this.
        self.reader.hold(None).await?;
        let mut params = Params::default();
        let (from, condition) = self.sources(&mut params)?;
        let text = format!(
            "select c.pid, c.id, c.ver, {selected} from {from} where {condition}",
            selected = self.table.column.selected(),
            condition = condition.as_deref().unwrap_or("true"),
        );
        self.pick(&text, &params, false).await
    }

    /// The best of the rows of a statement, and their payloads if it brings them.
    async fn pick(&self, text: &str, params: &Params, brings: bool) -> Result<Vec<Hit>, Fault> {
        let mut rows = self.reader.stream(DOING, text, params).await?;
        let mut best = Best::new(self.wanted.limit);
        let mut seen = 0_usize;
        while let Some(row) = rows.next().await? {
            let vector = vectors::read(&row, 3, self.table, &self.space)?;
            if let Some(score) = self.scorer.score(&vector) {
                let mut hit = hit(&row, score)?;
                if brings {
                    hit.payload = self.reader.payload(&row)?;
                }
                best.push(hit);
            }
            seen += 1;
            if seen.is_multiple_of(POINTS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        Ok(best.into_sorted())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plan {
    Index,
    Exact,
}

/// From a row of `pid`, `id` and `ver`.
pub(super) fn hit(row: &Row, score: f32) -> Result<Hit, Fault> {
    let version: i64 = row.try_get(2).map_err(failed)?;
    let version = u64::try_from(version);
    Ok(Hit {
        pid: row.try_get(0).map_err(failed)?,
        id: ids::parse(row.try_get(1).map_err(failed)?)?,
        version: version.map_err(|_error| link::nonsense("read a point's version"))?,
        score,
        order_value: None,
        payload: None,
    })
}

fn failed(error: PgError) -> Fault {
    Fault::undone(DOING, error)
}
