//! [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html), version 12: sums of products by Einstein's
//! convention, with ellipses, repeated indices (diagonals) and an implicit result.

mod lower;

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{Odometer, strides};
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Einsum", since: 12, parse, cases: CASES };

/// An index of the equation: a letter, or an axis that an ellipsis stands for, counted from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    Letter(char),
    Ellipsis(usize),
}

impl std::fmt::Display for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Index::Letter(letter) => write!(f, "the index '{}'", letter.escape_debug()),
            Index::Ellipsis(from_last) => write!(f, "axis {} of the '...'", -1 - *from_last as i64),
        }
    }
}

/// A term as written: letters before the ellipsis, and, if there is one, those behind it.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    head: Vec<char>,
    tail: Option<Vec<char>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Einsum {
    inputs: Vec<Term>,
    /// `None`: letters that occur once, in alphabetical order, behind the ellipsis.
    output: Option<Term>,
}

fn term(text: &str) -> Result<Term> {
    let letters = |part: &str| -> Result<Vec<char>> {
        match part.chars().find(|c| !c.is_ascii_alphabetic()) {
            None => Ok(part.chars().collect()),
            Some(other) => Err(Error::model(format!("the term '{text}' of the equation holds '{other}'"))),
        }
    };
    match text.split_once("...") {
        None => Ok(Term { head: letters(text)?, tail: None }),
        Some((head, tail)) => Ok(Term { head: letters(head)?, tail: Some(letters(tail)?) }),
    }
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let equation: String = node.string("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        None => (equation.as_str(), None),
        Some((left, right)) => (left, Some(right)),
    };
    let inputs = left.split(',').map(term).collect::<Result<Vec<_>>>()?;
    node.expect_inputs(inputs.len()..=inputs.len())?;
    Ok(Arc::new(Einsum { inputs, output: right.map(term).transpose()? }))
}

impl Term {
    /// The index of each axis, `ellipsis` of them behind the head's where the term has one.
    fn indices(&self, ellipsis: usize) -> Vec<Index> {
        let mut list: Vec<Index> = self.head.iter().map(|&c| Index::Letter(c)).collect();
        if let Some(tail) = &self.tail {
            list.extend((0..ellipsis).rev().map(Index::Ellipsis));
            list.extend(tail.iter().map(|&c| Index::Letter(c)));
        }
        list
    }
    fn letters(&self) -> impl Iterator<Item = char> {
        self.head.iter().chain(self.tail.iter().flatten()).copied()
    }
}

/// The equation over concrete shapes: indices of the result first, then those summed over.
struct Resolved {
    sizes: Vec<usize>,
    /// How many indices are the result's.
    kept: usize,
    /// For each input, the axes that each index walks: two and more walk a diagonal, none repeats.
    axes: Vec<Vec<Vec<usize>>>,
}

impl Resolved {
    /// The stride of each index in a dense tensor of an input's shape.
    fn strides(&self, input: usize, shape: &[usize]) -> Vec<usize> {
        let own = strides(shape);
        self.axes[input].iter().map(|axes| axes.iter().map(|&axis| own[axis]).sum()).collect()
    }
}

