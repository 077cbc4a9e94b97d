//! What a kernel means, on arrays of tests.

use std::collections::BTreeMap;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::kernel::{self, Form, Kernel, Level, Output, ValueId};
use rlp_compiler::ty::DimId;

use crate::arrays::Sizes;

pub(crate) struct Meaning {
    pub(crate) outputs: Vec<Elements>,
    /// The largest finite number on the way.
    pub(crate) magnitude: f64,
}

/// The outputs of a kernel, computed as `kernel::interpret` does.
pub(crate) fn interpret(kernel: &Kernel, sizes: &Sizes, inputs: &[Elements]) -> Meaning {
    // All cells along one dimension, if there are several.
    let of_cells = [sizes.cells].into_iter().chain(std::iter::repeat(1));
    let named = kernel.rows.iter().zip(sizes.rows.iter().copied());
    let named: BTreeMap<DimId, usize> = named
        .chain(kernel.cells.iter().zip(of_cells))
        .map(|(&dim, size)| (dim, size))
        .collect();
    let inputs: Vec<Array> = kernel
        .inputs
        .iter()
        .zip(inputs)
        .map(|(input, elements)| Array {
            shape: input.dims.iter().map(|dim| named[dim]).collect(),
            elements: elements.clone(),
        })
        .collect();
    // As if every value were given out.
    let mut all = kernel.clone();
    for (index, instruction) in kernel.body.iter().enumerate() {
        all.outputs.push(Output {
            node: instruction.node,
            value: ValueId(index as u32),
            form: match instruction.level {
                Level::Row => Form::Rows,
                Level::Cell => Form::Cells,
            },
        });
    }
    let values = kernel::interpret(&all, &named, &inputs).unwrap();
    let mut values: Vec<Elements> = values.into_iter().map(|array| array.elements).collect();
    let on_the_way = values.split_off(kernel.outputs.len());
    let numbers = on_the_way.iter().flat_map(|elements| match elements {
        Elements::Real(numbers) => numbers.as_slice(),
        Elements::Int(_) | Elements::Bool(_) | Elements::Text(_) => &[],
    });
    let finite = numbers.filter(|x| x.is_finite());
    Meaning {
        outputs: values,
        magnitude: finite.fold(0.0, |largest, x| x.abs().max(largest)),
    }
}
