//! What `/points/query` is asked: the request, the tree under it, and every kind of query.

mod expression;
mod kinds;
mod quick;
mod request;
mod vector_input;

pub use expression::FormulaQuery;
pub use kinds::{
    ContextInput, ContextPair, DiscoverInput, FeedbackStrategy, Fusion, Mmr, NearestQuery, Query,
    QueryInterface, RecommendInput, RecommendStrategy, RelevanceFeedbackInput, Rrf, Sample,
};
pub use request::{
    Prefetch, QueryBaseGroupRequest, QueryGroupsRequest, QueryGroupsRequestInternal, QueryRequest,
    QueryRequestBatch, QueryRequestInternal,
};
pub use vector_input::VectorInput;
