//! A direction's steps in float32 over packed weights: all gates of a step are one product, and numbers are
//! parts of lists that steps share, since a step is so small that copies would take longer than it does.

use super::sequence::Sequence;
use super::sizes::Sizes;
use super::steps::{Equations, Run, Steps};
use super::{Cell, Recurrent};
use crate::base::Operands;
use crate::cpu_kernels::panels::Panels;
use crate::cpu_kernels::product::{Cut, Epilogue, Rows, product_on};
use crate::error::{Error, Result};
use crate::expression::{Fused, Pointwise};
use crate::tensor::{DType, Tensor, element_count, zeros};
use std::cell::RefCell;
use std::rc::Rc;

/// Products of a step below this are left to one thread: cutting them takes longer.
const SERIAL: usize = 1 << 18;

/// Numbers `[batch, hidden]`: a row for each of the batch, or one for all where they lie 0 apart.
#[derive(Clone)]
pub struct Part {
    list: Rc<Vec<f32>>,
    start: usize,
    stride: usize,
}

impl Part {
    fn row(&self, batch: usize, hidden: usize) -> Result<&[f32]> {
        let row = self.list.get(self.start + batch * self.stride..).and_then(|rest| rest.get(..hidden));
        row.ok_or_else(|| Error::internal("a row beyond a step's numbers"))
    }
}

/// Weights of a direction: those of the input, those of the state, and, where these are multiplied by another
/// state, those of a GRU's hidden gate.
pub fn pack([w, r]: [&[f32]; 2], cell: Cell, input: usize, hidden: usize) -> Result<Vec<Panels>> {
    let together = gates_together(cell);
    let mut list = vec![
        Panels::pack(w, input, element_count(&[cell.gates(), hidden])?, 1, input)?,
        Panels::pack(r, hidden, element_count(&[together, hidden])?, 1, hidden)?,
    ];
    if together < cell.gates() {
        list.push(Panels::pack(&r[together * hidden * hidden..], hidden, hidden, 1, hidden)?);
    }
    Ok(list)
}

/// Gates that see the last state itself.
fn gates_together(cell: Cell) -> usize {
    cell.gates() - usize::from(cell == Cell::Gru { linear_before_reset: false })
}

/// How many packed matrices a direction has.
pub fn matrices(cell: Cell) -> usize {
    2 + usize::from(gates_together(cell) < cell.gates())
}

struct Float32<'a> {
    sequence: &'a Sequence,
    sizes: Sizes,
    threads: usize,
    together: usize,
    panels: &'a [Panels],
    /// The input's part of all gates, `[steps · batch, gates · hidden]`, and the elements of a row.
    inputs: (Rc<Vec<f32>>, usize),
    /// The state's part of the gates that see it, of the state that was asked for last.
    products: RefCell<Option<(Part, Rc<Vec<f32>>)>>,
    peepholes: Vec<Part>,
    reset_bias: Part,
    ready: Vec<(&'a Pointwise, Fused)>,
}

/// The states of a direction after each step, and the last. `panels`: the direction's, as [`pack`] makes
/// them. `None`: an equation needs more than float32.
pub fn run(
    network: &Recurrent,
    given: Operands<'_, Tensor>,
    sequence: &Sequence,
    direction: usize,
    panels: &[Panels],
    equations: &Equations,
) -> Result<Option<Run<Tensor>>> {
    let x = given.required(0)?;
    let sizes = *sequence.sizes();
    let Sizes { steps, batch, hidden, .. } = sizes;
    let (gates, together) = (network.cell.gates(), gates_together(network.cell));
    let ready = equations.expressions().into_iter().map(|e| Some((e, Fused::of(e)?)));
    let Some(ready) = ready.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some(of_inputs) = panels.first() else { return Ok(None) };

    // Both biases are added to the input's part, but for that of a gate which the reset gate lies over.
    let mut bias: Vec<f32> = zeros(element_count(&[gates, hidden])?)?;
    let mut reset_bias: Vec<f32> = zeros(hidden)?;
    if let Some(biases) = given.optional(3) {
        let own = &biases.as_slice::<f32>()?[direction * 2 * bias.len()..][..2 * bias.len()];
        let (of_x, of_h) = own.split_at(bias.len());
        let after = network.cell == Cell::Gru { linear_before_reset: true };
        let apart = if after { (gates - 1) * hidden } else { bias.len() };
        for (at, to) in bias.iter_mut().enumerate() {
            *to = of_x[at] + if at < apart { of_h[at] } else { 0.0 };
        }
        if after {
            reset_bias.copy_from_slice(&of_h[apart..]);
        }
    }
    let rows = sequence.rows(x, network.reverse[direction])?;
    let (count, width) = (steps * batch, gates * hidden);
    let mut inputs: Vec<f32> = zeros(element_count(&[count, width])?)?;
    // Directions share the threads.
    let threads = rayon::current_num_threads().div_ceil(sizes.directions.max(1));
    let from = Rows::Dense { data: rows.as_slice()?, stride: of_inputs.k };
    let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
    product_on(Cut::whole(threads), from, count, of_inputs, &epilogue, &mut inputs, width)?;

    let shared = |list: &[f32]| Part { list: Rc::new(list.to_vec()), start: 0, stride: 0 };
    let peepholes = match given.optional(7) {
        Some(all) => {
            let own = &all.as_slice::<f32>()?[direction * 3 * hidden..][..3 * hidden];
            own.chunks_exact(hidden).map(shared).collect()
        }
        None => vec![],
    };
    let states = (0..network.cell.states()).map(|state| {
        let first = sequence.initial(DType::F32, given.optional(5 + state), direction)?;
        Ok(Part { list: Rc::new(first.as_slice()?.to_vec()), start: 0, stride: hidden })
    });
    let states = states.collect::<Result<Vec<_>>>()?;
    let step = Float32 {
        sequence,
        sizes,
        threads,
        together,
        panels,
        inputs: (Rc::new(inputs), width),
        products: RefCell::default(),
        peepholes,
        reset_bias: shared(&reset_bias),
        ready,
    };
    let (all, last) = equations.run(&step, steps, states)?;
    drop(step);
    let tensor = |part: Part| {
        let list = Rc::try_unwrap(part.list).unwrap_or_else(|shared| (*shared).clone());
        Tensor::new([batch, hidden], list)
    };
    let last = last.into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
    Ok(Some((all.into_iter().map(tensor).collect::<Result<Vec<_>>>()?, last)))
}

