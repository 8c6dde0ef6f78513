//! Formulas: scores computed from scores and payloads.

use std::collections::HashMap;

use qdrant_edge::{Condition, DecayKind, Expression as Engine, Formula, GeoPoint, JsonPath};
use serde::Deserialize;
use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors};

#[derive(Debug, Deserialize)]
pub struct FormulaQuery {
    formula: Expression,
    #[serde(default)]
    defaults: HashMap<String, Value>,
}

impl FormulaQuery {
    /// The engine's form of it. Whether its variables can be read shows when that is parsed.
    pub fn formula(&self) -> Formula {
        Formula {
            formula: self.formula.engine(),
            defaults: self.defaults.clone(),
        }
    }
}

impl Validate for FormulaQuery {
    fn validate(&self) -> Result<(), ValidationErrors> {
        self.formula.validate()?;
        let mut errors = ValidationErrors::new();
        for (name, value) in &self.defaults {
            if let Err(error) = check_default(name, value) {
                errors.add("defaults", error);
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// A default is for a payload key, or for a score (`$score`, `$score[2]`) and then a number.
fn check_default(name: &str, value: &Value) -> Result<(), ValidationError> {
    let invalid = |text: String| {
        let error = ValidationError::new("Invalid variable name");
        Err(error.with_message(text.into()))
    };
    let Some(reserved) = name.strip_prefix('$') else {
        return match name.parse::<JsonPath>() {
            Ok(_) => Ok(()),
            Err(()) => invalid(format!("Invalid payload variable: {name}")),
        };
    };
    let Ok(path) = reserved.parse::<JsonPath>() else {
        return invalid(format!("Invalid reserved variable: {name}"));
    };
    if path.first_key != "score" {
        return invalid(format!("Invalid reserved word: {name}"));
    }
    if !is_score_index(&path) {
        return invalid(format!("Invalid reserved variable: {name}"));
    }
    if !value.is_number() {
        return Err(ValidationError::new("Score default must be a number"));
    }
    Ok(())
}

/// The types of a path's steps have no public names, but their texts are known.
fn is_score_index(path: &JsonPath) -> bool {
    let text = path.to_string();
    let Some(rest) = text.strip_prefix(path.first_key.as_str()) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let index = rest
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    index.is_some_and(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()))
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expression {
    Constant(f32),
    Variable(String),
    Condition(Box<Condition>),
    GeoDistance(GeoDistance),
    Datetime(DatetimeExpression),
    DatetimeKey(DatetimeKeyExpression),
    Mult(MultExpression),
    Sum(SumExpression),
    Neg(NegExpression),
    Abs(AbsExpression),
    Div(DivExpression),
    Sqrt(SqrtExpression),
    Pow(PowExpression),
    Exp(ExpExpression),
    Log10(Log10Expression),
    Ln(LnExpression),
    LinDecay(LinDecayExpression),
    ExpDecay(ExpDecayExpression),
    GaussDecay(GaussDecayExpression),
}

impl Expression {
    fn engine(&self) -> Engine {
        match self {
            Self::Constant(number) => Engine::Constant(*number),
            Self::Variable(name) => Engine::Variable(name.clone()),
            Self::Condition(condition) => Engine::Condition(condition.clone()),
            Self::GeoDistance(GeoDistance { geo_distance }) => Engine::GeoDistance {
                origin: geo_distance.origin,
                to: geo_distance.to.clone(),
            },
            Self::Datetime(moment) => Engine::Datetime(moment.datetime.clone()),
            Self::DatetimeKey(moment) => Engine::DatetimeKey(moment.datetime_key.clone()),
            Self::Mult(of) => Engine::Mult(all(&of.mult)),
            Self::Sum(of) => Engine::Sum(all(&of.sum)),
            Self::Neg(of) => Engine::Neg(one(&of.neg)),
            Self::Abs(of) => Engine::Abs(one(&of.abs)),
            Self::Div(DivExpression { div }) => Engine::Div {
                left: one(&div.left),
                right: one(&div.right),
                by_zero_default: div.by_zero_default,
            },
            Self::Sqrt(of) => Engine::Sqrt(one(&of.sqrt)),
            Self::Pow(PowExpression { pow }) => Engine::Pow {
                base: one(&pow.base),
                exponent: one(&pow.exponent),
            },
            Self::Exp(of) => Engine::Exp(one(&of.exp)),
            Self::Log10(of) => Engine::Log10(one(&of.log10)),
            Self::Ln(of) => Engine::Ln(one(&of.ln)),
            Self::LinDecay(of) => of.lin_decay.engine(DecayKind::Lin),
            Self::ExpDecay(of) => of.exp_decay.engine(DecayKind::Exp),
            Self::GaussDecay(of) => of.gauss_decay.engine(DecayKind::Gauss),
        }
    }
}

fn one(expression: &Expression) -> Box<Engine> {
    Box::new(expression.engine())
}

fn all(expressions: &[Expression]) -> Vec<Engine> {
    expressions.iter().map(Expression::engine).collect()
}

impl Validate for Expression {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Constant(_)
            | Self::Variable(_)
            | Self::GeoDistance(_)
            | Self::Datetime(_)
            | Self::DatetimeKey(_) => Ok(()),
            Self::Condition(condition) => condition.validate(),
            Self::Mult(expression) => expression.validate(),
            Self::Sum(expression) => expression.validate(),
            Self::Neg(expression) => expression.validate(),
            Self::Abs(expression) => expression.validate(),
            Self::Div(expression) => expression.validate(),
            Self::Sqrt(expression) => expression.validate(),
            // Qdrant does not look inside a power.
            Self::Pow(_) => Ok(()),
            Self::Exp(expression) => expression.validate(),
            Self::Log10(expression) => expression.validate(),
            Self::Ln(expression) => expression.validate(),
            Self::LinDecay(expression) => expression.validate(),
            Self::ExpDecay(expression) => expression.validate(),
            Self::GaussDecay(expression) => expression.validate(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct GeoDistance {
    geo_distance: GeoDistanceParams,
}

#[derive(Debug, Deserialize)]
struct GeoDistanceParams {
    origin: GeoPoint,
    to: JsonPath,
}

#[derive(Debug, Deserialize)]
struct DatetimeExpression {
    datetime: String,
}

#[derive(Debug, Deserialize)]
struct DatetimeKeyExpression {
    datetime_key: JsonPath,
}

#[derive(Debug, Deserialize, Validate)]
struct MultExpression {
    #[validate(nested)]
    mult: Vec<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct SumExpression {
    #[validate(nested)]
    sum: Vec<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct NegExpression {
    #[validate(nested)]
    neg: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct AbsExpression {
    #[validate(nested)]
    abs: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct DivExpression {
    #[validate(nested)]
    div: DivParams,
}

#[derive(Debug, Deserialize, Validate)]
struct DivParams {
    #[validate(nested)]
    left: Box<Expression>,
    #[validate(nested)]
    right: Box<Expression>,
    by_zero_default: Option<f32>,
}

#[derive(Debug, Deserialize, Validate)]
struct SqrtExpression {
    #[validate(nested)]
    sqrt: Box<Expression>,
}

#[derive(Debug, Deserialize)]
struct PowExpression {
    pow: PowParams,
}

#[derive(Debug, Deserialize)]
struct PowParams {
    base: Box<Expression>,
    exponent: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct ExpExpression {
    #[validate(nested)]
    exp: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct Log10Expression {
    #[validate(nested)]
    log10: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct LnExpression {
    #[validate(nested)]
    ln: Box<Expression>,
}

#[derive(Debug, Deserialize, Validate)]
struct LinDecayExpression {
    #[validate(nested)]
    lin_decay: DecayParamsExpression,
}

#[derive(Debug, Deserialize, Validate)]
struct ExpDecayExpression {
    #[validate(nested)]
    exp_decay: DecayParamsExpression,
}

#[derive(Debug, Deserialize, Validate)]
struct GaussDecayExpression {
    #[validate(nested)]
    gauss_decay: DecayParamsExpression,
}

#[derive(Debug, Deserialize, Validate)]
struct DecayParamsExpression {
    #[validate(nested)]
    x: Box<Expression>,
    #[validate(nested)]
    target: Option<Box<Expression>>,
    scale: Option<f32>,
    midpoint: Option<f32>,
}

impl DecayParamsExpression {
    fn engine(&self, kind: DecayKind) -> Engine {
        Engine::Decay {
            kind,
            x: one(&self.x),
            target: self.target.as_deref().map(one),
            midpoint: self.midpoint,
            scale: self.scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formula(json: Value) -> FormulaQuery {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_expression_reaches_the_engine() {
        use serde_json::json;
        for (written, engine) in [
            (json!(1.5), r"Constant(1.5)"),
            (json!("$score"), r#"Variable("$score")"#),
            (
                json!({"sum": [1, 2]}),
                "Sum([Constant(1.0), Constant(2.0)])",
            ),
            (json!({"mult": []}), "Mult([])"),
            (json!({"neg": 1}), "Neg(Constant(1.0))"),
            (json!({"abs": 1}), "Abs(Constant(1.0))"),
            (
                json!({"div": {"left": 1, "right": 2, "by_zero_default": 3}}),
                "Div { left: Constant(1.0), right: Constant(2.0), by_zero_default: Some(3.0) }",
            ),
            (json!({"sqrt": 1}), "Sqrt(Constant(1.0))"),
            (
                json!({"pow": {"base": 1, "exponent": 2}}),
                "Pow { base: Constant(1.0), exponent: Constant(2.0) }",
            ),
            (json!({"exp": 1}), "Exp(Constant(1.0))"),
            (json!({"log10": 1}), "Log10(Constant(1.0))"),
            (json!({"ln": 1}), "Ln(Constant(1.0))"),
            (json!({"datetime": "now"}), r#"Datetime("now")"#),
            (
                json!({"lin_decay": {"x": 1}}),
                "Decay { kind: Lin, x: Constant(1.0), target: None, midpoint: None, scale: None }",
            ),
            (
                json!({"gauss_decay": {"x": 1, "target": 2, "scale": 3, "midpoint": 0.5}}),
                "Decay { kind: Gauss, x: Constant(1.0), target: Some(Constant(2.0)), \
                 midpoint: Some(0.5), scale: Some(3.0) }",
            ),
        ] {
            let parsed = formula(json!({"formula": written})).formula();
            assert_eq!(format!("{:?}", parsed.formula), engine);
        }
    }

    #[test]
    fn defaults_are_for_payload_keys_and_scores() {
        let number = Value::from(1);
        for (name, value, said) in [
            ("price", &number, None),
            ("a.b[]", &number, None),
            ("$score", &number, None),
            ("$score[2]", &number, None),
            ("", &number, Some("Invalid payload variable: ")),
            ("a[", &number, Some("Invalid payload variable: a[")),
            ("$", &number, Some("Invalid reserved variable: $")),
            ("$foo", &number, Some("Invalid reserved word: $foo")),
            (
                "$score[]",
                &number,
                Some("Invalid reserved variable: $score[]"),
            ),
            (
                "$score.a",
                &number,
                Some("Invalid reserved variable: $score.a"),
            ),
        ] {
            let error = check_default(name, value).err();
            let text = error.map(|error| error.message.unwrap().into_owned());
            assert_eq!(text.as_deref(), said, "{name}");
        }
        let error = check_default("$score", &Value::from("x")).unwrap_err();
        assert_eq!(error.code, "Score default must be a number");
    }
}
