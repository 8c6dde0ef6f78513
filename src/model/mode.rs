//! The five modes: who answers reads, who is written first, what is mirrored, what is compared.

use std::fmt;

use super::store_kind::Role;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    PrimaryOnly,
    DualWrite,
    DualRead,
    Cutover,
    SecondaryOnly,
}

impl Mode {
    /// In the order in which a move from the primary to the secondary goes through them.
    pub const ALL: [Self; 5] = [
        Self::PrimaryOnly,
        Self::DualWrite,
        Self::DualRead,
        Self::Cutover,
        Self::SecondaryOnly,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrimaryOnly => "primary_only",
            Self::DualWrite => "dual_write",
            Self::DualRead => "dual_read",
            Self::Cutover => "cutover",
            Self::SecondaryOnly => "secondary_only",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// The store that answers reads, which is also the authority: the one written first.
    pub fn authority(self) -> Role {
        match self {
            Self::PrimaryOnly | Self::DualWrite | Self::DualRead => Role::Primary,
            Self::Cutover | Self::SecondaryOnly => Role::Secondary,
        }
    }

    /// The store that is kept equal to the authority, if any.
    pub fn follower(self) -> Option<Role> {
        match self {
            Self::PrimaryOnly | Self::SecondaryOnly => None,
            Self::DualWrite | Self::DualRead => Some(Role::Secondary),
            Self::Cutover => Some(Role::Primary),
        }
    }

    /// Whether the mode names the secondary at all.
    pub fn needs_secondary(self) -> bool {
        match self {
            Self::PrimaryOnly => false,
            Self::DualWrite | Self::DualRead | Self::Cutover | Self::SecondaryOnly => true,
        }
    }
}

/// What it takes to go from one mode to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is in force already.
    Same,
    /// The authority stays; a follower comes or goes, or the comparing does. The two modes may be
    /// in force side by side for a moment.
    Plain,
    /// The authority moves, or is left alone: no write may be under way meanwhile.
    Fenced,
    /// It would leave a store behind unnoticed; this mode has to come first.
    Refused { first: Mode },
}

impl Mode {
    /// The whole table. Forwards one mode at a time, but for `dual_read`, which may be left out;
    /// backwards one at a time, but that what only mirrors and compares may be switched off at
    /// once. From `secondary_only` there is one way, `cutover`: it mirrors backwards, which is how
    /// the stale primary becomes equal again; reads stay where they are meanwhile.
    pub fn step(from: Self, to: Self) -> Step {
        let first = |first| Step::Refused { first };
        match (from, to) {
            (Self::PrimaryOnly, Self::PrimaryOnly)
            | (Self::DualWrite, Self::DualWrite)
            | (Self::DualRead, Self::DualRead)
            | (Self::Cutover, Self::Cutover)
            | (Self::SecondaryOnly, Self::SecondaryOnly) => Step::Same,

            (Self::PrimaryOnly, Self::DualWrite)
            | (Self::DualWrite, Self::PrimaryOnly | Self::DualRead)
            | (Self::DualRead, Self::PrimaryOnly | Self::DualWrite)
            | (Self::SecondaryOnly, Self::Cutover) => Step::Plain,

            (Self::DualWrite | Self::DualRead, Self::Cutover)
            | (Self::Cutover, Self::DualWrite | Self::DualRead | Self::SecondaryOnly) => {
                Step::Fenced
            }

            (Self::PrimaryOnly, Self::DualRead | Self::Cutover | Self::SecondaryOnly) => {
                first(Self::DualWrite)
            }
            (Self::DualWrite | Self::DualRead, Self::SecondaryOnly)
            | (Self::SecondaryOnly, Self::PrimaryOnly | Self::DualWrite | Self::DualRead) => {
                first(Self::Cutover)
            }
            (Self::Cutover, Self::PrimaryOnly) => first(Self::DualRead),
        }
    }

    /// The mode that comes next on the way from the primary to the secondary.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::PrimaryOnly => Some(Self::DualWrite),
            Self::DualWrite => Some(Self::DualRead),
            Self::DualRead => Some(Self::Cutover),
            Self::Cutover => Some(Self::SecondaryOnly),
            Self::SecondaryOnly => None,
        }
    }

    /// The mode before this one, on the same way.
    pub fn previous(self) -> Option<Self> {
        match self {
            Self::PrimaryOnly => None,
            Self::DualWrite => Some(Self::PrimaryOnly),
            Self::DualRead => Some(Self::DualWrite),
            Self::Cutover => Some(Self::DualRead),
            Self::SecondaryOnly => Some(Self::Cutover),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for mode in Mode::ALL {
            assert_eq!(Mode::parse(mode.as_str()), Some(mode));
        }
        assert_eq!(Mode::parse("dual"), None);
    }

    #[test]
    fn a_follower_is_never_the_authority() {
        for mode in Mode::ALL {
            assert_ne!(mode.follower(), Some(mode.authority()));
        }
    }

    #[test]
    fn every_step_is_as_the_table_says() {
        // A row a mode to leave, a column a mode to go to: = same, p plain, F fenced, and for a
        // refusal the number of the mode that has to come first.
        let table = ["=p111", "p=pF3", "pp=F3", "2FF=F", "333p="];
        for (from, row) in Mode::ALL.into_iter().zip(table) {
            for (to, said) in Mode::ALL.into_iter().zip(row.chars()) {
                let expected = match said {
                    '=' => Step::Same,
                    'p' => Step::Plain,
                    'F' => Step::Fenced,
                    digit => {
                        let at = usize::try_from(digit.to_digit(10).unwrap()).unwrap();
                        Step::Refused {
                            first: Mode::ALL[at],
                        }
                    }
                };
                assert_eq!(Mode::step(from, to), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn an_authority_never_moves_without_a_fence() {
        for from in Mode::ALL {
            for to in Mode::ALL {
                match Mode::step(from, to) {
                    Step::Same | Step::Plain => assert_eq!(from.authority(), to.authority()),
                    Step::Fenced => assert_eq!(from.follower(), Some(other(from.authority()))),
                    // The way that is offered is one that can be gone.
                    Step::Refused { first } => {
                        assert!(!matches!(Mode::step(from, first), Step::Refused { .. }));
                    }
                }
            }
        }
    }

    fn other(role: Role) -> Role {
        match role {
            Role::Primary => Role::Secondary,
            Role::Secondary => Role::Primary,
        }
    }

    #[test]
    fn the_way_there_and_back_can_be_gone_mode_by_mode() {
        for mode in Mode::ALL {
            for step in mode.next().into_iter().chain(mode.previous()) {
                assert!(matches!(Mode::step(mode, step), Step::Plain | Step::Fenced));
            }
            assert_eq!(mode.next().and_then(Mode::previous).unwrap_or(mode), mode);
        }
    }
}
