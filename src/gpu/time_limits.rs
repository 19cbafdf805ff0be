//! How long a driver may take before it is taken for hung.

use crate::error::{Error, Result};
use std::time::Duration;

/// How long a driver may take. What takes longer is an error, and the device is given up: nothing can call a
/// driver back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// For one kernel's compilation.
    pub compile: Duration,
    /// For what is submitted at once: at most a whole run of a model.
    pub run: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { compile: Duration::from_secs(60), run: Duration::from_secs(120) }
    }
}

/// The environment variables, in seconds.
pub(super) const COMPILE: &str = "SARDONYX_COMPILE_TIMEOUT";
pub(super) const RUN: &str = "SARDONYX_RUN_TIMEOUT";

impl TimeLimits {
    /// The limits that the environment gives in seconds (`SARDONYX_COMPILE_TIMEOUT`, `SARDONYX_RUN_TIMEOUT`):
    /// 60 and 120 unless said there.
    ///
    /// Errors (usage): what is no number of seconds.
    pub fn from_env() -> Result<Self> {
        let given = |name: &str, default: Duration| {
            std::env::var_os(name).map_or(Ok(default), |text| seconds(name, &text.to_string_lossy()))
        };
        let default = Self::default();
        Ok(Self { compile: given(COMPILE, default.compile)?, run: given(RUN, default.run)? })
    }
}

fn seconds(name: &str, text: &str) -> Result<Duration> {
    let number = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    number.ok_or_else(|| {
        Error::usage(format!("{name} is '{text}', not a number of seconds"))
            .remedy(format!("set it to a number such as 300, or unset {name}"))
    })
}

/// What the driver is waited for, which decides how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Compile,
    Run,
    /// What may wait behind a compilation, or be one: uploads, first dispatches, the opening of a device.
    Either,
}

impl Task {
    pub(super) fn limit(self, limits: TimeLimits) -> Duration {
        match self {
            Self::Compile => limits.compile,
            Self::Run => limits.run,
            Self::Either => limits.compile.saturating_add(limits.run),
        }
    }
    /// What the driver didn't do to what was waited for.
    pub(super) fn verb(self) -> &'static str {
        if self == Self::Compile { "compile" } else { "finish" }
    }
    /// The environment variable that gives it more time.
    pub(super) fn variable(self) -> &'static str {
        if self == Self::Compile { COMPILE } else { RUN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_numbers() {
        assert_eq!(seconds(RUN, " 1.5 ").unwrap(), Duration::from_millis(1500));
        assert_eq!(seconds(RUN, "0").unwrap(), Duration::ZERO);
        for text in ["", "soon", "-1", "NaN", "inf", "1e300", "5s"] {
            let error = seconds(RUN, text).unwrap_err();
            assert!(
                error.kind() == crate::ErrorKind::Usage && error.to_string().contains("SARDONYX_RUN_TIMEOUT"),
                "{error}"
            );
        }
    }
}
