//! The adapters of this machine, and the choice of one: `auto`, `cpu`, `gpu`, `gpu:N` or a part of its name.

use super::limits;
use crate::error::{Error, Result, Setting};
use serde::Serialize;
use std::collections::BTreeMap;

/// What kind of device an adapter is, the preferred kinds first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU that a virtual machine was given.
    Virtual,
    /// What the driver doesn't say.
    Other,
    /// A CPU that plays a GPU: lavapipe, WARP.
    Software,
}

/// What is known of an adapter without opening it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// The N of `gpu:N`. The best adapter is 0.
    pub index: usize,
    /// The device's name, as its driver says it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    /// What kind of device it is.
    pub device_type: DeviceType,
    /// PCI's number of the vendor, or the backend's.
    pub vendor: u32,
    /// The backend's number of the device.
    pub device: u32,
    /// Whether a CPU plays the GPU.
    pub software: bool,
    /// Arithmetic of float16 in shaders.
    pub shader_f16: bool,
    /// Arithmetic of int64 in shaders.
    pub shader_int64: bool,
    /// Exchange between the invocations of a subgroup.
    pub subgroup: bool,
    /// The least and the most invocations of one.
    pub subgroup_sizes: [u32; 2],
    /// Products of small matrices by a whole subgroup.
    pub cooperative_matrix: bool,
    /// The optional features, by wgpu's names.
    pub features: Vec<String>,
    /// The limits, by wgpu's names.
    pub limits: BTreeMap<&'static str, u64>,
}

/// What is known of a driver's compiler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compiler {
    pub software: bool,
    /// Machine code is made at a kernel's first dispatch rather than with its pipeline: Mesa's software
    /// adapter.
    pub translates_late: bool,
    /// Loops whose ends are known are unrolled, so that what is indexed by their counters lies in registers:
    /// not by SwiftShader's.
    pub unrolls: bool,
    /// A subgroup is 4 invocations, always.
    pub quads: bool,
}

impl AdapterInfo {
    fn new(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, features) = (adapter.get_info(), adapter.features());
        let device_type = device_type(&info);
        Self {
            index,
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            name: info.name,
            backend: info.backend.to_str().to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            device_type,
            vendor: info.vendor,
            device: info.device,
            software: device_type == DeviceType::Software,
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            shader_int64: features.contains(wgpu::Features::SHADER_INT64),
            subgroup: features.contains(wgpu::Features::SUBGROUP),
            cooperative_matrix: features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
            features: limits::names(features),
            limits: limits::table(&adapter.limits()),
        }
    }
    /// How its driver makes machine code, which decides the form of the kernels.
    pub(super) fn compiler(&self) -> Compiler {
        Compiler {
            software: self.software,
            translates_late: self.software && self.driver.starts_with("llvmpipe"),
            unrolls: !self.driver.starts_with("SwiftShader"),
            quads: self.subgroup_sizes == [4, 4],
        }
    }
    pub(super) fn translates_late(&self) -> bool {
        self.compiler().translates_late
    }
    /// How messages name it: with its backend and its driver, which are what can be changed.
    pub(super) fn named(&self) -> String {
        let by = [&self.backend, &self.driver].into_iter().filter(|text| !text.is_empty());
        format!("'{}' ({})", self.name, by.map(String::as_str).collect::<Vec<_>>().join(", "))
    }
    /// One line of a list.
    fn line(&self) -> String {
        format!("gpu:{} '{}' ({})", self.index, self.name, self.backend)
    }
}

fn device_type(info: &wgpu::AdapterInfo) -> DeviceType {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceType::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceType::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceType::Virtual,
        wgpu::DeviceType::Other => DeviceType::Other,
        wgpu::DeviceType::Cpu => DeviceType::Software,
    }
}

/// Which device is wanted; [`FromStr`](std::str::FromStr) reads what the variants say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// A discrete GPU, then an integrated one, else the CPU; never a software adapter.
    #[default]
    Auto,
    /// The CPU, whatever adapters there are.
    Cpu,
    /// The best adapter, a software one if there is no other.
    Gpu,
    /// The adapter with this index.
    Index(usize),
    /// The adapter whose name contains this, in any case.
    Name(String),
}

impl std::str::FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_lowercase();
        match (lower.as_str(), lower.strip_prefix("gpu:")) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("gpu", _) => Ok(Self::Gpu),
            ("", _) => Err(Error::usage("the device has no name")
                .remedy("use auto, cpu, gpu, gpu:N or a part of an adapter's name")),
            (_, Some(index)) => {
                let index = index.parse().map_err(|_| {
                    Error::usage(format!("'{index}' is not the index of an adapter"))
                        .remedy("use gpu:0, gpu:1, …")
                })?;
                Ok(Self::Index(index))
            }
            _ => Ok(Self::Name(lower)),
        }
    }
}

/// An adapter that was found and can be opened.
#[derive(Debug, Clone)]
pub struct Found {
    pub info: AdapterInfo,
    pub(super) adapter: wgpu::Adapter,
}

/// The adapters of this machine, the best first; none where there is no Vulkan loader, driver or GPU.
async fn find() -> Vec<Found> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    // Windows shows a device once through Vulkan and once through DirectX 12, whose shader compiler is much
    // slower.
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        (device_type(&info), info.backend == wgpu::Backend::Dx12)
    });
    adapters
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| Found { info: AdapterInfo::new(index, &adapter), adapter })
        .collect()
}

