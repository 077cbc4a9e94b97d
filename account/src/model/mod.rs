//! A decoder-only transformer as it is described: sizes, form, parameters.

mod config;
mod form;
mod layout;

pub use config::CausalLmConfig;
pub use form::{Activation, Bias, Form, Local, RopeScaling};
pub use layout::{Initial, VALUE_HEAD, head, layout};

/// What elements of a weight are held or computed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    F16,
    Bf16,
    F32,
}

impl Dtype {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::F32 => 4,
        }
    }

    /// `bf16`
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
        }
    }
}
