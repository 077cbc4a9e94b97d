//! Registers and memory: reads and writes of the lanes' elements, which lie side by side.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::lane::{Emit, Held, little};
use crate::codegen::Precision;
use crate::ty::Elem;

/// Memory accesses never trap: `Launch::new` has checked the bounds. Arrays of reals may lie at any address.
pub(super) fn plain() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Emit<'_, '_> {
    /// Reads the lanes side by side at `address + offset`.
    pub(super) fn load(&mut self, elem: Elem, address: Value, offset: i32) -> Held {
        let (real, lanes) = (self.lanes.real(), self.lanes);
        let ins = self.builder.ins();
        match elem {
            Elem::Real => Held::new(elem, ins.load(real, plain(), address, offset)),
            Elem::Int => {
                let low = ins.load(lanes.int(), plain(), address, offset);
                let high = if lanes.paired() {
                    let ins = self.builder.ins();
                    ins.load(types::I64X2, plain(), address, offset + 16)
                } else {
                    low
                };
                Held { elem, low, high }
            }
            Elem::Bool | Elem::Text if !lanes.wide => {
                Held::new(elem, ins.load(types::I8, plain(), address, offset))
            }
            Elem::Bool | Elem::Text => {
                let bytes = match lanes.precision {
                    Precision::F32 => ins.load(types::I32, plain(), address, offset),
                    Precision::F64 => {
                        let bytes = ins.load(types::I16, plain(), address, offset);
                        self.builder.ins().uextend(types::I32, bytes)
                    }
                };
                let bytes = self.builder.ins().scalar_to_vector(types::I32X4, bytes);
                let bytes = self.builder.ins().bitcast(types::I8X16, little(), bytes);
                let mut lanes = bytes;
                while self.builder.func.dfg.value_type(lanes) != self.lanes.bits() {
                    lanes = self.builder.ins().uwiden_low(lanes);
                }
                // A comparison tells Cranelift that a lane is all bits or none, which makes a choice one instruction.
                let zero = self.bits(0);
                Held::new(
                    elem,
                    self.builder
                        .ins()
                        .icmp(IntCC::SignedGreaterThan, lanes, zero),
                )
            }
        }
    }

    /// Writes the lanes side by side at `address + offset`.
    pub(super) fn store(&mut self, x: Held, address: Value, offset: i32) {
        match x.elem {
            Elem::Real => {
                self.builder.ins().store(plain(), x.low, address, offset);
            }
            Elem::Int => {
                self.builder.ins().store(plain(), x.low, address, offset);
                if self.lanes.paired() {
                    self.builder
                        .ins()
                        .store(plain(), x.high, address, offset + 16);
                }
            }
            Elem::Bool | Elem::Text if !self.lanes.wide => {
                self.builder.ins().store(plain(), x.low, address, offset);
            }
            Elem::Bool | Elem::Text => {
                let one = self.bits(1);
                let bits = self.builder.ins().band(x.low, one);
                let step = self.lanes.precision.bytes() as u8;
                let mut places = [0; 16];
                for (lane, place) in places.iter_mut().enumerate().take(self.lanes.count()) {
                    *place = lane as u8 * step;
                }
                let bytes = self.shuffle(bits, bits, places);
                let (vector, _) = match self.lanes.precision {
                    Precision::F32 => (types::I32X4, 4),
                    Precision::F64 => (types::I16X8, 2),
                };
                let bytes = self.builder.ins().bitcast(vector, little(), bytes);
                let bytes = self.builder.ins().extractlane(bytes, 0);
                self.builder.ins().store(plain(), bytes, address, offset);
            }
        }
    }
}

/// Bytes of an element in memory.
pub(super) fn bytes(elem: Elem, precision: Precision) -> usize {
    match elem {
        Elem::Real => precision.bytes(),
        Elem::Int => 8,
        Elem::Bool | Elem::Text => 1,
    }
}
