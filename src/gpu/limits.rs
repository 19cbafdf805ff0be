//! What is asked of an adapter, so that a smaller machine can be tried on a larger one.

use crate::error::{Error, Result, Setting};
use std::collections::BTreeMap;

/// Which optional features and which limits a device is opened with.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum LimitsOption {
    /// All that the adapter offers and sardonyx can use.
    #[default]
    Adapter,
    /// No optional feature, and WebGPU's default limits.
    WebGpu,
    /// What a file says, WebGPU's defaults where it is silent.
    File(wgpu::Features, Box<wgpu::Limits>),
}

impl LimitsOption {
    /// Reads `webgpu`, or the path of a JSON file.
    ///
    /// Errors: a file that can't be read ([`ErrorKind::File`](crate::ErrorKind::File)), or see
    /// [`LimitsOption::from_json`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("webgpu") {
            return Ok(Self::WebGpu);
        }
        let json = std::fs::read_to_string(text).map_err(|problem| {
            Error::file(text, format!("cannot be read: {problem}"))
                .remedy_by("give {} as 'webgpu' or a JSON file", &[Setting::Limits])
                .caused_by(problem)
        })?;
        Self::from_json(&json).map_err(|error| error.in_file(text))
    }

    /// Reads `{"features": ["SHADER_F16", …], "limits": {"max_storage_buffers_per_shader_stage": 8, …}}`,
    /// wgpu's names.
    ///
    /// Errors: text that isn't such an object, a name that wgpu doesn't have, a number that doesn't fit.
    pub fn from_json(json: &str) -> Result<Self> {
        let wrong = |message: String| {
            Error::usage(message)
                .remedy(r#"write {"features": ["SHADER_F16"], "limits": {"max_buffer_size": 268435456}}"#)
        };
        let document: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|problem| wrong(format!("not a JSON object: {problem}")))?;
        let (mut features, mut limits) = (wgpu::Features::empty(), wgpu::Limits::defaults());
        for (key, value) in document {
            match (key.as_str(), value) {
                ("features", serde_json::Value::Array(names)) => {
                    for name in names {
                        let name = name
                            .as_str()
                            .ok_or_else(|| wrong(format!("the feature {name} is not a string")))?;
                        features |= wgpu::Features::from_name(name)
                            .ok_or_else(|| wrong(format!("wgpu has no feature '{name}'")))?;
                    }
                }
                ("limits", serde_json::Value::Object(entries)) => {
                    for (name, value) in entries {
                        let number = value.as_u64().ok_or_else(|| {
                            wrong(format!("the limit '{name}' is {value}, not a whole number"))
                        })?;
                        match set(&mut limits, &name, number) {
                            Some(true) => {}
                            Some(false) => {
                                return Err(wrong(format!(
                                    "the limit '{name}' can't be as large as {number}"
                                )));
                            }
                            None => return Err(wrong(format!("wgpu has no limit '{name}'"))),
                        }
                    }
                }
                ("features", _) => return Err(wrong("'features' is not a list".into())),
                ("limits", _) => return Err(wrong("'limits' is not an object".into())),
                _ => return Err(wrong(format!("unknown key '{key}'"))),
            }
        }
        Ok(Self::File(features, Box::new(limits)))
    }

    /// The features and limits to request of an adapter that has `features` and `limits`, of which `useful`
    /// are used.
    ///
    /// Errors, naming them, where the adapter lacks what a file asks for.
    pub(super) fn request(
        &self,
        features: wgpu::Features,
        limits: &wgpu::Limits,
        useful: wgpu::Features,
    ) -> Result<(wgpu::Features, wgpu::Limits)> {
        let (wanted, asked) = match self {
            Self::Adapter => return Ok((features & useful, limits.clone())),
            Self::WebGpu => (wgpu::Features::empty(), wgpu::Limits::defaults()),
            Self::File(wanted, asked) => (*wanted, (**asked).clone()),
        };
        let missing = names(wanted - features);
        if !missing.is_empty() {
            return Err(Error::device(format!("the adapter lacks {}", missing.join(", ")))
                .remedy_by("ask for lower {}, or choose another {}", &[Setting::Limits, Setting::Device]));
        }
        let mut beyond = vec![];
        asked.check_limits_with_fail_fn(limits, false, |name, asked, has| {
            beyond.push(format!("{name} of {asked} (it has {has})"))
        });
        if !beyond.is_empty() {
            return Err(Error::device(format!("the adapter doesn't reach {}", beyond.join(", ")))
                .remedy_by("ask for lower {}, or choose another {}", &[Setting::Limits, Setting::Device]));
        }
        Ok((wanted, asked))
    }
}

