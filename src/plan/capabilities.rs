//! What a plan needs to know of a device: plain data, so that plans are made and tested without one.

use crate::kernels::{Form, UNIFORM_TABLE};
use serde::{Deserialize, Serialize};

/// How float32 tensors are stored on the device. Sums are float32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    F16,
}

/// Matrices of float16 that a subgroup multiplies as a whole, adding in float32 (EXPERIMENTAL_COOPERATIVE_MATRIX).
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
    /// The driver translates a kernel when it is first dispatched, in a time that goes with its size: loops should stay loops.
    pub translates_late: bool,
    /// The driver's compiler unrolls loops whose ends it knows; SwiftShader's leaves them loops.
    pub unrolls: bool,
    /// SHADER_F16: f16 in storage buffers. Without it f16 is stored packed, two in a u32.
    pub shader_f16: bool,
    /// SHADER_INT64: software adapters load two elements as one 64-bit word.
    pub shader_int64: bool,
    /// SUBGROUP: hardware makes sums over a workgroup by subgroups, of whatever size they are.
    pub subgroups: bool,
    /// Cooperative matrices, where the adapter has them of a kind that WGSL can name.
    pub cooperative: Option<Cooperative>,
    /// Bytes of immediates; a software adapter takes what is read from them for uniform.
    pub max_immediate_bytes: u32,
    /// Storage buffers that one dispatch may bind.
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

impl Capabilities {
    /// How preludes are written for this device.
    pub fn form(&self) -> Form {
        let table = self.software && self.translates_late && self.max_immediate_bytes as usize >= size_of_val(&UNIFORM_TABLE);
        Form {
            wide: self.software && self.shader_int64,
            table,
            rolled: self.translates_late,
            subgroups: self.subgroups && !self.software,
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
            cooperative: None,
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
