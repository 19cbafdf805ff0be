//! What the GPU doesn't do.

use crate::error::Error;

/// Why a node has no GPU work: the reason that reports show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Unsupported {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// What is wrong with a node is also why it has no GPU work; whoever runs it otherwise meets the error itself.
impl From<Error> for Unsupported {
    fn from(error: Error) -> Self {
        Self(error.message().to_string())
    }
}
