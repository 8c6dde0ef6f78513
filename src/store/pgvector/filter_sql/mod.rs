//! A filter of Qdrant's as a boolean expression of SQL, true for the same points.
//!
//! The expression is over the alias `c` of a points table (`c.id`, `c.pid`, `c.payload`). Paths and
//! names of tables are text of it, values are parameters. Where it is null it means no: `where`
//! takes it as it is, anything else wants `(…) is true`.
//!
//! Truth is what Qdrant finds when it looks at a point by itself: the first of a field's indexes
//! that knows the kind of condition decides, and where there is none, the payload does. This shows,
//! as an index may see other values than the payload holds (an integer index takes 5.0 for 5).
//! Where Qdrant lists an index's points instead it mostly finds the same; where it does not, it
//! contradicts itself, and the look at the single point counts.
//!
//! Nothing here talks to a database.

mod check;
mod field;
mod geo;
mod params;
pub(super) mod path;
mod served;
mod text;
mod value;

#[cfg(test)]
mod tests;

use qdrant_edge::{Condition, Filter, JsonPath, MinShould, PayloadFieldSchema};

use super::adopt::Own;
use super::catalog::Known;
use crate::error::Result;
use crate::wire::rest::refuse;

pub(super) use params::{PARAMS_MAX, Param, Params};
use path::Path;

/// So many conditions a filter may hold. PostgreSQL needs some 70 KB to plan one of them, and has
/// no bound of its own.
const CONDITIONS_MAX: usize = 2_000;
/// So long may a condition's text become. Paths are a part of it, and as long as clients like.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A boolean expression over the alias `c`; its values are added to the parameters.
pub(super) fn condition(filter: &Filter, known: &Known, params: &mut Params) -> Result<String> {
    let mut compiler = Compiler {
        known,
        params,
        aliases: 0,
        conditions: 0,
    };
    let sql = compiler.filter(&Scope::top(), filter)?;
    if params.len() > PARAMS_MAX {
        return Err(refuse::bad_request(&format!(
            "the filter holds more than {PARAMS_MAX} values"
        )));
    }
    if sql.len() > TEXT_BYTES_MAX {
        return Err(refuse::bad_request(
            "the filter is too long; its keys are a part of its length",
        ));
    }
    Ok(sql)
}

/// A condition that is always true, and that keeps PostgreSQL from planning a statement once for
/// whatever values: which of them a filter lets through, or how many are wanted, decides which
/// plan suits. With its value it is nothing. Without, it looks dearer than any plan for values.
pub(super) fn planned_anew(known: &Known, params: &mut Params) -> String {
    let (one, points) = (params.push(Param::Int(1)), known.points_table());
    format!("({one} = 1 or (select count(*) from {points} one, {points} other) > 0)")
}

/// What a condition is about: a point, or one object in an array of its payload.
struct Scope {
    /// The object, in SQL.
    root: String,
    /// The path to the array that the object is in; none for a point.
    inside: Option<JsonPath>,
}

impl Scope {
    fn top() -> Self {
        Self {
            root: "c.payload".to_owned(),
            inside: None,
        }
    }

    fn is_top(&self) -> bool {
        self.inside.is_none()
    }
}

struct Compiler<'a> {
    known: &'a Known,
    params: &'a mut Params,
    aliases: usize,
    /// How many have been seen, at whatever depth.
    conditions: usize,
}

