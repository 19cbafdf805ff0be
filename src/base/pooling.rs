//! What a window of a pool becomes.

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pooling {
    Maximum,
    /// Divided by the elements inside, or by the window's size.
    Average {
        count_padding: bool,
    },
    /// (Σ |x|^p)^(1/p)
    Norm {
        p: f32,
    },
}
