//! How scales and zero points lie over a tensor: one for all of it, one for each index of an axis, or one for
//! each block of an axis.

use crate::base::Operands;
use crate::error::{Error, Result};
use crate::ops::NodeView;
use crate::tensor::index::axis;
use crate::tensor::{Tensor, element_count};

/// The attributes of a node that say so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Granularity {
    pub axis: i64,
    /// Elements of a block along the axis; 0: there are no blocks.
    pub block: usize,
}

/// The same for a certain tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    Tensor,
    Axis(usize),
    Blocks { axis: usize, block: usize },
}

impl Granularity {
    pub fn parse(node: &NodeView) -> Result<Self> {
        let block = node.int("block_size", 0)?;
        let block = usize::try_from(block)
            .map_err(|_| Error::model(format!("attribute 'block_size' is {block}: it can't be negative")))?;
        Ok(Self { axis: node.int("axis", 1)?, block })
    }

    /// The form for a tensor of shape `x` with scales of shape `scale`. Errors where they don't fit.
    pub fn form(&self, x: &[usize], scale: &[usize]) -> Result<Form> {
        let one = scale.iter().all(|&size| size == 1);
        if one && (self.block == 0 || scale.len() != x.len()) {
            return Ok(Form::Tensor);
        }
        let wrong = |wanted: String| Error::model(format!("scales of shape {scale:?} over {x:?}: {wanted}"));
        let at = axis(self.axis, x.len())?;
        if self.block == 0 {
            return match scale {
                &[count] if count == x[at] => Ok(Form::Axis(at)),
                _ => Err(wrong(format!("one, or {} for axis {at}, are needed", x[at]))),
            };
        }
        let mut wanted = x.to_vec();
        wanted[at] = x[at].div_ceil(self.block);
        if scale != wanted {
            return Err(wrong(format!("blocks of {} on axis {at} need {wanted:?}", self.block)));
        }
        Ok(Form::Blocks { axis: at, block: self.block })
    }
}

impl Granularity {
    /// x, its scales and perhaps its zero points (inputs 0 to 2) as operands that broadcast together.
    pub fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<Vec<Tensor>> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let form = self.form(x.shape(), scale.shape())?;
        let mut operands = vec![x.clone(), form.spread(x.shape(), scale)?];
        operands.extend(zero.map(|zero| form.spread(x.shape(), zero)).transpose()?);
        Ok(operands)
    }
}

impl Form {
    /// Where an axis's scales line up with the tensor by broadcasting; `None` for blocks.
    pub fn shape(&self, rank: usize, count: usize) -> Option<Vec<usize>> {
        match *self {
            Form::Tensor => Some(vec![]),
            Form::Axis(axis) => {
                Some(std::iter::once(count).chain(std::iter::repeat_n(1, rank - 1 - axis)).collect())
            }
            Form::Blocks { .. } => None,
        }
    }

    /// Scales or zero points as a tensor that broadcasts to one of shape `x`.
    pub fn spread(&self, x: &[usize], scales: &Tensor) -> Result<Tensor> {
        if let Some(shape) = self.shape(x.len(), scales.len()) {
            return scales.reshape(shape);
        }
        let Form::Blocks { axis, block } = *self else { return Ok(scales.clone()) };
        let (length, inner) = (x[axis], element_count(&x[axis + 1..])?);
        let blocks = length.div_ceil(block);
        scales.pick(x, |at| {
            let (outer, k, rest) = (at / inner / length, at / inner % length, at % inner);
            Some((outer * blocks + k / block) * inner + rest)
        })
    }

    /// Equal scales lie in runs of so many elements, which repeat after so many runs.
    pub fn runs(&self, x: &[usize]) -> Option<(usize, usize)> {
        match *self {
            Form::Tensor => Some((x.iter().product(), 1)),
            Form::Axis(axis) => Some((x[axis + 1..].iter().product(), x[axis])),
            Form::Blocks { .. } => None,
        }
    }
}
