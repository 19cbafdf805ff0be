//! What a plan needs to know of a device: plain data, so that plans are made and tested without one.

use super::dialect::{ShaderDialect, UNIFORM_TABLE};
use crate::error::{Error, Result, Setting};
use serde::{Deserialize, Serialize};

/// How float32 tensors are stored on the device. Sums are float32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As declared.
    #[default]
    F32,
    /// As float16; what is finite and beyond its range is stored as ±65,504.
    F16,
}

/// Matrices of float16 that a subgroup multiplies as a whole, adding in float32
/// (EXPERIMENTAL_COOPERATIVE_MATRIX).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cooperative {
    /// Their rows and columns, 8 or 16.
    pub side: u32,
    /// Invocations of the largest subgroup.
    pub subgroup: u32,
}

/// The features and limits of an adapter that planning depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// A software adapter: kernels without barriers, rows uniform across the workgroup.
    pub software: bool,
    /// The driver translates a kernel when it is first dispatched, in a time that goes with its size: loops
    /// should stay loops.
    pub translates_late: bool,
    /// The driver's compiler unrolls loops whose ends it knows; SwiftShader's leaves them loops.
    pub unrolls: bool,
    /// SHADER_F16: f16 in storage buffers. Without it f16 is stored packed, two in a u32.
    pub shader_f16: bool,
    /// SHADER_INT64: software adapters load two elements as one 64-bit word.
    pub shader_int64: bool,
    /// SUBGROUP: hardware makes sums over a workgroup by subgroups, of whatever size they are.
    pub subgroups: bool,
    /// Subgroups are 4 invocations that lie side by side, as SwiftShader's are.
    pub quads: bool,
    /// Cooperative matrices, where the adapter has them of a kind that WGSL can name.
    pub cooperative: Option<Cooperative>,
    /// Whether convolutions may be taken by Winograd's method, where it serves.
    pub winograd: bool,
    /// Bytes of immediates; a software adapter takes what is read from them for uniform.
    pub max_immediate_bytes: u32,
    /// ElementFormat buffers that one dispatch may bind.
    pub max_storage_buffers: u32,
    /// Bytes of one binding.
    pub max_binding_bytes: u64,
    /// Bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory: wgpu doesn't enforce it, the planner does.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// Workgroups in each dimension of a grid.
    pub max_grid: u32,
    /// Alignment of a dynamic offset into a uniform buffer.
    pub uniform_alignment: u32,
    /// Bytes of device memory that a plan's buffers may take together.
    pub memory_budget: u64,
}

/// An error where a limit that `adapter` gives lies outside of what kernels need.
pub(crate) fn within(adapter: &str, (limit, says): (&str, u64), least: u64, most: u64) -> Result<()> {
    let needed = if says < least {
        format!("at least {least} is needed")
    } else if says > most {
        format!("nothing above {most} can be right")
    } else {
        return Ok(());
    };
    Err(Error::device(format!("{adapter} says that its {limit} is {says}; {needed}"))
        .remedy_by(WRONG_LIMIT.0, &WRONG_LIMIT.1))
}

/// What to try where a limit is wrong.
const WRONG_LIMIT: (&str, [Setting; 3]) =
    ("use {}, or another {}, backend, driver or {}", [Setting::Cpu, Setting::Device, Setting::Limits]);