impl Float32<'_> {
    /// Rows of a state by packed weights.
    fn product(&self, state: &Part, panels: usize) -> Result<Rc<Vec<f32>>> {
        let panels = self.panels.get(panels).ok_or_else(|| Error::internal("weights that weren't packed"))?;
        let Sizes { batch, .. } = self.sizes;
        let mut made: Vec<f32> = zeros(element_count(&[batch, panels.n])?)?;
        let small = made.len().saturating_mul(panels.k) < SERIAL;
        let from = Rows::Dense { data: &state.list[state.start..], stride: state.stride };
        let threads = if small { 1 } else { self.threads };
        product_on(Cut::whole(threads), from, batch, panels, &Epilogue::default(), &mut made, panels.n)?;
        Ok(Rc::new(made))
    }
}

impl Steps for Float32<'_> {
    type Array = Part;

    fn apply(&self, expression: &Pointwise, operands: &[&Part]) -> Result<Part> {
        let ready = self.ready.iter().find(|(of, _)| std::ptr::eq(*of, expression));
        let Some((_, fused)) = ready else { return Err(Error::internal("an equation that is none")) };
        let Sizes { batch, hidden, .. } = self.sizes;
        let mut made: Vec<f32> = zeros(element_count(&[batch, hidden])?)?;
        let mut rows: Vec<&[f32]> = Vec::with_capacity(operands.len());
        for (at, to) in made.chunks_exact_mut(hidden).enumerate() {
            rows.clear();
            for operand in operands {
                rows.push(operand.row(at, hidden)?);
            }
            fused.run(&rows, to);
        }
        Ok(Part { list: Rc::new(made), start: 0, stride: hidden })
    }

    fn input(&self, gate: usize, step: usize) -> Result<Part> {
        let (list, width) = &self.inputs;
        let start = step * self.sizes.batch * width + gate * self.sizes.hidden;
        Ok(Part { list: list.clone(), start, stride: *width })
    }

    fn recurrent(&self, gate: usize, state: &Part) -> Result<Part> {
        let hidden = self.sizes.hidden;
        if gate >= self.together {
            return Ok(Part { list: self.product(state, 2)?, start: 0, stride: hidden });
        }
        let mut kept = self.products.borrow_mut();
        let made = match &*kept {
            Some((of, made)) if Rc::ptr_eq(&of.list, &state.list) => made.clone(),
            _ => {
                let made = self.product(state, 1)?;
                *kept = Some((state.clone(), made.clone()));
                made
            }
        };
        Ok(Part { list: made, start: gate * hidden, stride: self.together * hidden })
    }

    fn peephole(&self, gate: usize) -> Option<&Part> {
        self.peepholes.get(gate)
    }

    fn reset_bias(&self) -> &Part {
        &self.reset_bias
    }

    fn advance(&self, step: usize, old: &Part, new: Part) -> Result<Part> {
        let Sizes { batch, hidden, .. } = self.sizes;
        if (0..batch).all(|at| step < self.sequence.length(at)) {
            return Ok(new);
        }
        let mut made = Vec::with_capacity(batch * hidden);
        for at in 0..batch {
            let from = if step < self.sequence.length(at) { &new } else { old };
            made.extend_from_slice(from.row(at, hidden)?);
        }
        Ok(Part { list: Rc::new(made), start: 0, stride: hidden })
    }
}
