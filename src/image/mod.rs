//! From a picture's file to a model's input, and from its output to labels.
//!
//! What happens to the pixels is stated by a [`Preprocess`]: a preset's, or that of the sidecar `MODEL.toml`
//! beside `MODEL.onnx`. `docs/image.md` describes the keys and where the result differs from Pillow's.
//!
//! ```
//! use sardonyx::{Session, image};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let model = "models/digits/digits.onnx";
//! let (preprocess, _) = image::Preprocess::for_model(model, None)?;
//! let picture = image::load("models/digits/7.png")?;
//! let input = preprocess.apply(&picture, &[None, Some(1), Some(8), Some(8)])?;
//! let outputs = Session::builder().load(model)?.run(&[("image", input)])?;
//! let best = image::top_k(&outputs[0].1, 3, preprocess.softmax)?;
//! assert_eq!(best[0].0, 7);
//! # Ok(())
//! # }
//! ```

mod apply;
mod jpeg;
mod jpeg2000;
mod labels;
mod picture;
mod preprocess;
mod resize;

pub use labels::{labels, top_k};
pub(crate) use picture::decoded;
pub use picture::{Picture, load};
pub use preprocess::{Channels, Crop, Layout, PRESETS, Preprocess, Preset, Resize};
pub use resize::Filter;

/// An array of the pictures that Pillow and torchvision made: `models/tiny/resize_golden.py`.
#[cfg(test)]
fn golden<T: crate::tensor::Element>(name: &str) -> (Vec<usize>, Vec<T>) {
    let (_, array) = arrays("resize_golden.npz").into_iter().find(|(found, _)| found == name).expect(name);
    (array.shape().to_vec(), array.as_slice::<T>().unwrap().to_vec())
}

/// All arrays of a file of models/tiny.
#[cfg(test)]
fn arrays(file: &str) -> Vec<(String, crate::Tensor)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");
    crate::onnx::read_npz(&std::path::Path::new(folder).join(file)).unwrap()
}