impl Einsum {
    fn resolve(&self, shapes: &[&[usize]]) -> Result<Resolved> {
        if shapes.len() != self.inputs.len() {
            return Err(Error::model(format!(
                "{} inputs for an equation of {}",
                shapes.len(),
                self.inputs.len()
            )));
        }
        let mut sized: Vec<(Index, usize)> = vec![];
        let mut named: Vec<Vec<Index>> = vec![];
        let mut widest = 0;
        for (term, shape) in self.inputs.iter().zip(shapes) {
            let letters = term.letters().count();
            let ellipsis =
                shape.len().checked_sub(letters).filter(|&extra| extra == 0 || term.tail.is_some());
            let ellipsis = ellipsis.ok_or_else(|| {
                Error::model(format!("a tensor of shape {shape:?} doesn't fit a term of {letters} letters"))
            })?;
            widest = widest.max(ellipsis);
            let indices = term.indices(ellipsis);
            for (&index, &size) in indices.iter().zip(*shape) {
                match sized.iter_mut().find(|known| known.0 == index) {
                    None => sized.push((index, size)),
                    Some(known) if known.1 == size || size == 1 => {}
                    Some(known) if known.1 == 1 => known.1 = size,
                    Some(known) => {
                        return Err(Error::model(format!("{index} is both {} and {size}", known.1)));
                    }
                }
            }
            named.push(indices);
        }
        let order = match &self.output {
            Some(term) => term.indices(widest),
            None => {
                let all: Vec<char> = self.inputs.iter().flat_map(Term::letters).collect();
                let mut once: Vec<char> = all
                    .iter()
                    .copied()
                    .filter(|c| all.iter().filter(|other| *other == c).count() == 1)
                    .collect();
                once.sort();
                (0..widest).rev().map(Index::Ellipsis).chain(once.into_iter().map(Index::Letter)).collect()
            }
        };
        for (position, index) in order.iter().enumerate() {
            if !sized.iter().any(|known| known.0 == *index) || order[..position].contains(index) {
                return Err(Error::model(format!(
                    "{index} of the result is in no input, or twice in the result"
                )));
            }
        }
        let summed = sized.iter().map(|known| known.0).filter(|index| !order.contains(index));
        let all: Vec<Index> = order.iter().copied().chain(summed).collect();
        let size = |index: &Index| sized.iter().find(|known| known.0 == *index).map_or(1, |known| known.1);
        let walked = |indices: &Vec<Index>, shape: &&[usize]| -> Vec<Vec<usize>> {
            // A size of 1 repeats.
            let of = |index: &Index| {
                (0..indices.len()).filter(|&axis| indices[axis] == *index && shape[axis] != 1).collect()
            };
            all.iter().map(of).collect()
        };
        Ok(Resolved {
            sizes: all.iter().map(size).collect(),
            kept: order.len(),
            axes: named.iter().zip(shapes).map(|(n, s)| walked(n, s)).collect(),
        })
    }
}

