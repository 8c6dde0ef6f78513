//! The tokenizer for texts in any language, Japanese and others without blanks included.

use std::borrow::Cow;
use std::sync::LazyLock;

use charabia::normalizer::{ClassifierOption, NormalizerOption};
use charabia::{Language, Script, Segment, StrDetection};
use vaporetto::{Model, Predictor, Sentence};

use super::Filters;

const NORMALIZER: NormalizerOption<'_> = NormalizerOption {
    create_char_map: false,
    lossy: true,
    classifier: ClassifierOption {
        stop_words: None,
        separators: None,
    },
};

/// The languages that are told apart.
const LANGUAGES: &[Language] = &[
    Language::Eng,
    Language::Rus,
    Language::Por,
    Language::Ita,
    Language::Deu,
    Language::Ara,
    Language::Dan,
    Language::Swe,
    Language::Fin,
    Language::Tur,
    Language::Nld,
    Language::Hun,
    Language::Ell,
    Language::Tam,
    Language::Ron,
    Language::Cmn,
    Language::Jpn,
];

/// How Japanese is cut into words: bccwj-suw_c1.0 of vaporetto-models 0.5.0, the one Qdrant has.
/// The file beside it says whose it is.
static MODEL: &[u8] = include_bytes!("bccwj-suw_c1.0.model");

static PREDICTOR: LazyLock<Option<Predictor>> = LazyLock::new(|| {
    let (model, _) = Model::read_slice(MODEL).ok()?;
    Predictor::new(model, false).ok()
});

pub(super) fn tokens(text: &str, filters: &Filters) -> Vec<String> {
    let is_latin = StrDetection::new(text, Some(LANGUAGES)).script() == Script::Latin;
    // Asked only now: of a Latin text it is not needed, and costs more.
    if !is_latin && StrDetection::new(text, Some(LANGUAGES)).language() == Some(Language::Jpn) {
        return japanese(text, filters);
    }
    let mut tokens = Vec::new();
    for token in text.segment().normalize(&NORMALIZER) {
        if token.lemma.chars().any(char::is_alphabetic) {
            tokens.extend(filters.word(token.lemma, true));
        }
    }
    tokens
}

/// Neither stems nor lengths count here.
fn japanese(text: &str, filters: &Filters) -> Vec<String> {
    let Some(predictor) = &*PREDICTOR else {
        return Vec::new();
    };
    let Ok(mut sentence) = Sentence::from_raw(Cow::Borrowed(text)) else {
        return Vec::new();
    };
    predictor.predict(&mut sentence);
    let mut tokens = Vec::new();
    for token in sentence.iter_tokens() {
        let word = token.surface();
        if filters.is_stop_word_as_written(word) || !word.chars().any(char::is_alphabetic) {
            continue;
        }
        tokens.push(match filters.is_lowercase {
            true => word.to_lowercase(),
            false => word.to_owned(),
        });
    }
    tokens
}
