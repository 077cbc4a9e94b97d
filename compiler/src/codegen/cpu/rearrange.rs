//! Values between lanes: into all of them, out of one, through operations that only single cells have.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

use super::lane::{Emit, Held, Lanes, little};
use crate::ty::Elem;

impl Emit<'_, '_> {
    /// One cell's value in all lanes.
    pub(super) fn splat(&mut self, x: Held) -> Held {
        if !self.lanes.wide {
            return x;
        }
        let value = match x.elem {
            Elem::Real => self.builder.ins().splat(self.lanes.real(), x.low),
            Elem::Int => self.builder.ins().splat(types::I64X2, x.low),
            Elem::Bool | Elem::Text => {
                let lane = self.lanes.bits().lane_type();
                let bits = self.builder.ins().uextend(lane, x.low);
                let bits = self.builder.ins().ineg(bits);
                self.builder.ins().splat(self.lanes.bits(), bits)
            }
        };
        Held::new(x.elem, value)
    }

    /// The value of one lane.
    pub(super) fn lane(&mut self, x: Held, lane: usize) -> Value {
        if !self.lanes.wide {
            return x.low;
        }
        match x.elem {
            Elem::Real => self.builder.ins().extractlane(x.low, lane as u8),
            Elem::Int => {
                let register = if lane < 2 { x.low } else { x.high };
                self.builder.ins().extractlane(register, (lane % 2) as u8)
            }
            Elem::Bool | Elem::Text => {
                let bits = self.builder.ins().extractlane(x.low, lane as u8);
                self.builder.ins().icmp_imm_s(IntCC::NotEqual, bits, 0)
            }
        }
    }

    /// The lanes' values in one vector.
    pub(super) fn gather(&mut self, elem: Elem, lanes: &[Value]) -> Held {
        let join = |emit: &mut Self, ty: Type, lanes: &[Value]| {
            let mut vector = emit.builder.ins().scalar_to_vector(ty, lanes[0]);
            for (lane, &value) in lanes.iter().enumerate().skip(1) {
                vector = emit.builder.ins().insertlane(vector, value, lane as u8);
            }
            vector
        };
        match elem {
            Elem::Real => Held::new(elem, join(self, self.lanes.real(), lanes)),
            Elem::Int => Held {
                elem,
                low: join(self, types::I64X2, &lanes[..2]),
                high: join(self, types::I64X2, &lanes[lanes.len() - 2..]),
            },
            Elem::Bool | Elem::Text => {
                let ty = self.lanes.bits();
                let bits: Vec<Value> = lanes
                    .iter()
                    .map(|&lane| {
                        let bits = self.builder.ins().uextend(ty.lane_type(), lane);
                        self.builder.ins().ineg(bits)
                    })
                    .collect();
                Held::new(elem, join(self, ty, &bits))
            }
        }
    }

    /// What has no instruction for vectors: one lane after the other.
    pub(super) fn each_lane(
        &mut self,
        elem: Elem,
        operands: &[Held],
        operation: impl Fn(&mut Self, &[Value]) -> Value,
    ) -> Held {
        let lanes: Vec<Value> = (0..self.lanes.count())
            .map(|lane| {
                let operands: Vec<Value> = operands.iter().map(|&x| self.lane(x, lane)).collect();
                let scalar = Lanes::scalar(self.lanes.precision);
                self.with(scalar, |emit| operation(emit, &operands))
            })
            .collect();
        if self.lanes.wide {
            self.gather(elem, &lanes)
        } else {
            Held::new(elem, lanes[0])
        }
    }

    /// 0, 1, … of the lanes, from `first`.
    pub(super) fn positions(&mut self, first: Value) -> Held {
        if !self.lanes.wide {
            return Held::new(Elem::Int, first);
        }
        let pair = |emit: &mut Self, from: i64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&from.to_le_bytes());
            bytes[8..].copy_from_slice(&(from + 1).to_le_bytes());
            let offsets = emit.vector(types::I64X2, bytes);
            let first = emit.builder.ins().splat(types::I64X2, first);
            emit.builder.ins().iadd(first, offsets)
        };
        let low = pair(self, 0);
        let high = if self.lanes.paired() {
            pair(self, 2)
        } else {
            low
        };
        Held {
            elem: Elem::Int,
            low,
            high,
        }
    }

    pub(super) fn shuffle(&mut self, a: Value, b: Value, places: [u8; 16]) -> Value {
        let a = self.builder.ins().bitcast(types::I8X16, little(), a);
        let b = self.builder.ins().bitcast(types::I8X16, little(), b);
        let places = self
            .builder
            .func
            .dfg
            .immediates
            .push(places.as_slice().into());
        self.builder.ins().shuffle(a, b, places)
    }
}
