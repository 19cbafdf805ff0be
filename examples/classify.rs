//! A picture through a classifier, with the library: `cargo run --example classify`.

use sardonyx::image::{self, Preprocess};
use sardonyx::{Device, Result, Session};

fn main() -> Result<()> {
    let model = "models/digits/digits.onnx";
    // A GPU if there is one, else the CPU.
    let session = Session::builder().device(Device::auto()?).load(model)?;

    let (preprocess, _) = Preprocess::for_model(model, None)?;
    let input = preprocess.apply(&image::load("models/digits/7.png")?, &[None, Some(1), Some(8), Some(8)])?;

    let outputs = session.run(&[(session.inputs()[0].name.as_str(), input)])?;
    for (class, probability) in image::top_k(&outputs[0].1, 3, preprocess.softmax)? {
        println!("{class}: {:.1} %", probability * 100.0);
    }
    Ok(())
}
