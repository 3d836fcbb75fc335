//! The micro-kernel of whole numbers: folds the words of MR rows and NV vectors of columns in registers.

use super::simd::Words;
use crate::kernel::pack::PLANES;
use crate::kernel::simd::NV;

/// A count for each pair of a micro-tile: MR rows by NV vectors of columns.
pub(super) type Counts<W, const MR: usize> = [[<W as Words>::Vector; NV]; MR];

/// What is counted of two samples.
pub(super) trait Count: Copy + 'static {
    /// Words after which what was accumulated is summed: as many as parts of a word hold, or as belong together.
    const MOST: usize = usize::MAX;

    /// What was accumulated, after one more word of both samples; starts from 0.
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector;

    /// What some words give, from what was accumulated over them, word by word.
    fn total<W: Words>(words: W, acc: W::Vector, steps: usize) -> W::Vector;

    /// What all words give together, from what two parts of them give.
    #[inline(always)]
    fn merged<W: Words>(words: W, one: W::Vector, other: W::Vector) -> W::Vector {
        words.add(one, other)
    }
}

/// Bits that both have.
#[derive(Clone, Copy)]
pub(super) struct CommonBits;

impl Count for CommonBits {
    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.add(acc, words.common_bits(x, y))
    }
    #[inline(always)]
    fn total<W: Words>(_: W, acc: W::Vector, _: usize) -> W::Vector {
        acc
    }
}

/// Σ |xₗ − yₗ| of bytes.
#[derive(Clone, Copy)]
pub(super) struct Differences;

impl Count for Differences {
    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.add(acc, words.differences(x, y))
    }
    #[inline(always)]
    fn total<W: Words>(_: W, acc: W::Vector, _: usize) -> W::Vector {
        acc
    }
}

/// max |xₗ − yₗ| of bytes.
#[derive(Clone, Copy)]
pub(super) struct LargestDifference;

impl Count for LargestDifference {
    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.larger_difference(acc, x, y)
    }
    #[inline(always)]
    fn total<W: Words>(_: W, acc: W::Vector, _: usize) -> W::Vector {
        largest_bytes(acc)
    }
    #[inline(always)]
    fn merged<W: Words>(words: W, one: W::Vector, other: W::Vector) -> W::Vector {
        words.max(one, other)
    }
}

/// Bytes in which x and y differ.
#[derive(Clone, Copy)]
pub(super) struct UnequalBytes;

impl Count for UnequalBytes {
    const MOST: usize = u8::MAX as usize;

    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.count_equal(acc, x, y)
    }
    #[inline(always)]
    fn total<W: Words>(words: W, acc: W::Vector, steps: usize) -> W::Vector {
        let mut unequal = words.sum_of_bytes(acc);
        for word in bytemuck::cast_slice_mut::<_, u64>(std::slice::from_mut(&mut unequal)) {
            *word = (size_of::<u64>() * steps) as u64 - *word;
        }
        unequal
    }
}

/// The same of bytes in planes, 64 at a time: they differ where any of their bits does.
#[derive(Clone, Copy)]
pub(super) struct UnequalPlanes;

impl Count for UnequalPlanes {
    const MOST: usize = PLANES;

    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.or_unequal(acc, x, y)
    }
    #[inline(always)]
    fn total<W: Words>(words: W, acc: W::Vector, _: usize) -> W::Vector {
        words.common_bits(acc, acc)
    }
}

/// Σ xₗ·yₗ of numbers of 16 bits with a sign, whose magnitude is below 2⁸.
#[derive(Clone, Copy)]
pub(super) struct Products;

impl Count for Products {
    // two products a step, each of at most 2¹⁶
    const MOST: usize = 1 << (31 - 1 - 16 - 1);

    #[inline(always)]
    fn step<W: Words>(words: W, acc: W::Vector, x: W::Vector, y: W::Vector) -> W::Vector {
        words.add_products(acc, x, y)
    }
    #[inline(always)]
    fn total<W: Words>(_: W, mut acc: W::Vector, _: usize) -> W::Vector {
        for word in bytemuck::cast_slice_mut::<_, u64>(std::slice::from_mut(&mut acc)) {
            let [low, high]: [i32; 2] = bytemuck::cast(*word);
            *word = (i64::from(low) + i64::from(high)).cast_unsigned();
        }
        acc
    }
}

#[inline(always)]
fn largest_bytes<V: bytemuck::Pod>(mut acc: V) -> V {
    for word in bytemuck::cast_slice_mut::<_, u64>(std::slice::from_mut(&mut acc)) {
        *word = word.to_le_bytes().into_iter().fold(0, u8::max).into();
    }
    acc
}

/// The counts of no words.
#[inline(always)]
pub(super) fn zeros<W: Words, const MR: usize>(words: W) -> Counts<W, MR> {
    [[words.splat(0); NV]; MR]
}

/// `counts` after the words of two panels: `rows` holds MR for each word of a sample, `cols` NV vectors.
#[inline(always)]
#[allow(clippy::absurd_extreme_comparisons, reason = "rows that there are")]
pub(super) fn fold<W: Words, C: Count, const MR: usize>(
    words: W,
    (rows, cols): (&[u64], &[W::Vector]),
    mut counts: Counts<W, MR>,
) -> Counts<W, MR> {
    const { assert!(MR <= 8, "rows are written out here") };
    // one by one: a loop that the compiler does not unroll keeps `acc` in memory
    macro_rules! each_row {
        ($row:ident => $do:block) => {
            each_row!($row => $do, 0 1 2 3 4 5 6 7);
        };
        ($row:ident => $do:block, $($i:literal)*) => {$(
            if $i < MR {
                let $row = $i;
                $do
            }
        )*};
    }
    let most = C::MOST.min(rows.len() / MR).max(1);
    for (rows, cols) in rows.chunks(most * MR).zip(cols.chunks(most * NV)) {
        let (rows, _) = rows.as_chunks::<MR>();
        let (cols, _) = cols.as_chunks::<NV>();
        let mut acc = zeros::<W, MR>(words);
        for (x, y) in rows.iter().zip(cols) {
            each_row!(i => {
                let x = words.splat(x[i]);
                acc[i][0] = C::step(words, acc[i][0], x, y[0]);
                acc[i][1] = C::step(words, acc[i][1], x, y[1]);
            });
        }
        each_row!(i => {
            counts[i][0] = C::merged(words, counts[i][0], C::total(words, acc[i][0], rows.len()));
            counts[i][1] = C::merged(words, counts[i][1], C::total(words, acc[i][1], rows.len()));
        });
    }
    counts
}
