//! What a model runs on: the CPU, or a GPU that wgpu reaches.

mod tensor;

pub use crate::gpu::{
    AdapterInfo, DeviceType, GpuDevice, LimitsOption, Measured, Selection, TimeLimits, TimeSpent, adapters,
    measure,
};

pub use tensor::DeviceTensor;

use crate::error::Result;
use std::fmt;

/// What a model runs on. Cloning shares it; several sessions may use it at once, from several threads.
///
/// ```
/// use sardonyx::Device;
/// use sardonyx::device::adapters;
///
/// for adapter in adapters() {
///     println!("gpu:{} {} ({})", adapter.index, adapter.name, adapter.driver);
/// }
/// let device = Device::auto()?; // a discrete GPU, then an integrated one, else the CPU
/// let named = Device::named("cpu")?; // or "gpu", "gpu:1", a part of an adapter's name
/// println!("{device} and {named}");
/// # Ok::<(), sardonyx::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// The CPU, by the crate's own kernels.
    #[default]
    Cpu,
    /// A GPU, or a software adapter that plays one.
    Gpu(GpuDevice),
}

impl Device {
    /// A discrete GPU, else an integrated one, else the CPU; never a software adapter.
    ///
    /// Errors: the adapter doesn't open.
    pub fn auto() -> Result<Self> {
        Self::open(&Selection::Auto, &LimitsOption::Adapter)
    }

    /// The best GPU, a software adapter where there is no other.
    ///
    /// Errors: there is no adapter, or it doesn't open.
    pub fn gpu() -> Result<Self> {
        Self::open(&Selection::Gpu, &LimitsOption::Adapter)
    }

    /// The device that a text names: `auto`, `cpu`, `gpu`, `gpu:N` (the N of [`AdapterInfo::index`]), or a
    /// part of an adapter's name, in any case.
    ///
    /// Errors: no adapter or several match, with the list of them; the adapter doesn't open.
    pub fn named(text: &str) -> Result<Self> {
        Self::open(&text.parse()?, &LimitsOption::Adapter)
    }

    /// The device that a selection means, with these features and limits.
    ///
    /// Errors: no adapter or several match; it lacks what `limits` asks for, or what any kernel needs; the
    /// driver refuses; time limits in the environment that are none ([`TimeLimits::from_env`]).
    pub fn open(selection: &Selection, limits: &LimitsOption) -> Result<Self> {
        GpuDevice::open(selection, limits).map(Self::from)
    }

    /// The GPU, if it is one.
    pub fn as_gpu(&self) -> Option<&GpuDevice> {
        match self {
            Self::Cpu => None,
            Self::Gpu(device) => Some(device),
        }
    }
}

/// `CPU`, or the adapter's name with its backend and its driver.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Gpu(device) => {
                let info = device.info();
                write!(f, "{} ({}, {})", info.name, info.backend, info.driver)
            }
        }
    }
}

impl From<GpuDevice> for Device {
    fn from(device: GpuDevice) -> Self {
        Self::Gpu(device)
    }
}

#[doc(hidden)]
impl From<Option<GpuDevice>> for Device {
    fn from(device: Option<GpuDevice>) -> Self {
        device.map_or(Self::Cpu, Self::Gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_a_device_by_name() {
        let device = Device::named("cpu").unwrap();
        assert!(device.as_gpu().is_none());
        assert_eq!(device.to_string(), "CPU");
    }
}
