//! From int32 sums of quantised products to the quantised result:
//! `saturate(round((sum + bias) · multiplier) + zero)`, rounded to even.

use crate::error::Result;
use crate::simd::{Loop, vectorised};
use crate::tensor::{allocate, zeros};
use crate::threads::chunks;

/// Sums that a thread takes at once.
const CHUNK: usize = 1 << 13;

/// What makes results of sums, one of each for each column.
pub struct Requantize {
    /// int32, added to the sums with wrapping.
    bias: Vec<i32>,
    multipliers: Multipliers,
    /// Whether all of those are numbers, not infinite either: then so are products with them, or clamped.
    finite: bool,
    of: Results,
}

/// What results are.
#[derive(Debug, Clone, Copy)]
pub struct Results {
    /// The zero point.
    pub zero: f64,
    /// int8, not uint8.
    pub signed: bool,
    /// None lies below the zero point.
    pub relu: bool,
}

impl Results {
    /// The least and the largest.
    fn ends(&self) -> [i32; 2] {
        let [low, high] = if self.signed { [-128, 127] } else { [0, 255] };
        [if self.relu { low.max(self.zero as i32) } else { low }, high]
    }
}

/// The float in which sums are multiplied.
enum Multipliers {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Requantize {
    /// For so many columns. The scales of x, w (one, or one each) and y make the multipliers `x · w / y`: in
    /// float32, or, `exact`, in float64. `None`: a list has another length.
    pub fn new(
        columns: usize,
        bias: Option<&[i32]>,
        [x, w, y]: [&[f32]; 3],
        exact: bool,
        of: Results,
    ) -> Result<Option<Self>> {
        let (&[x], &[y]) = (x, y) else { return Ok(None) };
        if (w.len() != 1 && w.len() != columns) || bias.is_some_and(|bias| bias.len() != columns) {
            return Ok(None);
        }
        let at = |column: usize| w[if w.len() == 1 { 0 } else { column }];
        let (multipliers, finite) = if exact {
            let mut list = allocate(columns)?;
            list.extend((0..columns).map(|column| f64::from(x) * f64::from(at(column)) / f64::from(y)));
            let finite = list.iter().all(|x| x.is_finite());
            (Multipliers::Double(list), finite)
        } else {
            let mut list = allocate(columns)?;
            list.extend((0..columns).map(|column| x * at(column) / y));
            let finite = list.iter().all(|x| x.is_finite());
            (Multipliers::Single(list), finite)
        };
        let bias = match bias {
            Some(bias) => bias.to_vec(),
            None => zeros(columns)?,
        };
        Ok(Some(Self { bias, multipliers, finite, of }))
    }

    pub fn columns(&self) -> usize {
        self.bias.len()
    }

    /// The results of the sums of one row, of the columns from `first` on.
    pub fn row(&self, sums: &[i32], first: usize, to: &mut [u8]) {
        let bias = &self.bias[first..];
        let ends = self.of.ends();
        match &self.multipliers {
            Multipliers::Single(list) => {
                let (multipliers, zero) = (&list[first..], self.of.zero as f32);
                self.each(Row { sums, bias, multipliers, zero, ends, to });
            }
            Multipliers::Double(list) => {
                let (multipliers, zero) = (&list[first..], self.of.zero);
                self.each(Row { sums, bias, multipliers, zero, ends, to });
            }
        }
    }

    fn each<T: Wide>(&self, row: Row<'_, T>) {
        if self.finite { vectorised(Finite(row)) } else { vectorised(row) }
    }

