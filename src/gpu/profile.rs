//! Adapters that aren't at hand, by the features and limits that their makers promise: what a plan would be
//! there can be seen without one.

use super::adapter::Compiler;
use super::limits::LimitsOption;
use super::opening::capabilities;
use crate::base::Capabilities;
use crate::error::{Error, Result, Setting};
use serde::Deserialize;

/// The texts of the profiles, by name. Each names where its numbers come from.
const PROFILES: &[(&str, &str)] = &[
    ("webgpu", include_str!("profiles/webgpu.json")),
    ("vulkan-mobile", include_str!("profiles/vulkan-mobile.json")),
    ("metal-apple7", include_str!("profiles/metal-apple7.json")),
    ("dx12", include_str!("profiles/dx12.json")),
];

/// A kind of adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// By which it goes, or the file that it was read from.
    pub name: String,
    /// What it stands for.
    pub about: Option<String>,
    /// Where its numbers come from.
    pub source: Option<String>,
    /// What plans for it are made with: those of a graphics card, not of a software adapter.
    pub capabilities: Capabilities,
}

#[derive(Deserialize)]
struct Text {
    about: Option<String>,
    source: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Profile {
    /// The names of those that are known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().map(|(name, _)| *name)
    }

    /// The profile of this name, in any case, or that in a JSON file: `{"features": […], "limits": {…}}` by
    /// wgpu's names, WebGPU's defaults where it is silent, with `"about"` and `"source"` if one likes.
    ///
    /// Errors: a file that can't be read, or see [`LimitsOption::from_json`]; limits that no kernel can do with.
    pub fn find(text: &str) -> Result<Self> {
        if let Some((name, json)) = PROFILES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Self::from_json(name, json);
        }
        let json = std::fs::read_to_string(text).map_err(|problem| {
            let names: Vec<&str> = Self::names().collect();
            Error::file(text, format!("cannot be read: {problem}"))
                .remedy_by(
                    format!("give {{}} as one of {}, or as a JSON file", names.join(", ")),
                    &[Setting::Limits],
                )
                .caused_by(problem)
        })?;
        Self::from_json(text, &json).map_err(|error| error.in_file(text))
    }

    fn from_json(name: &str, json: &str) -> Result<Self> {
        let text: Text = serde_json::from_str(json)
            .map_err(|problem| Error::usage(format!("not a JSON object: {problem}")))?;
        let asked = serde_json::Value::Object(text.rest).to_string();
        let capabilities = match LimitsOption::from_json(&asked)? {
            LimitsOption::File(features, limits) => {
                let compiler =
                    Compiler { software: false, translates_late: false, unrolls: true, quads: false };
                capabilities(compiler, None, features, &limits)
            }
            LimitsOption::Adapter | LimitsOption::WebGpu => Capabilities::webgpu(),
        };
        Ok(Self {
            name: name.to_string(),
            about: text.about,
            source: text.source,
            capabilities: capabilities.checked(&format!("'{name}'"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_can_be_planned_for_and_names_its_source() {
        for name in Profile::names() {
            let profile = Profile::find(&name.to_uppercase()).unwrap();
            assert!(profile.about.is_some() && profile.source.is_some(), "{name}");
        }
        assert_eq!(Profile::find("webgpu").unwrap().capabilities, Capabilities::webgpu());
        assert_eq!(Profile::find("vulkan-mobile").unwrap().capabilities.max_storage_buffers, 4);
    }

    #[test]
    fn what_is_no_profile_says_what_there_is() {
        let error = Profile::find("metal-apple8").unwrap_err().to_string();
        assert!(error.contains("vulkan-mobile") && error.contains("cannot be read"), "{error}");
    }
}
