//! How far a recurrent network's states may be off: the same steps over numbers with their errors, each
//! step's carried on into the next.

use super::SAFETY_FACTOR;
use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::expression::{Rounding, Uncertain, propagate};
use super::measure::Allowed;
use crate::base::UNIT_F32;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::graph::Node;
use crate::ops::recurrent::sequence::Sequence;
use crate::ops::recurrent::sizes::Sizes;
use crate::ops::recurrent::steps::Steps;
use crate::ops::recurrent::values::product;
use crate::ops::recurrent::{Cell, Recurrent};
use crate::tensor::{DType, Tensor};

/// Numbers with their errors, and which may be anything.
#[derive(Clone)]
struct Numbers {
    value: Tensor,
    error: Tensor,
    /// 1 where a result on the way may leave its range.
    open: Tensor,
}

impl Numbers {
    fn of(value: Tensor, error: Vec<f64>, open: Vec<f64>) -> Result<Self> {
        let shape = value.shape().to_vec();
        Ok(Self { error: Tensor::new(shape.clone(), error)?, open: Tensor::new(shape, open)?, value })
    }
    fn zero(shape: &[usize]) -> Result<Self> {
        let count = shape.iter().product();
        Self::of(Tensor::new(shape, vec![0f64; count])?, vec![0.0; count], vec![0.0; count])
    }
    fn given(input: &Input) -> Result<Self> {
        Self::of(input.value.clone(), input.errors()?, vec![0.0; input.value.len()])
    }
    fn each(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { value: of(&self.value)?, error: of(&self.error)?, open: of(&self.open)? })
    }
    fn uncertain(&self) -> Result<Uncertain> {
        Ok(Uncertain { value: self.value.clone(), error: self.error.as_slice::<f64>()?.to_vec() })
    }
    /// What is finite of each as its magnitude; nothing of the rest.
    fn magnitude(&self) -> Result<Tensor> {
        magnitude(&self.value, |x| x)
    }
}

fn magnitude(tensor: &Tensor, of: impl Fn(f64) -> f64) -> Result<Tensor> {
    let list = tensor.as_slice::<f64>()?.iter();
    let list = list.map(|&x| if x.is_finite() { of(x).abs() } else { 0.0 });
    Tensor::new(tensor.shape(), list.collect::<Vec<_>>())
}

/// A direction's steps.
struct Errors<'a> {
    sequence: &'a Sequence,
    sizes: Sizes,
    gates: usize,
    direction: usize,
    /// Multiples of u that the arithmetic may lose.
    arithmetic: f64,
    inputs: Vec<Numbers>,
    recurrence: Numbers,
    peepholes: Vec<Numbers>,
    reset_bias: Numbers,
}

/// The product of rows by a block of weights: n·u·Σ|ab|, and what both bring.
fn multiplied(rows: &Numbers, weights: &Numbers, block: [usize; 2], arithmetic: f64) -> Result<Numbers> {
    let times = |a: &Tensor, b: &Tensor| product(a, b, block);
    let (size, weight) = (rows.magnitude()?, weights.magnitude()?);
    let value = times(&rows.value, &weights.value)?;
    let sums = times(&size, &weight)?;
    let both = Pointwise::of(&table::ADD, 2, &[])
        .eval(&[&weight, &magnitude(&weights.error, |e| e)?], crate::base::EvalPrecision::Oracle)?;
    let brought = [times(&size, &weights.error)?, times(&rows.error, &both)?];
    let opened = times(&rows.open, &Tensor::new(weights.value.shape(), vec![1.0; weights.value.len()])?)?;
    let terms = rows.value.shape().get(1).copied().unwrap_or(0) as f64;
    let [of_weights, of_rows] = [brought[0].as_slice::<f64>()?, brought[1].as_slice::<f64>()?];
    let error = sums.as_slice::<f64>()?.iter().zip(of_weights.iter().zip(of_rows)).map(|(sum, (w, r))| {
        let own = arithmetic * terms * (UNIT_F32 * sum + f32::MIN_POSITIVE as f64);
        let all = own + w + r;
        if all.is_nan() { f64::INFINITY } else { all }
    });
    let open = sums.as_slice::<f64>()?.iter().zip(opened.as_slice::<f64>()?);
    let open = open.map(|(&sum, &open)| f64::from(u8::from(leaves_range(sum) || open != 0.0)));
    let (error, open) = (error.collect(), open.collect());
    Numbers::of(value, error, open)
}

/// An expression of numbers, elements of which are open where an operand's are.
fn applied(expression: &Pointwise, operands: &[&Numbers], arithmetic: f64) -> Result<Numbers> {
    let given = operands.iter().map(|operand| operand.uncertain()).collect::<Result<Vec<_>>>()?;
    let made = propagate(expression, &given, Rounding { arithmetic, reference: 0.0 })?;
    let mut any = Pointwise { operands: operands.len(), steps: vec![] };
    let mut all = crate::expression::Arg::Operand(0);
    for index in 1..operands.len() {
        all = any.push(&table::MAX, vec![all, crate::expression::Arg::Operand(index)]);
    }
    let opens: Vec<&Tensor> = operands.iter().map(|operand| &operand.open).collect();
    let carried = any.eval(&opens, crate::base::EvalPrecision::Oracle)?;
    let open = carried.as_slice::<f64>()?.iter().zip(&made.open);
    let open = open.map(|(&carried, &own)| f64::from(u8::from(carried != 0.0 || own))).collect();
    Numbers::of(made.value.value, made.value.error, open)
}

