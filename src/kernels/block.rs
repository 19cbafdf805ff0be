//! Parameter blocks: the Rust struct says what its WGSL twin has to be, member by member.
//!
//! `parameters!` declares a block's struct and lists its members; `tests/kernels.rs` holds every shader's
//! uniform struct to that list, by name, type and offset. All members are 32 bits wide, alone or in arrays.

/// The type of a member's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    U32,
    I32,
    F32,
}

/// What a member is made of.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// So many words of one type: a scalar, or an array that WGSL may have as scalars or vectors.
    Words(Scalar, usize),
    /// A block in this one, whose members WGSL has as `NAME_MEMBER`.
    Block(&'static [Member]),
}

/// A member of a block.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub name: &'static str,
    /// Bytes from the start of its struct.
    pub offset: usize,
    pub kind: Kind,
}

/// A word of a block, as [`words`] lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The member's name, with those of the blocks that it is in before it.
    pub name: String,
    /// Bytes from the start of the block.
    pub offset: usize,
    pub scalar: Scalar,
    /// Whether the member is an array, so that WGSL may name each of its words.
    pub array: bool,
}

/// A member's type.
pub trait Field {
    const KIND: Kind;
}

impl Field for u32 {
    const KIND: Kind = Kind::Words(Scalar::U32, 1);
}
impl Field for i32 {
    const KIND: Kind = Kind::Words(Scalar::I32, 1);
}
impl Field for f32 {
    const KIND: Kind = Kind::Words(Scalar::F32, 1);
}
impl<T: Field, const N: usize> Field for [T; N] {
    const KIND: Kind = match T::KIND {
        Kind::Words(scalar, count) => Kind::Words(scalar, N * count),
        Kind::Block(_) => panic!("an array of blocks"),
    };
}

/// The words of a block's members, in order.
pub fn words(members: &[Member]) -> Vec<Word> {
    let mut all = vec![];
    for member in members {
        match member.kind {
            Kind::Words(scalar, count) => all.extend((0..count).map(|index| Word {
                name: member.name.to_string(),
                offset: member.offset + 4 * index,
                scalar,
                array: count > 1,
            })),
            Kind::Block(inner) => all.extend(words(inner).into_iter().map(|word| Word {
                name: format!("{}_{}", member.name, word.name),
                offset: member.offset + word.offset,
                ..word
            })),
        }
    }
    all
}

/// Declares the struct of a parameter block, or of a part of some, in the order of its WGSL twin.
macro_rules! parameters {
    ($(#[$meta:meta])* $vis:vis struct $Name:ident { $($(#[$about:meta])* $field:ident: $Type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $Name { $($(#[$about])* $field: $Type,)* }

        impl $Name {
            /// Its members: see [`crate::kernels::block`].
            $vis const MEMBERS: &'static [$crate::kernels::block::Member] = &[$($crate::kernels::block::Member {
                name: stringify!($field),
                offset: std::mem::offset_of!($Name, $field),
                kind: <$Type as $crate::kernels::block::Field>::KIND,
            },)*];
        }

        impl $crate::kernels::block::Field for $Name {
            const KIND: $crate::kernels::block::Kind = $crate::kernels::block::Kind::Block(Self::MEMBERS);
        }
    };
}
pub(super) use parameters;