impl Capabilities {
    /// These, where kernels can be planned with them: a driver may say anything of itself, 0 and 2³² − 1
    /// included.
    ///
    /// Errors, with `adapter`, the limit by wgpu's name, what it says and what is needed.
    pub fn checked(self, adapter: &str) -> Result<Self> {
        let any = u64::MAX;
        for (limit, says, least, most) in [
            ("max_storage_buffers_per_shader_stage", self.max_storage_buffers.into(), 4, any),
            ("max_storage_buffer_binding_size", self.max_binding_bytes, 64 << 10, any),
            ("max_buffer_size", self.max_buffer_bytes, 64 << 10, any),
            ("max_compute_workgroup_storage_size", self.max_workgroup_bytes.into(), 1 << 10, 16 << 20),
            ("max_compute_invocations_per_workgroup", self.max_invocations.into(), 64, 1 << 16),
            ("max_compute_workgroups_per_dimension", self.max_grid.into(), 1 << 10, any),
            ("min_uniform_buffer_offset_alignment", self.uniform_alignment.into(), 1, 4 << 10),
        ] {
            within(adapter, (limit, says), least, most)?;
        }
        if !self.uniform_alignment.is_power_of_two() {
            let message = format!(
                "{adapter} says that its min_uniform_buffer_offset_alignment is {}; a power of two is needed",
                self.uniform_alignment
            );
            return Err(Error::device(message).remedy_by(WRONG_LIMIT.0, &WRONG_LIMIT.1));
        }
        // An optional feature, which can be done without.
        let cooperative = self
            .cooperative
            .filter(|of| matches!(of.side, 8 | 16) && of.subgroup.is_power_of_two() && of.subgroup <= 128);
        Ok(Self { cooperative, ..self })
    }
    /// How preludes are written for this device.
    pub fn dialect(&self) -> ShaderDialect {
        let table = self.software
            && self.translates_late
            && self.max_immediate_bytes as usize >= size_of_val(&UNIFORM_TABLE);
        ShaderDialect {
            wide: self.software && self.shader_int64,
            table,
            rolled: self.translates_late,
            subgroups: self.subgroups && !self.software,
            quads: self.software && self.subgroups && self.quads,
            written_out: !self.unrolls,
            saturates: false,
        }
    }
    /// The most bytes that a dispatch may bind of one buffer.
    pub fn max_binding(&self) -> u64 {
        self.max_binding_bytes.min(self.max_buffer_bytes)
    }
    /// What WebGPU promises everywhere: `--limits webgpu`.
    pub fn webgpu() -> Self {
        Self {
            software: false,
            translates_late: false,
            unrolls: true,
            shader_f16: false,
            shader_int64: false,
            subgroups: false,
            quads: false,
            cooperative: None,
            winograd: true,
            max_immediate_bytes: 0,
            max_storage_buffers: 8,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_grid: 65_535,
            uniform_alignment: 256,
            memory_budget: 16 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_limit_is_named_with_what_is_needed() {
        let fine = Capabilities::webgpu();
        assert_eq!(fine.clone().checked("'A'").unwrap(), fine);
        for (wrong, says) in [
            (
                Capabilities { max_grid: 0, ..fine.clone() },
                "max_compute_workgroups_per_dimension is 0; at least 1024 is needed",
            ),
            (
                Capabilities { max_invocations: 32, ..fine.clone() },
                "max_compute_invocations_per_workgroup is 32; at least 64 is needed",
            ),
            (
                Capabilities { max_workgroup_bytes: u32::MAX, ..fine.clone() },
                "max_compute_workgroup_storage_size is 4294967295; nothing above 16777216",
            ),
            (
                Capabilities { uniform_alignment: u32::MAX, ..fine.clone() },
                "min_uniform_buffer_offset_alignment is 4294967295; nothing above 4096",
            ),
            (
                Capabilities { uniform_alignment: 48, ..fine.clone() },
                "min_uniform_buffer_offset_alignment is 48; a power of two is needed",
            ),
            (
                Capabilities { max_buffer_bytes: 0, ..fine.clone() },
                "max_buffer_size is 0; at least 65536 is needed",
            ),
        ] {
            let error = wrong.checked("'A' (vulkan)").unwrap_err();
            assert!(
                error.kind() == crate::ErrorKind::Device
                    && error.message().starts_with("'A' (vulkan) says that its "),
                "{error}"
            );
            assert!(error.message().contains(says) && error.to_string().contains("; use the CPU"), "{error}");
        }
        let cooperative = Some(Cooperative { side: 16, subgroup: 0 });
        assert_eq!(Capabilities { cooperative, ..fine.clone() }.checked("'A'").unwrap(), fine);
    }
}
