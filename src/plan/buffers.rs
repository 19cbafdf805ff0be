//! Places while a plan is made: of values, of constants and of their packed forms, and views of them in the
//! layout that a kernel wants.

use super::planner::Builder;
use super::*;
use crate::base::Access;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::tensor::{DType, element_count};

impl Builder {
    pub(super) fn storage(&self, dtype: DType) -> Result<ElementFormat, Unsupported> {
        element_format(dtype, self.precision_now(), &self.capabilities)
    }

    /// Notes which value a nameless buffer holds, if the view shows all of it in order: so that probes find
    /// it.
    pub(super) fn name_buffer(&mut self, value: ValueId, view: &View) {
        if let Some(buffer) = self.buffers.get_mut(view.buffer.0 as usize)
            && buffer.value.is_none()
            && buffer.allocation == Allocation::Unassigned
            && View::whole(view.buffer, buffer.layout, &buffer.fact.shape).reshaped(&view.shape).as_ref()
                == Some(view)
        {
            buffer.value = Some(value);
        }
    }

    pub(super) fn view(&mut self, value: ValueId) -> Result<View, Unsupported> {
        if let Some(view) = self.located.get(&value).and_then(|located| located.view.clone()) {
            return Ok(view);
        }
        let fact = self.fact(value).cloned().ok_or_else(|| Unsupported::new("a value without a type"))?;
        let label = self.graph.value(value).name.clone();
        if let Some(tensor) = fact.value {
            let view = self.table(&label, tensor)?;
            self.located.entry(value).or_default().view = Some(view.clone());
            return Ok(view);
        }
        if !self.located.get(&value).is_some_and(|located| located.host) {
            return Err(Unsupported::new(format!("'{label}' is nowhere")));
        }
        let view = self.new_buffer(Some(value), &fact, Layout::Dense)?;
        if self.graph.inputs.contains(&value) {
            self.buffers[view.buffer.0 as usize].allocation = Allocation::External(self.inputs.len());
            self.inputs.push(InputBinding { value, buffer: view.buffer });
        } else {
            self.steps.push(Step {
                kind: StepKind::Upload { value, to: view.buffer },
                node: None,
                label,
                op_type: "upload".into(),
                reads: vec![],
                writes: vec![view.buffer],
            });
        }
        self.located.entry(value).or_default().view = Some(view.clone());
        Ok(view)
    }

    pub(super) fn new_buffer(
        &mut self,
        value: Option<ValueId>,
        fact: &Fact,
        layout: Layout,
    ) -> Result<View, Unsupported> {
        self.new_buffer_stored(value, fact, layout, self.storage(fact.dtype)?)
    }

    /// The same, stored in a way that may not be the current node's.
    fn new_buffer_stored(
        &mut self,
        value: Option<ValueId>,
        fact: &Fact,
        layout: Layout,
        storage: ElementFormat,
    ) -> Result<View, Unsupported> {
        let label = value.map_or_else(|| self.current.1.clone(), |id| self.graph.value(id).name.clone());
        let fact = Fact::new(fact.dtype, fact.shape.clone());
        self.push_place(PlannedBuffer {
            value,
            label,
            fact,
            layout,
            storage,
            allocation: Allocation::Unassigned,
            part: None,
        })
    }

    fn push_place(&mut self, buffer: PlannedBuffer) -> Result<View, Unsupported> {
        let physical: Vec<usize> =
            buffer.layout.physical(&buffer.fact.shape).iter().map(|dim| dim.1).collect();
        let elements = element_count(&physical)?;
        let bytes = elements as u64 * buffer.storage.element_bytes() as u64;
        let limit = self.capabilities.max_binding();
        // A constant as it lies in the model may be of any size, as long as kernels bind packed parts of it
        // alone.
        if bytes > limit && !matches!(buffer.allocation, Allocation::Constant(_))
            || elements > i32::MAX as usize
        {
            return Err(too_large(&buffer.label, bytes, limit));
        }
        let id = BufferId(self.buffers.len() as u32);
        let view = View::whole(id, buffer.layout, &buffer.fact.shape);
        self.buffers.push(buffer);
        Ok(view)
    }

