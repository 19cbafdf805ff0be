//! The sizes of a recurrent network's inputs, which must agree.

use super::Recurrent;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub steps: usize,
    pub batch: usize,
    pub input: usize,
    pub hidden: usize,
    pub directions: usize,
}

impl Sizes {
    /// Of the inputs' shapes, by index.
    pub fn of<'a>(network: &Recurrent, shapes: &dyn Fn(usize) -> Option<&'a [usize]>) -> Result<Self> {
        let directions = network.reverse.len();
        let x = shapes(0).ok_or_else(|| Error::model("input 0 is missing"))?;
        let &[outer, middle, input] = x else {
            return Err(Error::model(format!("input 0 has shape {x:?}: three axes are needed")));
        };
        let (steps, batch) = if network.batch_first { (middle, outer) } else { (outer, middle) };
        let r = shapes(2).ok_or_else(|| Error::model("input 2 is missing"))?;
        let hidden = r.last().copied().unwrap_or(0);
        if hidden == 0 || network.hidden.is_some_and(|own| own != hidden) {
            return Err(Error::model(format!(
                "recurrence weights of shape {r:?} don't fit hidden_size {}",
                network.hidden.map_or("(left out)".to_string(), |own| own.to_string())
            )));
        }
        let sizes = Self { steps, batch, input, hidden, directions };
        let rows = hidden.saturating_mul(network.cell.gates());
        let state =
            if network.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        let wanted: [(usize, &[usize]); 7] = [
            (1, &[directions, rows, input]),
            (2, &[directions, rows, hidden]),
            (3, &[directions, rows.saturating_mul(2)]),
            (4, &[batch]),
            (5, &state),
            (6, &state),
            (7, &[directions, hidden.saturating_mul(3)]),
        ];
        for (index, wanted) in wanted {
            match shapes(index) {
                None if index < 3 => return Err(Error::model(format!("input {index} is missing"))),
                Some(found) if found != wanted => {
                    return Err(Error::model(format!(
                        "input {index} has shape {found:?}; {wanted:?} is needed for x of shape {x:?}"
                    )));
                }
                _ => {}
            }
        }
        Ok(sizes)
    }
}
