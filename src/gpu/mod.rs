//! Everything that touches wgpu: adapters and limits, pipelines and their cache, buffers, encoding,
//! timestamps, readback, errors.
//!
//! No other module names wgpu. A [`GpuDevice`] is opened by a [`Selection`] and [`LimitsOption`]; an
//! [`Execution`] holds what one run of one plan needs on it; [`Constants`] are packed weights that executions
//! share; a [`GpuTensor`] is what a run takes from the device or leaves there.
//!
//! Work on a device is `async`. Calls that block are twins of those, by the name without `_async`, and their
//! own module (`native/blocking.rs`), as is all that takes threads or a clock (`native/`).

mod adapt;
mod adapter;
mod batch;
mod bindings;
mod buffers;
mod constants;
mod device;
mod execution;
mod faults;
mod host;
mod limits;
mod measure;
mod native;
mod opening;
mod pipelines;
mod probe;
mod profile;
mod readback;
mod recording;
mod spent;
mod stacks;
mod tensor;
mod time_limits;
mod timing;
mod turn;

pub use adapter::{AdapterInfo, DeviceType, Found, Selection};
pub use bindings::{Bindings, Made};
pub use constants::Constants;
pub use device::GpuDevice;
pub use execution::{After, Evaluate, Execution, PlaceBytes, Values};
pub use limits::LimitsOption;
pub use measure::Measured;
pub use native::{adapters, measure, select};
pub use pipelines::Pipelines;
pub use probe::POISON;
pub use profile::Profile;
pub use spent::TimeSpent;
pub use tensor::GpuTensor;
pub use time_limits::TimeLimits;

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<GpuDevice>();
    shared::<Execution>();
    shared::<Constants>();
};

/// The device that tests run on: the best adapter, a software one included, opened once for the process.
///
/// `SARDONYX_TEST_LIMITS` (`webgpu` or a file) is a test's `--limits`. Without an adapter this says so on
/// standard error and is `None`, unless `SARDONYX_REQUIRE_GPU=1`.
///
/// # Panics
/// With `SARDONYX_REQUIRE_GPU=1` where no device opens: a test that must not be skipped fails.
#[doc(hidden)]
pub fn test_device() -> Option<GpuDevice> {
    use std::sync::OnceLock;
    static DEVICE: OnceLock<Result<Option<GpuDevice>, String>> = OnceLock::new();
    let opened = DEVICE.get_or_init(|| {
        let limits = std::env::var("SARDONYX_TEST_LIMITS")
            .map_or(Ok(LimitsOption::Adapter), |text| LimitsOption::parse(&text));
        let found = adapters();
        if found.is_empty() {
            return Ok(None);
        }
        limits.and_then(|limits| GpuDevice::open(&Selection::Gpu, &limits)).map_err(|error| error.to_string())
    });
    let required = std::env::var("SARDONYX_REQUIRE_GPU").is_ok_and(|value| value == "1");
    match opened {
        Ok(Some(device)) => Some(device.clone()),
        Ok(None) if required => panic!("no adapter, and SARDONYX_REQUIRE_GPU=1"),
        Ok(None) => {
            eprintln!("skipped: no adapter");
            None
        }
        // An adapter that is there and doesn't open is a fault, not a reason to skip.
        Err(message) => panic!("{message}"),
    }
}
