//! What a store learns of changes that nobody made through this sidecar.

/// Told by a store that hears of such changes.
pub trait Outside: Send + Sync {
    /// The points of this collection have changed, or what it is; without a name, anything has.
    fn changed(&self, collection: Option<&str>);

    /// Whether changes are heard of from now on. Until it is said, they are not; when it is said
    /// again, any number may have been missed.
    fn hears(&self, is_hearing: bool);
}
