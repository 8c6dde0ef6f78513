//! The modes that a file asks for, read by themselves while the sidecar runs: nothing else of a
//! changed file is put in force without a restart, so nothing else of it is judged.

use std::collections::BTreeMap;

use super::env::Env;
use super::mistake::{Mistakes, Origin};
use super::raw::{Key, Layers};
use super::read::Reader;
use crate::model::Mode;

/// `mode`, and `[collections.NAME] mode`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileModes {
    pub mode: Option<Mode>,
    pub collections: BTreeMap<String, Mode>,
}

impl FileModes {
    /// From the text of a file.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let mut layers = Layers::default();
        let mut mistakes = layers.put_document(text, |_line| Origin::Default);
        let env = Env::default();
        let mut reader = Reader::new(&layers, &env);
        let options = Mode::ALL.map(|mode| (mode.as_str(), mode));
        let mut modes = Self {
            mode: reader
                .section(Key::default())
                .maybe_choice("mode", &options),
            collections: BTreeMap::new(),
        };
        for name in layers.names_under("collections") {
            let mut section = reader.section(Key::of("collections").child(&name));
            if let Some(mode) = section.maybe_choice("mode", &options) {
                modes.collections.insert(name, mode);
            }
        }
        mistakes.extend(reader.mistakes);
        if mistakes.is_empty() {
            Ok(modes)
        } else {
            Err(Mistakes::from(mistakes))
        }
    }

    /// What this asks for and `before` did not, the mode of all first. What is no longer said
    /// asks for nothing.
    pub fn asked_since(&self, before: &Self) -> Vec<(Option<String>, Mode)> {
        let of_all = self.mode.filter(|_| self.mode != before.mode);
        let own = self.collections.iter();
        let own = own.filter(|(name, mode)| before.collections.get(*name) != Some(*mode));
        let of_all = of_all.map(|mode| (None, mode)).into_iter();
        of_all
            .chain(own.map(|(name, mode)| (Some(name.clone()), *mode)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(text: &str) -> FileModes {
        FileModes::parse(text).unwrap()
    }

    #[test]
    fn only_what_was_edited_is_asked_for() {
        let before = modes("mode = 'dual_write'\n[collections.a]\nmode = 'dual_read'\n");
        assert_eq!(before.asked_since(&before), vec![]);
        let after = modes(
            "mode = 'dual_read'\nlisten = 7\n[primary]\nurl = 1\n[collections.a]\nttl = '1s'\n\
             [collections.'b.c']\nmode = 'cutover'\n",
        );
        let expected = [
            (None, Mode::DualRead),
            (Some("b.c".to_owned()), Mode::Cutover),
        ];
        assert_eq!(after.asked_since(&before), expected);
    }

    #[test]
    fn a_file_that_is_half_written_or_names_no_mode_is_a_mistake() {
        assert!(FileModes::parse("mode = 'dual_").is_err());
        assert!(FileModes::parse("mode = 'dual'").is_err());
    }
}
