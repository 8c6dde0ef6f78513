//! Vectors to be made from something else: texts, images and objects that name a model.
//!
//! One model is computed here, `Qdrant/bm25`. For any other Qdrant asks a service; there is none,
//! and the answer is the one of a Qdrant that was not told of one.

use std::collections::HashMap;

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config, EdgeBm25Error};
use qdrant_edge::{Language, SparseVector};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_json::{Error as JsonError, Value, json};
use validator::Validate;

use super::refuse;
use crate::error::Result;

type ModelOptions = HashMap<String, Value>;

/// A language that has neither stemmer nor, when it is asked for so, stop words.
const LANGUAGE_WITHOUT_STEMMER: &str = "japanese";

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Validate)]
pub struct Document {
    pub text: String,
    #[validate(length(min = 1))]
    pub model: String,
    #[serde(default)]
    pub options: Option<ModelOptions>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Validate)]
pub struct Image {
    pub image: Value,
    #[validate(length(min = 1))]
    pub model: String,
    #[serde(flatten)]
    pub options: Options,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Validate)]
pub struct InferenceObject {
    pub object: Value,
    #[validate(length(min = 1))]
    pub model: String,
    #[serde(flatten)]
    pub options: Options,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Options {
    pub options: Option<ModelOptions>,
}

/// What the vector is for: the two are weighted in different ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    Update,
    Search,
}

/// Something that a model makes a vector of.
#[derive(Clone, Copy, Debug)]
pub enum Input<'i> {
    Document(&'i Document),
    Image(&'i Image),
    Object(&'i InferenceObject),
}

impl Input<'_> {
    fn model(&self) -> &str {
        match self {
            Self::Document(document) => &document.model,
            Self::Image(image) => &image.model,
            Self::Object(object) => &object.model,
        }
    }
}

/// Refuses a request one of whose inputs needs a model that is not computed here. Asked of all
/// inputs of a request before the first vector is made, as Qdrant hands on all or none.
pub fn all_local<'i>(inputs: impl IntoIterator<Item = Input<'i>>) -> Result<()> {
    let foreign = inputs.into_iter().any(|input| !is_local(input.model()));
    if foreign {
        return Err(refuse::service_error(
            "InferenceService URL not configured - please provide valid address in config",
        ));
    }
    Ok(())
}

fn is_local(model: &str) -> bool {
    model.eq_ignore_ascii_case("qdrant/bm25") || model.eq_ignore_ascii_case("bm25")
}

/// Makes vectors. Keeps the model it has built, for the next input mostly wants the same.
pub struct Embedder {
    purpose: Purpose,
    built: Option<(Option<ModelOptions>, EdgeBm25)>,
}

impl Embedder {
    pub fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            built: None,
        }
    }

    /// The vector of `input`, whose model `all_local` has let pass.
    pub fn embed(&mut self, input: Input<'_>) -> Result<SparseVector> {
        all_local([input])?;
        let Input::Document(document) = input else {
            let text = format!("Only text input is supported for {}.", input.model());
            return Err(refuse::wrong_input(&text));
        };
        let model = match self.built.take() {
            Some((options, model)) if options == document.options => model,
            _ => build(document.options.clone().unwrap_or_default())?,
        };
        let vector = match self.purpose {
            Purpose::Update => model.embed_document(&document.text),
            Purpose::Search => model.embed_query(&document.text),
        };
        self.built = Some((document.options.clone(), model));
        Ok(vector)
    }
}

/// Makes the vector of one input.
pub fn embed(input: Input<'_>, purpose: Purpose) -> Result<SparseVector> {
    Embedder::new(purpose).embed(input)
}

fn build(mut options: ModelOptions) -> Result<EdgeBm25> {
    without_language(&mut options);
    let config =
        EdgeBm25Config::deserialize(MapDeserializer::<_, JsonError>::new(options.into_iter()))
            .map_err(|error| refuse::wrong_input(&format!("Invalid BM25 config: {error:#?}")))?;
    EdgeBm25::new(config).map_err(|error: EdgeBm25Error| {
        refuse::wrong_input(&format!("Invalid BM25 config: {error}"))
    })
}

/// A language that Qdrant does not know, "none" by custom, switches stemming and stop words off.
/// The engine's own code refuses it instead.
fn without_language(options: &mut ModelOptions) {
    let Some(Value::String(language)) = options.get("language") else {
        return;
    };
    if language.parse::<Language>().is_ok() {
        return;
    }
    options.insert("language".to_owned(), LANGUAGE_WITHOUT_STEMMER.into());
    let stopwords = options.entry("stopwords".to_owned()).or_insert(Value::Null);
    if stopwords.is_null() {
        *stopwords = json!({});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str, options: Value) -> Document {
        serde_json::from_value(json!({"text": text, "model": "Qdrant/BM25", "options": options}))
            .unwrap()
    }

    #[test]
    fn a_document_gets_qdrants_weights_and_a_query_ones() {
        let input = document("Hello worlds, the running foxes hello", Value::Null);
        let stored = embed(Input::Document(&input), Purpose::Update).unwrap();
        let indices = [74_040_069, 243_905_464, 613_153_351, 1_621_867_415];
        assert_eq!(stored.indices, indices);
        assert_eq!(
            stored.values,
            [1.669_730_2, 1.669_730_2, 1.898_533_6, 1.669_730_2]
        );
        let asked = embed(Input::Document(&input), Purpose::Search).unwrap();
        assert_eq!(asked.indices, indices);
        assert_eq!(asked.values, [1.0; 4]);
    }

    #[test]
    fn an_unknown_language_switches_stemming_and_stop_words_off() {
        let plain = document("the foxes", json!({"language": "none"}));
        let stemmed = document("the foxes", Value::Null);
        let count = |input: &Document| {
            let vector = embed(Input::Document(input), Purpose::Update).unwrap();
            vector.indices.len()
        };
        assert_eq!((count(&plain), count(&stemmed)), (2, 1));
    }

    #[test]
    fn what_cannot_be_computed_here_is_refused_in_qdrants_words() {
        let mut foreign = document("x", Value::Null);
        foreign.model = "m".to_owned();
        let image = Image {
            image: json!("x.png"),
            model: "bm25".to_owned(),
            options: Options::default(),
        };
        let wrong = document("x", json!({"k": "x"}));
        for (input, text) in [
            (
                Input::Document(&foreign),
                "Service internal error: InferenceService URL not configured - please provide valid address in config",
            ),
            (
                Input::Image(&image),
                "Wrong input: Only text input is supported for bm25.",
            ),
        ] {
            assert_eq!(embed(input, Purpose::Update).unwrap_err().to_string(), text);
        }
        let error = embed(Input::Document(&wrong), Purpose::Update).unwrap_err();
        let prefix = "Wrong input: Invalid BM25 config: Error(\"invalid type: string";
        assert!(error.to_string().starts_with(prefix), "{error}");
    }

    #[test]
    fn the_model_is_built_anew_when_the_options_change() {
        let mut embedder = Embedder::new(Purpose::Update);
        let mut weight = |options| {
            let input = document("fox", options);
            let vector = embedder.embed(Input::Document(&input)).unwrap();
            vector.values.first().copied().unwrap()
        };
        let first = weight(Value::Null);
        assert_ne!(first, weight(json!({"k": 3.0})));
        assert_eq!(first, weight(Value::Null));
    }
}
