//! Small cases of attention: every input and attribute, sizes that fill no group and no tile.

use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::tensor::DType;

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 3, 7, 8]), Floats(&[2, 3, 7, 8])]),
    // More queries and keys than a tile, another size of values.
    case(&[], &[Floats(&[1, 2, 37, 32]), Floats(&[1, 2, 70, 32]), Floats(&[1, 2, 70, 20])]),
    case(
        &[("is_causal", Int(1))],
        &[Floats(&[1, 1, 67, 64]), Floats(&[1, 1, 67, 64]), Floats(&[1, 1, 67, 64])],
    ),
    // A larger head.
    case(&[], &[Floats(&[1, 1, 9, 68]), Floats(&[1, 1, 5, 68]), Floats(&[1, 1, 5, 68])]),
    // AttentionSizes that fill no group of 4.
    case(&[("scale", Float(0.3))], &[Floats(&[1, 2, 3, 5]), Floats(&[1, 2, 6, 5]), Floats(&[1, 2, 6, 7])]),
    case(&[], &[Floats(&[1, 1, 1, 1]), Floats(&[1, 1, 1, 1]), Floats(&[1, 1, 1, 1])]),
    // Heads that share keys; heads and elements as one axis.
    case(&[("is_causal", Int(1))], &[Floats(&[2, 6, 3, 4]), Floats(&[2, 2, 5, 4]), Floats(&[2, 2, 5, 4])]),
    case(
        &[("q_num_heads", Int(4)), ("kv_num_heads", Int(2))],
        &[Floats(&[2, 9, 32]), Floats(&[2, 11, 16]), Floats(&[2, 11, 24])],
    ),
    case(
        &[("q_num_heads", Int(2)), ("kv_num_heads", Int(2))],
        &[Floats(&[1, 3, 10]), Floats(&[1, 4, 10]), Floats(&[1, 4, 6])],
    ),
    // Masks: added, of bools, shorter than the keys, broadcast along each axis.
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 3, 6, 8]), Floats(&[2, 3, 6, 8]), Floats(&[5, 6])]),
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 3, 6, 8]), Floats(&[2, 3, 6, 8]), Bools(&[2, 1, 5, 6])]),
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 3, 6, 8]), Floats(&[2, 3, 6, 8]), Weights(&[3, 1, 4])]),
    case(
        &[("is_causal", Int(1))],
        &[Floats(&[2, 1, 5, 8]), Floats(&[2, 1, 6, 8]), Floats(&[2, 1, 6, 8]), Bools(&[6])],
    ),
    case(
        &[("softcap", Float(2.0))],
        &[Floats(&[1, 2, 5, 8]), Floats(&[1, 2, 6, 8]), Floats(&[1, 2, 6, 8]), Floats(&[1, 2, 5, 6])],
    ),
    // Past keys, and keys of which some are padding: the last query of batch 0 sees none.
    case(
        &[("is_causal", Int(1))],
        &[
            Floats(&[2, 4, 3, 8]),
            Floats(&[2, 2, 3, 8]),
            Floats(&[2, 2, 3, 12]),
            Absent,
            Floats(&[2, 2, 6, 8]),
            Floats(&[2, 2, 6, 12]),
        ],
    )
    .outputs(3),
    case(
        &[],
        &[
            Floats(&[2, 2, 3, 8]),
            Floats(&[2, 2, 7, 8]),
            Floats(&[2, 2, 7, 8]),
            Absent,
            Absent,
            Absent,
            Indices(&[2], &[0, 5]),
        ],
    ),
    case(
        &[("is_causal", Int(1))],
        &[
            Floats(&[2, 2, 4, 8]),
            Floats(&[2, 2, 7, 8]),
            Floats(&[2, 2, 7, 8]),
            Bools(&[4, 7]),
            Absent,
            Absent,
            Indices(&[2], &[2, 7]),
        ],
    ),
    case(
        &[("left_window_size", Int(3)), ("right_window_size", Int(1))],
        &[Floats(&[1, 2, 9, 8]), Floats(&[1, 2, 11, 8]), Floats(&[1, 2, 11, 8])],
    )
    .at(25),
    // One query, or few, and many keys: heads that share them, a mask, padding, a window that leaves a part
    // of them out.
    case(&[], &[Floats(&[1, 4, 1, 64]), Floats(&[1, 2, 1100, 64]), Floats(&[1, 2, 1100, 64])]),
    case(
        &[("is_causal", Int(1))],
        &[
            Floats(&[1, 1, 2, 20]),
            Floats(&[1, 1, 2, 20]),
            Floats(&[1, 1, 2, 9]),
            Absent,
            Floats(&[1, 1, 801, 20]),
            Floats(&[1, 1, 801, 9]),
        ],
    )
    .outputs(3),
    case(
        &[("softcap", Float(3.0))],
        &[Floats(&[2, 2, 3, 6]), Floats(&[2, 1, 530, 6]), Floats(&[2, 1, 530, 256]), Floats(&[2, 1, 3, 530])],
    ),
    case(
        &[],
        &[
            Floats(&[2, 2, 1, 256]),
            Floats(&[2, 2, 900, 256]),
            Floats(&[2, 2, 900, 3]),
            Bools(&[1, 900]),
            Absent,
            Absent,
            Indices(&[2], &[300, 0]),
        ],
    ),
    case(
        &[("left_window_size", Int(30))],
        &[
            Floats(&[1, 1, 1, 8]),
            Floats(&[1, 1, 1, 8]),
            Floats(&[1, 1, 1, 8]),
            Absent,
            Floats(&[1, 1, 999, 8]),
            Floats(&[1, 1, 999, 8]),
        ],
    )
    .at(25)
    .outputs(3),
    // The scores as a result, of each kind.
    case(
        &[("qk_matmul_output_mode", Int(3))],
        &[Floats(&[1, 2, 3, 8]), Floats(&[1, 2, 4, 8]), Floats(&[1, 2, 4, 8])],
    )
    .outputs(4),
    case(
        &[("q_num_heads", Int(4)), ("kv_num_heads", Int(2)), ("scale", Float(0.4))],
        &[Floats(&[2, 3, 20]), Floats(&[2, 6, 10]), Floats(&[2, 6, 6])],
    )
    .outputs(4),
    case(
        &[("qk_matmul_output_mode", Int(1)), ("softcap", Float(2.0))],
        &[Floats(&[1, 2, 3, 8]), Floats(&[1, 2, 5, 8]), Floats(&[1, 2, 5, 8]), Floats(&[3, 5])],
    )
    .outputs(4),
    case(
        &[("qk_matmul_output_mode", Int(2)), ("is_causal", Int(1)), ("softcap", Float(2.0))],
        &[Floats(&[2, 4, 3, 8]), Floats(&[2, 2, 5, 8]), Floats(&[2, 2, 5, 8]), Floats(&[2, 1, 3, 5])],
    )
    .outputs(4),
    // A mask shorter than the keys; past keys; both.
    case(
        &[("qk_matmul_output_mode", Int(3))],
        &[Floats(&[2, 2, 3, 4]), Floats(&[2, 2, 7, 4]), Floats(&[2, 2, 7, 5]), Floats(&[2, 1, 3, 5])],
    )
    .outputs(4),
    case(
        &[("is_causal", Int(1))],
        &[
            Floats(&[1, 2, 3, 8]),
            Floats(&[1, 2, 3, 8]),
            Floats(&[1, 2, 3, 8]),
            Floats(&[3, 7]),
            Floats(&[1, 2, 4, 8]),
            Floats(&[1, 2, 4, 8]),
        ],
    )
    .outputs(3),
    case(
        &[],
        &[
            Floats(&[2, 2, 3, 4]),
            Floats(&[2, 2, 3, 4]),
            Floats(&[2, 2, 3, 5]),
            Bools(&[2, 1, 3, 5]),
            Floats(&[2, 2, 4, 4]),
            Floats(&[2, 2, 4, 5]),
        ],
    )
    .outputs(3),
    case(
        &[("qk_matmul_output_mode", Int(2)), ("is_causal", Int(1))],
        &[
            Floats(&[2, 2, 3, 4]),
            Floats(&[2, 2, 3, 4]),
            Floats(&[2, 2, 3, 5]),
            Absent,
            Floats(&[2, 2, 4, 4]),
            Floats(&[2, 2, 4, 5]),
        ],
    )
    .outputs(4),
    // Products and capped scores are those of unseen keys too.
    case(
        &[("is_causal", Int(1))],
        &[Floats(&[1, 2, 3, 8]), Floats(&[1, 2, 5, 8]), Floats(&[1, 2, 5, 8]), Floats(&[3, 5])],
    )
    .outputs(4),
    case(
        &[("qk_matmul_output_mode", Int(1)), ("softcap", Float(2.0)), ("is_causal", Int(1))],
        &[Floats(&[1, 2, 3, 8]), Floats(&[1, 2, 5, 8]), Floats(&[1, 2, 5, 8]), Bools(&[3, 5])],
    )
    .outputs(4),
    // A query that sees no key.
    case(
        &[("qk_matmul_output_mode", Int(3))],
        &[
            Floats(&[1, 2, 2, 4]),
            Floats(&[1, 2, 3, 4]),
            Floats(&[1, 2, 3, 4]),
            Typed(DType::Bool, &[2, 3], &[0.0, 0.0, 0.0, 1.0, 0.0, 1.0]),
        ],
    )
    .outputs(4),
    // A head beyond what the kernel holds.
    case(&[], &[Floats(&[1, 1, 2, 260]), Floats(&[1, 1, 3, 260]), Floats(&[1, 1, 3, 4])]).runs("cpu"),
    case(&[], &[Floats(&[0, 1, 2, 4]), Floats(&[0, 1, 3, 4]), Floats(&[0, 1, 3, 4])]).runs("view"),
];
