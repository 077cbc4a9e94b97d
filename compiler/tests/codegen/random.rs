//! Random kernels on random arrays, in both precisions, against what their operations mean.

use proptest::prelude::*;

use rlp_compiler::array::Elements;
use rlp_compiler::codegen::{Precision, cpu};
use rlp_compiler::kernel::Kernel;
use rlp_compiler::ty::Elem;

use crate::arrays::{Sizes, run};
use crate::generate::{Choice, generate};
use crate::reference::interpret;

fn inputs(kernel: &Kernel, sizes: &Sizes, choice: &mut Choice) -> Vec<Elements> {
    let special = choice.one_in(3);
    let mask_odds = choice.of(&[1, 2, 5, 1000]);
    kernel
        .inputs
        .iter()
        .map(|input| {
            let count = sizes.count(kernel, &input.dims);
            match input.elem {
                Elem::Real => Elements::Real(
                    (0..count)
                        .map(|_| {
                            if special && choice.one_in(20) {
                                let tiny = f64::from(1e-40f32);
                                choice.of(&[
                                    f64::NAN,
                                    f64::INFINITY,
                                    -f64::INFINITY,
                                    0.0,
                                    -0.0,
                                    tiny,
                                ])
                            } else {
                                f64::from(choice.number(80001) as f32 / 10000.0 - 4.0)
                            }
                        })
                        .collect(),
                ),
                Elem::Int => Elements::Int(
                    (0..count)
                        .map(|_| {
                            if special && choice.one_in(20) {
                                choice.of(&[i64::MIN, i64::MAX, 0, -1])
                            } else {
                                choice.number(41) as i64 - 20
                            }
                        })
                        .collect(),
                ),
                Elem::Bool => {
                    Elements::Bool((0..count).map(|_| !choice.one_in(mask_odds)).collect())
                }
                Elem::Text => unreachable!("no text in kernels"),
            }
        })
        .collect()
}

fn agree(found: &Elements, expected: &Elements, tolerance: f64) -> Result<(), String> {
    match (found, expected) {
        (Elements::Real(found), Elements::Real(expected)) => {
            for (place, (x, y)) in found.iter().zip(expected).enumerate() {
                let close = x == y
                    || x.is_nan() && y.is_nan()
                    || (x - y).abs() <= tolerance * (1.0 + y.abs());
                if !close {
                    return Err(format!("at {place}: {x} is not {y}, within {tolerance:e}"));
                }
            }
            (found.len() == expected.len())
                .then_some(())
                .ok_or("length".to_string())
        }
        _ if found == expected => Ok(()),
        _ => Err(format!("{found:?} is not {expected:?}")),
    }
}

const CELLS: [usize; 6] = [0, 1, 3, 5, 17, 1000];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_kernels_mean_what_their_operations_mean(
        seed in any::<u64>(), rows in 0u32..4, cells in 0u32..3, length in 1usize..30,
    ) {
        let kernel = generate(seed, rows, cells, length);
        let mut choice = Choice(seed.rotate_left(17) | 1);
        let codes = [(Precision::F32, 1e-5), (Precision::F64, 1e-12)]
            .map(|(precision, tolerance)| (cpu::compile_verified(&kernel, precision), tolerance));
        for _ in 0..3 {
            let sizes = Sizes {
                rows: (0..rows).map(|_| if choice.one_in(20) { 0 } else { choice.of(&[1, 2, 3, 5]) }).collect(),
                cells: if cells == 0 { 1 } else { choice.of(&CELLS) },
            };
            if sizes.row_count() * sizes.cells > 1 << 15 {
                continue;
            }
            let inputs = inputs(&kernel, &sizes, &mut choice);
            let expected = interpret(&kernel, &sizes, &inputs);
            for (code, tolerance) in &codes {
                let code = code.as_ref().map_err(|declined| TestCaseError::fail(declined.to_string()))?;
                let tolerance = tolerance * (1.0 + expected.magnitude);
                let found = run(&kernel, code, &sizes, &inputs, 1);
                for (number, (found, expected)) in found.iter().zip(&expected.outputs).enumerate() {
                    if let Err(wrong) = agree(found, expected, tolerance) {
                        prop_assert!(false, "{:?}: output {number} of {:?} cells {}: {wrong}\n{kernel:#?}", code.precision(), sizes.rows, sizes.cells);
                    }
                }
            }
        }
    }
}

/// The bits, in which what is not a number equals itself.
fn bits(elements: &Elements) -> Vec<u64> {
    match elements {
        Elements::Real(x) => x.iter().map(|x| x.to_bits()).collect(),
        Elements::Int(x) => x.iter().map(|&x| x as u64).collect(),
        Elements::Bool(x) => x.iter().map(|&x| u64::from(x)).collect(),
        Elements::Text(_) => unreachable!("no text in kernels"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn results_do_not_depend_on_threads(
        seed in any::<u64>(), rows in 1u32..3, cells in 0u32..2,
        shape in prop::sample::select(vec![[1usize, 70_000], [40_000, 2], [13, 9_000]]),
    ) {
        let kernel = generate(seed, rows, cells, 8);
        let mut choice = Choice(seed.rotate_left(9) | 1);
        let code = cpu::compile(&kernel, Precision::F32).map_err(|declined| TestCaseError::fail(declined.to_string()))?;
        let sizes = Sizes {
            rows: [&[shape[0]][..], &[1, 1][..rows as usize - 1]].concat(),
            cells: if cells == 0 { 1 } else { shape[1] },
        };
        let inputs = inputs(&kernel, &sizes, &mut choice);
        let [one, two, three] = [1, 2, 3].map(|threads| {
            run(&kernel, &code, &sizes, &inputs, threads).iter().map(bits).collect::<Vec<_>>()
        });
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(&one, &three);
    }
}
