//! Weights on the device: packed once for a kernel and shared by every execution that reads them.

use super::buffers::Buffer;
use super::device::GpuDevice;
use super::time_limits::Task;
use super::turn::Turn;
use crate::base::{ElementFormat, Layout};
use crate::error::{Error, Result, line};
use crate::kernels::Packing;
use crate::plan::{Constant, PackedConstants, as_encoded, encode};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A packed constant in a device buffer.
pub(super) struct Resident {
    pub(super) buffer: Arc<Buffer>,
    /// Kept alive: the key holds its identity, which must not pass to another tensor.
    _source: Tensor,
}

/// Tells packed constants apart. Tensors that share their elements may differ in shape.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    identity: usize,
    shape: Vec<usize>,
    packing: &'static str,
    args: Vec<usize>,
    packed_shape: Vec<usize>,
    layout: Layout,
    storage: ElementFormat,
}

impl Key {
    fn new(constant: &Constant) -> Self {
        let Packing { name, args, shape, .. } = &constant.packing;
        let tensor = &constant.tensor;
        Self {
            identity: tensor.identity(),
            shape: tensor.shape().to_vec(),
            packing: name,
            args: args.clone(),
            packed_shape: shape.clone(),
            layout: constant.layout,
            storage: constant.storage,
        }
    }
}

/// The packed constants of one session on one device; freed with the last execution that reads them.
#[derive(Clone, Default)]
pub struct Constants {
    resident: Arc<Mutex<HashMap<Key, Weak<Resident>>>>,
    /// Who uploads: a second execution of the same plan waits for the first's uploads instead of repeating
    /// them.
    uploading: Arc<Turn>,
    /// Those that a compiled file holds packed.
    packed: Option<Arc<dyn PackedConstants>>,
}

/// Bytes of uploads after which they are submitted, so that wgpu's own copies of them are freed.
const FLUSH_BYTES: u64 = 64 << 20;

impl Constants {
    pub fn new() -> Self {
        Self::default()
    }
    /// Constants of which a compiled file holds some packed.
    pub fn packed(packed: Option<Arc<dyn PackedConstants>>) -> Self {
        Self { packed, ..Self::default() }
    }

    /// The buffers of a plan's constants, in order; what isn't on the device yet is packed and uploaded.
    pub(super) async fn upload(
        &self,
        device: &GpuDevice,
        constants: &[Constant],
    ) -> Result<Vec<Arc<Resident>>> {
        let _turn = self.uploading.take().await;
        let known = || self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        known().retain(|_, resident| resident.strong_count() > 0);
        let mut unsubmitted = 0;
        let mut all = Vec::with_capacity(constants.len());
        for constant in constants {
            let key = Key::new(constant);
            let found = known().get(&key).and_then(Weak::upgrade);
            if let Some(resident) = found {
                all.push(resident);
                continue;
            }
            let packed = self.pack(device, constant).await;
            let resident = Arc::new(packed.map_err(|error| error.at_tensor(&constant.label))?);
            constant.tensor.release();
            unsubmitted += resident.buffer.bytes();
            if unsubmitted >= FLUSH_BYTES {
                let what = || format!("the upload of '{}'", line(&constant.label));
                let submission = device.scope(what, || device.queue().submit([])).await?;
                device.wait(submission, Task::Either, what).await?;
                unsubmitted = 0;
            }
            known().insert(key, Arc::downgrade(&resident));
            all.push(resident);
        }
        Ok(all)
    }

    /// Bytes of the constants that some execution holds.
    pub fn bytes(&self) -> u64 {
        let known = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(Weak::upgrade).map(|resident| resident.buffer.bytes()).sum()
    }

    async fn pack(&self, device: &GpuDevice, constant: &Constant) -> Result<Resident> {
        match self.packed.as_ref().and_then(|packed| packed.find(constant)) {
            Some(bytes) => resident(device, constant, bytes).await,
            None => {
                let packed = pack(constant)?;
                match as_encoded(&packed, constant.layout, constant.storage) {
                    Some(bytes) => resident(device, constant, bytes).await,
                    None => {
                        let bytes = encode(&packed, constant.layout, constant.storage)?;
                        resident(device, constant, &bytes).await
                    }
                }
            }
        }
    }
}

impl Resident {
    /// A constant of one execution alone, in a buffer of `bytes`, so that it may be written again.
    pub(super) async fn alone(device: &GpuDevice, constant: &Constant, bytes: u64) -> Result<Self> {
        let constant = Constant { bytes, ..constant.clone() };
        let made = resident(device, &constant, &encoded(&constant)?).await;
        made.map_err(|error| error.at_tensor(&constant.label))
    }

    /// Writes another constant that the buffer holds, before what is submitted next.
    pub(super) async fn rewrite(&self, device: &GpuDevice, constant: &Constant) -> Result<()> {
        let bytes = encoded(constant)?;
        let write = || self.buffer.write(device, &bytes);
        device.scope(|| format!("the constant '{}'", line(&constant.label)), write).await?
    }
}

/// The bytes of a constant as its kernel reads it.
fn encoded(constant: &Constant) -> Result<Vec<u8>> {
    encode(&pack(constant)?, constant.layout, constant.storage)
}

/// The constant as its kernel reads it.
fn pack(constant: &Constant) -> Result<Tensor> {
    let Packing { name, args, shape, pack } = &constant.packing;
    let packed = pack(&constant.tensor, args)?;
    if packed.shape() != shape {
        return Err(Error::internal(format!(
            "packing '{name}' made the shape {:?} instead of {shape:?}",
            packed.shape()
        )));
    }
    Ok(packed)
}

async fn resident(device: &GpuDevice, constant: &Constant, bytes: &[u8]) -> Result<Resident> {
    let long = constant.bytes.max(bytes.len() as u64);
    let buffer = Buffer::storage(device, &constant.label, long).await?;
    device.scope(|| "an upload".into(), || buffer.write(device, bytes)).await??;
    Ok(Resident { buffer: Arc::new(buffer), _source: constant.tensor.clone() })
}
