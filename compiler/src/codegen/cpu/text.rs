//! Functions of text: places are found by calls, and what follows from a place is arithmetic on addresses.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, Signature, StackSlotData, StackSlotKind, Type, Value, types,
};
use rlp_text::{Part, Pattern};

use super::lane::{Emit, Found, Held};
use super::memory::plain;
use crate::codegen::text::{self as called, Referent};
use crate::codegen::{Declined, Precision};
use crate::graph::TextOp;
use crate::ty::Elem;

/// An operand, and the text that it is if that is a constant.
#[derive(Clone, Copy)]
pub(super) struct Operand<'k> {
    pub(super) held: Held,
    pub(super) known: Option<&'k str>,
}

/// What a call gives back.
enum Gives {
    Bool,
    Int,
    Real,
    Nothing,
}

const POINTER: Type = types::I64;

impl Emit<'_, '_> {
    /// A text that the kernel names.
    pub(super) fn text_value(&mut self, text: &str) -> Held {
        let referent = Referent::Text(text.into());
        let address = self.referent(referent);
        let length = self.builder.ins().iconst(types::I64, text.len() as i64);
        text_held(address, length)
    }

    /// The address of something that lives as long as the code.
    fn referent(&mut self, referent: Referent) -> Value {
        let address = referent.address();
        self.referents.push(referent);
        self.builder.ins().iconst(POINTER, address)
    }

    /// The value of a function of text for one cell; `texts` is the address of the list of new texts.
    pub(super) fn text(
        &mut self,
        op: &TextOp,
        operands: &[Operand],
        texts: Value,
    ) -> Result<Held, Declined> {
        let operand = |place: usize| {
            operands
                .get(place)
                .copied()
                .ok_or_else(|| Declined::new("a function of text lacks an operand"))
        };
        let text = operand(0)?.held;
        Ok(match op {
            TextOp::Contains => {
                let place = self.find(text, operand(1)?);
                let is_there = self.is_there(place);
                Held::new(Elem::Bool, is_there)
            }
            TextOp::AfterFirst => {
                let place = self.find(text, operand(1)?);
                self.after(text, place, operand(1)?.held)
            }
            TextOp::AfterLast => {
                let place = self.find_last(text, operand(1)?);
                self.after(text, place, operand(1)?.held)
            }
            TextOp::Before => {
                let place = self.find(text, operand(1)?);
                let is_there = self.is_there(place);
                let length = self.builder.ins().select(is_there, place, text.high);
                text_held(text.low, length)
            }
            TextOp::Between => {
                let place = self.find(text, operand(1)?);
                let rest = self.after(text, place, operand(1)?.held);
                // Without the first marker there is no second: the rest is empty, in which an empty marker stands at 0.
                let place = self.find(rest, operand(2)?);
                let is_there = self.is_there(place);
                let none = self.builder.ins().iconst(types::I64, 0);
                let length = self.builder.ins().select(is_there, place, none);
                text_held(rest.low, length)
            }
            TextOp::StartsWith => {
                self.of_two(called::starts_with as *const (), Gives::Bool, operands)?
            }
            TextOp::EndsWith => {
                self.of_two(called::ends_with as *const (), Gives::Bool, operands)?
            }
            TextOp::Equal => self.of_two(called::equal as *const (), Gives::Bool, operands)?,
            TextOp::Occurrences => {
                self.of_two(called::occurrences as *const (), Gives::Int, operands)?
            }
            TextOp::EditDistance => {
                self.of_two(called::edit_distance as *const (), Gives::Int, operands)?
            }
            TextOp::Words => self.call_of(called::words as *const (), Gives::Int, &[text]),
            TextOp::Length => self.call_of(called::characters as *const (), Gives::Int, &[text]),
            TextOp::Number => {
                let mut otherwise = operand(1)?.held.low;
                if self.lanes.precision == Precision::F32 {
                    otherwise = self.builder.ins().fpromote(types::F64, otherwise);
                }
                let arguments = [text.low, text.high, otherwise];
                self.call_with(called::number as *const (), Gives::Real, &arguments)
            }
            TextOp::Repetition(n) => {
                let n = self.builder.ins().iconst(types::I64, i64::from(*n));
                let arguments = [text.low, text.high, n];
                self.call_with(called::repetition as *const (), Gives::Real, &arguments)
            }
            TextOp::Matches(pattern) => {
                let pattern = self.pattern(pattern)?;
                let arguments = [pattern, text.low, text.high];
                self.call_with(called::matches as *const (), Gives::Bool, &arguments)
            }
            TextOp::Captures { pattern, group } => {
                let pattern = self.pattern(pattern)?;
                let group = self.builder.ins().iconst(types::I32, i64::from(*group));
                self.part(
                    called::captures as *const (),
                    &[pattern, group, text.low, text.high],
                )
            }
            TextOp::Trim => self.part(called::trim as *const (), &[text.low, text.high]),
            TextOp::Lower => self.part(called::lower as *const (), &[texts, text.low, text.high]),
            TextOp::Upper => self.part(called::upper as *const (), &[texts, text.low, text.high]),
            TextOp::Join => {
                let other = operand(1)?.held;
                let arguments = [texts, text.low, text.high, other.low, other.high];
                self.part(called::join as *const (), &arguments)
            }
            TextOp::Replace => {
                let (old, new) = (operand(1)?.held, operand(2)?.held);
                let arguments = [
                    texts, text.low, text.high, old.low, old.high, new.low, new.high,
                ];
                self.part(called::replace as *const (), &arguments)
            }
        })
    }

