//! Scores by a formula over a point's payload and its scores in the prefetches, as Qdrant computes
//! them: in 64 bits, rounded at the end.
//!
//! The engine's parsed form cannot be named outside of it, only written out. So it is written out
//! and read back into the enums below, which have its shape; nothing of that leaves the process.

use std::collections::HashMap;

use qdrant_edge::external::serde_json::{self, Value};
use qdrant_edge::{
    Condition, DateTimeWrapper, GeoPoint, JsonPath, OperationError, Payload, PayloadFieldSchema,
};
use serde::Deserialize;

use super::values;

/// Metres; the radius that the engine's own library takes.
const EARTH_RADIUS: f64 = 6_371_008.8;

#[derive(Debug, Deserialize)]
enum Expression {
    Constant(f64),
    Variable(Variable),
    GeoDistance {
        origin: GeoPoint,
        key: JsonPath,
    },
    Datetime(Moment),
    Mult(Vec<Expression>),
    Sum(Vec<Expression>),
    Div {
        left: Box<Expression>,
        right: Box<Expression>,
        by_zero_default: Option<f64>,
    },
    Neg(Box<Expression>),
    Sqrt(Box<Expression>),
    Pow {
        base: Box<Expression>,
        exponent: Box<Expression>,
    },
    Exp(Box<Expression>),
    Log10(Box<Expression>),
    Ln(Box<Expression>),
    Abs(Box<Expression>),
    Decay {
        kind: Decay,
        x: Box<Expression>,
        target: Option<Box<Expression>>,
        lambda: f64,
    },
}

#[derive(Debug, Deserialize)]
enum Variable {
    /// In the prefetch of that number.
    Score(usize),
    Payload(JsonPath),
    /// That number in the list of conditions.
    Condition(usize),
}

#[derive(Debug, Deserialize)]
enum Moment {
    Constant(DateTimeWrapper),
    PayloadVariable(JsonPath),
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Decay {
    Lin,
    Gauss,
    Exp,
}

pub(super) struct Formula {
    expression: Expression,
    pub(super) conditions: Vec<Condition>,
    /// By the name of the variable.
    defaults: HashMap<String, Value>,
    /// Of those paths that have an index, which decides what counts as a value.
    indexes: HashMap<JsonPath, PayloadFieldSchema>,
}

/// What a formula sees of one point.
pub(super) struct Subject<'s> {
    pub(super) payload: &'s Payload,
    /// In each prefetch; `None` where it was not found.
    pub(super) scores: &'s [Option<f32>],
    /// Whether it meets each of the conditions.
    pub(super) meets: &'s [bool],
}

