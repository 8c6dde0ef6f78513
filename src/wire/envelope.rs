//! Qdrant's answers: the envelope around a result or an error, and the texts that the sidecar has
//! to say itself.
//!
//! The bytes are those of Qdrant: the same keys in the same order, numbers written by the same
//! rules. `time` is in seconds; Qdrant says exactly 0 for requests that it could not read.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

/// `{"result":…,"status":"ok","time":…}`, to go with 200.
///
/// # Panics
///
/// If `result` cannot be written as JSON, which no plain type fails to be: only a map whose keys
/// are not texts, or a `Serialize` that fails on purpose.
pub fn ok(result: &impl Serialize, time: Duration) -> Bytes {
    write(&Answer {
        result: Some(result),
        status: Status::Ok,
        time: time.as_secs_f64(),
    })
}

/// `{"status":"accepted","time":…}`, to go with 202: begun, and not waited for.
pub fn accepted(time: Duration) -> Bytes {
    write(&Answer::<()> {
        result: None,
        status: Status::Accepted,
        time: time.as_secs_f64(),
    })
}

/// `{"status":{"error":…},"time":…}`, to go with any refusal.
pub fn error(text: &str, time: Duration) -> Bytes {
    write(&Answer::<()> {
        result: None,
        status: Status::Error(text),
        time: time.as_secs_f64(),
    })
}

/// Whether the text of a refusal says that a rule was broken: 422 and not 400.
pub fn is_validation_error(text: &str) -> bool {
    text.starts_with("Validation error in ")
}

/// To a JSON body whose declared length is above the limit. Goes with 400.
pub fn payload_too_large(bytes: u64, limit: u64) -> String {
    format!(
        "Payload error: JSON payload ({bytes} bytes) is larger than allowed (limit: {limit} bytes)."
    )
}

/// To a JSON body that grew past the limit and had not said how long it would be. Goes with 400.
pub fn payload_exceeded(limit: u64) -> String {
    format!("Payload error: JSON payload has exceeded limit ({limit} bytes).")
}

#[derive(Serialize)]
struct Answer<'a, R: Serialize> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a R>,
    status: Status<'a>,
    time: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Status<'a> {
    Ok,
    Accepted,
    Error(&'a str),
}

fn write(answer: &Answer<'_, impl Serialize>) -> Bytes {
    serde_json::to_vec(answer)
        .expect("results are plain data")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_qdrants() {
        let time = Duration::from_micros(12);
        assert_eq!(
            ok(&true, time),
            r#"{"result":true,"status":"ok","time":0.000012}"#
        );
        assert_eq!(accepted(time), r#"{"status":"accepted","time":0.000012}"#);
        let refused = error("Not found: Collection `x` doesn't exist!", time);
        let expected =
            r#"{"status":{"error":"Not found: Collection `x` doesn't exist!"},"time":0.000012}"#;
        assert_eq!(refused, expected);
        assert_eq!(
            error("", Duration::ZERO),
            r#"{"status":{"error":""},"time":0.0}"#
        );
        assert_eq!(
            ok(&None::<u8>, Duration::from_nanos(20_713_687)),
            r#"{"result":null,"status":"ok","time":0.020713687}"#
        );
    }

    #[test]
    fn any_text_survives_the_envelope() {
        let mut texts = vec![
            "\"quoted\" \\ back".to_owned(),
            "\u{7f}\u{2028}ä\u{10ffff}".to_owned(),
        ];
        texts.extend((0..0x80).map(|code| String::from(char::from(code))));
        for text in texts {
            let body = error(&text, Duration::ZERO);
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                read.pointer("/status/error").unwrap().as_str(),
                Some(&*text)
            );
        }
    }

    #[test]
    fn too_large_is_said_in_qdrants_words() {
        assert_eq!(
            payload_too_large(33_554_433, 33_554_432),
            "Payload error: JSON payload (33554433 bytes) is larger than allowed \
             (limit: 33554432 bytes)."
        );
        assert_eq!(
            payload_exceeded(33_554_432),
            "Payload error: JSON payload has exceeded limit (33554432 bytes)."
        );
    }

    #[test]
    fn broken_rules_are_told_from_unreadable_requests() {
        assert!(is_validation_error(
            "Validation error in JSON body: [limit: …]"
        ));
        assert!(!is_validation_error("Format error in JSON body: …"));
    }
}
