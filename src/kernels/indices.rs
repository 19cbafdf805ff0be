//! What kernels that read indices share: their value, and the word of one that lies outside its axis
//! (`shaders/lib/status.wgsl`).

use super::Prelude;
use crate::base::ElementFormat;

/// Types `I…` of indices, `index_value(x)` as an i32, and `outside(entry, x)`, which tells of index `x` at
/// buffer `entry` of a tuple.
///
/// `status`: the binding of the run's status, behind the kernel's own; the kernel's parameters hold the
/// number in `report`. `None` where every index is known to lie inside.
pub(super) fn declare(prelude: Prelude, storage: ElementFormat, status: Option<u32>) -> Prelude {
    let (value, words) = match storage {
        // An index beyond 32 bits is outside every axis: it becomes the lowest number, which is too.
        ElementFormat::I64 => (
            "select(bitcast<i32>(0x80000000u), bitcast<i32>(x.x), all(widen64(bitcast<i32>(x.x)) == x))",
            "x",
        ),
        _ => ("i32(x)", "widen64(i32(x))"),
    };
    let tell = if status.is_some() { format!("tell(p.report, entry, {words});") } else { String::new() };
    let code = format!(
        "fn index_value(x: ILane) -> i32 {{ return {value}; }}\nfn outside(entry: u32, x: ILane) {{ {tell} }}\n"
    );
    prelude.typed("I", storage).code(&code).status(status)
}
