//! [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html), version 17, and
//! [RMSNormalization](https://onnx.ai/onnx/operators/onnx__RMSNormalization.html), version 23: over `axis`
//! and all axes behind it.
//!
//! Inputs: X, scale, and for LayerNormalization a bias, both broadcast to X. Outputs of LayerNormalization:
//! Y, and where asked for the mean and the inverse deviation of each run, in `stash_type`.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::cpu_kernels::rows;
use crate::error::{Error, Result};
use crate::kernels::normalize::{self, Normalization};
use crate::kernels::{Lowering, moments};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{Odometer, axis, broadcast, broadcast_strides, strides};
use crate::tensor::{DType, Tensor, cast, pool};
use std::sync::Arc;

pub const LAYER: OpDef = OpDef {
    domain: "",
    name: "LayerNormalization",
    since: 17,
    parse: |node| parse(node, true),
    cases: LAYER_CASES,
};
pub const RMS: OpDef = OpDef {
    domain: "",
    name: "RMSNormalization",
    since: 23,
    parse: |node| parse(node, false),
    cases: RMS_CASES,
};

#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormalization {
    pub axis: i64,
    pub how: Normalization,
    /// The type of the second and third output.
    pub stash: DType,
}

fn parse(node: &mut NodeView, centred: bool) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(if centred { 2..=3 } else { 2..=2 })?;
    let stash = i32::try_from(node.int("stash_type", 1)?)
        .ok()
        .and_then(DType::from_onnx)
        .filter(|stash| stash.is_float());
    let stash = stash.ok_or_else(|| Error::model("attribute 'stash_type' is no float type"))?;
    Ok(Arc::new(LayerNormalization {
        axis: node.int("axis", -1)?,
        how: Normalization { centred, epsilon: node.float("epsilon", 1e-5)? },
        stash,
    }))
}

/// Normalises runs of `length` elements in place; `affine` gives scale and bias of element `k` of a run.
/// Returns each run's mean and inverse deviation.
pub fn normalize_runs(
    xs: &mut [f64],
    length: usize,
    how: Normalization,
    affine: impl Fn(usize, usize) -> (f64, f64),
) -> Vec<(f64, f64)> {
    let mut moments = vec![];
    for (run, xs) in xs.chunks_exact_mut(length.max(1)).enumerate() {
        let mean = if how.centred { xs.iter().sum::<f64>() / length as f64 } else { 0.0 };
        let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / length as f64;
        let inverse = 1.0 / (variance + how.epsilon as f64).sqrt();
        for (k, x) in xs.iter_mut().enumerate() {
            let (scale, bias) = affine(run, k);
            *x = (*x - mean) * inverse * scale + bias;
        }
        moments.push((mean, inverse));
    }
    moments
}

/// The mean and the reciprocal deviation of each run.
type Moments = Vec<(f64, f64)>;

impl LayerNormalization {
    /// The axis, once scale and bias are seen to broadcast to X.
    fn check(&self, x: &[usize], others: &[Option<&[usize]>]) -> Result<usize> {
        if let Some(shape) =
            others.iter().flatten().find(|shape| broadcast(shape, x).ok().as_deref() != Some(x))
        {
            return Err(Error::model(format!("scale or bias of shape {shape:?} doesn't broadcast to {x:?}")));
        }
        axis(self.axis, x.len())
    }
}

impl LayerNormalization {
    /// The outputs: Y, and the moments of X's runs where there are any.
    fn with_moments(
        &self,
        y: Tensor,
        mut moments: Vec<(f64, f64)>,
        x: &Tensor,
        at: usize,
    ) -> Result<Vec<Tensor>> {
        if !self.how.centred {
            return Ok(vec![y]);
        }
        let kept: Vec<usize> =
            x.shape().iter().enumerate().map(|(axis, &size)| if axis < at { size } else { 1 }).collect();
        let stash = if x.dtype() == DType::F64 { DType::F64 } else { self.stash };
        moments.resize(kept.iter().product(), (f64::NAN, f64::NAN));
        let of = |pick: fn(&(f64, f64)) -> f64| {
            cast(&Tensor::new(kept.clone(), moments.iter().map(pick).collect::<Vec<_>>())?, stash, true)
        };
        Ok(vec![y, of(|moment| moment.0)?, of(|moment| moment.1)?])
    }

    /// Y of float32 with a scale and a bias that are the same for every run; `None` of anything else.
    fn rows(
        &self,
        x: &Tensor,
        scale: &Tensor,
        bias: Option<&Tensor>,
        length: usize,
    ) -> Result<Option<(Tensor, Moments)>> {
        let plain = |tensor: &Tensor| tensor.dtype() == DType::F32 && tensor.len() == length;
        if x.dtype() != DType::F32 || !plain(scale) || !bias.is_none_or(plain) {
            return Ok(None);
        }
        let mut ys = pool::unset(x.len())?;
        let bias = bias.map(|bias| bias.as_slice::<f32>()).transpose()?;
        let mut moments = vec![(f64::NAN, f64::NAN); x.len() / length.max(1)];
        rows::normalize(
            x.as_slice()?,
            &mut ys,
            &mut moments,
            self.how.centred,
            self.how.epsilon as f64,
            scale.as_slice()?,
            bias,
        );
        Ok(Some((Tensor::floats(x.shape(), ys)?, moments)))
    }
}

