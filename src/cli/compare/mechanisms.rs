//! `--ab`: one mechanism off, or on, and what that makes of the outputs.

use super::super::options::TuneOption;
use super::Compare;
use super::metrics::same;
use clap::ValueEnum;
use sardonyx::compare::Compared;
use sardonyx::error::{Error, Result};
use sardonyx::graph::ValueId;
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor};
use serde::Serialize;
use std::collections::HashMap;

/// Something that a session does, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// Rewrites of the graph: without any it runs as read
    Fusion,
    /// Intermediate results share buffers: without, each has its own
    Alias,
    /// Convolutions by Winograd's method: without, as sums
    Winograd,
    /// The other precision than --precision
    F16,
    /// Kernels' variants by measurement, which goes to the cache folder as --tune's does
    Tune,
    /// Shaders that keep every index within its buffer: the other of on and off
    Checks,
}

/// What became of an output.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub mechanism: Mechanism,
    pub output: String,
    /// Whether every bit stayed; how many elements didn't.
    pub same_bits: bool,
    pub changed: usize,
    /// The largest difference between the two, and the largest against what the element may be off by.
    pub max_abs: Option<f64>,
    pub of_tolerance: Option<f64>,
}

impl Compare {
    /// The outputs with the mechanism the other way, against those of the comparison.
    pub(super) fn without(
        &self,
        mechanism: Mechanism,
        session: &Session,
        inputs: &HashMap<ValueId, Tensor>,
        outputs: &[Compared],
    ) -> Result<Vec<Change>> {
        let device = session.gpu().cloned();
        if device.is_none() && !matches!(mechanism, Mechanism::Fusion | Mechanism::F16) {
            let name =
                mechanism.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
            return Err(Error::usage(format!("--ab {name} is about a GPU, and the session runs on the CPU"))
                .remedy("name one with --device"));
        }
        let checks = device.as_ref().is_some_and(|device| device.checks());
        let builder = self.builder(device)?;
        let builder = match mechanism {
            Mechanism::Fusion => builder.without_rewrites(),
            Mechanism::Alias => builder.without_buffer_sharing(),
            Mechanism::Winograd => builder.without_winograd(),
            Mechanism::F16 => builder.precision(match session.precision() {
                Precision::F32 => Precision::F16,
                Precision::F16 => Precision::F32,
            }),
            Mechanism::Checks => builder.checks(!checks),
            Mechanism::Tune => builder,
        };
        let mut other = builder.load(&self.model)?;
        if mechanism == Mechanism::Tune {
            TuneOption { tune: true }.apply(&mut other, inputs)?;
        }
        let prepared = other.prepare(inputs)?;
        let made = other.run_prepared(&prepared, inputs)?;
        made.iter().zip(outputs).map(|((_, made), output)| change(mechanism, made, output)).collect()
    }
}

fn change(mechanism: Mechanism, made: &Tensor, output: &Compared) -> Result<Change> {
    let (a, b) = (made.to_f64s()?, output.got.to_f64s()?);
    let (mut changed, mut most, mut share) = (0, 0f64, 0f64);
    for ((x, y), limit) in a.iter().zip(&b).zip(&output.limits) {
        if same(*x, *y) {
            continue;
        }
        let off = (x - y).abs();
        let off = if off.is_nan() { f64::INFINITY } else { off };
        (changed, most, share) = (changed + 1, most.max(off), share.max(off / limit));
    }
    Ok(Change {
        mechanism,
        output: output.name.clone(),
        same_bits: made.shape() == output.got.shape() && made.bytes() == output.got.bytes(),
        changed,
        max_abs: Some(most).filter(|x| x.is_finite()),
        of_tolerance: Some(share).filter(|x| x.is_finite()),
    })
}

/// The changes for a reader.
pub fn text(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let name =
            change.mechanism.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
        let head = format!("{name} the other way, output {}:", change.output);
        if change.same_bits {
            return format!("{head} the same bits\n");
        }
        let number = |x: Option<f64>| x.map_or("without bound".into(), |x| format!("{x:.2e}"));
        format!(
            "{head} {} elements change by at most {}, {} times the tolerance\n",
            change.changed,
            number(change.max_abs),
            number(change.of_tolerance)
        )
    };
    changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_measured_against_the_tolerance() {
        let tensor = |list: [f32; 3]| Tensor::new([3], list.to_vec()).unwrap();
        let output = Compared {
            name: "y".into(),
            got: tensor([1.0, 2.0, 3.0]),
            want: tensor([1.0, 2.0, 3.0]),
            limits: vec![0.5; 3],
        };
        let found = change(Mechanism::Fusion, &tensor([1.0, 2.25, 3.0]), &output).unwrap();
        assert_eq!((found.changed, found.max_abs, found.of_tolerance), (1, Some(0.25), Some(0.5)));
        assert!(!found.same_bits && text(&[found]).contains("fusion"));
        let found = change(Mechanism::Alias, &tensor([1.0, 2.0, 3.0]), &output).unwrap();
        assert!(found.same_bits && text(&[found]).contains("same bits"));
        let found = change(Mechanism::Alias, &tensor([f32::NAN, 2.0, 3.0]), &output).unwrap();
        assert_eq!((found.changed, found.max_abs), (1, None));
    }
}
