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
}