/// The names of a set of features, as wgpu writes them.
pub(super) fn names(features: wgpu::Features) -> Vec<String> {
    features.iter_names().map(|(name, _)| name.to_string()).collect()
}

macro_rules! limits {
    ($($name:ident)*) => {
        /// Sets a limit by its name: whether the number fits, or `None` where there is no such limit.
        #[allow(clippy::unnecessary_fallible_conversions, clippy::useless_conversion, reason = "most limits are u32, a few u64")]
        fn set(limits: &mut wgpu::Limits, name: &str, number: u64) -> Option<bool> {
            match name {
                $(stringify!($name) => Some(number.try_into().map(|number| limits.$name = number).is_ok()),)*
                _ => None,
            }
        }
        /// Every limit by its name.
        #[allow(clippy::useless_conversion, reason = "most limits are u32, a few u64")]
        pub(super) fn table(limits: &wgpu::Limits) -> BTreeMap<&'static str, u64> {
            [$((stringify!($name), u64::from(limits.$name)),)*].into()
        }
    };
}

// wgpu::Limits as of wgpu 30, those of ray tracing and mesh shaders left out.
limits! {
    max_texture_dimension_1d max_texture_dimension_2d max_texture_dimension_3d max_texture_array_layers max_bind_groups
    max_bind_groups_plus_vertex_buffers max_bindings_per_bind_group max_dynamic_uniform_buffers_per_pipeline_layout
    max_dynamic_storage_buffers_per_pipeline_layout max_sampled_textures_per_shader_stage max_samplers_per_shader_stage
    max_storage_buffers_per_shader_stage max_storage_textures_per_shader_stage max_uniform_buffers_per_shader_stage
    max_binding_array_elements_per_shader_stage max_binding_array_sampler_elements_per_shader_stage
    max_uniform_buffer_binding_size max_storage_buffer_binding_size max_vertex_buffers max_buffer_size max_vertex_attributes
    max_vertex_buffer_array_stride max_inter_stage_shader_variables min_uniform_buffer_offset_alignment
    min_storage_buffer_offset_alignment max_color_attachments max_color_attachment_bytes_per_sample
    max_compute_workgroup_storage_size max_compute_invocations_per_workgroup max_compute_workgroup_size_x
    max_compute_workgroup_size_y max_compute_workgroup_size_z max_compute_workgroups_per_dimension max_immediate_size
    max_non_sampler_bindings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_webgpu_where_silent() {
        let option =
            LimitsOption::from_json(r#"{"features": ["SHADER_F16"], "limits": {"max_storage_buffers_per_shader_stage": 4, "max_buffer_size": 5000000000}}"#)
                .unwrap();
        let LimitsOption::File(features, limits) = option else { panic!() };
        assert_eq!(features, wgpu::Features::SHADER_F16);
        assert_eq!(table(&limits)["max_storage_buffers_per_shader_stage"], 4);
        assert_eq!(limits.max_buffer_size, 5_000_000_000);
        assert_eq!(limits.max_compute_invocations_per_workgroup, 256);
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        for (json, part) in [
            ("[]", "not a JSON object"),
            (r#"{"feature": []}"#, "unknown key 'feature'"),
            (r#"{"features": ["SHADER_F61"]}"#, "no feature 'SHADER_F61'"),
            (r#"{"features": "SHADER_F16"}"#, "not a list"),
            (r#"{"limits": {"max_bufer_size": 1}}"#, "no limit 'max_bufer_size'"),
            (r#"{"limits": {"max_bind_groups": -1}}"#, "not a whole number"),
            (r#"{"limits": {"max_bind_groups": 5000000000}}"#, "can't be as large"),
        ] {
            let error = LimitsOption::from_json(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        assert_eq!(LimitsOption::parse("/no/such/file").unwrap_err().kind(), crate::ErrorKind::File);
    }

    #[test]
    fn what_an_adapter_lacks_is_named() {
        let (none, small) = (wgpu::Features::empty(), wgpu::Limits::defaults());
        let asked = LimitsOption::from_json(r#"{"features": ["SHADER_F16"]}"#).unwrap();
        assert!(asked.request(none, &small, none).unwrap_err().to_string().contains("SHADER_F16"));
        let asked = LimitsOption::from_json(r#"{"limits": {"max_buffer_size": 1000000000000}}"#).unwrap();
        assert!(
            asked
                .request(none, &small, none)
                .unwrap_err()
                .to_string()
                .contains("max_buffer_size of 1000000000000")
        );
        assert_eq!(LimitsOption::WebGpu.request(wgpu::Features::all(), &small, none).unwrap(), (none, small));
    }
}