    /// The results of whole rows.
    pub fn rows(&self, sums: &[i32]) -> Result<Vec<u8>> {
        let columns = self.columns().max(1);
        let mut all: Vec<u8> = zeros(sums.len())?;
        let size = (CHUNK / columns).max(1) * columns;
        chunks(&mut all, size, |index, to| {
            let sums = &sums[index * size..][..to.len()];
            for (sums, to) in sums.chunks_exact(columns).zip(to.chunks_exact_mut(columns)) {
                self.row(sums, 0, to);
            }
        });
        Ok(all)
    }
}

/// A float in which sums are multiplied.
trait Wide: Copy {
    fn result(self, sum: i32, zero: Self, ends: [i32; 2]) -> i32;
    /// The same of a multiplier that is finite.
    fn finite_result(self, sum: i32, zero: Self, ends: [i32; 2]) -> i32;
}
macro_rules! wide {
    ($($t:ty),*) => { $(impl Wide for $t {
        #[inline(always)]
        fn result(self, sum: i32, zero: Self, [low, high]: [i32; 2]) -> i32 {
            let y = (sum as $t * self).round_ties_even() + zero;
            // As Max and Min have it: NaN stays, and becomes 0.
            let y = if y < low as $t { low as $t } else { y };
            let y = if y > high as $t { high as $t } else { y };
            y as i32
        }

        #[inline(always)]
        fn finite_result(self, sum: i32, zero: Self, [low, high]: [i32; 2]) -> i32 {
            // Between whole numbers, what is rounded before it is clamped is what is clamped before it is
            // rounded.
            let (low, high) = (low as $t - zero, high as $t - zero);
            let y = sum as $t * self;
            let y = if y > low { y } else { low };
            let y = if y < high { y } else { high };
            // SAFETY: between the ends of 8-bit numbers less a zero point. The conversion that saturates takes
            // three times as long.
            unsafe { (y.round_ties_even() + zero).to_int_unchecked() }
        }
    })* };
}
wide!(f32, f64);

struct Row<'a, T> {
    sums: &'a [i32],
    bias: &'a [i32],
    multipliers: &'a [T],
    zero: T,
    ends: [i32; 2],
    to: &'a mut [u8],
}

impl<T: Wide> Loop for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let each = self.sums.iter().zip(self.bias).zip(self.multipliers);
        for (to, ((&sum, &bias), multiplier)) in self.to.iter_mut().zip(each) {
            *to = multiplier.result(sum.wrapping_add(bias), self.zero, self.ends) as u8;
        }
    }
}

/// The same where all multipliers are finite.
struct Finite<'a, T>(Row<'a, T>);

impl<T: Wide> Loop for Finite<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Row { sums, bias, multipliers, zero, ends, to } = self.0;
        for (to, ((&sum, &bias), multiplier)) in to.iter_mut().zip(sums.iter().zip(bias).zip(multipliers)) {
            *to = multiplier.finite_result(sum.wrapping_add(bias), zero, ends) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_ends_and_what_is_no_number() {
        let of = |zero, signed, relu| Results { zero, signed, relu };
        let make = |w: &[f32], exact, of| {
            Requantize::new(3, Some(&[0, 1, -1]), [&[0.5], w, &[1.0]], exact, of).unwrap().unwrap()
        };
        for exact in [false, true] {
            // 0.5 and 1.5 go to the even neighbour.
            assert_eq!(make(&[1.0], exact, of(3.0, false, false)).rows(&[1, 2, 1000]).unwrap(), [3, 5, 255]);
            assert_eq!(make(&[1.0], exact, of(3.0, false, false)).rows(&[-8, 4, 1000]).unwrap(), [0, 5, 255]);
            // Beyond any integer.
            let huge = make(&[f32::MAX], exact, of(3.0, false, false));
            assert_eq!(huge.rows(&[i32::MAX, i32::MIN, 1]).unwrap(), [255, 0, 3]);
            let signed = make(&[1.0, 2.0, f32::NAN], exact, of(-3.0, true, false));
            assert_eq!(signed.rows(&[-900, 4, 5]).unwrap(), [-128i8 as u8, 2, 0]);
            let positive = make(&[1.0], exact, of(-3.0, true, true));
            assert_eq!(positive.rows(&[-900, 4, -5]).unwrap(), [-3i8 as u8, 0xff, -3i8 as u8]);
        }
        assert!(
            Requantize::new(3, None, [&[1.0], &[1.0; 2], &[1.0]], true, of(0.0, false, false))
                .unwrap()
                .is_none()
        );
    }
}
