//! Values in registers: one cell, or as many as a vector of reals holds, with the same operations on both.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    Block, Endianness, FuncRef, Inst, InstBuilder, MemFlagsData, Type, Value, immediates::Ieee32,
    immediates::Ieee64, types,
};
use cranelift_frontend::FunctionBuilder;

use super::memory::plain;
use crate::codegen::Precision;
use crate::codegen::text::Referent;
use crate::ty::Elem;

/// How many cells a register holds, and in which format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lanes {
    pub(super) precision: Precision,
    pub(super) wide: bool,
}

impl Lanes {
    pub(super) fn scalar(precision: Precision) -> Lanes {
        Lanes {
            precision,
            wide: false,
        }
    }

    pub(super) fn wide(precision: Precision) -> Lanes {
        Lanes {
            precision,
            wide: true,
        }
    }

    pub(super) fn count(self) -> usize {
        match (self.wide, self.precision) {
            (false, _) => 1,
            (true, Precision::F32) => 4,
            (true, Precision::F64) => 2,
        }
    }

    pub(super) fn real(self) -> Type {
        match (self.wide, self.precision) {
            (false, Precision::F32) => types::F32,
            (false, Precision::F64) => types::F64,
            (true, Precision::F32) => types::F32X4,
            (true, Precision::F64) => types::F64X2,
        }
    }

    /// Integers of the width of a real, for their bits.
    pub(super) fn bits(self) -> Type {
        match (self.wide, self.precision) {
            (false, Precision::F32) => types::I32,
            (false, Precision::F64) => types::I64,
            (true, Precision::F32) => types::I32X4,
            (true, Precision::F64) => types::I64X2,
        }
    }

    /// Bools: 0 or 1 of one cell, no bits or all of each lane.
    pub(super) fn mask(self) -> Type {
        if self.wide { self.bits() } else { types::I8 }
    }

    pub(super) fn int(self) -> Type {
        if self.wide { types::I64X2 } else { types::I64 }
    }

    /// Whether ints take two registers.
    pub(super) fn paired(self) -> bool {
        self.wide && self.precision == Precision::F32
    }
}

/// A value in one register, or in two: ints beside reals of half their width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) elem: Elem,
    pub(super) low: Value,
    /// The same as `low` if there is one register.
    pub(super) high: Value,
}

impl Held {
    pub(super) fn new(elem: Elem, value: Value) -> Held {
        Held {
            elem,
            low: value,
            high: value,
        }
    }
}

/// Functions that are called, one cell at a time.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    pub(super) sin: FuncRef,
    pub(super) cos: FuncRef,
    pub(super) tan: FuncRef,
    pub(super) atan: FuncRef,
    pub(super) pow: FuncRef,
    pub(super) remainder: FuncRef,
}

/// Vector constants of a function, in memory.
#[derive(Default)]
pub(super) struct Constants {
    /// Of `words`, where the function has read it.
    pub(super) address: Option<Value>,
    pub(super) words: Vec<u128>,
    kept: Option<Kept>,
}

/// Constants that stay in registers for the time of a loop: those that it reads first.
struct Kept {
    /// What enters the loop.
    before: Inst,
    most: usize,
    values: Vec<(usize, Type, Value)>,
}

impl Constants {
    /// Keeps up to so many of those that are read from here on, loaded before an instruction.
    pub(super) fn keep_before(&mut self, before: Inst, most: usize) {
        let values = Vec::new();
        self.kept = Some(Kept {
            before,
            most,
            values,
        });
    }

    pub(super) fn keep_no_more(&mut self) {
        self.kept = None;
    }
}

/// What instructions are added to, and for how many cells each.
pub(super) struct Emit<'f, 'b> {
    pub(super) builder: &'f mut FunctionBuilder<'b>,
    pub(super) constants: Constants,
    /// What the code refers to by address.
    pub(super) referents: Vec<Referent>,
    pub(super) lanes: Lanes,
    pub(super) calls: Calls,
    /// Places of known parts in texts.
    pub(super) found: Vec<Found>,
    /// The blocks that lead to a branch which is being filled, or has been: what they told is known in it and behind it.
    pub(super) around: Vec<Block>,
}

