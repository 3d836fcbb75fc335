//! Vectors of 64-bit words, and what is counted in them: bits, bytes, or whole numbers of 16 bits.
//!
//! Whole numbers do not round, so every level counts the same.

use bytemuck::Pod;
use pulp::NullaryFnOnce;
#[cfg(target_arch = "aarch64")]
use pulp::aarch64::Neon;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// Operations on vectors of words. An accumulator of parts of a word may be added to so many times and no more; see each.
///
/// Every level says them all: with those that are the same on each in one place, for arrays of any length, the folds took an eighth to a fifth
/// longer.
pub(super) trait Words: Copy {
    /// So many words.
    type Vector: Pod;

    /// The proof that this machine has these operations, if it has.
    fn token() -> Option<Self>;

    /// Does the work, compiled for this machine.
    fn vectorize<F: NullaryFnOnce>(self, work: F) -> F::Output;

    /// One word everywhere.
    fn splat(self, word: u64) -> Self::Vector;

    /// a + b, word by word; of numbers with a sign too.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The larger of a and b, word by word.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Bits that x and y have in common, in each word.
    fn common_bits(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// Σ |x − y| over the bytes of each word.
    fn differences(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// In each byte of `acc`, the larger of it and |x − y|.
    fn larger_difference(self, acc: Self::Vector, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// In each byte of `acc`, one more where x = y: up to 255 times.
    fn count_equal(self, acc: Self::Vector, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// The bits of `acc`, and those in which x and y differ.
    fn or_unequal(self, acc: Self::Vector, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// In each half of the words of `acc`, more by the products of its two numbers in x and y, which have 16 bits and a sign.
    fn add_products(self, acc: Self::Vector, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// The sum of the bytes of each word.
    fn sum_of_bytes(self, acc: Self::Vector) -> Self::Vector;
}

/// Operations on words in plain Rust, for the compiler to find vectors in.
mod plain {
    #[inline(always)]
    pub(super) fn each<const N: usize>(a: [u64; N], b: [u64; N], of: impl Fn(u64, u64) -> u64) -> [u64; N] {
        let mut result = a;
        for i in 0..N {
            result[i] = of(a[i], b[i]);
        }
        result
    }

    #[inline(always)]
    pub(super) fn common_bits<const N: usize>(x: [u64; N], y: [u64; N]) -> [u64; N] {
        each(x, y, |x, y| u64::from((x & y).count_ones()))
    }

    /// `of` each pair of bytes.
    #[inline(always)]
    pub(super) fn each_byte(a: [u64; 2], b: [u64; 2], of: impl Fn(u8, u8) -> u8) -> [u64; 2] {
        let (mut result, b): ([u8; 16], [u8; 16]) = (bytemuck::cast(a), bytemuck::cast(b));
        for i in 0..result.len() {
            result[i] = of(result[i], b[i]);
        }
        bytemuck::cast(result)
    }

    #[inline(always)]
    pub(super) fn sum_of_bytes(acc: [u64; 2]) -> [u64; 2] {
        // neighbours in each half, of pairs, of fours
        acc.map(|word| {
            let pairs = (word & 0x00ff_00ff_00ff_00ff) + (word >> 8 & 0x00ff_00ff_00ff_00ff);
            let fours = (pairs & 0x0000_ffff_0000_ffff) + (pairs >> 16 & 0x0000_ffff_0000_ffff);
            (fours & 0xffff_ffff) + (fours >> 32)
        })
    }

    #[inline(always)]
    pub(super) fn add_products(acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        let mut sums: [i32; 4] = bytemuck::cast(acc);
        let (x, y): ([i16; 8], [i16; 8]) = (bytemuck::cast(x), bytemuck::cast(y));
        let product = |at: usize| i32::from(x[at]) * i32::from(y[at]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += product(2 * i) + product(2 * i + 1);
        }
        bytemuck::cast(sums)
    }
}

/// Without instructions of a level's own, on 128 bits at a time.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Words for Plain {
    type Vector = [u64; 2];

    fn token() -> Option<Self> {
        Some(Self)
    }
    #[inline(always)]
    fn vectorize<F: NullaryFnOnce>(self, work: F) -> F::Output {
        work.call()
    }
    #[inline(always)]
    fn splat(self, word: u64) -> [u64; 2] {
        [word; 2]
    }
    #[inline(always)]
    fn add(self, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        plain::each(a, b, u64::wrapping_add)
    }
    #[inline(always)]
    fn max(self, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        plain::each(a, b, u64::max)
    }
    #[inline(always)]
    fn common_bits(self, x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::common_bits(x, y)
    }
    #[inline(always)]
    fn differences(self, x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::sum_of_bytes(plain::each_byte(x, y, u8::abs_diff))
    }
    #[inline(always)]
    fn larger_difference(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::each_byte(acc, plain::each_byte(x, y, u8::abs_diff), u8::max)
    }
    #[inline(always)]
    fn count_equal(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::each_byte(acc, plain::each_byte(x, y, |x, y| u8::from(x == y)), |acc, one| acc + one)
    }
    #[inline(always)]
    fn or_unequal(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::each(acc, plain::each(x, y, |x, y| x ^ y), |acc, unequal| acc | unequal)
    }
    #[inline(always)]
    fn add_products(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        plain::add_products(acc, x, y)
    }
    #[inline(always)]
    fn sum_of_bytes(self, acc: [u64; 2]) -> [u64; 2] {
        plain::sum_of_bytes(acc)
    }
}

#[cfg(target_arch = "x86_64")]
pulp::simd_type! {
    /// 512-bit vectors, with instructions of their own to count bits and to add products: Ice Lake, Zen 4, and later ones.
    pub(super) struct Counting {
        sse: "sse",
        sse2: "sse2",
        fxsr: "fxsr",
        sse3: "sse3",
        ssse3: "ssse3",
        sse4_1: "sse4.1",
        sse4_2: "sse4.2",
        popcnt: "popcnt",
        avx: "avx",
        avx2: "avx2",
        bmi1: "bmi1",
        bmi2: "bmi2",
        fma: "fma",
        lzcnt: "lzcnt",
        avx512f: "avx512f",
        avx512bw: "avx512bw",
        avx512cd: "avx512cd",
        avx512dq: "avx512dq",
        avx512vl: "avx512vl",
        avx512vpopcntdq: "avx512vpopcntdq",
        avx512vnni: "avx512vnni",
    }
}

#[cfg(target_arch = "x86_64")]
impl Words for V3 {
    type Vector = [u64; 4];

    fn token() -> Option<Self> {
        Self::try_new()
    }
    #[inline(always)]
    fn vectorize<F: NullaryFnOnce>(self, work: F) -> F::Output {
        Self::vectorize(self, work)
    }
    #[inline(always)]
    fn splat(self, word: u64) -> [u64; 4] {
        [word; 4]
    }
    #[inline(always)]
    fn add(self, a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
        pulp::cast(self.avx2._mm256_add_epi64(pulp::cast(a), pulp::cast(b)))
    }
    #[inline(always)]
    fn max(self, a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
        plain::each(a, b, u64::max)
    }
    #[inline(always)]
    fn common_bits(self, x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        plain::common_bits(x, y)
    }
    #[inline(always)]
    fn differences(self, x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        pulp::cast(self.avx2._mm256_sad_epu8(pulp::cast(x), pulp::cast(y)))
    }
    #[inline(always)]
    fn larger_difference(self, acc: [u64; 4], x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        let (avx2, x, y) = (self.avx2, pulp::cast(x), pulp::cast(y));
        let difference = avx2._mm256_or_si256(avx2._mm256_subs_epu8(x, y), avx2._mm256_subs_epu8(y, x));
        pulp::cast(avx2._mm256_max_epu8(pulp::cast(acc), difference))
    }
    #[inline(always)]
    fn count_equal(self, acc: [u64; 4], x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        // equal bytes give −1
        let equal = self.avx2._mm256_cmpeq_epi8(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.avx2._mm256_sub_epi8(pulp::cast(acc), equal))
    }
    #[inline(always)]
    fn or_unequal(self, acc: [u64; 4], x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        let unequal = self.avx2._mm256_xor_si256(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.avx2._mm256_or_si256(pulp::cast(acc), unequal))
    }
    #[inline(always)]
    fn add_products(self, acc: [u64; 4], x: [u64; 4], y: [u64; 4]) -> [u64; 4] {
        let products = self.avx2._mm256_madd_epi16(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.avx2._mm256_add_epi32(pulp::cast(acc), products))
    }
    #[inline(always)]
    fn sum_of_bytes(self, acc: [u64; 4]) -> [u64; 4] {
        self.differences(acc, [0; 4])
    }
}

#[cfg(target_arch = "aarch64")]
impl Words for Neon {
    type Vector = [u64; 2];

    fn token() -> Option<Self> {
        Self::try_new()
    }
    #[inline(always)]
    fn vectorize<F: NullaryFnOnce>(self, work: F) -> F::Output {
        Self::vectorize(self, work)
    }
    #[inline(always)]
    fn splat(self, word: u64) -> [u64; 2] {
        [word; 2]
    }
    #[inline(always)]
    fn add(self, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        plain::each(a, b, u64::wrapping_add)
    }
    #[inline(always)]
    fn max(self, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        plain::each(a, b, u64::max)
    }
    #[inline(always)]
    fn common_bits(self, x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        let common = plain::each(x, y, |x, y| x & y);
        self.sum_of_bytes(pulp::cast(self.neon.vcntq_u8(pulp::cast(common))))
    }
    #[inline(always)]
    fn differences(self, x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        self.sum_of_bytes(pulp::cast(self.neon.vabdq_u8(pulp::cast(x), pulp::cast(y))))
    }
    #[inline(always)]
    fn larger_difference(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        let difference = self.neon.vabdq_u8(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.neon.vmaxq_u8(pulp::cast(acc), difference))
    }
    #[inline(always)]
    fn count_equal(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        // equal bytes give −1
        let equal = self.neon.vceqq_u8(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.neon.vsubq_u8(pulp::cast(acc), equal))
    }
    #[inline(always)]
    fn or_unequal(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        let unequal = self.neon.veorq_u64(pulp::cast(x), pulp::cast(y));
        pulp::cast(self.neon.vorrq_u64(pulp::cast(acc), unequal))
    }
    #[inline(always)]
    fn add_products(self, acc: [u64; 2], x: [u64; 2], y: [u64; 2]) -> [u64; 2] {
        // products of neighbours, and their sums
        let [low, high] = [0, 1].map(
            #[inline(always)]
            |half| self.neon.vmull_s16(pulp::cast(x[half]), pulp::cast(y[half])),
        );
        let products = self.neon.vpaddq_s32(low, high);
        pulp::cast(self.neon.vaddq_s32(pulp::cast(acc), products))
    }
    #[inline(always)]
    fn sum_of_bytes(self, acc: [u64; 2]) -> [u64; 2] {
        let pairs = self.neon.vpaddlq_u8(pulp::cast(acc));
        pulp::cast(self.neon.vpaddlq_u32(self.neon.vpaddlq_u16(pairs)))
    }
}

/// What 512-bit vectors have in common, with instructions of their own to count bits or without.
#[cfg(target_arch = "x86_64")]
macro_rules! words_of_512_bits {
    ($($token:ident),*) => {$(
        impl Words for $token {
            type Vector = [u64; 8];

            fn token() -> Option<Self> {
                Self::try_new()
            }
            #[inline(always)]
            fn vectorize<F: NullaryFnOnce>(self, work: F) -> F::Output {
                Self::vectorize(self, work)
            }
            #[inline(always)]
            fn splat(self, word: u64) -> [u64; 8] {
                [word; 8]
            }
            #[inline(always)]
            fn add(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
                pulp::cast(self.avx512f._mm512_add_epi64(pulp::cast(a), pulp::cast(b)))
            }
            #[inline(always)]
            fn max(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
                plain::each(a, b, u64::max)
            }
            #[inline(always)]
            fn common_bits(self, x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                plain::common_bits(x, y)
            }
            #[inline(always)]
            fn differences(self, x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                pulp::cast(self.avx512bw._mm512_sad_epu8(pulp::cast(x), pulp::cast(y)))
            }
            #[inline(always)]
            fn larger_difference(self, acc: [u64; 8], x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                let (avx512, x, y) = (self.avx512bw, pulp::cast(x), pulp::cast(y));
                let (one, other) = (avx512._mm512_subs_epu8(x, y), avx512._mm512_subs_epu8(y, x));
                let difference = self.avx512f._mm512_or_si512(one, other);
                pulp::cast(avx512._mm512_max_epu8(pulp::cast(acc), difference))
            }
            #[inline(always)]
            fn count_equal(self, acc: [u64; 8], x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                let (avx512, acc) = (self.avx512bw, pulp::cast(acc));
                let equal = avx512._mm512_cmpeq_epi8_mask(pulp::cast(x), pulp::cast(y));
                pulp::cast(avx512._mm512_mask_add_epi8(acc, equal, acc, pulp::cast([1_u8; 64])))
            }
            #[inline(always)]
            fn or_unequal(self, acc: [u64; 8], x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                let unequal = self.avx512f._mm512_xor_si512(pulp::cast(x), pulp::cast(y));
                pulp::cast(self.avx512f._mm512_or_si512(pulp::cast(acc), unequal))
            }
            #[inline(always)]
            fn add_products(self, acc: [u64; 8], x: [u64; 8], y: [u64; 8]) -> [u64; 8] {
                let products = self.avx512bw._mm512_madd_epi16(pulp::cast(x), pulp::cast(y));
                pulp::cast(self.avx512f._mm512_add_epi32(pulp::cast(acc), products))
            }
            #[inline(always)]
            fn sum_of_bytes(self, acc: [u64; 8]) -> [u64; 8] {
                self.differences(acc, [0; 8])
            }
        }
    )*};
}
#[cfg(target_arch = "x86_64")]
words_of_512_bits!(V4, Counting);
