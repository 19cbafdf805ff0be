//! Whether a plan's shaders can be had elsewhere: each is validated, translated to SPIR-V, MSL and HLSL, and
//! held against what WebGPU's core has.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sardonyx::kernels::Shader;
use sardonyx::plan::Plan;
use serde::Serialize;
use std::collections::HashSet;

/// The translations of a plan's shaders.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Translations {
    /// Distinct shaders.
    pub shaders: usize,
    pub spirv: usize,
    pub msl: usize,
    pub hlsl: usize,
    /// Those that take nothing beyond WebGPU's core.
    pub webgpu: usize,
    /// What is refused, and what takes more.
    pub problems: Vec<Problem>,
}

/// A shader that a target doesn't get.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// The kernel's stem.
    pub kernel: String,
    /// `wgsl`, `spirv`, `msl`, `hlsl` or `webgpu`.
    pub target: &'static str,
    pub reason: String,
}

/// Translates every distinct shader of a plan.
pub fn translate(plan: &Plan) -> Translations {
    let (mut all, mut seen) = (Translations::default(), HashSet::new());
    for (_, dispatch) in plan.dispatches() {
        if seen.insert(dispatch.shader.clone()) {
            all.shaders += 1;
            all.add(dispatch.kernel, &dispatch.shader);
        }
    }
    // Variants of one kernel that fail for one reason are one problem.
    let mut told = HashSet::new();
    all.problems.retain(|problem| told.insert(problem.clone()));
    all
}

impl Translations {
    /// The counts, and what is refused.
    pub fn text(&self) -> String {
        let Self { shaders, spirv, msl, hlsl, webgpu, problems } = self;
        let mut text = format!(
            "shaders: {shaders} distinct; SPIR-V {spirv}, MSL {msl}, HLSL {hlsl}, WebGPU's core {webgpu}\n"
        );
        for Problem { kernel, target, reason } in problems {
            text += &format!("  {kernel}, {target}: {reason}\n");
        }
        text
    }

    fn add(&mut self, kernel: &str, shader: &Shader) {
        let mut problem = |target, reason: String| {
            self.problems.push(Problem { kernel: kernel.to_string(), target, reason });
        };
        let source = shader.source();
        let first = |text: String| text.lines().next().unwrap_or_default().to_string();
        let module = match naga::front::wgsl::parse_str(&source.text) {
            Ok(module) => module,
            Err(error) => return problem("wgsl", first(error.message().to_string())),
        };
        let info = match Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module) {
            Ok(info) => info,
            Err(error) => return problem("wgsl", first(error.as_inner().to_string())),
        };
        let (mut spirv, mut metal, mut direct) = (1, 1, 1);
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        if let Err(error) = spv::write_vec(&module, &info, &options, None) {
            problem("spirv", first(error.to_string()));
            spirv = 0;
        }
        let options =
            msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        if let Err(error) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()) {
            problem("msl", first(error.to_string()));
            metal = 0;
        }
        let options = hlsl::Options {
            fake_missing_bindings: true,
            shader_model: hlsl::ShaderModel::V6_2,
            immediates_target: Some(hlsl::BindTarget::default()),
            ..Default::default()
        };
        let mut text = String::new();
        // naga's writer has no form of cooperative matrices, and says so by a panic.
        let written = if source.text.contains("enable wgpu_cooperative_matrix;") {
            Err("cooperative matrices have no form there".to_string())
        } else {
            hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
                .write(&module, &info, None)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        if let Err(error) = written {
            problem("hlsl", first(error));
            direct = 0;
        }
        let needs = shader.needs();
        let mut beyond: Vec<String> =
            needs.extensions_of_naga().iter().map(|name| name.to_string()).collect();
        beyond.extend(needs.f16.then(|| "shader-f16".to_string()));
        beyond.extend(needs.subgroups.then(|| "subgroups".to_string()));
        if !beyond.is_empty() {
            problem("webgpu", format!("takes {} beyond the core", beyond.join(", ")));
        }
        self.spirv += spirv;
        self.msl += metal;
        self.hlsl += direct;
        self.webgpu += usize::from(beyond.is_empty());
    }
}