/// Where a known part stands in a text first, told in a block of the code; it need not be looked for again there
/// and in what that block leads to.
pub(super) struct Found {
    pub(super) block: Block,
    pub(super) text: [Value; 2],
    pub(super) part: String,
    pub(super) place: Value,
}

pub(super) fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Emit<'_, '_> {
    /// The same emitter for other lanes, for the time of `f`.
    pub(super) fn with<T>(&mut self, lanes: Lanes, f: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.lanes, lanes);
        let result = f(self);
        self.lanes = own;
        result
    }

    /// A vector constant, loaded where it is used unless the loop keeps it: there are few registers, and one that it held
    /// would send others to the stack.
    pub(super) fn vector(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let word = u128::from_le_bytes(bytes);
        let pool = match self.constants.address {
            Some(pool) if word != 0 && word != u128::MAX => pool,
            Some(_) | None => {
                let constant = bytes.as_slice().into();
                let constant = self.builder.func.dfg.constants.insert(constant);
                return self.builder.ins().vconst(ty, constant);
            }
        };
        let Constants { words, kept, .. } = &mut self.constants;
        let place = words
            .iter()
            .position(|&own| own == word)
            .unwrap_or(words.len());
        if place == words.len() {
            words.push(word);
        }
        let offset = (place * 16) as i32;
        let aligned = plain().with_aligned();
        let Some(kept) = kept else {
            return self.builder.ins().load(ty, aligned, pool, offset);
        };
        let is_same = |own: &&(usize, Type, Value)| (own.0, own.1) == (place, ty);
        if let Some(&(_, _, value)) = kept.values.iter().find(is_same) {
            return value;
        }
        if kept.values.len() >= kept.most {
            return self.builder.ins().load(ty, aligned, pool, offset);
        }
        let mut outside = FuncCursor::new(self.builder.func).at_inst(kept.before);
        let value = outside.ins().load(ty, aligned, pool, offset);
        kept.values.push((place, ty, value));
        value
    }

    pub(super) fn real(&mut self, x: f64) -> Value {
        match self.lanes.precision {
            Precision::F32 => self.bit_pattern(i64::from((x as f32).to_bits())),
            Precision::F64 => self.bit_pattern(x.to_bits() as i64),
        }
    }

    /// The real with these bits.
    fn bit_pattern(&mut self, bits: i64) -> Value {
        match (self.lanes.wide, self.lanes.precision) {
            (false, Precision::F32) => self.builder.ins().f32const(Ieee32::with_bits(bits as u32)),
            (false, Precision::F64) => self.builder.ins().f64const(Ieee64::with_bits(bits as u64)),
            (true, _) => {
                let bytes = self.repeated(bits);
                self.vector(self.lanes.real(), bytes)
            }
        }
    }

    /// An integer of the width of a real.
    pub(super) fn bits(&mut self, bits: i64) -> Value {
        if self.lanes.wide {
            let bytes = self.repeated(bits);
            self.vector(self.lanes.bits(), bytes)
        } else {
            self.builder.ins().iconst(
                self.lanes.bits(),
                match self.lanes.precision {
                    Precision::F32 => i64::from(bits as u32),
                    Precision::F64 => bits,
                },
            )
        }
    }

    fn repeated(&self, bits: i64) -> [u8; 16] {
        let mut bytes = [0; 16];
        let size = self.lanes.precision.bytes();
        for lane in bytes.chunks_exact_mut(size) {
            lane.copy_from_slice(&bits.to_le_bytes()[..size]);
        }
        bytes
    }

    pub(super) fn int(&mut self, x: i64) -> Held {
        let value = if self.lanes.wide {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&x.to_le_bytes());
            bytes[8..].copy_from_slice(&x.to_le_bytes());
            self.vector(types::I64X2, bytes)
        } else {
            self.builder.ins().iconst(types::I64, x)
        };
        Held::new(Elem::Int, value)
    }

    pub(super) fn bool(&mut self, x: bool) -> Value {
        if self.lanes.wide {
            self.bits(if x { -1 } else { 0 })
        } else {
            self.builder.ins().iconst(types::I8, i64::from(x))
        }
    }

    pub(super) fn as_bits(&mut self, x: Value) -> Value {
        let ty = self.lanes.bits();
        self.builder.ins().bitcast(ty, little(), x)
    }

    pub(super) fn as_real(&mut self, x: Value) -> Value {
        let ty = self.lanes.real();
        self.builder.ins().bitcast(ty, little(), x)
    }

    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fadd(a, b)
    }

    pub(super) fn sub(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fsub(a, b)
    }

    pub(super) fn mul(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fmul(a, b)
    }

    pub(super) fn div(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fdiv(a, b)
    }

    /// a·b + c, rounded once.
    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.builder.ins().fma(a, b, c)
    }

    pub(super) fn negative(&mut self, a: Value) -> Value {
        self.builder.ins().fneg(a)
    }

    pub(super) fn abs(&mut self, a: Value) -> Value {
        self.builder.ins().fabs(a)
    }

    pub(super) fn compare(&mut self, condition: FloatCC, a: Value, b: Value) -> Value {
        self.builder.ins().fcmp(condition, a, b)
    }

    /// Of reals, or of integers of their width.
    pub(super) fn choose(&mut self, mask: Value, then: Value, otherwise: Value) -> Value {
        if !self.lanes.wide {
            return self.builder.ins().select(mask, then, otherwise);
        }
        let ty = self.builder.func.dfg.value_type(then);
        let mask = if ty == self.builder.func.dfg.value_type(mask) {
            mask
        } else {
            self.builder.ins().bitcast(ty, little(), mask)
        };
        self.builder.ins().bitselect(mask, then, otherwise)
    }

    /// `x` where the mask holds, otherwise 0.
    pub(super) fn keep(&mut self, mask: Value, x: Value) -> Value {
        if self.lanes.wide {
            let bits = self.as_bits(x);
            let kept = self.builder.ins().band(bits, mask);
            self.as_real(kept)
        } else {
            let zero = self.real(0.0);
            self.builder.ins().select(mask, x, zero)
        }
    }

    /// The bools as ints' lanes: all bits or none.
    pub(super) fn int_masks(&mut self, mask: Value) -> (Value, Value) {
        if self.lanes.paired() {
            (
                self.builder.ins().swiden_low(mask),
                self.builder.ins().swiden_high(mask),
            )
        } else {
            (mask, mask)
        }
    }

    pub(super) fn choose_held(&mut self, mask: Value, then: Held, otherwise: Held) -> Held {
        match then.elem {
            Elem::Real => Held::new(Elem::Real, self.choose(mask, then.low, otherwise.low)),
            Elem::Int => {
                let (low, high) = self.int_masks(mask);
                self.ints(then, otherwise, |emit, a, b, is_high| {
                    emit.choose(if is_high { high } else { low }, a, b)
                })
            }
            Elem::Bool => Held::new(then.elem, self.choose(mask, then.low, otherwise.low)),
            Elem::Text => Held {
                elem: Elem::Text,
                low: self.choose(mask, then.low, otherwise.low),
                high: self.choose(mask, then.high, otherwise.high),
            },
        }
    }

    /// 1 where the bool holds, otherwise 0.
    pub(super) fn bool_to_int(&mut self, mask: Value) -> Held {
        if !self.lanes.wide {
            return Held::new(Elem::Int, self.builder.ins().uextend(types::I64, mask));
        }
        let (low, high) = self.int_masks(mask);
        let one = self.int(1).low;
        Held {
            elem: Elem::Int,
            low: self.builder.ins().band(low, one),
            high: self.builder.ins().band(high, one),
        }
    }

    /// One operation on each register of two ints.
    pub(super) fn ints(
        &mut self,
        a: Held,
        b: Held,
        operation: impl Fn(&mut Self, Value, Value, bool) -> Value,
    ) -> Held {
        let low = operation(self, a.low, b.low, false);
        let high = if self.lanes.paired() {
            operation(self, a.high, b.high, true)
        } else {
            low
        };
        Held {
            elem: Elem::Int,
            low,
            high,
        }
    }

    pub(super) fn compare_ints(&mut self, condition: IntCC, a: Held, b: Held) -> Value {
        let low = self.builder.ins().icmp(condition, a.low, b.low);
        if !self.lanes.paired() {
            return low;
        }
        let high = self.builder.ins().icmp(condition, a.high, b.high);
        // The lower half of each lane.
        let places = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
        let halves = self.shuffle(low, high, places);
        self.builder.ins().bitcast(types::I32X4, little(), halves)
    }
}
