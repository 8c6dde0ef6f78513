//! Conditions as Qdrant checks them on a payload: on all values that a path leads to.

use qdrant_edge::{FieldCondition, ValuesCount};

use super::path::Path;
use super::{Compiler, Param, Scope, all, any};

const EMPTY: &str = "in ('null'::jsonb, '[]'::jsonb)";

impl Compiler<'_> {
    /// A condition on a field, answered from the payload.
    pub(super) fn check(&mut self, scope: &Scope, path: &Path, field: &FieldCondition) -> String {
        // The first of these that is there is the only one that counts.
        if let Some(count) = &field.values_count {
            let held = self.leaf(scope, path, |compiler, v| compiler.count(count, v));
            // Where there is no value at all, the other two have a say.
            return match default(field) {
                true => any(vec![held, self.nowhere(scope, path)]),
                false => held,
            };
        }
        if let Some(is_empty) = field.is_empty {
            let held = self.leaf(scope, path, |_, v| format!("({v} {EMPTY}) = {is_empty}"));
            return match is_empty {
                true => any(vec![held, self.nowhere(scope, path)]),
                false => held,
            };
        }
        if let Some(is_null) = field.is_null {
            let held = self.leaf(scope, path, |_, v| format!("{} = {is_null}", null_in(v)));
            return match is_null {
                true => held,
                false => any(vec![held, self.nowhere(scope, path)]),
            };
        }
        self.each(scope, path, |compiler, e| compiler.operators(field, e))
    }

    /// Whether a path leads to no value but null and empty arrays.
    pub(super) fn is_empty(&mut self, scope: &Scope, path: &Path) -> String {
        let has_values = self.leaf(scope, path, |_, v| format!("not {v} {EMPTY}"));
        format!("not {has_values}")
    }

    /// Whether a path leads to null, or to an array with one.
    pub(super) fn has_null(&mut self, scope: &Scope, path: &Path) -> String {
        self.leaf(scope, path, |_, v| null_in(v))
    }

    pub(super) fn nowhere(&mut self, scope: &Scope, path: &Path) -> String {
        let anywhere = self.leaf(scope, path, |_, _| "true".to_owned());
        format!("not {anywhere}")
    }

    fn count(&mut self, count: &ValuesCount, v: &str) -> String {
        let ValuesCount { lt, gt, gte, lte } = count;
        let bounds = [("<", lt), (">", gt), (">=", gte), ("<=", lte)];
        let mut clauses = Vec::new();
        for (operator, bound) in bounds {
            if let Some(bound) = bound {
                // No array is longer than that.
                let bound = i64::try_from(*bound).unwrap_or(i64::MAX);
                let bound = self.params.push(Param::Int(bound));
                clauses.push(format!("qd.cnt({v}) {operator} {bound}"));
            }
        }
        all(clauses)
    }
}

/// What a condition says where its path leads to no value.
fn default(field: &FieldCondition) -> bool {
    match (field.is_empty, field.is_null) {
        (Some(is_empty), _) => is_empty,
        (None, Some(is_null)) => !is_null,
        (None, None) => false,
    }
}

fn null_in(v: &str) -> String {
    format!(
        "(case jsonb_typeof({v}) when 'null' then true when 'array' then {v} @> '[null]'::jsonb \
         else false end)"
    )
}
