//! Refusals in Qdrant's words: one function a class, each with its prefix and its status.

use validator::ValidationErrors;

use super::describe::describe;
use crate::error::{Error, ErrorKind, Origin, Retry};

fn refuse(kind: ErrorKind, text: String) -> Error {
    Error::new(kind, Origin::Client, Retry::Never, text)
}

/// 400: what is asked does not fit the collection.
pub fn wrong_input(text: &str) -> Error {
    refuse(ErrorKind::BadInput, format!("Wrong input: {text}"))
}

/// 400: the request breaks a rule of its own.
pub fn bad_request(text: &str) -> Error {
    refuse(ErrorKind::BadInput, format!("Bad request: {text}"))
}

/// 409.
pub fn already_exists(text: &str) -> Error {
    refuse(ErrorKind::Conflict, format!("Wrong input: {text}"))
}

/// 404.
pub fn not_found(text: &str) -> Error {
    refuse(ErrorKind::NotFound, format!("Not found: {text}"))
}

pub fn no_collection(name: &str) -> Error {
    not_found(&format!("Collection `{name}` doesn't exist!"))
}

/// 403.
pub fn forbidden(text: &str) -> Error {
    refuse(ErrorKind::Forbidden, format!("Forbidden: {text}"))
}

/// 500.
pub fn service_error(text: &str) -> Error {
    refuse(
        ErrorKind::Internal,
        format!("Service internal error: {text}"),
    )
}

/// 400: what a vector is to be made of cannot be used in this place. Qdrant says it without prefix.
pub fn inference_error(text: &str) -> Error {
    refuse(ErrorKind::BadInput, text.to_owned())
}

/// 408.
pub fn timed_out(text: &str) -> Error {
    refuse(
        ErrorKind::Timeout,
        format!("Timeout: Timeout error: {text}"),
    )
}

/// 400: the body is not JSON, or not of this shape.
pub fn format_error(text: &str) -> Error {
    refuse(
        ErrorKind::BadInput,
        format!("Format error in JSON body: {text}"),
    )
}

/// 400: a path parameter cannot be read.
pub fn path_error(text: &str) -> Error {
    refuse(
        ErrorKind::BadInput,
        format!("Deserialize error in path parameters: {text}"),
    )
}

/// 400: a query parameter cannot be read.
pub fn query_error(text: &str) -> Error {
    refuse(
        ErrorKind::BadInput,
        format!("Deserialize error in query parameters: {text}"),
    )
}

/// 422: a rule of the request's type is broken. `what` is "JSON body", "path parameters" or
/// "query parameters".
pub fn validation(what: &str, errors: &ValidationErrors) -> Error {
    refuse(
        ErrorKind::BadInput,
        format!("Validation error in {what}: [{}]", describe(errors)),
    )
}
