//! What makes products less their zero points, and floats where they are wanted, of sums of packed bytes.

use super::{BytePanels, Rows, WIDTH};
use crate::error::Result;
use crate::simd::{Loop, vectorised};
use crate::tensor::allocate;

/// What makes float32 of a product's sums, by columns: `sum · scale + bias`, rounded after each.
pub struct Scaled {
    scales: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Scaled {
    /// For so many columns; a scale is a's times b's, of which there is one or one for each column. `None`: a list
    /// has another length.
    pub fn new(columns: usize, [a, b]: [&[f32]; 2], bias: Option<&[f32]>) -> Result<Option<Self>> {
        let &[a] = a else { return Ok(None) };
        if (b.len() != 1 && b.len() != columns) || bias.is_some_and(|bias| bias.len() != columns) {
            return Ok(None);
        }
        let mut scales = allocate(columns)?;
        scales.extend((0..columns).map(|column| a * b[if b.len() == 1 { 0 } else { column }]));
        Ok(Some(Self { scales, bias: bias.map(<[f32]>::to_vec) }))
    }

    /// A whole row of sums.
    pub fn row(&self, sums: &[i32], to: &mut [f32]) {
        for (column, (to, &sum)) in to.iter_mut().zip(sums).enumerate() {
            let product = sum as f32 * self.scales[column];
            *to = self.bias.as_ref().map_or(product, |bias| product + bias[column]);
        }
    }
}

/// What is done to the sums of one panel's columns.
pub(super) struct Corrections<'a> {
    pub panel: usize,
    pub columns: usize,
    /// What is taken off every sum of a column, and what a row's sum is taken off with.
    off: [i32; WIDTH],
    by_row: [i32; WIDTH],
    centred: bool,
    /// Those of the columns.
    scales: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
}

impl<'a> Corrections<'a> {
    pub fn new(
        rows: &Rows,
        panels: &BytePanels,
        panel: usize,
        (a_zero, b_zeros): (i32, &[i64]),
        scaled: Option<&'a Scaled>,
    ) -> Self {
        let (k, column) = (panels.k, panel * WIDTH);
        let columns = WIDTH.min(panels.n - column);
        let a_zero = a_zero.wrapping_add(rows.shift);
        let (mut off, mut by_row) = ([0i32; WIDTH], [0i32; WIDTH]);
        for (c, (off, by_row)) in off.iter_mut().zip(&mut by_row).take(columns).enumerate() {
            let b_zero = match b_zeros {
                [] => 0,
                [one] => *one as i32,
                all => all.get(column + c).copied().unwrap_or(0) as i32,
            };
            let b_zero = b_zero.wrapping_sub(panels.shift);
            let of_k = b_zero.wrapping_mul((k as i32).wrapping_mul(a_zero));
            *off = a_zero.wrapping_mul(panels.sums[column + c]).wrapping_sub(of_k);
            *by_row = b_zero;
        }
        let centred = by_row.iter().all(|&zero| zero == 0);
        let own = column..column + columns;
        Self {
            panel,
            columns,
            off,
            by_row,
            centred,
            scales: scaled.map(|scaled| &scaled.scales[own.clone()]),
            bias: scaled.and_then(|scaled| Some(&scaled.bias.as_ref()?[own.clone()])),
        }
    }

    /// Corrects a row's sums, in place; `sum` is that of the row's bytes.
    pub fn apply(&self, line: &mut [i32], sum: i32) {
        vectorised(Line { of: self, line, sum });
    }
}

struct Line<'a> {
    of: &'a Corrections<'a>,
    line: &'a mut [i32],
    sum: i32,
}

impl Loop for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { of, line, sum } = self;
        if of.centred {
            line.iter_mut().zip(&of.off).for_each(|(to, &off)| *to = to.wrapping_sub(off));
        } else {
            for (to, (&off, &by_row)) in line.iter_mut().zip(of.off.iter().zip(&of.by_row)) {
                *to = to.wrapping_sub(off).wrapping_sub(by_row.wrapping_mul(sum));
            }
        }
        let Some(scales) = of.scales else { return };
        match of.bias {
            Some(bias) => {
                for (to, (&scale, &bias)) in line.iter_mut().zip(scales.iter().zip(bias)) {
                    *to = (*to as f32 * scale + bias).to_bits() as i32;
                }
            }
            None => line.iter_mut().zip(scales).for_each(|(to, &x)| *to = (*to as f32 * x).to_bits() as i32),
        }
    }
}
