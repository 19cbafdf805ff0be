//! A window's attributes, as convolutions and pools have them.

use crate::base::{AutoPad, Window};
use crate::error::{Error, Result};
use crate::ops::NodeView;

/// The attributes that convolutions and pools share.
pub fn parse(node: &NodeView) -> Result<Window> {
    let auto_pad =
        match node.choice("auto_pad", "NOTSET", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])?.as_str() {
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            _ => AutoPad::NotSet,
        };
    let window = Window {
        kernel: node.sizes("kernel_shape")?,
        strides: node.sizes("strides")?,
        dilations: node.sizes("dilations")?,
        pads: node.sizes("pads")?,
        auto_pad,
        ceil_mode: false,
    };
    for (name, list) in
        [("kernel_shape", &window.kernel), ("strides", &window.strides), ("dilations", &window.dilations)]
    {
        if list.as_ref().is_some_and(|list| list.contains(&0)) {
            return Err(Error::model(format!("attribute '{name}' holds a 0")));
        }
    }
    Ok(window)
}
