//! Losses of a classification: what a class's logarithmic probability is worth, over all samples.

pub mod cross_entropy;
pub mod negative_log_likelihood;

use crate::base::{ElementFormat, Fact, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::labelled::{self, Summed};
use crate::ops::NodeView;
use crate::tensor::{DType, Tensor, zeros};

/// What becomes of the samples' losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    None,
    Sum,
    /// Divided by the sum of the weights of the samples that count.
    Mean,
}

/// The attributes that both losses have.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    pub reduction: Reduction,
    /// The label of samples that don't count.
    ignored: Option<i64>,
}

/// What a sample's label chooses.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Of the scores, all of them counted row by row.
    pub element: usize,
    pub class: usize,
}

impl Loss {
    fn parse(node: &mut NodeView) -> Result<Self> {
        node.expect_inputs(2..=3)?;
        let reduction = match node.choice("reduction", "mean", &["none", "sum", "mean"])?.as_str() {
            "none" => Reduction::None,
            "sum" => Reduction::Sum,
            _ => Reduction::Mean,
        };
        Ok(Self { reduction, ignored: node.optional_int("ignore_index")? })
    }

    /// The loss's type and shape, from the inputs: scores `[n, c, d…]`, labels `[n, d…]`, weights `[c]`.
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Fact> {
        let (scores, labels) = (inputs.required(0)?, inputs.required(1)?);
        let fits = scores.rank() >= 2
            && labels.rank() + 1 == scores.rank()
            && labels.shape[0] == scores.shape[0]
            && labels.shape[1..] == scores.shape[2..];
        if !fits {
            return Err(Error::model(format!(
                "labels of shape {:?} don't fit scores of shape {:?}, which are [n, classes, …]",
                labels.shape, scores.shape
            )));
        }
        if !matches!(labels.dtype, DType::I32 | DType::I64) {
            return Err(Error::model(format!("its labels are {}; int32 or int64 are allowed", labels.dtype)));
        }
        if let Some(weights) = inputs.optional(2)
            && weights.shape != [scores.shape[1]]
        {
            return Err(Error::model(format!(
                "weights of shape {:?} for {} classes",
                weights.shape, scores.shape[1]
            )));
        }
        if let Some(value) = &labels.value {
            self.chosen(&scores.shape, value)?;
        }
        let shape = if self.reduction == Reduction::None { labels.shape.clone() } else { vec![] };
        Ok(Fact::new(scores.dtype, shape))
    }

    /// What each label chooses of scores `[n, c, d…]`; nothing where its sample doesn't count.
    pub fn chosen(&self, shape: &[usize], labels: &Tensor) -> Result<Vec<Option<Chosen>>> {
        let (classes, inner) = (shape[1], shape[2..].iter().product::<usize>());
        let choose = |(at, &label): (usize, &i64)| {
            if self.ignored == Some(label) {
                return Ok(None);
            }
            let class = usize::try_from(label).ok().filter(|&class| class < classes).ok_or_else(|| {
                Error::input(format!("the label {label} is none of {classes} classes"))
                    .of_input(1)
                    .remedy("give labels from 0 on, or the one that 'ignore_index' names")
            })?;
            Ok(Some(Chosen { element: (at / inner * classes + class) * inner + at % inner, class }))
        };
        labels.to_i64s()?.iter().enumerate().map(choose).collect()
    }

    /// The loss, from logarithmic probabilities of `shape`, `[n, c, d…]`.
    fn of(
        &self,
        logarithms: &[f64],
        shape: &[usize],
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weights = weights.map(Tensor::to_f64s).transpose()?;
        let mut losses: Vec<f64> = zeros(labels.len())?;
        let mut total = 0.0;
        for (loss, chosen) in losses.iter_mut().zip(self.chosen(shape, labels)?) {
            let Some(Chosen { element, class }) = chosen else { continue };
            let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
            *loss = -logarithms[element] * weight;
            total += weight;
        }
        match self.reduction {
            Reduction::None => Tensor::new(labels.shape(), losses),
            Reduction::Sum => Ok(Tensor::scalar(losses.iter().sum::<f64>())),
            Reduction::Mean => Ok(Tensor::scalar(losses.iter().sum::<f64>() / total)),
        }
    }

    /// Emits the loss, into output 0, from logarithmic probabilities where they lie.
    fn lower(
        &self,
        at: &mut dyn Lowering,
        logarithms: View,
        storage: ElementFormat,
    ) -> Result<(), Unsupported> {
        let how = match self.reduction {
            Reduction::None => Summed::Each,
            Reduction::Sum => Summed::Sum,
            Reduction::Mean => Summed::Mean,
        };
        let labels = at.input(1, Layout::Dense)?;
        let weights = at.optional_input(2, Layout::Dense)?;
        if weights.is_some() && at.fact(2)?.dtype != at.fact(0)?.dtype {
            return Err(Unsupported::new("weights of another type than the scores"));
        }
        let classes = logarithms.shape.get(1).copied().unwrap_or(0);
        let report = at.report(1, 1, vec![classes], false);
        let output = at.output(0, Layout::Dense)?;
        let label_type = at.fact(1)?.dtype;
        let given = labelled::Given { data: logarithms, labels, label_type, weights, ignored: self.ignored };
        labelled::emit(at, storage, given, how, report, &output)
    }
}
