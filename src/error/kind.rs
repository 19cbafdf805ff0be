//! What kinds of things go wrong.

/// What kind of thing went wrong; a caller decides by it, a person reads the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A wrong argument or option: a name that nothing has, a run given to another session.
    Usage,
    /// A file that is missing, unreadable or not what it claims to be.
    File,
    /// A model that contradicts itself or the ONNX specification.
    Model,
    /// Something valid that this version doesn't do.
    Unsupported,
    /// An input tensor that doesn't fit the model.
    Input,
    /// An adapter that doesn't exist, lacks something, or was lost.
    Device,
    /// A driver that didn't do in time what it was asked for: the device is given up.
    Timeout,
    /// A size beyond what may be allocated.
    Memory,
    /// A defect of sardonyx itself.
    Internal,
}
