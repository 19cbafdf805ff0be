//! Products and convolutions of float16 by cooperative matrices: `shaders/gemm_cooperative.wgsl`.
//!
//! What the vendors call tensor cores, matrix cores, simdgroup matrices: a subgroup multiplies whole
//! matrices, several times as fast as its invocations one by one (`VK_KHR_cooperative_matrix`;
//! `simdgroup_matrix` of the Metal Shading Language).

use super::epilogue::{Epilogue, test_variants};
use super::gemm::{Tiling, filling, tiles_prelude};
use super::weights::Form;
use super::{Kernel, Prelude, gemm};
use crate::base::{Capabilities, Cooperative, ElementFormat, TileConfiguration};

pub static GEMM_COOPERATIVE: Kernel = Kernel {
    stem: "gemm_cooperative",
    shader: include_str!("../../shaders/gemm_cooperative.wgsl"),
    params: gemm::Params::MEMBERS,
    variants,
};

/// A tile of C: the subgroups that make it, down and across, and the rows and columns of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CooperativeTile {
    subgroups: [u32; 2],
    each: [u32; 2],
}

/// The tiles, the largest first. The sums of a subgroup have to stay in registers: of 32 × 64 an invocation
/// of 32 has 64.
const TILES: [CooperativeTile; 3] = [
    CooperativeTile { subgroups: [4, 2], each: [32, 64] },
    CooperativeTile { subgroups: [2, 2], each: [32, 32] },
    CooperativeTile { subgroups: [2, 1], each: [16, 32] },
];

impl CooperativeTile {
    pub(super) fn of(variant: TileConfiguration) -> Option<CooperativeTile> {
        TILES.into_iter().find(|tile| tile.variant() == variant)
    }
    fn variant(self) -> TileConfiguration {
        let [tile, columns] = self.size();
        TileConfiguration { tile, columns, slices: 1, down: false, cooperative: true }
    }
    /// Rows and columns of the whole.
    pub(super) fn size(self) -> [u32; 2] {
        [self.subgroups[0] * self.each[0], self.subgroups[1] * self.each[1]]
    }
    fn threads(self, by: Cooperative) -> u32 {
        self.subgroups[0] * self.subgroups[1] * by.subgroup
    }
    /// Bytes of workgroup memory, as the shader declares it.
    fn bytes(self, by: Cooperative) -> u32 {
        let [rows, columns] = self.size();
        let tiles = rows * (4 * DEPTHS[1] + 8) + 4 * DEPTHS[1] * (columns + 8);
        2 * tiles + 4 * self.subgroups[0] * self.subgroups[1] * by.side * by.side * self.staged(by)
    }
    /// Matrices that a subgroup takes apart at a time: 256 elements, if it has as many in a row.
    fn staged(self, by: Cooperative) -> u32 {
        (256 / (by.side * by.side)).clamp(1, self.each[1] / by.side)
    }
    /// Whether a device can run it, each invocation with something to load at each step.
    fn fits(self, capabilities: &Capabilities, by: Cooperative) -> bool {
        let [rows, columns] = self.size();
        let threads = self.threads(by);
        let loads = rows.min(columns) * DEPTHS[0];
        self.bytes(by) <= capabilities.max_workgroup_bytes
            && threads <= capabilities.max_invocations
            && loads.is_multiple_of(threads)
    }
}

/// Groups of 4 along k that pass through workgroup memory at a time: the second where there are as many.
const DEPTHS: [u32; 2] = [4, 8];

/// The variants for a product of these sizes, the rule's first, as [`gemm::variants_for`] gives those without
/// cooperative matrices, before which they go: none where the device has no such matrices of this type.
pub fn variants_for(
    capabilities: &Capabilities,
    storage: ElementFormat,
    [m, n]: [usize; 2],
    groups: usize,
    batch: usize,
) -> Vec<TileConfiguration> {
    let Some(by) = capabilities
        .cooperative
        .filter(|_| storage == ElementFormat::F16 && gemm::supports(capabilities, [m, n], groups))
    else {
        return vec![];
    };
    let serving: Vec<CooperativeTile> =
        TILES.into_iter().filter(|tile| tile.fits(capabilities, by)).collect();
    let rule = filling(serving.iter().map(|tile| tile.size()), [m, n], batch)
        .and_then(|index| serving.get(index))
        .or(serving.last())
        .copied();
    rule.into_iter()
        .chain(serving.iter().copied().filter(|tile| Some(*tile) != rule))
        .map(CooperativeTile::variant)
        .collect()
}

