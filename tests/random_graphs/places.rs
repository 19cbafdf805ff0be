//! Nodes that read and write at places: Gather and Scatter in each form.

use super::grow::Grower;
use super::moves::with_rank;
use super::proto::{int, text};
use sardonyx::{DType, Tensor};

/// Indices below a size, some counted from the end.
fn indices(at: &mut Grower, shape: &[usize], size: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let size = size as i64;
    let list: Vec<i64> = (0..count).map(|_| at.draw.between(-size, size - 1)).collect();
    let tensor = Tensor::new(shape, list).unwrap();
    let narrow = at.draw.one_in(3);
    if narrow { sardonyx::tensor::cast(&tensor, DType::I32, true).unwrap() } else { tensor }
}

pub fn gather(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let shape = at.shape(&x);
    let (axis, signed) = at.draw.axis(shape.len());
    if shape[axis] == 0 {
        return None;
    }
    if at.draw.one_in(2) {
        let rank = at.draw.below(3);
        let own = at.draw.shape(rank);
        let places = indices(at, &own, shape[axis]);
        let places = at.operand(places);
        return at.one("Gather", &[&x, &places], vec![int("axis", signed)]).map(drop);
    }
    let own: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(k, &size)| if k == axis { at.draw.size() } else { at.draw.between(1, size as i64) as usize })
        .collect();
    if own.iter().zip(&shape).enumerate().any(|(k, (own, size))| k != axis && own > size) {
        return None;
    }
    let places = indices(at, &own, shape[axis]);
    let places = at.operand(places);
    at.one("GatherElements", &[&x, &places], vec![int("axis", signed)]).map(drop)
}

/// Index tuples of GatherND and ScatterND.
fn tuples(at: &mut Grower, shape: &[usize], distinct: bool) -> Option<(Tensor, usize)> {
    let depth = 1 + at.draw.below(shape.len().min(3));
    let places: usize = shape[..depth].iter().product();
    if places == 0 {
        return None;
    }
    let count = 1 + at.draw.below(places.min(5));
    let order = at.draw.order(places);
    let mut list = vec![];
    for &drawn in &order[..count] {
        let mut place = if distinct { drawn } else { at.draw.below(places) };
        let mut tuple = vec![];
        for &size in shape[..depth].iter().rev() {
            let index = (place % size) as i64;
            tuple.push(if at.draw.one_in(4) { index - size as i64 } else { index });
            place /= size;
        }
        list.extend(tuple.into_iter().rev());
    }
    Some((Tensor::new([count, depth], list).unwrap(), depth))
}

pub fn gather_nd(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let (places, _) = tuples(at, &at.shape(&x), false)?;
    let places = at.operand(places);
    at.one("GatherND", &[&x, &places], vec![]).map(drop)
}

pub fn scatter(at: &mut Grower) -> Option<()> {
    let x =
        at.find(|x| x.rank() >= 1 && matches!(x.dtype(), DType::F32 | DType::I64 | DType::I32 | DType::F16))?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let reduction = at.draw.pick(&["none", "none", "add", "mul", "max", "min"]);
    let attribute = text("reduction", reduction);
    if at.draw.one_in(2) {
        let (places, depth) = tuples(at, &shape, reduction == "none")?;
        let own: Vec<usize> = [&places.shape()[..1], &shape[depth..]].concat();
        let updates = at.draw.tensor(dtype, &own);
        let (places, updates) = (at.operand(places), at.operand(updates));
        return at.one("ScatterND", &[&x, &places, &updates], vec![attribute]).map(drop);
    }
    let (axis, signed) = at.draw.axis(shape.len());
    if shape.contains(&0) {
        return None;
    }
    let own: Vec<usize> = shape.iter().map(|&size| at.draw.between(1, size as i64) as usize).collect();
    let places = if reduction == "none" {
        // Each index once in a line, or which update stands is open.
        let order = at.draw.order(shape[axis]);
        let inner: usize = own[axis + 1..].iter().product();
        let count: usize = own.iter().product();
        let list = (0..count).map(|k| order[k / inner % own[axis]] as i64).collect();
        Tensor::new(own.clone(), list).unwrap()
    } else {
        indices(at, &own, shape[axis])
    };
    let updates = at.draw.tensor(dtype, &own);
    let (places, updates) = (at.operand(places), at.operand(updates));
    at.one("ScatterElements", &[&x, &places, &updates], vec![int("axis", signed), attribute]).map(drop)
}
