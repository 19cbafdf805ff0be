//! What the GPU doesn't do.

/// Why a node has no GPU work: the reason that reports show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Unsupported {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
