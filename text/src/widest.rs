//! Functions compiled once more for processors with wider vectors and instructions on bits.

/// Defines a function that calls another one, which is `#[inline(always)]`, with the instructions that the processor has.
macro_rules! widest {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $ty:ty),*) -> $result:ty = $inner:path;) => {
        $(#[$doc])*
        #[inline]
        $visibility fn $name($($argument: $ty),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,popcnt")]
                fn wide($($argument: $ty),*) -> $result {
                    $inner($($argument),*)
                }
                if is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("popcnt")
                {
                    #[expect(unsafe_code, reason = "unsafe to call on a processor that lacks them")]
                    // SAFETY: this one has them.
                    return unsafe { wide($($argument),*) };
                }
            }
            $inner($($argument),*)
        }
    };
}

pub(crate) use widest;