impl Operator for Einsum {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let shapes: Vec<&[usize]> = inputs.present().map(|fact| &fact.shape[..]).collect();
        let resolved = self.resolve(&shapes)?;
        Ok(vec![Fact::new(inputs.required(0)?.dtype, &resolved.sizes[..resolved.kept])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let tensors: Vec<&Tensor> = inputs.present().collect();
        let shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
        let resolved = self.resolve(&shapes)?;
        let (kept, summed) = resolved.sizes.split_at(resolved.kept);
        element_count(&resolved.sizes)?;
        let first = inputs.required(0)?;
        let all: Vec<Vec<usize>> =
            shapes.iter().enumerate().map(|(input, shape)| resolved.strides(input, shape)).collect();
        let strides: Vec<(&[usize], &[usize])> =
            all.iter().map(|strides| strides.split_at(resolved.kept)).collect();
        // The addresses of every input's terms, the same for each element of the result.
        let terms = strides
            .iter()
            .map(|(_, inner)| Odometer::new(summed, [*inner]).map(|[at]| at).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        let count = element_count(summed)?;
        let mut bases: Vec<_> = strides.iter().map(|(outer, _)| Odometer::new(kept, [*outer])).collect();
        if first.dtype().is_float() {
            let values = tensors.iter().map(|tensor| tensor.to_f64s()).collect::<Result<Vec<_>>>()?;
            let mut result: Vec<f64> = allocate(element_count(kept)?)?;
            for _ in 0..element_count(kept)? {
                let at: Vec<usize> = bases.iter_mut().map(|base| base.next().map_or(0, |[at]| at)).collect();
                result.push(
                    (0..count)
                        .map(|k| {
                            (0..at.len())
                                .map(|input| values[input][at[input] + terms[input][k]])
                                .product::<f64>()
                        })
                        .sum(),
                );
            }
            return Ok(vec![cast(&Tensor::new(kept, result)?, first.dtype(), true)?]);
        }
        let values = tensors.iter().map(|tensor| tensor.to_i64s()).collect::<Result<Vec<_>>>()?;
        let mut result: Vec<i64> = allocate(element_count(kept)?)?;
        for _ in 0..element_count(kept)? {
            let at: Vec<usize> = bases.iter_mut().map(|base| base.next().map_or(0, |[at]| at)).collect();
            let product = |k: usize| {
                (0..at.len()).fold(1i64, |product, input| {
                    product.wrapping_mul(values[input][at[input] + terms[input][k]])
                })
            };
            result.push((0..count).fold(0i64, |sum, k| sum.wrapping_add(product(k))));
        }
        Ok(vec![cast(&Tensor::new(kept, result)?, first.dtype(), false)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let shapes: Vec<&[usize]> = inputs.present().map(|fact| &fact.shape[..]).collect();
        // Each factor is stored, perhaps summed up and stored again, and so are products of more than two.
        let stored = (3 * shapes.len()).saturating_sub(2);
        let Ok(resolved) = self.resolve(&shapes) else {
            return Bound::Sum { length: 1, terms: Terms::Products(stored) };
        };
        let length = resolved.sizes[resolved.kept..].iter().product();
        // What is summed up first, or multiplied with two others, may be infinite where the whole is no
        // number.
        let one = |index: usize| resolved.axes.iter().filter(|axes| !axes[index].is_empty()).count() == 1;
        let first = shapes.len() > 1 && (resolved.kept..resolved.sizes.len()).any(one);
        let apart = shapes.len() > 2 || first;
        Bound::Sum { length, terms: if apart { Terms::Regrouped(stored) } else { Terms::Products(stored) } }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let shapes: Vec<&[usize]> = inputs.present().map(|fact| &fact.shape[..]).collect();
        self.resolve(&shapes).map_or(0, |resolved| {
            resolved.sizes.iter().fold(shapes.len() as u64, |all, &size| all.saturating_mul(size as u64))
        })
    }
}

const CASES: &[Case] = &[
    case(&[("equation", Text("ij,kj->ik"))], &[Drawn(DType::BF16, &[2, 5]), Drawn(DType::BF16, &[3, 5])]),
    case(&[("equation", Text("bij, bjk -> bik"))], &[Floats(&[2, 3, 4]), Floats(&[2, 4, 5])]),
    case(&[("equation", Text("...ii->...i"))], &[Floats(&[2, 3, 3])]).runs("view"),
    case(&[("equation", Text("ba"))], &[Floats(&[2, 3])]).runs("view"),
    case(&[("equation", Text("...ij,...jk"))], &[Floats(&[5, 1, 2, 3]), Floats(&[4, 3, 2])]),
    case(&[("equation", Text("i,i"))], &[I64(&[7]), I64(&[7])]),
    case(&[("equation", Text("ij,j->i"))], &[Floats(&[5, 6]), Floats(&[6])]),
    case(&[("equation", Text("i,j->ij"))], &[Floats(&[5]), Floats(&[3])]),
    case(&[("equation", Text("ij->"))], &[Floats(&[5, 7])]),
    case(&[("equation", Text("bhqd,bkhd->bqhk"))], &[Floats(&[2, 3, 4, 5]), Floats(&[2, 6, 3, 5])]),
    case(&[("equation", Text("ij,jk,kl->li"))], &[Floats(&[2, 3]), Floats(&[3, 4]), Floats(&[4, 5])]),
    case(&[("equation", Text("ijk,jl->i"))], &[Floats(&[2, 3, 4]), Floats(&[3, 5])]),
    case(&[("equation", Text("ii->"))], &[Floats(&[5, 5])]),
    case(&[("equation", Text("ij,jk"))], &[Wide(DType::I32, &[3, 5]), Wide(DType::I32, &[5, 2])]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_does_not_fit_is_named() {
        assert_eq!(
            [Index::Letter('i'), Index::Ellipsis(0)].map(|index| index.to_string()),
            ["the index 'i'", "axis -1 of the '...'"]
        );
    }
}
