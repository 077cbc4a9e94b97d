//! Random kernels: every operation, on values that both precisions treat alike.

use rlp_compiler::graph::{Binary, Reduction, Unary};
use rlp_compiler::kernel::{Form, Kernel, KernelOp, Level, ValueId};
use rlp_compiler::ty::{DimId, Elem};

use crate::builder::Builder;

/// Choices that a seed makes.
pub(crate) struct Choice(pub(crate) u64);

impl Choice {
    pub(crate) fn number(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % below.max(1) as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.number(options.len())]
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.number(count) == 0
    }
}

struct Generator {
    choice: Choice,
    builder: Builder,
    /// Reals that are the same bits in both precisions, on which steps and comparisons are defined alike.
    exact: Vec<ValueId>,
    reals: Vec<ValueId>,
    ints: Vec<ValueId>,
    bools: Vec<ValueId>,
}

pub(crate) fn generate(seed: u64, rows: u32, cells: u32, length: usize) -> Kernel {
    let mut generator = Generator {
        choice: Choice(seed | 1),
        builder: Builder::new(rows, cells),
        exact: Vec::new(),
        reals: Vec::new(),
        ints: Vec::new(),
        bools: Vec::new(),
    };
    for elem in [
        Elem::Real,
        Elem::Real,
        Elem::Real,
        Elem::Int,
        Elem::Bool,
        Elem::Bool,
    ] {
        generator.load(elem, rows, cells);
    }
    for x in [0.5, -2.0] {
        let x = generator.builder.real(x);
        generator.exact.push(x);
    }
    for _ in 0..length {
        generator.step(rows, cells);
    }
    generator.outputs(cells);
    generator.builder.finish()
}

impl Generator {
    fn load(&mut self, elem: Elem, rows: u32, cells: u32) {
        let every = self.choice.one_in(2);
        let mut dims: Vec<u32> = (0..rows)
            .filter(|_| every || self.choice.one_in(2))
            .collect();
        if every || self.choice.one_in(2) {
            dims.extend(rows..rows + cells);
        }
        let value = self.builder.load(elem, &dims);
        self.pool(elem).push(value);
    }

    /// Where values of the element go that are the same in both precisions.
    fn pool(&mut self, elem: Elem) -> &mut Vec<ValueId> {
        match elem {
            Elem::Real => &mut self.exact,
            Elem::Int => &mut self.ints,
            Elem::Bool => &mut self.bools,
            Elem::Text => unreachable!("no text in kernels"),
        }
    }

    fn some(&mut self, elem: Elem) -> ValueId {
        let options = match elem {
            Elem::Real if !self.reals.is_empty() && self.choice.one_in(2) => self.reals.clone(),
            elem => self.pool(elem).clone(),
        };
        // Rather what came last, so that kernels grow deep.
        let back = self.choice.number(options.len());
        let back = self.choice.number(back + 1);
        options[options.len() - 1 - back]
    }

    fn some_exact(&mut self) -> ValueId {
        let options = self.exact.clone();
        self.choice.of(&options)
    }

    /// A real between −1 and 1.
    fn bounded(&mut self) -> ValueId {
        let x = self.some(Elem::Real);
        self.builder.unary(Unary::Tanh, x)
    }

    /// A real of at least `least`.
    fn positive(&mut self, least: f64) -> ValueId {
        let x = self.some(Elem::Real);
        let size = self.builder.unary(Unary::Abs, x);
        let least = self.builder.real(least);
        self.builder.binary(Binary::Add, size, least)
    }

    fn some_mask(&mut self, level: Level) -> Option<ValueId> {
        let fits: Vec<ValueId> = self
            .bools
            .iter()
            .copied()
            .filter(|&mask| self.builder.level(mask) == level)
            .collect();
        (!fits.is_empty() && !self.choice.one_in(3)).then(|| self.choice.of(&fits))
    }

    fn of_rows(&mut self, elem: Elem) -> Option<ValueId> {
        let fits: Vec<ValueId> = [self.pool(elem).clone(), self.reals.clone()]
            .concat()
            .into_iter()
            .filter(|&x| self.builder.elem(x) == elem && self.builder.level(x) == Level::Row)
            .collect();
        (!fits.is_empty()).then(|| self.choice.of(&fits))
    }

    fn step(&mut self, rows: u32, cells: u32) {
        match self.choice.number(16) {
            0..=2 => self.smooth_unary(),
            3..=5 => self.smooth_binary(),
            6 => self.steps_of_exact(),
            7 => self.compare(),
            8 => self.int(),
            9 => self.bool(),
            10 => self.select(),
            11 => self.cast(),
            12 => self.position(rows, cells),
            13 if cells > 0 => self.reduce(),
            14 if cells == 1 => self.shift(),
            15 if cells == 1 => self.scan(),
            _ => self.smooth_binary(),
        }
    }

