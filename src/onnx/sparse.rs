//! [SparseTensorProto](https://onnx.ai/onnx/repo-docs/IR.html#sparse-tensors) to dense host tensors.

use super::external::ExternalFiles;
use super::tensor;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, element_count};
use onnx_protobuf::SparseTensorProto;
use std::collections::HashMap;

/// A few bytes can claim any dense size; nothing that a model really holds sparsely is larger than this.
const MAX_DENSE_BYTES: usize = 1 << 30;

/// The name of a sparse initializer: that of its values.
pub fn name(proto: &SparseTensorProto) -> &str {
    proto.values.as_ref().map_or("", |values| &values.name)
}

/// The dense tensor: given elements at their places, zero elsewhere.
pub fn read(proto: &SparseTensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    dense(proto, files).map_err(|error| error.at_tensor(name(proto)))
}

fn dense(proto: &SparseTensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    let missing = || Error::model("a sparse tensor without values or indices");
    let values = tensor::read(proto.values.as_ref().ok_or_else(missing)?, files)?;
    let indices = tensor::read(proto.indices.as_ref().ok_or_else(missing)?, files)?;
    let shape = tensor::shape(&proto.dims)?;
    let count = element_count(&shape)?;
    if count.saturating_mul(values.dtype().size()) > MAX_DENSE_BYTES {
        return Err(Error::memory(format!(
            "a sparse tensor of shape {shape:?} is too large to be made dense"
        ))
        .remedy("the limit is 1 GiB"));
    }
    if indices.dtype() != DType::I64 || values.rank() != 1 {
        return Err(Error::model("a sparse tensor needs one-dimensional values and int64 indices"));
    }
    let places = indices.as_slice::<i64>()?;
    let places: Vec<usize> = match indices.shape() {
        [number] if *number == values.len() => {
            places.iter().map(|&place| linear(&[place], &[count])).collect::<Result<_>>()?
        }
        [number, rank] if *number == values.len() && *rank == shape.len() && *rank > 0 => {
            places.chunks_exact(*rank).map(|place| linear(place, &shape)).collect::<Result<_>>()?
        }
        other => {
            return Err(Error::model(format!(
                "sparse indices of shape {other:?} don't fit {} values in the shape {shape:?}",
                values.len()
            )));
        }
    };
    let given: HashMap<usize, usize> =
        places.iter().enumerate().map(|(value, &place)| (place, value)).collect();
    if given.len() != places.len() {
        return Err(Error::model("a sparse tensor gives an element twice"));
    }
    values.pick(shape, |place| given.get(&place).copied())
}

/// The place in row-major order. Errors if the index lies outside.
fn linear(index: &[i64], shape: &[usize]) -> Result<usize> {
    index.iter().zip(shape).try_fold(0, |place: usize, (&at, &size)| {
        let at = usize::try_from(at).ok().filter(|&at| at < size);
        at.map(|at| place * size + at).ok_or_else(|| {
            Error::model(format!("the sparse index {index:?} lies outside the shape {shape:?}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(indices: Tensor, dims: &[i64]) -> Result<Tensor> {
        let values = Tensor::new([2], vec![5f32, 7.0]).unwrap();
        let mut proto = SparseTensorProto { dims: dims.to_vec(), ..Default::default() };
        proto.values = Some(tensor::write("s", &values).unwrap()).into();
        proto.indices = Some(tensor::write("", &indices).unwrap()).into();
        read(&proto, &mut ExternalFiles::new(None))
    }

    #[test]
    fn both_forms_of_indices() {
        let wanted = Tensor::new([2, 3], vec![0f32, 0.0, 5.0, 0.0, 7.0, 0.0]).unwrap();
        assert_eq!(sparse(Tensor::int64s([2, 4]), &[2, 3]).unwrap(), wanted);
        assert_eq!(sparse(Tensor::new([2, 2], vec![0i64, 2, 1, 1]).unwrap(), &[2, 3]).unwrap(), wanted);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        assert!(sparse(Tensor::int64s([2, 6]), &[2, 3]).is_err());
        assert!(sparse(Tensor::int64s([-1, 2]), &[2, 3]).is_err());
        assert!(sparse(Tensor::int64s([2, 2]), &[2, 3]).is_err());
        assert!(sparse(Tensor::int64s([0]), &[2, 3]).is_err());
        assert_eq!(sparse(Tensor::int64s([0, 1]), &[1 << 40]).unwrap_err().kind(), crate::ErrorKind::Memory);
    }
}
