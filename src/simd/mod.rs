//! Loops compiled once for each vector width that x86 machines have, and the width chosen at run time;
//! functions that such loops can call ([`math`]), and vectors where the compiler makes none ([`vector`]).

pub mod math;
pub mod vector;

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Width {
    Avx512,
    Avx2,
    Sse2,
}

#[cfg(target_arch = "x86_64")]
fn width() -> Width {
    static FOUND: OnceLock<Width> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let has_512 = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl");
        let has_fma = std::arch::is_x86_feature_detected!("fma");
        if has_512 && has_fma {
            Width::Avx512
        } else if std::arch::is_x86_feature_detected!("avx2") && has_fma {
            Width::Avx2
        } else {
            Width::Sse2
        }
    })
}

/// A loop whose body the compiler may vectorise: what it calls must be `#[inline(always)]`.
///
/// Nothing is contracted that `mul_add` doesn't say, so that every width gives the same bits.
pub trait Loop {
    type Output;
    /// Mark the implementation `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Runs a loop in the widest form that the machine has.
#[inline]
pub fn vectorised<L: Loop>(body: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<L: Loop>(body: L) -> L::Output {
            body.run()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<L: Loop>(body: L) -> L::Output {
            body.run()
        }
        match width() {
            // SAFETY: the features were found on this machine.
            Width::Avx512 => return unsafe { avx512(body) },
            // SAFETY: as above.
            Width::Avx2 => return unsafe { avx2(body) },
            Width::Sse2 => {}
        }
    }
    body.run()
}
