use sardonyx::ops::pointwise::{Fused, Pointwise, table};
fn main() {
    let t = |f: &mut dyn FnMut()| {
        f();
        let mut best = f64::MAX;
        for _ in 0..30 {
            let s = std::time::Instant::now();
            f();
            best = best.min(s.elapsed().as_secs_f64());
        }
        best
    };
    let x: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) / 500.0).collect();
    let mut y = vec![0f32; 4096];
    for row in [&table::ADD, &table::EXP, &table::ERF, &table::GELU, &table::SILU, &table::TANH, &table::SIGMOID, &table::RELU, &table::GELU_TANH] {
        let two = row.params == "a,b";
        let f = Fused::of(&Pointwise::of(row, 1 + two as usize, &[])).unwrap();
        let s = t(&mut || {
            for _ in 0..20 {
                {
                    let both: [&[f32]; 2] = [&x, &x];
                    f.run(if two { &both } else { &both[..1] }, &mut y)
                }
            }
        });
        println!("{:10} {:6.3} ns/element", row.name, s * 1e9 / 81920.0);
    }
    use sardonyx::cpu::{conv::*, depthwise_last::depthwise, epilogue::Ready};
    for (c, h, k, s) in [(96, 56, 7, 1), (96, 112, 3, 2), (144, 56, 3, 1), (384, 14, 3, 1), (960, 7, 3, 1), (672, 14, 5, 1), (240, 28, 5, 2)] {
        let o = (h + 2 * (k / 2) - k) / s + 1;
        let g = sardonyx::ops::nn::window::Geometry {
            input: vec![h, h],
            output: vec![o, o],
            kernel: vec![k, k],
            stride: vec![s, s],
            dilation: vec![1, 1],
            begin: vec![k / 2; 2],
            end: vec![k / 2; 2],
        };
        let sizes = Sizes { images: 1, channels: c, out_channels: c, groups: c, geometry: g };
        let x = vec![0.5f32; c * h * h];
        let w = vec![0.1f32; c * k * k];
        let mut y = vec![0f32; o * o * c];
        let e = Pointwise::identity();
        let r = Ready::of(&e, sardonyx::ops::Operands::new(&[]), y.len()).unwrap().unwrap();
        let s = t(&mut || depthwise(&x, &sizes, &w, None, &r, &mut y));
        println!("dw {c} {h} {k}: {:.3} ms {:.1} GFLOP/s", s * 1e3, 2e-9 * (o * o * c * k * k) as f64 / s);
    }
}