    /// A constant in a dense buffer.
    pub(super) fn table(&mut self, label: &str, tensor: Tensor) -> Result<View, Unsupported> {
        let shape = tensor.shape().to_vec();
        let buffer = self.constant(
            label,
            tensor,
            Packing {
                name: "plain",
                args: vec![],
                shape: shape.clone(),
                pack: |tensor, _| Ok(tensor.clone()),
            },
        )?;
        Ok(View::whole(buffer, Layout::Dense, &shape))
    }

    pub(super) fn constant(
        &mut self,
        label: &str,
        tensor: Tensor,
        packing: Packing,
    ) -> Result<BufferId, Unsupported> {
        self.constant_in(label, tensor, packing, Layout::Dense)
    }

    fn constant_in(
        &mut self,
        label: &str,
        tensor: Tensor,
        packing: Packing,
        layout: Layout,
    ) -> Result<BufferId, Unsupported> {
        let storage = self.storage(tensor.dtype())?;
        let same = |c: &Constant| {
            c.tensor.identity() == tensor.identity()
                && c.packing == packing
                && c.storage == storage
                && c.layout == layout
        };
        if let Some(index) = self.constants.iter().position(same)
            && let Some(buffer) =
                self.buffers.iter().position(|buffer| buffer.allocation == Allocation::Constant(index))
        {
            return Ok(BufferId(buffer as u32));
        }
        let fact = Fact::new(tensor.dtype(), packing.shape.clone());
        let allocation = Allocation::Constant(self.constants.len());
        let view = self.push_place(PlannedBuffer {
            value: None,
            label: label.to_string(),
            fact,
            layout,
            storage,
            allocation,
            part: None,
        })?;
        let bytes = self.buffers[view.buffer.0 as usize].bytes();
        self.constants.push(Constant { label: label.to_string(), tensor, packing, layout, storage, bytes });
        Ok(view.buffer)
    }

    /// A view of a constant that lies as in the model, packed; `None` where it is something else.
    pub(super) fn packed_view(
        &mut self,
        view: &View,
        packing: impl FnOnce(&View) -> Packing,
    ) -> Result<Option<BufferId>, Unsupported> {
        let Some(Allocation::Constant(index)) =
            self.buffers.get(view.buffer.0 as usize).map(|buffer| buffer.allocation.clone())
        else {
            return Ok(None);
        };
        let Some(constant) =
            self.constants.get(index).filter(|constant| constant.packing.name == "plain").cloned()
        else {
            return Ok(None);
        };
        self.constant(&constant.label, constant.tensor, packing(view)).map(Some)
    }

    pub(super) fn dummy(&mut self, storage: ElementFormat) -> Result<BufferId, Unsupported> {
        let dtype = match storage {
            ElementFormat::I32 => DType::I32,
            ElementFormat::U32 => DType::U32,
            ElementFormat::I64 => DType::I64,
            _ => DType::F32,
        };
        let label = format!("nothing ({dtype})");
        if let Some(at) = self.buffers.iter().position(|buffer| buffer.label == label) {
            return Ok(BufferId(at as u32));
        }
        let zero =
            crate::tensor::cast(&Tensor::scalar(0f32), dtype, true).and_then(|tensor| tensor.reshape([1]));
        Ok(self.table(&label, zero?)?.buffer)
    }

