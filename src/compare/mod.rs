//! The comparison of two devices, node by node.
//!
//! A step is measured twice. *Local*: the step as planned, fed the reference's values. *Cumulative*: the plan
//! as it runs, buffer sharing included, each value copied out right after its step. Both are held to
//! tolerances that follow from how a right implementation rounds (docs/numerics.md derives them); none was
//! tuned to pass.

mod accuracy;
mod arrange;
mod attention;
mod bounds;
mod choice;
mod clobber;
mod comparator;
mod continued;
mod evidence;
mod expression;
mod fault;
mod gather;
mod linear_attention;
mod located;
mod loss;
mod lp_normalization;
mod mean_variance;
mod measure;
mod normalization;
mod others;
mod outcome;
mod parts;
mod planter;
mod range;
mod recorded;
mod recurrent;
mod reference;
mod report;
mod run;
mod sets;
mod shader_edit;
mod sums;
mod winograd;

pub use crate::base::{Bound, UNIT_F16, UNIT_F32};
#[doc(hidden)]
pub use accuracy::rounding;
#[doc(hidden)]
pub use evidence::{Answer, Evidence, Replay, Wanted, agrees};
#[doc(hidden)]
pub use fault::{Fault, Planted};
pub use measure::{Measure, Tolerance};
#[doc(hidden)]
pub use planter::Planter;
#[doc(hidden)]
pub use recorded::tolerances;
pub use reference::Reference;
pub use report::{Fallback, FirstDifferent, FusedPlan, NodeRow, OutputRow, Report, Verdict};
#[doc(hidden)]
pub use run::{Compared, Comparison, compare_closely};
pub use run::{Options, compare};

/// The one constant of every tolerance: how many times the derived rounding error a right answer may be off.
pub const SAFETY_FACTOR: f64 = 4.0;
