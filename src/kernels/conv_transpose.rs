//! Transposed convolution in two dimensions: `shaders/conv_transpose.wgsl`; `conv_direct` where groups aren't
//! whole groups of 4.

use super::Lowering;
use super::block::parameters;
use super::conv::ConvSizes;
use super::conv_direct;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::window::WindowParams;
use super::{Kernel, Packing, Prelude, folded_grid, matmul, to_u32};
use crate::base::{BufferId, ElementFormat, Layout, Unsupported};
use crate::error::Result;
use crate::tensor::Tensor;

pub static CONV_TRANSPOSE: Kernel = Kernel {
    stem: "conv_transpose",
    shader: include_str!("../../shaders/conv_transpose.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowParams,
        epilogue: EpilogueParams,
        in_h: u32,
        in_w: u32,
        in_c4: u32,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        blocks: u32,
        phase_blocks: u32,
        in_group: u32,
        out_group4: u32,
        row_groups: u32,
        offset: u32,
        step: u32,
        spare: [u32; 3],
    }
}

const PIXELS: u32 = 4;

fn prelude(storage: ElementFormat, width: u32, epilogue: &Epilogue) -> Prelude {
    epilogue.prelude(Prelude::new().storage(storage).constant("PIXELS", PIXELS).constant("WIDTH", width))
}

fn variants() -> Vec<Prelude> {
    let storages = [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed];
    storages
        .into_iter()
        .flat_map(|storage| test_variants().into_iter().map(move |epilogue| prelude(storage, 16, &epilogue)))
        .collect()
}

/// `[in_c, out_c/groups, h, w]` to `[h, w, in_c/groups, out_c padded to 4]`; the arguments are groups and the
/// sizes.
fn pack_weights(weights: &Tensor, args: &[usize]) -> Result<Tensor> {
    let &[groups, in_c, out_group, h, w] = args else {
        return Err(crate::Error::internal("transposed weights of unknown sizes"));
    };
    let (in_group, out_c) = (in_c / groups, out_group * groups);
    let out4 = out_c.next_multiple_of(4);
    weights.pick([h, w, in_group, out4], |index| {
        let (o, rest) = (index % out4, index / out4);
        let (i, tap) = (rest % in_group, rest / in_group);
        (o < out_c).then(|| ((o / out_group * in_group + i) * out_group + o % out_group) * h * w + tap)
    })
}

/// The weights, input 1, as the kernels read them.
fn weights(at: &mut dyn Lowering, s: &ConvSizes) -> Result<BufferId, Unsupported> {
    let (in_group, out_group, [h, w]) = (s.in_c / s.groups, s.out_c / s.groups, s.kernel);
    if at.constant(1).is_some() {
        let shape = vec![h, w, in_group, s.out_c.next_multiple_of(4)];
        return at.packed(
            1,
            Packing {
                name: "conv_transpose",
                args: vec![s.groups, s.in_c, out_group, h, w],
                shape,
                pack: pack_weights,
            },
        );
    }
    if s.groups > 1 && out_group % 4 != 0 {
        return Err(Unsupported::new(format!(
            "weights that are not constant, in groups of {out_group} output channels"
        )));
    }
    let view = at.view(1)?;
    let view = view.reshaped_or(&[s.groups, in_group, out_group, h, w], "weights")?;
    Ok(at.in_layout(view.permuted(&[3, 4, 1, 0, 2]), Layout::Rows4)?.buffer)
}

/// Emits a transposed convolution of channels-last buffers; the weights are the node's input 1.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    s: &ConvSizes,
    input: BufferId,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let weights = weights(at, s)?;
    if s.groups > 1 && (!(s.in_c / s.groups).is_multiple_of(4) || !(s.out_c / s.groups).is_multiple_of(4)) {
        return conv_direct::emit(at, storage, s, [input, weights], true, stage);
    }
    let (epilogue, output) = (&stage.epilogue, stage.output);
    let capabilities = at.capabilities();
    let out_c4 = s.out_c.div_ceil(4);
    let width = matmul::width(&capabilities, out_c4);
    let phase_blocks = s.out_w.div_ceil(s.stride[1]).div_ceil(PIXELS as usize);
    let rows = s.n.saturating_mul(s.out_h);
    let blocks = to_u32(rows.saturating_mul(phase_blocks).saturating_mul(s.stride[1]))?;
    let grid = folded_grid(blocks as u64, capabilities.max_grid);
    let params = Params {
        in_h: to_u32(s.in_h)?,
        in_w: to_u32(s.in_w)?,
        in_c4: to_u32(s.in_c.div_ceil(4))?,
        out_h: to_u32(s.out_h)?,
        out_w: to_u32(s.out_w)?,
        out_c4: to_u32(out_c4)?,
        blocks,
        phase_blocks: to_u32(phase_blocks)?,
        window: WindowParams::new(s.kernel, s.stride, s.pad, s.dilation)?,
        in_group: to_u32(s.in_c / s.groups)?,
        out_group4: to_u32((s.out_c / s.groups).div_ceil(4))?,
        row_groups: grid[0],
        epilogue: epilogue.params(1.0),
        offset: output.offset,
        step: output.step,
        spare: [0; 3],
    };
    let bindings = stage.bindings(at, storage, [input, weights])?;
    let columns = to_u32(out_c4)?.div_ceil(width);
    at.emit(
        &CONV_TRANSPOSE,
        prelude(storage, width, epilogue),
        params,
        &bindings,
        [columns, grid[0], grid[1]],
    )
}
