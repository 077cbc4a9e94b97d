//! The arguments of models, tasks and draws, as far as they are known before a run.

use std::collections::BTreeMap;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Draw, DrawArg};
use rlp_compiler::plan::{Resource, ResourceArg};

/// Arrays by the name of their argument.
pub(crate) struct Known<'a>(BTreeMap<&'a str, &'a Array>);

impl<'a> Known<'a> {
    pub(crate) fn of_resource(resource: &'a Resource) -> Known<'a> {
        let value = |(name, arg): &'a (String, ResourceArg)| match arg {
            ResourceArg::Value(array) => Some((name.as_str(), array)),
            ResourceArg::Data(_) | ResourceArg::Model(_) => None,
        };
        Known(resource.args.iter().filter_map(value).collect())
    }

    pub(crate) fn of_draw(draw: &'a Draw) -> Known<'a> {
        let value = |(name, arg): &'a (String, DrawArg)| match arg {
            DrawArg::Static(array) => Some((name.as_str(), array)),
            DrawArg::Model(_) | DrawArg::Data(_) | DrawArg::Operand(_) | DrawArg::Record(_) => None,
        };
        Known(draw.args.iter().filter_map(value).collect())
    }

    pub(crate) fn ints(&self, name: &str) -> Vec<i64> {
        match self.0.get(name).map(|array| &array.elements) {
            Some(Elements::Int(values)) => values.clone(),
            Some(Elements::Real(values)) => values.iter().map(|&value| value as i64).collect(),
            Some(Elements::Bool(_) | Elements::Text(_)) | None => Vec::new(),
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.ints(name).first().copied()
    }

    /// A whole number of at least 0.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.int(name).map(|number| number.max(0) as u64)
    }

    pub(crate) fn real(&self, name: &str) -> Option<f64> {
        match self.0.get(name).map(|array| &array.elements) {
            Some(Elements::Real(values)) => values.first().copied(),
            Some(Elements::Int(values)) => values.first().map(|&value| value as f64),
            Some(Elements::Bool(_) | Elements::Text(_)) | None => None,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name).map(|array| &array.elements) {
            Some(Elements::Bool(values)) => values.first().copied(),
            Some(Elements::Real(_) | Elements::Int(_) | Elements::Text(_)) | None => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        match self.0.get(name).map(|array| &array.elements) {
            Some(Elements::Text(values)) => values.first().map(String::as_str),
            Some(Elements::Real(_) | Elements::Int(_) | Elements::Bool(_)) | None => None,
        }
    }
}
