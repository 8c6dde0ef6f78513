//! The kinds of query.
//!
//! They are told apart by their keys alone, tried in this order; what fits none is refused as a
//! whole, so nothing below `query` has texts of its own before the rules are checked.

use qdrant_edge::OrderByInterface;
use serde::Deserialize;
use validator::{Validate, ValidationError, ValidationErrors};

use super::expression::FormulaQuery;
use super::vector_input::VectorInput;
use crate::wire::rest::one_or_many::one_or_many;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[serde(expecting = "Expected some form of vector, id, or a type of query")]
pub enum QueryInterface {
    Nearest(VectorInput),
    Query(Query),
}

impl QueryInterface {
    pub fn into_query(self) -> Query {
        match self {
            Self::Nearest(nearest) => Query::Nearest(NearestQuery { nearest, mmr: None }),
            Self::Query(query) => query,
        }
    }

    /// Whether points are ranked by comparing vectors.
    pub fn is_by_vector(&self) -> bool {
        match self {
            Self::Nearest(_)
            | Self::Query(
                Query::Nearest(_)
                | Query::Recommend(_)
                | Query::Discover(_)
                | Query::Context(_)
                | Query::RelevanceFeedback(_),
            ) => true,
            Self::Query(
                Query::OrderBy(_)
                | Query::Fusion(_)
                | Query::Rrf(_)
                | Query::Formula(_)
                | Query::Sample(_),
            ) => false,
        }
    }

    /// Every vector that the query names, as it was written.
    pub fn inputs_mut(&mut self) -> Vec<&mut VectorInput> {
        match self {
            Self::Nearest(nearest) => vec![nearest],
            Self::Query(query) => query.inputs_mut(),
        }
    }
}

