//! What WGSL's own functions give where WGSL leaves it open, on every adapter that wgpu lists: the evidence
//! for the table in docs/numerics.md. `cargo run --example open_builtins`

use wgpu::util::DeviceExt;

/// The argument's bits, the expression over `x`, and what IEEE 754 (or a saturating conversion) gives.
const ASKED: &[(&str, u32, &str)] = &[
    ("log(x), x = 0", 0, "bitcast<u32>(log(x))"),
    ("log(x), x = -1", 0xbf80_0000, "bitcast<u32>(log(x))"),
    ("log(x), x = 1e-40", 0x0001_16c2, "bitcast<u32>(log(x))"),
    ("log2(x), x = 1e-40", 0x0001_16c2, "bitcast<u32>(log2(x))"),
    ("exp(x), x = NaN", 0x7fc0_0000, "bitcast<u32>(exp(x))"),
    ("exp(x), x = 89", 0x42b2_0000, "bitcast<u32>(exp(x))"),
    ("pow(x, 2), x = -3", 0xc040_0000, "bitcast<u32>(pow(x, p[1]))"),
    ("pow(x, 2), x = 1e-40", 0x0001_16c2, "bitcast<u32>(pow(x, p[2]))"),
    ("pow(x, 0), x = NaN", 0x7fc0_0000, "bitcast<u32>(pow(x, p[0]))"),
    ("1 / x, x = 0", 0, "bitcast<u32>(p[3] / x)"),
    ("1 / x, x = -0", 0x8000_0000, "bitcast<u32>(p[3] / x)"),
    ("x / 2^127, x = 2^127", 0x7f00_0000, "bitcast<u32>(x / p[4])"),
    ("sqrt(x), x = -1", 0xbf80_0000, "bitcast<u32>(sqrt(x))"),
    ("inverseSqrt(x), x = 0", 0, "bitcast<u32>(inverseSqrt(x))"),
    ("sin(x), x = 1e6", 0x4974_2400, "bitcast<u32>(sin(x))"),
    ("tanh(x), x = 100", 0x42c8_0000, "bitcast<u32>(tanh(x))"),
    ("x % 0.1, x = 1e6", 0x4974_2400, "bitcast<u32>(x % p[5])"),
    ("x % inf, x = 1", 0x3f80_0000, "bitcast<u32>(x % p[6])"),
    ("max(x, 1), x = NaN", 0x7fc0_0000, "bitcast<u32>(max(x, p[3]))"),
    ("max(1, x), x = NaN", 0x7fc0_0000, "bitcast<u32>(max(p[3], x))"),
    ("clamp(x, 0, 1), x = NaN", 0x7fc0_0000, "bitcast<u32>(clamp(x, p[0], p[3]))"),
    ("x != x, x = NaN", 0x7fc0_0000, "u32(x != x)"),
    ("bool(x), x = NaN", 0x7fc0_0000, "u32(bool(x))"),
    ("i32(x), x = 3e9", 0x4f32_d05e, "bitcast<u32>(i32(x))"),
    ("i32(x), x = NaN", 0x7fc0_0000, "bitcast<u32>(i32(x))"),
    ("u32(x), x = -1", 0xbf80_0000, "u32(x)"),
    ("f32(u32), 0x80000081", 0x8000_0081, "bitcast<u32>(f32(bits))"),
    ("f32(u32), 0xffffff7f", 0xffff_ff7f, "bitcast<u32>(f32(bits))"),
    ("pack2x16float(inf)", 0x7f80_0000, "pack2x16float(vec2(x))"),
    ("pack2x16float(NaN)", 0x7fc0_0000, "pack2x16float(vec2(x))"),
    ("pack2x16float(65520)", 0x477f_f000, "pack2x16float(vec2(x))"),
    ("pack2x16float(1e6)", 0x4974_2400, "pack2x16float(vec2(x))"),
    ("pack2x16float(1e-7)", 0x33d6_bf95, "pack2x16float(vec2(x))"),
    ("x + 0, x = 1e-40", 0x0001_16c2, "bitcast<u32>(x + p[0])"),
    ("x * 1, x = 1e-40", 0x0001_16c2, "bitcast<u32>(x * p[3])"),
    ("1u << x, x = 32", 32, "p_u(1u) << bits"),
];

fn main() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    for adapter in pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY)) {
        println!("{}", adapter.get_info().name);
        match pollster::block_on(ask(&adapter)) {
            Ok(words) => ASKED.iter().zip(words).for_each(|((name, ..), bits)| {
                println!("    {name:26} {bits:#010x}  {:e}", f32::from_bits(bits))
            }),
            Err(problem) => println!("    {problem}"),
        }
    }
}

async fn ask(adapter: &wgpu::Adapter) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
    // Arguments come from memory, so that no compiler folds them.
    let lines: Vec<String> = ASKED
        .iter()
        .enumerate()
        .map(|(at, (.., text))| {
            format!("{{ let bits = words[{at}]; let x = bitcast<f32>(bits); words[{at}] = {text}; }}")
        })
        .collect();
    let text = format!(
        "@group(0) @binding(0) var<storage, read_write> words: array<u32>;\n\
         @group(0) @binding(1) var<storage, read> p: array<f32>;\n\
         fn p_u(x: u32) -> u32 {{ return x; }}\n@compute @workgroup_size(1) fn main() {{ _ = p[0];\n{}\n}}\n",
        lines.join("\n")
    );
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let words: Vec<u32> = ASKED.iter().map(|asked| asked.1).collect();
    let numbers = [0.0f32, 2.0, 2.0, 1.0, f32::from_bits(0x7f00_0000), 0.1, f32::INFINITY];
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffer = |contents: &[u8]| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    };
    let (words, numbers) = (buffer(bytemuck::cast_slice(&words)), buffer(bytemuck::cast_slice(&numbers)));
    let back = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: words.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: words.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: numbers.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&words, 0, &back, 0, words.size());
    queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let view = back.get_mapped_range(..)?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}
