//! What a shader takes of an adapter, read from its text.

/// The resources that limits are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u64,
    /// Invocations of a workgroup.
    pub invocations: u64,
    /// ElementFormat buffers.
    pub buffers: usize,
}

impl Extent {
    /// Reads it from a whole shader. Errors: a text that naga doesn't parse, with what it says.
    pub fn of(text: &str) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        let globals = || module.global_variables.iter().map(|(_, variable)| variable);
        let shared = globals().filter(|variable| variable.space == naga::AddressSpace::WorkGroup);
        let invocations = module
            .entry_points
            .iter()
            .map(|entry| entry.workgroup_size.iter().map(|&size| u64::from(size)).product::<u64>());
        Ok(Self {
            workgroup_bytes: shared
                .map(|variable| u64::from(module.types[variable.ty].inner.size(module.to_ctx())))
                .sum(),
            invocations: invocations.max().unwrap_or(0),
            buffers: globals()
                .filter(|variable| matches!(variable.space, naga::AddressSpace::Storage { .. }))
                .count(),
        })
    }
}