impl Validate for QueryInterface {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Nearest(vector) => vector.validate(),
            Self::Query(query) => query.validate(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Query {
    Nearest(NearestQuery),
    Recommend(RecommendQuery),
    Discover(DiscoverQuery),
    Context(ContextQuery),
    OrderBy(OrderByQuery),
    Fusion(FusionQuery),
    Rrf(RrfQuery),
    Formula(FormulaQuery),
    Sample(SampleQuery),
    RelevanceFeedback(RelevanceFeedbackQuery),
}

impl Query {
    fn inputs_mut(&mut self) -> Vec<&mut VectorInput> {
        match self {
            Self::Nearest(query) => vec![&mut query.nearest],
            Self::Recommend(query) => {
                let RecommendInput {
                    positive, negative, ..
                } = &mut query.recommend;
                positive
                    .iter_mut()
                    .flatten()
                    .chain(negative.iter_mut().flatten())
                    .collect()
            }
            Self::Discover(query) => {
                let DiscoverInput { target, context } = &mut query.discover;
                std::iter::once(target).chain(pairs_mut(context)).collect()
            }
            Self::Context(query) => pairs_mut(&mut query.context.0).collect(),
            Self::RelevanceFeedback(query) => {
                let RelevanceFeedbackInput {
                    target, feedback, ..
                } = &mut query.relevance_feedback;
                let examples = feedback.iter_mut().map(|item| &mut item.example);
                examples.chain(std::iter::once(target)).collect()
            }
            Self::OrderBy(_)
            | Self::Fusion(_)
            | Self::Rrf(_)
            | Self::Formula(_)
            | Self::Sample(_) => vec![],
        }
    }
}

fn pairs_mut(pairs: &mut Option<Vec<ContextPair>>) -> impl Iterator<Item = &mut VectorInput> {
    pairs
        .iter_mut()
        .flatten()
        .flat_map(|pair| [&mut pair.positive, &mut pair.negative])
}

impl Validate for Query {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Nearest(query) => query.validate(),
            Self::Recommend(query) => query.validate(),
            Self::Discover(query) => query.validate(),
            Self::Context(query) => query.validate(),
            Self::OrderBy(query) => query.validate(),
            Self::Rrf(query) => query.validate(),
            Self::Formula(query) => query.validate(),
            Self::RelevanceFeedback(query) => query.validate(),
            Self::Fusion(_) | Self::Sample(_) => Ok(()),
        }
    }
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct NearestQuery {
    #[validate(nested)]
    pub nearest: VectorInput,
    #[validate(nested)]
    pub mmr: Option<Mmr>,
}

/// Maximal marginal relevance: rerank what is nearest by how new it is.
#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct Mmr {
    #[validate(range(min = 0.0, max = 1.0))]
    pub diversity: Option<f32>,
    #[validate(range(max = 16_384))]
    pub candidates_limit: Option<usize>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RecommendQuery {
    #[validate(nested)]
    pub recommend: RecommendInput,
}

#[derive(Debug, Deserialize)]
pub struct RecommendInput {
    pub positive: Option<Vec<VectorInput>>,
    pub negative: Option<Vec<VectorInput>>,
    pub strategy: Option<RecommendStrategy>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum RecommendStrategy {
    #[default]
    AverageVector,
    BestScore,
    SumScores,
}

impl Validate for RecommendInput {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut examples = self
            .positive
            .iter()
            .flatten()
            .chain(self.negative.iter().flatten())
            .peekable();
        if examples.peek().is_none() {
            let text = "At least one positive or negative vector/id must be provided";
            let mut errors = ValidationErrors::new();
            errors.add("positives, negatives", ValidationError::new(text));
            return Err(errors);
        }
        examples.try_for_each(Validate::validate)
    }
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct DiscoverQuery {
    #[validate(nested)]
    pub discover: DiscoverInput,
}

#[derive(Debug, Deserialize, Validate)]
pub struct DiscoverInput {
    #[validate(nested)]
    pub target: VectorInput,
    #[validate(nested)]
    #[serde(deserialize_with = "one_or_many")]
    pub context: Option<Vec<ContextPair>>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct ContextQuery {
    #[validate(nested)]
    pub context: ContextInput,
}

#[derive(Debug, Deserialize)]
pub struct ContextInput(#[serde(deserialize_with = "one_or_many")] pub Option<Vec<ContextPair>>);

impl Validate for ContextInput {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let pairs = self.0.iter().flatten();
        pairs
            .flat_map(|pair| [&pair.positive, &pair.negative])
            .try_for_each(Validate::validate)
    }
}

#[derive(Debug, Deserialize, Validate)]
pub struct ContextPair {
    #[validate(nested)]
    pub positive: VectorInput,
    #[validate(nested)]
    pub negative: VectorInput,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct OrderByQuery {
    #[validate(nested)]
    pub order_by: OrderByInterface,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct FusionQuery {
    pub fusion: Fusion,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    Rrf,
    Dbsf,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RrfQuery {
    #[validate(nested)]
    pub rrf: Rrf,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct Rrf {
    #[validate(range(min = 1))]
    #[serde(default)]
    pub k: Option<usize>,
    #[serde(default)]
    pub weights: Option<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct SampleQuery {
    pub sample: Sample,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    Random,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RelevanceFeedbackQuery {
    #[validate(nested)]
    pub relevance_feedback: RelevanceFeedbackInput,
}

#[derive(Debug, Deserialize, Validate)]
#[validate(schema(function = "has_feedback", skip_on_field_errors = false))]
pub struct RelevanceFeedbackInput {
    #[validate(nested)]
    pub target: VectorInput,
    #[validate(nested)]
    pub feedback: Vec<FeedbackItem>,
    #[validate(nested)]
    pub strategy: FeedbackStrategy,
}

fn has_feedback(input: &RelevanceFeedbackInput) -> Result<(), ValidationError> {
    if input.feedback.is_empty() {
        let text = "feedback elements must be non-empty";
        return Err(ValidationError::new("empty").with_message(text.into()));
    }
    Ok(())
}

#[derive(Debug, Deserialize, Validate)]
pub struct FeedbackItem {
    #[validate(nested)]
    pub example: VectorInput,
    pub score: f32,
}

#[derive(Debug, Deserialize, Validate)]
pub struct FeedbackStrategy {
    #[validate(nested)]
    pub naive: NaiveFeedbackParams,
}

#[derive(Clone, Copy, Debug, Deserialize, Validate)]
pub struct NaiveFeedbackParams {
    pub a: f32,
    #[validate(range(min = 0.0))]
    pub b: f32,
    pub c: f32,
}