/// What is known of every adapter, the best first. Empty without a Vulkan loader or adapter, never an error.
pub async fn adapters_async() -> Vec<AdapterInfo> {
    find().await.into_iter().map(|found| found.info).collect()
}

/// The adapter that a selection means; `None` is the CPU.
///
/// Errors, with the list of adapters: none matches (device), or several match a name (usage).
pub async fn select_async(selection: &Selection) -> Result<Option<Found>> {
    if *selection == Selection::Cpu {
        return Ok(None);
    }
    let mut found = find().await;
    let infos: Vec<&AdapterInfo> = found.iter().map(|found| &found.info).collect();
    Ok(choose(selection, &infos)?.map(|index| found.swap_remove(index)))
}

/// The index of the adapter that a selection means, among adapters sorted by preference.
fn choose(selection: &Selection, adapters: &[&AdapterInfo]) -> Result<Option<usize>> {
    let list = |of: &[&AdapterInfo]| of.iter().map(|info| info.line()).collect::<Vec<_>>().join(", ");
    let missing = |message: String| {
        let error = Error::device(message);
        if adapters.is_empty() {
            error.remedy_by("use {}, or install a Vulkan driver", &[Setting::Cpu])
        } else {
            error.remedy(format!("choose one of {}", list(adapters)))
        }
    };
    match selection {
        Selection::Cpu => Ok(None),
        Selection::Auto => Ok(adapters.iter().position(|info| info.device_type <= DeviceType::Integrated)),
        Selection::Gpu if adapters.is_empty() => Err(missing("no adapter was found".into())),
        Selection::Gpu => Ok(Some(0)),
        Selection::Index(index) if *index < adapters.len() => Ok(Some(*index)),
        Selection::Index(index) => Err(missing(format!("there is no adapter {index}"))),
        Selection::Name(part) => {
            let matches: Vec<&AdapterInfo> = adapters
                .iter()
                .copied()
                .filter(|info| info.name.to_lowercase().contains(&part.to_lowercase()))
                .collect();
            let Some(first) = matches.first() else {
                return Err(missing(format!("no adapter's name contains '{part}'")));
            };
            // One device that several backends show is no ambiguity: the preferred backend comes first.
            let one_device = matches.iter().skip(1).all(|info| {
                info.device == first.device && info.vendor == first.vendor && info.backend != first.backend
            });
            if one_device {
                Ok(Some(first.index))
            } else {
                Err(Error::usage(format!("'{part}' is part of several adapters' names: {}", list(&matches)))
                    .remedy("give more of the name, or gpu:N"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn adapter(index: usize, name: &str, device_type: DeviceType, backend: &str) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.into(),
            backend: backend.into(),
            driver: String::new(),
            device_type,
            vendor: 1,
            device: name.len() as u32,
            software: device_type == DeviceType::Software,
            shader_f16: false,
            shader_int64: false,
            subgroup: false,
            subgroup_sizes: [0, 0],
            cooperative_matrix: false,
            features: vec![],
            limits: BTreeMap::new(),
        }
    }
    fn chosen(text: &str, adapters: &[AdapterInfo]) -> Result<Option<usize>> {
        choose(&text.parse()?, &adapters.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_selection_chooses_by_the_contract() {
        let all = [
            adapter(0, "GeForce RTX 4090", DeviceType::Discrete, "vulkan"),
            adapter(1, "GeForce RTX 4090", DeviceType::Discrete, "dx12"),
            adapter(2, "Intel UHD", DeviceType::Integrated, "vulkan"),
            adapter(3, "llvmpipe (LLVM)", DeviceType::Software, "vulkan"),
        ];
        assert_eq!(chosen("auto", &all).unwrap(), Some(0));
        assert_eq!(chosen("auto", &all[2..]).unwrap(), Some(0));
        assert_eq!(chosen("auto", &all[3..]).unwrap(), None);
        assert_eq!(chosen("cpu", &all).unwrap(), None);
        assert_eq!(chosen("GPU", &all[3..]).unwrap(), Some(0));
        assert_eq!(chosen("gpu:2", &all).unwrap(), Some(2));
        assert_eq!(chosen("llvm", &all).unwrap(), Some(3));
        assert_eq!(chosen("rtx", &all).unwrap(), Some(0));
    }

    #[test]
    fn what_cannot_be_chosen_lists_what_can() {
        let all = [
            adapter(0, "Radeon A", DeviceType::Discrete, "vulkan"),
            adapter(1, "Radeon BC", DeviceType::Discrete, "vulkan"),
        ];
        let error = chosen("radeon", &all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            error.to_string().contains("gpu:0 'Radeon A' (vulkan), gpu:1 'Radeon BC' (vulkan)"),
            "{error}"
        );
        for text in ["voodoo", "gpu:2"] {
            let error = chosen(text, &all).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Device);
            assert!(error.to_string().contains("Radeon BC"), "{error}");
        }
        assert!(chosen("gpu", &[]).unwrap_err().to_string().contains("use the CPU"));
        assert_eq!(chosen("gpu:x", &all).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(chosen(" ", &all).unwrap_err().kind(), ErrorKind::Usage);
    }
}
