//! Float32 elements of a tensor of 16-bit floats, made when somebody reads them: weights that are packed for the
//! operator that reads them need them for a moment alone.

use super::{Bytes, DType, Data, Tensor, cast};
use std::sync::{Arc, OnceLock};

pub(super) struct Widened {
    narrow: Tensor,
    /// `None` where memory didn't suffice: elements are missing then, which [`Tensor::as_slice`] says.
    made: OnceLock<Option<Tensor>>,
}

impl Bytes for Widened {
    fn bytes(&self) -> &[u8] {
        let made = self.made.get_or_init(|| {
            let made = cast(&self.narrow, DType::F32, true).ok();
            self.narrow.release();
            made
        });
        made.as_ref().map_or(&[], Tensor::bytes)
    }
    fn narrow(&self) -> Option<&Tensor> {
        Some(&self.narrow)
    }
}

impl Tensor {
    /// The numbers of 16-bit floats in float32, made when they are first read. Its identity is theirs.
    pub(crate) fn widened(narrow: &Tensor) -> Self {
        let data = Widened { narrow: narrow.clone(), made: OnceLock::new() };
        Self { dtype: DType::F32, shape: narrow.shape.clone(), data: Data::Bytes(Arc::new(data)) }
    }

    /// The same tensor; of one that is made when it is read, another that nobody has read. What is made of it goes
    /// with it.
    pub(crate) fn unread(&self) -> Self {
        match &self.data {
            Data::Bytes(bytes) => bytes.narrow().map_or_else(|| self.clone(), Self::widened),
            Data::Strings(_) => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_when_read() {
        let numbers = Tensor::new([2, 3], vec![0.5f32, -1.0, 3.25, f32::INFINITY, 0.0, 6e-8]).unwrap();
        let narrow = cast(&numbers, DType::F16, true).unwrap();
        let data = Arc::new(Widened { narrow: narrow.clone(), made: OnceLock::new() });
        let wide = Tensor { dtype: DType::F32, shape: vec![2, 3], data: Data::Bytes(data.clone()) };
        assert_eq!((wide.len(), wide.identity()), (6, narrow.identity()));
        let right = cast(&narrow, DType::F32, true).unwrap();
        assert_eq!(wide.unread(), right);
        assert_eq!(wide.reshape([6]).unwrap().unread().identity(), narrow.identity());
        assert!(data.made.get().is_none());
        assert_eq!(wide.as_slice::<f32>().unwrap(), right.as_slice::<f32>().unwrap());
        assert!(data.made.get().is_some());
    }
}
