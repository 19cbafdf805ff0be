//! The functions between a recurrent network's steps, by the names that its attributes give.

use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, Row, table};
use crate::ops::NodeView;

/// A function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    kind: Kind,
    alpha: f64,
    beta: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A row of the table, without parameters.
    Plain(&'static Row),
    /// With alpha.
    Alpha(&'static Row),
    HardSigmoid,
    ThresholdedRelu,
    Affine,
    ScaledTanh,
}

/// Names, and alpha and beta where none are given: those of the operator of that name.
static ALL: &[(&str, Kind, f64, f64)] = &[
    ("Relu", Kind::Plain(&table::RELU), 0.0, 0.0),
    ("Tanh", Kind::Plain(&table::TANH), 0.0, 0.0),
    ("Sigmoid", Kind::Plain(&table::SIGMOID), 0.0, 0.0),
    ("Softsign", Kind::Plain(&table::SOFTSIGN), 0.0, 0.0),
    ("Softplus", Kind::Plain(&table::SOFTPLUS), 0.0, 0.0),
    ("LeakyRelu", Kind::Alpha(&table::LEAKY_RELU), 0.01, 0.0),
    ("Elu", Kind::Alpha(&table::ELU), 1.0, 0.0),
    ("ThresholdedRelu", Kind::ThresholdedRelu, 1.0, 0.0),
    ("HardSigmoid", Kind::HardSigmoid, 0.2, 0.5),
    ("Affine", Kind::Affine, 1.0, 0.0),
    ("ScaledTanh", Kind::ScaledTanh, 1.0, 1.0),
];

impl Activation {
    fn named(name: &str) -> Result<Self> {
        let found = ALL.iter().find(|row| row.0.eq_ignore_ascii_case(name));
        let &(_, kind, alpha, beta) = found.ok_or_else(|| {
            let all: Vec<&str> = ALL.iter().map(|row| row.0).collect();
            let text: String = name.chars().take(40).collect();
            Error::unsupported(format!("the activation '{}'", text.escape_debug()))
                .remedy(format!("supported: {}", all.join(", ")))
        })?;
        Ok(Self { kind, alpha, beta })
    }

    /// A node's functions, `defaults` for each direction. alpha and beta are handed out in their order to the
    /// functions that have one.
    pub fn parse(node: &NodeView, defaults: &[&str], directions: usize) -> Result<Vec<Self>> {
        let names = node.strings("activations")?.unwrap_or_default();
        let wanted = defaults.len() * directions;
        let mut all = if names.is_empty() {
            defaults.iter().cycle().take(wanted).map(|name| Self::named(name)).collect::<Result<Vec<_>>>()?
        } else {
            names.iter().map(|name| Self::named(name)).collect::<Result<Vec<_>>>()?
        };
        if all.len() != wanted {
            return Err(Error::model(format!(
                "attribute 'activations' has {} functions; {wanted} are needed",
                all.len()
            )));
        }
        let mut alphas = node.floats("activation_alpha")?.unwrap_or_default().into_iter();
        let mut betas = node.floats("activation_beta")?.unwrap_or_default().into_iter();
        for one in &mut all {
            if !matches!(one.kind, Kind::Plain(_)) {
                one.alpha = alphas.next().map_or(one.alpha, f64::from);
            }
            if matches!(one.kind, Kind::HardSigmoid | Kind::Affine | Kind::ScaledTanh) {
                one.beta = betas.next().map_or(one.beta, f64::from);
            }
        }
        Ok(all)
    }

    /// Appends the function to an expression, its argument first brought into ±`clip`.
    pub fn push(&self, e: &mut Pointwise, mut x: Arg, clip: Option<f32>) -> Arg {
        if let Some(clip) = clip {
            x = e.push(&table::MAX, vec![x, Arg::Const(-clip as f64)]);
            x = e.push(&table::MIN, vec![x, Arg::Const(clip as f64)]);
        }
        let (alpha, beta) = (Arg::Const(self.alpha), Arg::Const(self.beta));
        match self.kind {
            Kind::Plain(row) => e.push(row, vec![x]),
            Kind::Alpha(row) => e.push(row, vec![x, alpha]),
            Kind::HardSigmoid => e.push(&table::HARD_SIGMOID, vec![x, alpha, beta]),
            // Alpha itself passes here, as it doesn't in the operator of this name.
            Kind::ThresholdedRelu => {
                let passes = e.push(&table::GREATER_OR_EQUAL, vec![x, alpha]);
                e.push(&table::WHERE, vec![passes, x, Arg::Const(0.0)])
            }
            Kind::Affine => {
                let scaled = e.push(&table::MUL, vec![x, alpha]);
                e.push(&table::ADD, vec![scaled, beta])
            }
            Kind::ScaledTanh => {
                let scaled = e.push(&table::MUL, vec![x, beta]);
                let tanh = e.push(&table::TANH, vec![scaled]);
                e.push(&table::MUL, vec![tanh, alpha])
            }
        }
    }
}