impl Steps for Errors<'_> {
    type Array = Numbers;

    fn apply(&self, expression: &Pointwise, operands: &[&Numbers]) -> Result<Numbers> {
        applied(expression, operands, self.arithmetic)
    }
    fn input(&self, gate: usize, step: usize) -> Result<Numbers> {
        let Sizes { batch, hidden, .. } = self.sizes;
        self.inputs[gate].each(|all| all.strided([batch, hidden], &[hidden, 1], step * batch * hidden))
    }
    fn recurrent(&self, gate: usize, state: &Numbers) -> Result<Numbers> {
        let block = [self.direction * self.gates + gate, self.sizes.hidden];
        multiplied(state, &self.recurrence, block, self.arithmetic)
    }
    fn peephole(&self, gate: usize) -> Option<&Numbers> {
        self.peepholes.get(gate)
    }
    fn reset_bias(&self) -> &Numbers {
        &self.reset_bias
    }
    fn advance(&self, step: usize, old: &Numbers, new: Numbers) -> Result<Numbers> {
        let kept = |old: &Tensor, new: Tensor| self.sequence.advanced(step, old, new);
        Ok(Numbers {
            value: kept(&old.value, new.value)?,
            error: kept(&old.error, new.error)?,
            open: kept(&old.open, new.open)?,
        })
    }
}

/// The errors of an output's elements, and which are open.
fn errors(
    network: &Recurrent,
    inputs: &[Option<Input>],
    index: usize,
    arithmetic: f64,
) -> Result<(Vec<f64>, Vec<bool>)> {
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let shapes = |index: usize| input(index).map(|input| input.value.shape());
    let sizes = Sizes::of(network, &shapes)?;
    let lengths = input(4).map(|input| &input.value);
    let sequence = Sequence::of(&sizes, network.batch_first, lengths)?;
    let given = |index: usize| input(index).map(Numbers::given).transpose();
    let needed = |index| given(index)?.ok_or_else(|| Error::internal("an input is missing"));
    let (x, w, recurrence) = (needed(0)?, needed(1)?, needed(2)?);
    let (gates, hidden) = (network.cell.gates(), sizes.hidden);
    let vector = |of: &Numbers, at: usize| of.each(|all| all.strided([hidden], &[1], at * hidden));
    let after = network.cell == Cell::Gru { linear_before_reset: true };
    let add = Pointwise::of(&table::ADD, 2, &[]);
    let (biases, peepholes) = (given(3)?, given(7)?);
    let (mut made, mut last) = (vec![], vec![]);
    for (direction, &reverse) in network.reverse.iter().enumerate() {
        let rows = x.each(|all| sequence.rows(all, reverse))?;
        let (mut parts, mut reset_bias) = (vec![], Numbers::zero(&[hidden])?);
        for gate in 0..gates {
            let mut part = multiplied(&rows, &w, [direction * gates + gate, hidden], arithmetic)?;
            if let Some(biases) = &biases {
                let at = direction * 2 * gates + gate;
                let (of_x, of_h) = (vector(biases, at)?, vector(biases, at + gates)?);
                let bias = if after && gate == 2 {
                    reset_bias = of_h;
                    of_x
                } else {
                    applied(&add, &[&of_x, &of_h], arithmetic)?
                };
                part = applied(&add, &[&part, &bias], arithmetic)?;
            }
            parts.push(part);
        }
        let peepholes =
            peepholes.as_ref().map(|all| (0..3).map(|gate| vector(all, direction * 3 + gate)).collect());
        let steps = Errors {
            sequence: &sequence,
            sizes,
            gates,
            direction,
            arithmetic,
            inputs: parts,
            recurrence: recurrence.clone(),
            peepholes: peepholes.transpose()?.unwrap_or_default(),
            reset_bias,
        };
        let first = |state: usize| match given(5 + state)? {
            Some(given) => given.each(|all| sequence.initial(DType::F64, Some(all), direction)),
            None => Numbers::zero(&[sizes.batch, hidden]),
        };
        let initial = (0..network.cell.states()).map(first).collect::<Result<Vec<_>>>()?;
        let equations = network.equations(direction, input(7).is_some());
        let (all, state) = equations.run(&steps, sequence.steps(), initial)?;
        made.push((reverse, all));
        last.push(state);
    }
    let output = |of: &dyn Fn(&Numbers) -> Tensor| -> Result<Tensor> {
        if let Some(state) = index.checked_sub(1) {
            let parts: Vec<Tensor> = last.iter().filter_map(|states| states.get(state)).map(of).collect();
            return sequence.last(&parts.iter().collect::<Vec<_>>());
        }
        let parts: Vec<(bool, Vec<Tensor>)> =
            made.iter().map(|(reverse, all)| (*reverse, all.iter().map(of).collect())).collect();
        sequence.joined(DType::F64, &parts)
    };
    let (error, open) = (output(&|numbers| numbers.error.clone())?, output(&|numbers| numbers.open.clone())?);
    Ok((error.to_f64s()?, open.to_f64s()?.into_iter().map(|open| open != 0.0).collect()))
}

/// What output `index` of a recurrent network is held to.
pub fn recurrent(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    own: ReferenceRounding,
) -> Result<Allowed> {
    let network = node
        .op
        .recurrent()
        .ok_or_else(|| Error::internal("the bound of a recurrent network for another operator"))?;
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (fixed, _) = errors(network, inputs, index, 0.0)?;
    let (all, open) = errors(network, inputs, index, SAFETY_FACTOR * sides)?;
    let scaled =
        all.iter().zip(&fixed).map(|(all, fixed)| ((all - fixed) / SAFETY_FACTOR).max(0.0)).collect();
    // What may be anything is held to nothing.
    let fixed = fixed.iter().zip(&open).map(|(&fixed, &open)| if open { f64::INFINITY } else { fixed });
    Ok(Allowed::new(fixed.collect(), scaled, "running error of the steps + storage rounding").with_open(open))
}
