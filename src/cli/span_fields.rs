//! How the fields of a span are kept until an event of it is logged.
//!
//! Every request makes a span and hardly any logs an event, so keeping the fields must be cheap:
//! the stock formatter for JSON sorts them through a map and a serialiser, which came to a tenth
//! of the CPU of a whole pass-through. This one writes each field as it comes.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// Fields of a span as one JSON object of strings.
pub(super) struct JsonSpanFields;

impl<'w> FormatFields<'w> for JsonSpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut object = Object {
            writer: &mut writer,
            written: false,
            result: Ok(()),
        };
        object.put('{');
        fields.record(&mut object);
        object.put('}');
        object.result
    }

    fn add_fields(
        &self,
        kept: &'w mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let written = kept.fields.len() > "{}".len();
        kept.fields.pop();
        let mut writer = kept.as_writer();
        let mut object = Object {
            writer: &mut writer,
            written,
            result: Ok(()),
        };
        fields.record(&mut object);
        object.put('}');
        object.result
    }
}

struct Object<'a, 'w> {
    writer: &'a mut Writer<'w>,
    written: bool,
    result: fmt::Result,
}

impl Object<'_, '_> {
    fn put(&mut self, character: char) {
        if self.result.is_ok() {
            self.result = fmt::Write::write_char(self.writer, character);
        }
    }

    fn put_raw(&mut self, text: &str) {
        if self.result.is_ok() {
            self.result = self.writer.write_str(text);
        }
    }

    fn put_text(&mut self, text: &str) {
        let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        // All of them, for then several are looked at at once.
        if text.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.put_raw("\"");
            self.put_raw(text);
            self.put_raw("\"");
        } else {
            self.put_raw(&serde_json::Value::from(text).to_string());
        }
    }

    fn begin(&mut self, field: &Field) {
        // A name is an identifier of ours.
        self.put_raw(if self.written { ",\"" } else { "\"" });
        self.put_raw(field.name());
        self.put_raw("\":");
        self.written = true;
    }
}

impl Visit for Object<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.begin(field);
        self.put_text(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.begin(field);
        self.put_text(&format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_carries_the_fields_of_its_span_whatever_is_in_them() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .fmt_fields(JsonSpanFields)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let odd = "quote \" slash \\ line \n tab \t zero \0 ü";
            let span = tracing::info_span!("s", odd, count = 7, late = tracing::field::Empty);
            span.record("late", "recorded");
            span.in_scope(|| tracing::info!("said"));
            let line = sink.0.lock().clone();
            let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(line["span"]["odd"], odd);
            assert_eq!(line["span"]["count"], "7");
            assert_eq!(line["span"]["late"], "recorded");
        });
    }
}