impl Formula {
    /// `expression` as the engine writes it out.
    pub(super) fn new(
        expression: Value,
        conditions: Vec<Condition>,
        defaults: HashMap<String, Value>,
        indexes: HashMap<JsonPath, PayloadFieldSchema>,
    ) -> Result<Self, OperationError> {
        let expression = serde_json::from_value(expression).map_err(|error| {
            OperationError::ValidationError {
                description: format!("the formula cannot be read: {error}"),
            }
        })?;
        Ok(Self {
            expression,
            conditions,
            defaults,
            indexes,
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the nearest is what is meant"
    )]
    pub(super) fn score(&self, subject: &Subject<'_>) -> Result<f32, OperationError> {
        let score = self.value(&self.expression, subject)?;
        let rounded = score as f32;
        if rounded.is_finite() {
            return Ok(rounded);
        }
        Err(OperationError::NonFiniteNumber {
            expression: format!("{score} as f32 = {rounded}"),
        })
    }

    fn value(&self, expression: &Expression, at: &Subject<'_>) -> Result<f64, OperationError> {
        match expression {
            Expression::Constant(value) => Ok(*value),
            Expression::Variable(variable) => self.variable(variable, at),
            Expression::GeoDistance { origin, key } => {
                let point =
                    self.payload(key, "geo point", at, serde_json::from_value::<GeoPoint>)?;
                Ok(haversine(origin, &point))
            }
            Expression::Datetime(moment) => self.seconds(moment, at),
            Expression::Mult(factors) => {
                let mut product = 1.0;
                for factor in factors {
                    let value = self.value(factor, at)?;
                    // What comes after is not looked at.
                    if value == 0.0 {
                        return Ok(0.0);
                    }
                    product *= value;
                }
                Ok(product)
            }
            Expression::Sum(terms) => terms
                .iter()
                .try_fold(0.0, |sum, term| Ok(sum + self.value(term, at)?)),
            Expression::Div {
                left,
                right,
                by_zero_default,
            } => {
                let left = self.value(left, at)?;
                if left == 0.0 {
                    return Ok(0.0);
                }
                let right = self.value(right, at)?;
                if right == 0.0
                    && let Some(default) = by_zero_default
                {
                    return Ok(*default);
                }
                let value = left / right;
                finite(value, || format!("{left}/{right} = {value}"))
            }
            Expression::Neg(inner) => Ok(-self.value(inner, at)?),
            Expression::Abs(inner) => Ok(self.value(inner, at)?.abs()),
            Expression::Sqrt(inner) => {
                let of = self.value(inner, at)?;
                let value = of.sqrt();
                finite(value, || format!("√{of} = {value}"))
            }
            Expression::Pow { base, exponent } => {
                let base = self.value(base, at)?;
                let exponent = self.value(exponent, at)?;
                let value = base.powf(exponent);
                finite(value, || format!("{base}^{exponent} = {value}"))
            }
            Expression::Exp(inner) => self.function("exp", f64::exp, inner, at),
            Expression::Log10(inner) => self.function("log10", f64::log10, inner, at),
            Expression::Ln(inner) => self.function("ln", f64::ln, inner, at),
            Expression::Decay {
                kind,
                x,
                target,
                lambda,
            } => {
                let x = self.value(x, at)?;
                let target = target.as_ref().map(|target| self.value(target, at));
                let difference = x - target.transpose()?.unwrap_or(0.0);
                Ok(match kind {
                    Decay::Exp => (lambda * difference.abs()).exp(),
                    Decay::Gauss => (lambda * difference * difference).exp(),
                    Decay::Lin => (-lambda * difference.abs() + 1.0).max(0.0),
                })
            }
        }
    }

    fn function(
        &self,
        name: &str,
        function: fn(f64) -> f64,
        of: &Expression,
        at: &Subject<'_>,
    ) -> Result<f64, OperationError> {
        let of = self.value(of, at)?;
        let value = function(of);
        finite(value, || format!("{name}({of}) = {value}"))
    }

    fn variable(&self, variable: &Variable, at: &Subject<'_>) -> Result<f64, OperationError> {
        match variable {
            Variable::Score(prefetch) => {
                let score = at.scores.get(*prefetch).copied().flatten();
                let default = || {
                    let default = self.defaults.get(&format!("$score[{prefetch}]"));
                    default.and_then(Value::as_f64).unwrap_or(0.0)
                };
                Ok(score.map_or_else(default, f64::from))
            }
            Variable::Payload(key) => self.payload(key, "number", at, |value| {
                value.as_f64().ok_or("Value is not a number")
            }),
            Variable::Condition(number) => {
                let meets = at.meets.get(*number).copied().unwrap_or(false);
                Ok(if meets { 1.0 } else { 0.0 })
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "so does Qdrant")]
    fn seconds(&self, moment: &Moment, at: &Subject<'_>) -> Result<f64, OperationError> {
        let moment = match moment {
            Moment::Constant(moment) => *moment,
            Moment::PayloadVariable(key) => self.payload(key, "datetime", at, |value| {
                let text = value.as_str().ok_or("Value is not a string")?;
                let parsed = text.parse::<DateTimeWrapper>();
                parsed.map_err(|error| error.to_string())
            })?,
        };
        Ok(moment.timestamp() as f64 / 1_000_000.0)
    }

    fn payload<T, E: ToString>(
        &self,
        key: &JsonPath,
        expected: &str,
        at: &Subject<'_>,
        read: impl FnOnce(Value) -> Result<T, E>,
    ) -> Result<T, OperationError> {
        let wrong = |description: String| OperationError::VariableTypeError {
            field_name: key.clone(),
            expected_type: expected.to_owned(),
            description,
        };
        let mut values = values::of_variable(at.payload, key, self.indexes.get(key));
        let value = match values.len() {
            0 => None,
            1 => values.pop(),
            _ => Some(Value::Array(values)),
        };
        let value = value
            .or_else(|| self.defaults.get(&key.to_string()).cloned())
            .ok_or_else(|| wrong("No value found in a payload nor defaults".to_owned()))?;
        read(value).map_err(|error| wrong(error.to_string()))
    }
}

fn finite(value: f64, expression: impl FnOnce() -> String) -> Result<f64, OperationError> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(OperationError::NonFiniteNumber {
        expression: expression(),
    })
}

/// In metres.
fn haversine(from: &GeoPoint, to: &GeoPoint) -> f64 {
    let (from_lat, to_lat) = (from.lat.into_inner(), to.lat.into_inner());
    let theta1 = from_lat.to_radians();
    let theta2 = to_lat.to_radians();
    let delta_theta = (to_lat - from_lat).to_radians();
    let delta_lambda = (to.lon.into_inner() - from.lon.into_inner()).to_radians();
    let a = (delta_theta / 2.0).sin().powi(2)
        + theta1.cos() * theta2.cos() * (delta_lambda / 2.0).sin().powi(2);
    EARTH_RADIUS * (2.0 * a.sqrt().asin())
}