/// Scale or bias as a view of the normalised axes, the same for every run.
fn vector(at: &mut dyn Lowering, index: usize, shape: &[usize], first: usize) -> Result<View, Unsupported> {
    let view = at.view(index)?;
    let extra = view.shape.len().saturating_sub(shape.len() - first);
    if view.shape[..extra].iter().any(|&size| size != 1) {
        return Err(Unsupported::new("a scale that differs from run to run"));
    }
    Ok(View { shape: view.shape[extra..].to_vec(), strides: view.strides[extra..].to_vec(), ..view }
        .broadcast(&shape[first..]))
}

impl Operator for LayerNormalization {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let at = self.check(
            &x.shape,
            &[Some(&inputs.required(1)?.shape), inputs.optional(2).map(|bias| &bias.shape[..])],
        )?;
        let y = Fact::new(x.dtype, x.shape.clone());
        if !self.how.centred {
            return Ok(vec![y]);
        }
        let kept: Vec<usize> =
            x.shape.iter().enumerate().map(|(axis, &size)| if axis < at { size } else { 1 }).collect();
        // In the oracle every float is a float64.
        let stash = if x.dtype == DType::F64 { DType::F64 } else { self.stash };
        Ok(vec![y, Fact::new(stash, kept.clone()), Fact::new(stash, kept)])
    }

    /// Types are handled here: the second and third output have one of their own.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, scale, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let shape = x.shape();
        let at = self.check(shape, &[Some(scale.shape()), bias.map(Tensor::shape)])?;
        let length: usize = shape[at..].iter().product();
        if let Some((y, moments)) = self.rows(x, scale, bias, length)? {
            return self.with_moments(y, moments, x, at);
        }
        let whole = |tensor: &Tensor| -> Result<Vec<f64>> {
            let own = tensor.to_f64s()?;
            let steps = broadcast_strides(tensor.shape(), &strides(tensor.shape()), shape);
            Ok(Odometer::new(shape, [&steps]).map(|[from]| own[from]).collect())
        };
        let (scales, biases) = (whole(scale)?, bias.map(whole).transpose()?);
        let mut ys = x.to_f64s()?;
        let affine = |run: usize, k: usize| {
            (scales[run * length + k], biases.as_ref().map_or(0.0, |biases| biases[run * length + k]))
        };
        let moments = normalize_runs(&mut ys, length, self.how, affine);
        let y = cast(&Tensor::new(shape, ys)?, x.dtype(), true)?;
        self.with_moments(y, moments, x, at)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let length = inputs
            .optional(0)
            .and_then(|x| axis(self.axis, x.rank()).ok().map(|at| x.shape[at..].iter().product()));
        Bound::Normalization {
            length: length.unwrap_or(1),
            centred: self.how.centred,
            epsilon: self.how.epsilon,
        }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 8 * out.count() as u64)
    }
}

impl Lower for LayerNormalization {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let shape = at.fact(0)?.shape.clone();
        let first = axis(self.axis, shape.len())?;
        if at.has_output(1) || at.has_output(2) {
            let storage = at.storage(self.stash)?;
            if !storage.is_float() {
                return Err(Unsupported::new(format!("the mean and the deviation in {}", self.stash)));
            }
            let kept: Vec<usize> =
                shape.iter().enumerate().map(|(axis, &size)| if axis < first { size } else { 1 }).collect();
            let fact = Fact::new(self.stash, kept);
            let mut place = |index| {
                if at.has_output(index) {
                    at.output(index, Layout::Dense)
                } else {
                    at.scratch(&fact, Layout::Dense)
                }
            };
            let (mean, inverse) = (place(1)?, place(2)?);
            moments::emit(at, first, self.how.epsilon, storage, [&mean, &inverse])?;
        }
        let scale = vector(at, 1, &shape, first)?;
        let bias = if at.has_input(2) { Some(vector(at, 2, &shape, first)?) } else { None };
        normalize::layer(at, self.how, first, scale, bias)
    }
}

const LAYER_CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 197]), Weights(&[197]), Weights(&[197])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 5, 3]), Weights(&[5, 3])]),
    case(&[("axis", Int(0)), ("epsilon", Float(0.1))], &[Floats(&[4, 6]), Weights(&[4, 6]), Floats(&[6])]),
    case(&[("axis", Int(2))], &[Floats(&[2, 3, 4, 8]), Weights(&[8]), Weights(&[1, 1, 4, 1])]),
    case(&[], &[Floats(&[1]), Weights(&[1]), Weights(&[1])]),
    case(&[], &[Floats(&[3, 1025]), Weights(&[1025])]),
    case(&[], &[Floats(&[2, 4]), Floats(&[2, 4])]).runs("cpu"),
    case(&[], &[Floats(&[2, 7]), Weights(&[7])]).outputs(3),
    case(&[("axis", Int(1))], &[Floats(&[5, 3, 197]), Weights(&[3, 197])]).outputs(3),
    case(&[("axis", Int(0))], &[Floats(&[3, 5]), Weights(&[3, 5]), Weights(&[5])]).outputs(3),
    // Runs that a reduction group keeps, and some that are too long for it.
    case(&[], &[Floats(&[70, 96]), Weights(&[96]), Weights(&[96])]),
    case(&[], &[Floats(&[2, 5002]), Weights(&[5002]), Weights(&[5002])]),
    case(&[], &[Floats(&[2, 17000]), Weights(&[17000])]),
    case(&[], &[Floats(&[6, 701]), Weights(&[701])]).outputs(3),
];
const RMS_CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 130]), Weights(&[130])]),
    case(&[("axis", Int(-2))], &[Floats(&[2, 3, 5]), Weights(&[5])]),
    case(&[], &[Floats(&[2, 3, 64]), Floats(&[64])]),
    case(&[], &[Floats(&[2, 5002]), Weights(&[5002])]),
];
