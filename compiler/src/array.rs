//! Plain arrays: literals of a program, and the values of the reference interpreter.

/// Elements in row-major order.
#[derive(Clone, PartialEq, Debug)]
pub enum Elements {
    Real(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// A dense array. Its axes are those of the type it stands for, in the type's order.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub elements: Elements,
}

impl Array {
    pub fn real(value: f64) -> Array {
        Array {
            shape: Vec::new(),
            elements: Elements::Real(vec![value]),
        }
    }

    pub fn int(value: i64) -> Array {
        Array {
            shape: Vec::new(),
            elements: Elements::Int(vec![value]),
        }
    }

    pub fn bool(value: bool) -> Array {
        Array {
            shape: Vec::new(),
            elements: Elements::Bool(vec![value]),
        }
    }

    pub fn text(value: impl Into<String>) -> Array {
        Array {
            shape: Vec::new(),
            elements: Elements::Text(vec![value.into()]),
        }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