impl Compiler<'_> {
    fn filter(&mut self, scope: &Scope, filter: &Filter) -> Result<String> {
        let Filter {
            should,
            min_should,
            must,
            must_not,
        } = filter;
        let mut clauses = Vec::new();
        for condition in must.iter().flatten() {
            clauses.push(self.condition(scope, condition)?);
        }
        if let Some(conditions) = should {
            clauses.extend(self.should(scope, conditions)?);
        }
        if let Some(min_should) = min_should {
            clauses.extend(self.min_should(scope, min_should)?);
        }
        for condition in must_not.iter().flatten() {
            let sql = self.condition(scope, condition)?;
            clauses.push(format!("({sql}) is not true"));
        }
        Ok(all(clauses))
    }

    fn should(&mut self, scope: &Scope, conditions: &[Condition]) -> Result<Option<String>> {
        // An empty list is no clause, but inside of a nested condition it is one that fails.
        if conditions.is_empty() && scope.is_top() {
            return Ok(None);
        }
        let mut either = Vec::with_capacity(conditions.len());
        for condition in conditions {
            either.push(self.condition(scope, condition)?);
        }
        Ok(Some(any(either)))
    }

    fn min_should(&mut self, scope: &Scope, min_should: &MinShould) -> Result<Option<String>> {
        let MinShould {
            conditions,
            min_count,
        } = min_should;
        if *min_count == 0 || (conditions.is_empty() && scope.is_top()) {
            return Ok(None);
        }
        if *min_count > conditions.len() {
            return Ok(Some("false".to_owned()));
        }
        let mut ones = Vec::with_capacity(conditions.len());
        for condition in conditions {
            let sql = self.condition(scope, condition)?;
            ones.push(format!("(({sql}) is true)::int"));
        }
        Ok(Some(format!("({}) >= {min_count}", ones.join(" + "))))
    }

    fn condition(&mut self, scope: &Scope, condition: &Condition) -> Result<String> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return Err(refuse::bad_request(&format!(
                "the filter holds more than {CONDITIONS_MAX} conditions; `any` takes many values \
                 in one"
            )));
        }
        Ok(match condition {
            Condition::Filter(filter) => self.filter(scope, filter)?,
            Condition::Field(field) => self.field(scope, field),
            Condition::IsEmpty(is_empty) => {
                let path = Path::of(&is_empty.is_empty.key);
                self.is_empty(scope, &path)
            }
            Condition::IsNull(is_null) => {
                let path = Path::of(&is_null.is_null.key);
                // An index also sees the nulls in an array.
                match self.index(scope, &is_null.is_null.key) {
                    Some(_) => self.has_null(scope, &path),
                    None => self.leaf(scope, &path, |_, v| format!("{v} = 'null'::jsonb")),
                }
            }
            // Neither is known of an object inside of a payload.
            Condition::HasId(_) | Condition::HasVector(_) if !scope.is_top() => "false".to_owned(),
            Condition::HasId(has_id) => self
                .known
                .by_ids(has_id.has_id.iter().copied(), self.params),
            Condition::HasVector(has_vector) => {
                match self.known.vectors.get(&has_vector.has_vector) {
                    Some(vector) if vector.own.is_some() => {
                        vector.own.as_ref().map(Own::there).unwrap_or_default()
                    }
                    Some(vector) => {
                        let table = &vector.table;
                        format!("exists(select 1 from {table} t where t.pid = c.pid)")
                    }
                    None => "false".to_owned(),
                }
            }
            Condition::Nested(nested) => {
                let key = nested.array_key();
                let object = self.alias("n");
                let inner = Scope {
                    root: object.clone(),
                    inside: Some(JsonPath::extend_or_new(scope.inside.as_ref(), &key)),
                };
                let sql = self.filter(&inner, nested.filter())?;
                let (root, path) = (&scope.root, Path::of(&key).jsonpath());
                format!(
                    "exists(select 1 from jsonb_path_query({root}, {path}, '{{}}', true) {object} \
                     where jsonb_typeof({object}) = 'object' and {sql})"
                )
            }
            Condition::CustomIdChecker(_) => {
                return Err(refuse::service_error("a filter cannot hold code"));
            }
        })
    }

    /// The index that a condition on a point's field is answered from.
    fn index(&self, scope: &Scope, key: &JsonPath) -> Option<(i32, &PayloadFieldSchema)> {
        if !scope.is_top() {
            return None;
        }
        let index = self.known.indexes.get(&key.to_string())?;
        index.ready.then_some((index.ino, &index.schema))
    }

    fn alias(&mut self, letter: &str) -> String {
        self.aliases += 1;
        format!("{letter}{}", self.aliases)
    }

    /// Whether there is a value under a path, an array being one, for which the predicate is true.
    fn leaf(
        &mut self,
        scope: &Scope,
        path: &Path,
        predicate: impl FnOnce(&mut Self, &str) -> String,
    ) -> String {
        let v = self.alias("v");
        let predicate = predicate(self, &v);
        let root = &scope.root;
        if path.is_plain() {
            let value = path.arrows(root);
            format!(
                "exists(select 1 from (select {value} as {v}) l where {v} is not null and \
                 {predicate})"
            )
        } else {
            let path = path.jsonpath();
            format!(
                "exists(select 1 from jsonb_path_query({root}, {path}, '{{}}', true) {v} where \
                 {predicate})"
            )
        }
    }

    /// Whether there is a value under a path, those of an array being looked at one by one, for
    /// which the predicate is true.
    fn each(
        &mut self,
        scope: &Scope,
        path: &Path,
        predicate: impl FnOnce(&mut Self, &str) -> String,
    ) -> String {
        let e = self.alias("e");
        let predicate = predicate(self, &e);
        let root = &scope.root;
        if path.is_plain() {
            let value = path.arrows(root);
            format!("exists(select 1 from jsonb_path_query({value}, '$[*]') {e} where {predicate})")
        } else {
            let path = path.jsonpath();
            format!("exists(select 1 from qd.flat({root}, {path}) {e} where {predicate})")
        }
    }
}

fn all(mut clauses: Vec<String>) -> String {
    match clauses.len() {
        0 => "true".to_owned(),
        1 => clauses.remove(0),
        _ => format!("({})", clauses.join(" and ")),
    }
}

fn any(mut clauses: Vec<String>) -> String {
    match clauses.len() {
        0 => "false".to_owned(),
        1 => clauses.remove(0),
        _ => format!("({})", clauses.join(" or ")),
    }
}
