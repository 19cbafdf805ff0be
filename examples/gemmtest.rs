use sardonyx::cpu::{panels::Panels, product::*, gemm::{gemm, MatrixRef}};
fn main() {
    let t = |f: &mut dyn FnMut()| { f(); let mut best = f64::MAX; for _ in 0..8 { let s = std::time::Instant::now(); f(); best = best.min(s.elapsed().as_secs_f64()); } best };
    for (m, n, k) in [(128, 768, 768), (128, 3072, 768), (128, 768, 3072), (197, 768, 768), (197,3072,768), (197,768,3072), (3136, 64, 576), (3136, 256, 64), (3136,64,256), (784, 128, 1152), (784,512,128),(784,128,512),(196, 256, 2304), (196,1024,256),(196,256,1024),(49, 512, 4608), (49,2048,512),(49,512,2048),(12544, 64, 147), (12544,32,16), (12544,96,16),(3136,24,144), (128,32000,288), (49, 960,160)] {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 - 8.0).collect();
        let w: Vec<f32> = (0..n * k).map(|i| (i % 13) as f32 - 6.0).collect();
        let p = Panels::pack(&w, k, n, n, 1).unwrap();
        let (mut c, mut d) = (vec![0f32; m * n], vec![0f32; m * n]);
        let t1 = t(&mut || product(Rows::Dense { data: &a, stride: k }, m, &p, &Epilogue::default(), &mut c, n).unwrap());
        let g = |r: std::ops::Range<usize>, to: &mut [f32], s: usize| for (i, row) in r.enumerate() { to[i * s..i * s + k].copy_from_slice(&a[row * k..row * k + k]); };
        let t3 = t(&mut || product(Rows::Gathered(&g), m, &p, &Epilogue::default(), &mut c, n).unwrap());
        let t2 = t(&mut || gemm(MatrixRef { data: &a, rows: m, columns: k, row_stride: k, column_stride: 1 }, MatrixRef { data: &w, rows: k, columns: n, row_stride: n, column_stride: 1 }, &mut d));
        assert_eq!(c, d);
        let f = 2e-9 * (m * n * k) as f64;
        println!("{m:6} {n:6} {k:6} groups {}  ours {:7.1} gathered {:7.1} gemm {:7.1}", p.groups, f / t1, f / t3, f / t2);
    }
}
