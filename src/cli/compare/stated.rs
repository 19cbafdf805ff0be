//! `--tolerance`: what an output is held to in place of the derived tolerance.

use super::metrics::{Metrics, own_ulp, ranks, same};
use sardonyx::compare::Compared;
use sardonyx::error::{Error, Result};
use serde::Serialize;

/// What is asked of an output: all of these.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    pub output: String,
    criteria: Vec<Criterion>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Criterion {
    /// Every element within atol + rtol · |reference|.
    Near {
        rtol: f64,
        atol: f64,
    },
    /// At most so many values of the output's type between an element and the reference's.
    Ulp(u64),
    Cosine(f64),
    Psnr(f64),
    /// Of the K largest of a row, at least this share among those of both.
    TopK {
        k: usize,
        share: f64,
    },
}

/// A criterion, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub criterion: String,
    /// `null` where there is no such number: of NaN, of tensors that are equal.
    pub found: Option<f64>,
    pub same: bool,
}

const FORM: &str = "write NAME=rtol:1e-3,atol:1e-5, or ulp:4, cosine:0.999, psnr:40, topk:5 or topk:5@0.99";

impl Stated {
    /// `NAME=KIND:LIMIT,…`
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::usage(format!("--tolerance {text}: {what}")).remedy(FORM);
        let (output, list) = text.rsplit_once('=').ok_or_else(|| wrong("names no output".into()))?;
        let (mut criteria, mut near) = (vec![], None);
        for one in list.split(',') {
            let (kind, limit) =
                one.split_once(':').ok_or_else(|| wrong(format!("'{one}' is not KIND:LIMIT")))?;
            let number = |text: &str| {
                let parsed = text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
                parsed.ok_or_else(|| wrong(format!("'{text}' is no number")))
            };
            let positive = |text: &str| match number(text)? {
                x if x < 0.0 => Err(wrong(format!("{kind} must be 0 or more"))),
                x => Ok(x),
            };
            match kind.trim() {
                "rtol" => near.get_or_insert((0.0, 0.0)).0 = positive(limit)?,
                "atol" => near.get_or_insert((0.0, 0.0)).1 = positive(limit)?,
                "ulp" => {
                    let ulp = limit.trim().parse();
                    criteria.push(Criterion::Ulp(
                        ulp.map_err(|_| wrong(format!("'{limit}' is no whole number")))?,
                    ));
                }
                "cosine" => criteria.push(Criterion::Cosine(number(limit)?)),
                "psnr" => criteria.push(Criterion::Psnr(number(limit)?)),
                "topk" => {
                    let (k, share) = limit.split_once('@').unwrap_or((limit, "1"));
                    let k: Option<usize> = k.trim().parse().ok().filter(|k| *k > 0);
                    let k = k.ok_or_else(|| wrong(format!("'{limit}' is no rank from 1 on")))?;
                    criteria.push(Criterion::TopK { k, share: positive(share)? });
                }
                other => return Err(wrong(format!("'{other}' is no kind of tolerance"))),
            }
        }
        criteria.extend(near.map(|(rtol, atol)| Criterion::Near { rtol, atol }));
        Ok(Self { output: output.to_string(), criteria })
    }

    /// Holds an output to it.
    pub fn judge(&self, output: &Compared, metrics: &Metrics, cosine: f64) -> Result<Vec<Outcome>> {
        let (got, want) = (output.got.to_f64s()?, output.want.to_f64s()?);
        let row = output.got.shape().last().copied().unwrap_or(1);
        let judge = |criterion: &Criterion| {
            let (text, found, passes) = match *criterion {
                Criterion::Near { rtol, atol } => {
                    let beyond = |(x, y): (&f64, &f64)| {
                        if same(*x, *y) { 0.0 } else { (x - y).abs() / (atol + rtol * y.abs()) }
                    };
                    let most = got
                        .iter()
                        .zip(&want)
                        .map(beyond)
                        .fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
                    (format!("within {atol} + {rtol}·|reference|, times"), Some(most), most <= 1.0)
                }
                Criterion::Ulp(limit) => {
                    let found = own_ulp(metrics, output.got.dtype());
                    (
                        format!("ulp ≤ {limit}"),
                        found.map(|ulp| ulp as f64),
                        found.is_some_and(|ulp| ulp <= limit),
                    )
                }
                Criterion::Cosine(limit) => (format!("cosine ≥ {limit}"), Some(cosine), cosine >= limit),
                Criterion::Psnr(limit) => {
                    let found = metrics.psnr_db;
                    // Without a difference there is no ratio; neither is there of what isn't finite.
                    let equal = metrics.needs.atol == Some(0.0);
                    (
                        format!("psnr ≥ {limit} dB"),
                        found,
                        found.map_or(equal, |db| db >= limit) && metrics.needs.atol.is_some(),
                    )
                }
                Criterion::TopK { k, share } => {
                    let found = ranks(&got, &want, row, k);
                    // A row of no more than k elements has them all.
                    (format!("top {k} ≥ {share}"), found, found.unwrap_or(1.0) >= share)
                }
            };
            Outcome { criterion: text, found: found.filter(|x| x.is_finite()), same: passes }
        };
        Ok(self.criteria.iter().map(judge).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::metrics;
    use super::*;
    use sardonyx::Tensor;

    fn judged(text: &str, got: [f64; 3], want: [f64; 3]) -> bool {
        let tensor = |list: [f64; 3]| Tensor::new([1, 3], list.to_vec()).unwrap();
        let output =
            Compared { name: "y".into(), got: tensor(got), want: tensor(want), limits: vec![0.0; 3] };
        let cosine = 0.5;
        let stated = Stated::parse(text).unwrap();
        assert_eq!(stated.output, "y");
        stated.judge(&output, &metrics(&output).unwrap(), cosine).unwrap().iter().all(|one| one.same)
    }

    #[test]
    fn each_kind_passes_and_fails() {
        let (want, near) = ([1.0, 2.0, 4.0], [1.0, 2.0, 4.004]);
        for (text, passes) in [
            ("y=rtol:1e-2", true),
            ("y=rtol:1e-4", false),
            ("y=atol:5e-3,rtol:0", true),
            ("y=ulp:100", false),
            ("y=ulp:100000", true),
            ("y=cosine:0.4", true),
            ("y=cosine:0.9", false),
            ("y=psnr:40", true),
            ("y=psnr:90", false),
            ("y=topk:1", true),
            ("y=topk:1,rtol:1e-4", false),
        ] {
            assert_eq!(judged(text, near, want), passes, "{text}");
        }
        assert!(!judged("y=topk:1", [9.0, 2.0, 4.0], want));
        assert!(judged("y=topk:2@0.5", [9.0, 2.0, 4.0], want));
        assert!(judged("y=psnr:40", want, want) && !judged("y=psnr:40", [f64::NAN, 2.0, 4.0], want));
        assert!(!judged("y=rtol:1,atol:1", [f64::NAN, 2.0, 4.0], want));
    }

    #[test]
    fn what_is_no_tolerance_is_refused() {
        for text in ["y", "y=1", "y=rtol:x", "y=rtol:-1", "y=far:1", "y=topk:0", "y=ulp:1.5", "y=rtol:inf"] {
            assert!(Stated::parse(text).is_err(), "{text}");
        }
        assert_eq!(Stated::parse("a=b=ulp:1").unwrap().output, "a=b");
    }
}