    fn find(&mut self, text: Held, part: Operand) -> Value {
        match part.known {
            Some(known) => self.find_known(text, known),
            None => {
                self.call_of(called::find as *const (), Gives::Int, &[text, part.held])
                    .low
            }
        }
    }

    fn find_known(&mut self, text: Held, known: &str) -> Value {
        let block = self.builder.current_block();
        let is_same = |found: &&Found| {
            let is_here = Some(found.block) == block || self.around.contains(&found.block);
            is_here && found.text == [text.low, text.high] && found.part == known
        };
        if let Some(found) = self.found.iter().find(is_same) {
            return found.place;
        }
        let part = self.referent(Referent::Part(Box::new(Part::new(known))));
        let arguments = [part, text.low, text.high];
        let place = self
            .call_with(called::find_known as *const (), Gives::Int, &arguments)
            .low;
        self.found.extend(block.map(|block| Found {
            block,
            text: [text.low, text.high],
            part: known.to_string(),
            place,
        }));
        place
    }

    fn find_last(&mut self, text: Held, part: Operand) -> Value {
        match part.known {
            Some(known) => {
                let part = self.referent(Referent::Part(Box::new(Part::new(known))));
                let arguments = [part, text.low, text.high];
                self.call_with(called::find_last_known as *const (), Gives::Int, &arguments)
            }
            None => self.call_of(
                called::find_last as *const (),
                Gives::Int,
                &[text, part.held],
            ),
        }
        .low
    }

    fn is_there(&mut self, place: Value) -> Value {
        let ins = self.builder.ins();
        ins.icmp_imm_s(IntCC::SignedGreaterThanOrEqual, place, 0)
    }

    /// What follows a marker at a place; "" if that is −1.
    fn after(&mut self, text: Held, place: Value, marker: Held) -> Held {
        let is_there = self.is_there(place);
        let start = self.builder.ins().iadd(place, marker.high);
        let address = self.builder.ins().iadd(text.low, start);
        let rest = self.builder.ins().isub(text.high, start);
        let none = self.builder.ins().iconst(types::I64, 0);
        let address = self.builder.ins().select(is_there, address, text.low);
        let length = self.builder.ins().select(is_there, rest, none);
        text_held(address, length)
    }

    fn pattern(&mut self, pattern: &str) -> Result<Value, Declined> {
        let pattern = Pattern::new(pattern).map_err(|why| {
            Declined::new(format!("its regular expression has no meaning: {why}"))
        })?;
        Ok(self.referent(Referent::Pattern(Box::new(pattern))))
    }

    fn of_two(
        &mut self,
        function: *const (),
        gives: Gives,
        operands: &[Operand],
    ) -> Result<Held, Declined> {
        match operands {
            [a, b] => Ok(self.call_of(function, gives, &[a.held, b.held])),
            _ => Err(Declined::new("a function of two texts has other operands")),
        }
    }

    fn call_of(&mut self, function: *const (), gives: Gives, texts: &[Held]) -> Held {
        let arguments: Vec<Value> = texts
            .iter()
            .flat_map(|text| [text.low, text.high])
            .collect();
        self.call_with(function, gives, &arguments)
    }

    fn call_with(&mut self, function: *const (), gives: Gives, arguments: &[Value]) -> Held {
        let result = self.call_address(function, &gives, arguments);
        match (gives, result) {
            (Gives::Bool, Some(value)) => Held::new(Elem::Bool, value),
            (Gives::Real, Some(value)) => {
                let value = match self.lanes.precision {
                    Precision::F32 => self.builder.ins().fdemote(types::F32, value),
                    Precision::F64 => value,
                };
                Held::new(Elem::Real, value)
            }
            (Gives::Int | Gives::Nothing, Some(value)) => Held::new(Elem::Int, value),
            (Gives::Bool | Gives::Int | Gives::Real | Gives::Nothing, None) => self.int(0),
        }
    }

    /// A text that a function writes where its first argument says.
    fn part(&mut self, function: *const (), arguments: &[Value]) -> Held {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 3);
        let slot = self.builder.create_sized_stack_slot(slot);
        let result = self.builder.ins().stack_addr(POINTER, slot, 0);
        let arguments: Vec<Value> = [result]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.call_address(function, &Gives::Nothing, &arguments);
        let low = self.builder.ins().load(POINTER, plain(), result, 0);
        let high = self.builder.ins().load(types::I64, plain(), result, 8);
        text_held(low, high)
    }

    fn call_address(
        &mut self,
        function: *const (),
        gives: &Gives,
        arguments: &[Value],
    ) -> Option<Value> {
        let mut signature = Signature::new(self.builder.func.signature.call_conv);
        for &argument in arguments {
            let ty = self.builder.func.dfg.value_type(argument);
            signature.params.push(AbiParam::new(ty));
        }
        let returns = match gives {
            Gives::Bool => Some(types::I8),
            Gives::Int => Some(types::I64),
            Gives::Real => Some(types::F64),
            Gives::Nothing => None,
        };
        signature.returns.extend(returns.map(AbiParam::new));
        let signature = self.builder.import_signature(signature);
        let address = self.builder.ins().iconst(POINTER, function as i64);
        let call = self
            .builder
            .ins()
            .call_indirect(signature, address, arguments);
        self.builder.inst_results(call).first().copied()
    }
}

fn text_held(address: Value, length: Value) -> Held {
    Held {
        elem: Elem::Text,
        low: address,
        high: length,
    }
}
