//! Boxes, regions and sampling grids of images.

pub mod affine_grid;
pub mod col2im;
pub mod deform_conv;
pub mod grid_sample;
pub mod image_decoder;
pub mod max_roi_pool;
pub mod non_max_suppression;
pub mod roi_align;

use crate::error::{Error, Result};

/// The image of a batch that an index names.
fn image_of(index: f64, images: usize) -> Result<usize> {
    if index >= 0.0 && index < images as f64 {
        return Ok(index as usize);
    }
    Err(Error::input(format!("a region is of image {index}, and the batch has {images}")))
}