    fn smooth_unary(&mut self) {
        let (x, bounded) = (self.some(Elem::Real), self.bounded());
        let (half, zero) = (self.positive(0.5), self.positive(0.0));
        let value = match self.choice.number(14) {
            0 => self.builder.unary(Unary::Neg, x),
            1 => self.builder.unary(Unary::Abs, x),
            2 => self.builder.unary(Unary::Exp, bounded),
            3 => self.builder.unary(Unary::Expm1, bounded),
            4 => self.builder.unary(Unary::Log, half),
            5 => self.builder.unary(Unary::Log1p, zero),
            6 => self.builder.unary(Unary::Sqrt, half),
            7 => self.builder.unary(Unary::Sin, x),
            8 => self.builder.unary(Unary::Cos, bounded),
            9 => self.builder.unary(Unary::Tan, bounded),
            10 => self.builder.unary(Unary::Atan, x),
            11 => self.builder.unary(Unary::Sigmoid, x),
            12 => self.builder.unary(Unary::LogSigmoid, x),
            _ => bounded,
        };
        self.reals.push(value);
    }

    fn smooth_binary(&mut self) {
        let (a, b) = (self.some(Elem::Real), self.some(Elem::Real));
        let value = match self.choice.number(8) {
            0 => self.builder.binary(Binary::Sub, a, b),
            1 => self.builder.binary(Binary::Min, a, b),
            2 => self.builder.binary(Binary::Max, a, b),
            3 => {
                let b = self.bounded();
                self.builder.binary(Binary::Mul, a, b)
            }
            4 => {
                let b = self.positive(1.0);
                self.builder.binary(Binary::Div, a, b)
            }
            5 => {
                let a = self.bounded();
                let half = self.builder.real(1.5);
                let a = self.builder.binary(Binary::Add, a, half);
                let exponent = self.choice.of(&[-1.0, 0.5, 1.0, 1.75, 2.0, 3.0]);
                let exponent = self.builder.real(exponent);
                self.builder.binary(Binary::Pow, a, exponent)
            }
            _ => self.builder.binary(Binary::Add, a, b),
        };
        self.reals.push(value);
    }

    fn steps_of_exact(&mut self) {
        let x = self.some_exact();
        let value = match self.choice.number(7) {
            0 => self.builder.unary(Unary::Sign, x),
            1 => self.builder.unary(Unary::Floor, x),
            2 => self.builder.unary(Unary::Ceil, x),
            3 => self.builder.unary(Unary::Round, x),
            4 => {
                let y = self.some_exact();
                let value = self.builder.binary(Binary::Mod, x, y);
                self.reals.push(value);
                return;
            }
            5 => {
                let claim = self.builder.unary(Unary::IsFinite, x);
                self.bools.push(claim);
                return;
            }
            _ => self.builder.unary(Unary::Neg, x),
        };
        self.exact.push(value);
    }

    fn compare(&mut self) {
        let op = self.choice.of(&[
            Binary::Eq,
            Binary::Ne,
            Binary::Lt,
            Binary::Le,
            Binary::Gt,
            Binary::Ge,
        ]);
        let (a, b) = if self.choice.one_in(2) {
            (self.some_exact(), self.some_exact())
        } else {
            (self.some(Elem::Int), self.some(Elem::Int))
        };
        let value = self.builder.binary(op, a, b);
        self.bools.push(value);
    }

    fn int(&mut self) {
        let (a, b) = (self.some(Elem::Int), self.some(Elem::Int));
        let divisor = self.choice.of(&[1, -1, 3, -7, 1000]);
        let exponent = self.choice.of(&[0, 1, 2, 5]);
        let value = match self.choice.number(9) {
            0 => self.builder.unary(Unary::Neg, a),
            1 => self.builder.unary(Unary::Abs, a),
            2 => self.builder.unary(Unary::Sign, a),
            3 => {
                let op = self.choice.of(&[Binary::Div, Binary::Mod]);
                let divisor = self.builder.int(divisor);
                self.builder.binary(op, a, divisor)
            }
            4 => {
                let exponent = self.builder.int(exponent);
                self.builder.binary(Binary::Pow, a, exponent)
            }
            _ => {
                let op = self.choice.of(&[
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Min,
                    Binary::Max,
                ]);
                self.builder.binary(op, a, b)
            }
        };
        self.ints.push(value);
    }