pub(super) fn prelude(
    storage: ElementFormat,
    tile: CooperativeTile,
    by: Cooperative,
    tiling: Tiling,
    groups: u32,
    epilogue: &Epilogue,
) -> Prelude {
    let [down, across] = tile.subgroups;
    let side = by.side;
    let base = Prelude::new()
        .cooperative(side)
        .storage(storage)
        .constant("SIDE", side)
        .constant("DOWN", down)
        .constant("ACROSS", across);
    let base = base
        .constant("ROWS", tile.each[0] / side)
        .constant("COLUMNS", tile.each[1] / side)
        .constant("THREADS", tile.threads(by));
    let base =
        base.constant("DEPTH", DEPTHS[(groups >= DEPTHS[1]) as usize]).constant("STAGED", tile.staged(by));
    tiles_prelude(base, tiling, epilogue)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for (side, subgroup) in [(8, 8), (8, 32), (16, 32), (16, 64)] {
        for (index, tile) in TILES.into_iter().enumerate() {
            let tiling = Tiling { pixels: index % 2 == 0, tail: index > 0, form: Form::Rows };
            let of = |epilogue| {
                prelude(
                    ElementFormat::F16,
                    tile,
                    Cooperative { side, subgroup },
                    tiling,
                    3 + 5 * index as u32,
                    epilogue,
                )
            };
            list.extend(test_variants().iter().map(of));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(side: u32, subgroup: u32) -> Capabilities {
        let cooperative = Some(Cooperative { side, subgroup });
        Capabilities {
            cooperative,
            shader_f16: true,
            max_workgroup_bytes: 32 << 10,
            max_invocations: 1024,
            ..Capabilities::webgpu()
        }
    }

    fn written(capabilities: &Capabilities, storage: ElementFormat, size: [usize; 2]) -> Vec<String> {
        variants_for(capabilities, storage, size, 64, 1).iter().map(TileConfiguration::to_string).collect()
    }

    #[test]
    fn the_largest_tile_that_fills_a_device_is_taken() {
        let tensor_cores = device(16, 32);
        assert_eq!(written(&tensor_cores, ElementFormat::F16, [2048, 2048])[0], "128x128-cooperative");
        assert_eq!(written(&tensor_cores, ElementFormat::F16, [512, 768])[0], "64x64-cooperative");
        assert_eq!(written(&tensor_cores, ElementFormat::F16, [128, 768])[0], "32x32-cooperative");
        // Few rows belong to another kernel, and the matrices are of float16.
        assert!(written(&tensor_cores, ElementFormat::F16, [8, 768]).is_empty());
        assert!(written(&tensor_cores, ElementFormat::F32, [2048, 2048]).is_empty());
        assert!(
            written(&Capabilities { software: true, ..tensor_cores }, ElementFormat::F16, [2048, 2048])
                .is_empty()
        );
        assert!(written(&Capabilities::webgpu(), ElementFormat::F16, [2048, 2048]).is_empty());
    }

    #[test]
    fn a_tile_fits_its_device() {
        for (side, subgroup, count) in [(8, 8, 3), (16, 32, 3), (16, 64, 3), (16, 128, 0)] {
            assert_eq!(
                written(&device(side, subgroup), ElementFormat::F16, [2048, 2048]).len(),
                count,
                "{side} {subgroup}"
            );
        }
        let small = Capabilities { max_workgroup_bytes: 16 << 10, ..device(8, 32) };
        assert_eq!(
            written(&small, ElementFormat::F16, [2048, 2048]),
            ["64x64-cooperative", "32x32-cooperative"]
        );
    }
}
