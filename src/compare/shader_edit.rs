//! What a planted fault changes of a shader's text: kernels know nothing of faults.

use crate::error::{Error, Result};

/// The function that a shader gets for the fault.
const ROUND: &str = "\nfn planted_round(v: vec4<f32>) -> vec4<f32> { \
    return vec4(unpack2x16float(pack2x16float(v.xy)), unpack2x16float(pack2x16float(v.zw))); }\n";

/// A contraction's shader whose sums are rounded to float16 after each step: where an element of `sum` is
/// added to (`sum[…] += …;`) or takes the last of some products (`sum[…] = fma(…);`).
///
/// Errors: the text has no such statement, so that nothing would be planted.
pub(super) fn with_half_sums(source: &str) -> Result<String> {
    let mut text = String::with_capacity(source.len() + 1024);
    let (mut rest, mut changed) = (source, 0);
    while let Some(at) = rest.find("sum[") {
        let (before, from) = rest.split_at(at);
        text += before;
        match Step::read(from) {
            Some(Step { target, adds, value, behind }) => {
                text += &match adds {
                    true => format!("{target} = planted_round({target} + ({value}));"),
                    false => format!("{target} = planted_round({value});"),
                };
                (rest, changed) = (behind, changed + 1);
            }
            None => {
                text += "sum[";
                rest = &from["sum[".len()..];
            }
        }
    }
    if changed == 0 {
        return Err(Error::internal("the shader has no sum to round: the fault knows another text"));
    }
    Ok(text + rest + ROUND)
}

/// A statement that makes a sum grow.
struct Step<'a> {
    /// `sum[…]`
    target: &'a str,
    /// Whether the value is added to what is there.
    adds: bool,
    value: &'a str,
    behind: &'a str,
}

impl<'a> Step<'a> {
    /// Reads the statement at the start of a text; `None` where another one is.
    fn read(text: &'a str) -> Option<Self> {
        let (target, rest) = text.split_at(text.find(']')? + 1);
        let (statement, behind) = rest.split_once(';')?;
        let added = statement.strip_prefix(" += ");
        let value =
            added.or_else(|| statement.strip_prefix(" = ").filter(|value| value.starts_with("fma(")))?;
        Some(Self { target, adds: added.is_some(), value, behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_rounded_where_they_grow() {
        let text = with_half_sums(
            "sum[r] = vec4(0.0); sum[r] += x * w[0]; let s = sum[r]; sum[r + 1] = fma(x, y, s);",
        );
        let text = text.unwrap();
        let expected = "sum[r] = vec4(0.0); sum[r] = planted_round(sum[r] + (x * w[0])); let s = sum[r]; \
            sum[r + 1] = planted_round(fma(x, y, s));";
        assert!(text.starts_with(expected), "{text}");
        assert!(with_half_sums("sum[r] = vec4(0.0);").is_err());
    }
}