    fn bool(&mut self) {
        let (a, b) = (self.some(Elem::Bool), self.some(Elem::Bool));
        let value = if self.choice.one_in(4) {
            self.builder.unary(Unary::Not, a)
        } else {
            let op = self
                .choice
                .of(&[Binary::And, Binary::Or, Binary::Eq, Binary::Ne]);
            self.builder.binary(op, a, b)
        };
        self.bools.push(value);
    }

    fn select(&mut self) {
        let elem = self.choice.of(&[Elem::Real, Elem::Int, Elem::Bool]);
        let condition = self.some(Elem::Bool);
        let (then, otherwise) = (self.some(elem), self.some(elem));
        let value = self.builder.select(condition, then, otherwise);
        self.keep(value);
    }

    fn keep(&mut self, value: ValueId) {
        match self.builder.elem(value) {
            Elem::Real => self.reals.push(value),
            Elem::Int => self.ints.push(value),
            Elem::Bool => self.bools.push(value),
            Elem::Text => unreachable!("no text in kernels"),
        }
    }

    fn cast(&mut self) {
        let value = match self.choice.number(4) {
            0 => {
                let x = self.some_exact();
                self.builder.cast(x, Elem::Int)
            }
            1 => {
                let x = self.some(Elem::Int);
                // Small, so that it is exact in both precisions.
                let limit = self.builder.int(1000);
                let x = self.builder.binary(Binary::Mod, x, limit);
                self.builder.cast(x, Elem::Real)
            }
            2 => {
                let x = self.some(Elem::Bool);
                self.builder.cast(x, Elem::Real)
            }
            _ => {
                let x = self.some(Elem::Bool);
                self.builder.cast(x, Elem::Int)
            }
        };
        self.keep(value);
    }

    fn position(&mut self, rows: u32, cells: u32) {
        let dims = if cells == 1 { rows + 1 } else { rows };
        if dims > 0 {
            let dim = self.choice.number(dims as usize) as u32;
            let level = if dim < rows { Level::Row } else { Level::Cell };
            let value = self
                .builder
                .push(KernelOp::Position(DimId(dim)), Elem::Int, level);
            self.ints.push(value);
        }
    }

    fn reduction(&mut self, elem: Elem) -> Reduction {
        match elem {
            Elem::Real => self.choice.of(&[
                Reduction::Sum,
                Reduction::Mean,
                Reduction::Max,
                Reduction::Min,
                Reduction::LogSumExp,
                Reduction::Count,
            ]),
            Elem::Int => self.choice.of(&[
                Reduction::Sum,
                Reduction::Max,
                Reduction::Min,
                Reduction::Product,
                Reduction::Count,
            ]),
            Elem::Bool | Elem::Text => {
                self.choice
                    .of(&[Reduction::Any, Reduction::All, Reduction::Count])
            }
        }
    }

    fn reduce(&mut self) {
        let elem = self
            .choice
            .of(&[Elem::Real, Elem::Real, Elem::Int, Elem::Bool]);
        let mut value = self.some(elem);
        let mut kind = self.reduction(elem);
        if elem == Elem::Real && self.choice.one_in(8) {
            value = self.bounded();
            kind = Reduction::Product;
        }
        let mask = self.some_mask(Level::Cell);
        let value = self.builder.reduce(kind, value, mask);
        self.keep(value);
    }

    fn shift(&mut self) {
        let elem = self
            .choice
            .of(&[Elem::Real, Elem::Real, Elem::Int, Elem::Bool]);
        let value = self.some(elem);
        if let Some(fill) = self.of_rows(elem) {
            let by = self.choice.of(&[-2, -1, 1, 3, 1_000_000, i64::MIN]);
            let value = self.builder.shift(value, by, fill);
            self.keep(value);
        }
    }

    fn scan(&mut self) {
        let (a, b) = (self.bounded(), self.bounded());
        if let Some(initial) = self.of_rows(Elem::Real) {
            let mask = self.some_mask(Level::Cell);
            let reverse = self.choice.one_in(2);
            let value = self.builder.linear_scan(a, b, initial, mask, reverse);
            self.reals.push(value);
        }
    }

    fn outputs(&mut self, cells: u32) {
        let all = [
            self.reals.clone(),
            self.ints.clone(),
            self.bools.clone(),
            self.exact.clone(),
        ]
        .concat();
        for _ in 0..5 {
            let value = self.choice.of(&all);
            let (elem, level) = (self.builder.elem(value), self.builder.level(value));
            let form = match self.choice.number(3) {
                0 if level == Level::Row => Form::Rows,
                1 => Form::Total {
                    kind: self.reduction(elem),
                    mask: self.some_mask(level),
                },
                _ if cells > 0 => Form::Cells,
                _ => Form::Rows,
            };
            self.builder.output(value, form);
        }
    }
}