    pub(super) fn in_layout(&mut self, view: View, layout: Layout) -> Result<View, Unsupported> {
        if layout == Layout::ChannelsLast4 && view.shape.len() < 3 {
            return Err(Unsupported::new(format!(
                "a tensor of shape {:?} has no channels-last form",
                view.shape
            )));
        }
        if view.is(layout) {
            return Ok(view);
        }
        if let Some((.., to)) =
            self.copies.iter().find(|(from, wanted, _)| *from == view && *wanted == layout)
        {
            return Ok(to.clone());
        }
        let source = self.buffers[view.buffer.0 as usize].clone();
        let fact = Fact::new(source.fact.dtype, view.shape.clone());
        let to = if let Allocation::Constant(index) = source.allocation {
            self.constant_view(index, &view, layout)?
        } else {
            let value = self
                .located
                .iter()
                .filter(|(_, located)| located.view.as_ref() == Some(&view))
                .map(|(&id, _)| id)
                .min();
            let to = self.new_buffer_stored(value, &fact, layout, source.storage)?;
            let inside = self.dispatches.iter().any(|d| d.bindings.contains(&(view.buffer, Access::Write)));
            if inside {
                crate::kernels::copy::emit(self, &view, &to)?;
            } else {
                // A step of its own, before the current node's.
                let (mine, decisions, current) = (
                    std::mem::take(&mut self.dispatches),
                    std::mem::take(&mut self.decisions),
                    self.current.clone(),
                );
                self.current.1 = value.map_or(source.label.clone(), |id| self.graph.value(id).name.clone());
                self.current.2 = "copy".into();
                let result = crate::kernels::copy::emit(self, &view, &to);
                if result.is_ok() {
                    self.push_step();
                }
                (self.dispatches, self.decisions, self.current) = (mine, decisions, current);
                result?;
            }
            to
        };
        self.copies.push((view, layout, to.clone()));
        Ok(to)
    }

    /// A view of a constant in a layout: gathered on the host, uploaded once.
    fn constant_view(&mut self, index: usize, view: &View, layout: Layout) -> Result<View, Unsupported> {
        let constant = self.constants[index].clone();
        if constant.packing.name != "plain" {
            return Err(Unsupported::new("a view of a constant that was packed for a kernel"));
        }
        let args = [view.offset]
            .into_iter()
            .chain(view.strides.iter().map(|&stride| stride as usize))
            .chain(view.shape.iter().copied())
            .collect();
        let packing = Packing { name: "view", args, shape: view.shape.clone(), pack: gather };
        let buffer = self.constant_in(&constant.label, constant.tensor, packing, layout)?;
        Ok(View::whole(buffer, layout, &view.shape))
    }
}

/// How the elements of a type are stored on a device.
pub fn element_format(
    dtype: DType,
    precision: Precision,
    capabilities: &Capabilities,
) -> Result<ElementFormat, Unsupported> {
    let half = if capabilities.shader_f16 { ElementFormat::F16 } else { ElementFormat::F16Packed };
    match dtype {
        DType::F32 if precision == Precision::F32 => Ok(ElementFormat::F32),
        DType::F32 | DType::F16 => Ok(half),
        // As the float32 of the same value, or the float16, which holds all of them too.
        narrow if narrow.is_narrow_float() && precision == Precision::F32 => Ok(ElementFormat::F32),
        narrow if narrow.is_narrow_float() => Ok(half),
        DType::BF16 if precision == Precision::F32 => Ok(ElementFormat::F32),
        DType::I32
        | DType::Bool
        | DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2 => Ok(ElementFormat::I32),
        DType::U32 => Ok(ElementFormat::U32),
        DType::I64 | DType::U64 => Ok(ElementFormat::I64),
        other => Err(Unsupported::new(format!("{other} is not stored on the GPU"))),
    }
}

/// Why a buffer can't be bound.
pub(super) fn too_large(label: &str, bytes: u64, limit: u64) -> Unsupported {
    Unsupported::new(format!("'{label}' takes {bytes} bytes; the adapter binds at most {limit}"))
}

/// The elements of a view `[offset, strides…, shape…]` of a dense constant, in row-major order.
fn gather(tensor: &Tensor, args: &[usize]) -> Result<Tensor> {
    let [offset, rest @ ..] = args else { return Err(Error::internal("a view without arguments")) };
    let (strides, shape) = rest.split_at(rest.len() / 2);
    let mut walk = crate::tensor::index::Odometer::new(shape, [strides]);
    tensor.pick(shape, |_| walk.next().map(|[at]| offset.wrapping_add(at)))
}
