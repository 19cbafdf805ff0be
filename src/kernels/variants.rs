//! Every shader that an adapter may get, as text: what the tests translate, and what `bench --kernel all
//! --shaders` writes.

use super::{Extent, KERNELS, Member, Needs, WgslFlavor};
use crate::base::{Capabilities, ShaderDialect};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// The dialects of preludes, as [`Capabilities::dialect`](crate::base::Capabilities::dialect) makes them: hardware's,
/// and software adapters'.
pub const FORMS: [ShaderDialect; 8] = {
    let plain = ShaderDialect {
        wide: false,
        table: false,
        rolled: false,
        subgroups: false,
        quads: false,
        written_out: false,
        saturates: false,
    };
    let rolled = ShaderDialect { rolled: true, ..plain };
    [
        plain,
        ShaderDialect { saturates: true, ..plain },
        ShaderDialect { subgroups: true, ..plain },
        ShaderDialect { saturates: true, ..rolled },
        ShaderDialect { written_out: true, ..plain },
        ShaderDialect { quads: true, written_out: true, ..plain },
        ShaderDialect { wide: true, table: true, ..rolled },
        ShaderDialect { wide: true, table: true, saturates: true, ..rolled },
    ]
};

/// A variant whose text differs from every other's.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The kernel's stem: the shader is `shaders/STEM.wgsl` behind a prelude.
    pub kernel: &'static str,
    /// Tells a kernel's shaders apart, from 0.
    pub number: usize,
    pub text: Arc<str>,
    /// Lines of the prelude.
    pub prelude_lines: usize,
    pub needs: Needs,
    /// The parameter block's members.
    pub params: &'static [Member],
}

/// Every distinct shader of every kernel, in one flavor, in the order of [`KERNELS`].
pub fn shaders(flavor: WgslFlavor) -> Vec<Variant> {
    let mut all = vec![];
    for kernel in KERNELS {
        let (mut seen, preludes) = (HashSet::new(), (kernel.variants)());
        for source in preludes
            .iter()
            .flat_map(|prelude| FORMS.map(|form| prelude.assemble(kernel.shader, form, flavor)))
        {
            if seen.insert(source.text.clone()) {
                let number = seen.len() - 1;
                all.push(Variant {
                    kernel: kernel.stem,
                    number,
                    text: source.text,
                    prelude_lines: source.prelude_lines,
                    needs: source.needs,
                    params: kernel.params,
                });
            }
        }
    }
    all
}

impl Variant {
    /// Whether an adapter that was asked for WebGPU's features and limits alone may get this shader.
    ///
    /// Errors: a text that naga doesn't parse, which is a defect.
    pub fn is_webgpus(&self) -> Result<bool> {
        if self.needs != Needs::default() {
            return Ok(false);
        }
        let problem =
            |problem: String| Error::internal(format!("shader {}.{}: {problem}", self.kernel, self.number));
        let extent = Extent::of(&self.text).map_err(problem)?;
        let promised = Capabilities::webgpu();
        Ok(extent.workgroup_bytes <= u64::from(promised.max_workgroup_bytes)
            && extent.buffers <= promised.max_storage_buffers as usize
            && extent.invocations <= u64::from(promised.max_invocations))
    }
}
