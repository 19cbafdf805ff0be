//! From a picture's file to a model's input, and from its output to labels.
//!
//! What happens to the pixels is stated by a [`Preprocess`]: a preset's, or that of the sidecar `MODEL.toml`
//! beside `MODEL.onnx`. `docs/image.md` describes the keys and where the result differs from Pillow's.

mod apply;
mod labels;
mod picture;
mod preprocess;
mod resize;

pub use labels::{labels, top_k};
pub use picture::{Picture, load};
pub use preprocess::{Channels, Crop, Layout, PRESETS, Preprocess, Preset, Resize};
pub use resize::Filter;

/// An array of the pictures that Pillow and torchvision made: `models/tiny/resize_golden.py`.
#[cfg(test)]
fn golden<T: crate::tensor::Element>(name: &str) -> (Vec<usize>, Vec<T>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny/resize_golden.npz");
    let arrays = crate::onnx::read_npz(path.as_ref()).unwrap();
    let (_, array) = arrays.into_iter().find(|(found, _)| found == name).expect(name);
    (array.shape().to_vec(), array.as_slice::<T>().unwrap().to_vec())
}
