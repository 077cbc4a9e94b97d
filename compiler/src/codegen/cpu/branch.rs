//! Branches of cells that are computed one by one: what only one side of a choice reads, and is dear, is computed only where
//! that side is taken.

use cranelift_codegen::ir::{Block, BlockArg, InstBuilder};

use super::cell::At;
use super::function::Function;
use super::lane::{Emit, Held};
use super::operand::{operands, own_cost};
use super::passes::Pass;
use crate::codegen::Declined;
use crate::graph::TextOp;
use crate::kernel::{Instruction, Kernel, KernelOp, ValueId};
use crate::ty::Elem;

/// A side that costs less, in instructions, is computed whether it is taken or not: a branch that is guessed wrongly costs
/// more.
const WORTH_A_BRANCH: u32 = 100;

/// One side of a `Select`, by its index and whether it is that of a condition that holds; none: always.
type Side = Option<(usize, bool)>;

/// Where the values of a pass are computed.
pub(super) struct Branches {
    sides: Vec<Side>,
    /// Condition and results of the `Select`s that branch.
    selects: Vec<Option<[ValueId; 3]>>,
}

impl Branches {
    pub(super) fn new(kernel: &Kernel, pass: &Pass) -> Result<Branches, Declined> {
        let body = &kernel.body;
        let mut sides: Vec<Side> = vec![None; body.len()];
        let mut is_read = vec![false; body.len()];
        for root in pass.roots(kernel) {
            is_read[root] = true;
        }
        // Readers stand after what they read.
        for &reader in pass.values.iter().rev() {
            for value in operands(kernel, &body[reader], reader)? {
                let mut own = sides[reader];
                if let KernelOp::Select(condition, then, otherwise) = &body[reader].op {
                    let is = |operand: &ValueId| operand.0 as usize == value;
                    if !is(condition) && is(then) != is(otherwise) {
                        own = Some((reader, is(then)));
                    }
                }
                sides[value] = if is_read[value] {
                    common(&sides, sides[value], own)
                } else {
                    own
                };
                is_read[value] = true;
            }
        }
        let mut costs = vec![[0u32; 2]; body.len()];
        for &value in &pass.values {
            let cost = cost(kernel, value);
            let mut side = sides[value];
            while let Some((select, is_then)) = side {
                let sum = &mut costs[select][usize::from(is_then)];
                *sum = sum.saturating_add(cost);
                side = sides[select];
            }
        }
        let select = |(instruction, [otherwise, then]): (&Instruction, [u32; 2])| {
            let KernelOp::Select(condition, on_true, on_false) = instruction.op else {
                return None;
            };
            (then.max(otherwise) >= WORTH_A_BRANCH).then_some([condition, on_true, on_false])
        };
        let selects: Vec<Option<[ValueId; 3]>> = body.iter().zip(costs).map(select).collect();
        // What is in a side that does not branch is in what is around it. `Select`s stand after what is in them.
        for index in (0..body.len()).rev() {
            while let Some((select, _)) = sides[index] {
                if selects[select].is_some() {
                    break;
                }
                sides[index] = sides[select];
            }
        }
        Ok(Branches { sides, selects })
    }
}

/// The innermost side that both are in.
fn common(sides: &[Side], a: Side, b: Side) -> Side {
    let mut a = a;
    loop {
        let mut around = b;
        loop {
            if a == around {
                return a;
            }
            let Some((select, _)) = around else { break };
            around = sides[select];
        }
        let (select, _) = a?;
        a = sides[select];
    }
}

/// In instructions; little where a part is looked for that has been looked for before.
fn cost(kernel: &Kernel, index: usize) -> u32 {
    let search = search(kernel, index);
    if search.is_some() && (0..index).any(|earlier| self::search(kernel, earlier) == search) {
        return 1;
    }
    own_cost(&kernel.body[index])
}

/// The text in which an instruction looks for a known part from the start, and that part.
fn search(kernel: &Kernel, index: usize) -> Option<(ValueId, &str)> {
    let KernelOp::Text(op, operands) = &kernel.body[index].op else {
        return None;
    };
    let searches = matches!(
        op,
        TextOp::Contains | TextOp::AfterFirst | TextOp::Before | TextOp::Between
    );
    let &[text, part, ..] = operands.as_slice() else {
        return None;
    };
    match kernel.body.get(part.0 as usize).map(|part| &part.op) {
        Some(KernelOp::TextValue(part)) if searches => Some((text, part)),
        Some(_) | None => None,
    }
}

impl Function<'_> {
    /// The values of one cell that are always computed, and of branches what they come to.
    pub(super) fn values_in_branches(
        &self,
        emit: &mut Emit,
        at: &At,
        pass: &Pass,
    ) -> Result<Vec<Option<Held>>, Declined> {
        let branches = Branches::new(self.kernel, pass)?;
        let mut values = vec![None; self.kernel.body.len()];
        let depth = emit.around.len();
        self.side(emit, at, pass, &branches, None, &mut values)?;
        emit.around.truncate(depth);
        Ok(values)
    }

    fn side(
        &self,
        emit: &mut Emit,
        at: &At,
        pass: &Pass,
        branches: &Branches,
        side: Side,
        values: &mut Vec<Option<Held>>,
    ) -> Result<(), Declined> {
        for &index in pass.values.iter().filter(|&&it| branches.sides[it] == side) {
            let Some([condition, then, otherwise]) = branches.selects[index] else {
                values[index] = self.cell_value(emit, at, &pass.values, values, index)?;
                continue;
            };
            let condition = self.operand(emit, at, values, condition)?;
            let [on_true, on_false, after] = [(); 3].map(|()| emit.builder.create_block());
            emit.around.extend(emit.builder.current_block());
            let ins = emit.builder.ins();
            ins.brif(condition.low, on_true, &[], on_false, &[]);
            for (block, is_then, result) in [(on_true, true, then), (on_false, false, otherwise)] {
                emit.builder.switch_to_block(block);
                let depth = emit.around.len();
                let side = Some((index, is_then));
                self.side(emit, at, pass, branches, side, values)?;
                let result = self.operand(emit, at, values, result)?;
                emit.around.truncate(depth);
                leave(emit, result, after);
            }
            emit.builder.switch_to_block(after);
            values[index] = Some(arrive(emit, self.kernel.body[index].elem, after)?);
        }
        Ok(())
    }
}

/// Jumps to a block with a value, whose registers become the block's parameters.
fn leave(emit: &mut Emit, value: Held, to: Block) {
    let registers: &[_] = if value.elem == Elem::Text {
        &[value.low, value.high]
    } else {
        &[value.low]
    };
    if emit.builder.block_params(to).is_empty() {
        for &register in registers {
            let ty = emit.builder.func.dfg.value_type(register);
            emit.builder.append_block_param(to, ty);
        }
    }
    let arguments: Vec<BlockArg> = registers.iter().map(|&it| BlockArg::Value(it)).collect();
    emit.builder.ins().jump(to, &arguments);
}

fn arrive(emit: &Emit, elem: Elem, block: Block) -> Result<Held, Declined> {
    match *emit.builder.block_params(block) {
        [low, high] => Ok(Held { elem, low, high }),
        [value] => Ok(Held::new(elem, value)),
        _ => Err(Declined::new("a branch has no value")),
    }
}
