//! Operators: one room, one file, for each; this module is their register.

pub mod attributes;
mod operator;

pub use attributes::{Attribute, Input, NodeView};
pub use operator::{Fact, Infer, Mode, OpDef, Operands, Operator};

/// The rooms: an operator is known because its row is here, and nowhere else.
pub static OPERATORS: &[&OpDef] = &[];

/// The room of an ONNX operator. The domain "ai.onnx" is the same as the empty one.
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    OPERATORS.iter().copied().find(|def| def.domain == domain && def.name == name)
}
