//! Which parameters a rule is for.

use rlp_compiler::plan::ParameterGroup;

use crate::model::CausalLm;

/// Whether a group names a parameter of a model, by its place.
pub(super) fn belongs(group: &ParameterGroup, network: &CausalLm, parameter: usize) -> bool {
    match group {
        ParameterGroup::All => true,
        ParameterGroup::Matrices => network.matrices().contains(&parameter),
        ParameterGroup::Others => !network.matrices().contains(&parameter),
        ParameterGroup::Named(pattern) => matches(pattern, &network.parameters()[parameter].name),
    }
}

/// Whether a group names a trainable tensor by itself, which is none of a model's matrices.
pub(super) fn names_tensor(group: &ParameterGroup, name: &str) -> bool {
    match group {
        ParameterGroup::All | ParameterGroup::Others => true,
        ParameterGroup::Matrices => false,
        ParameterGroup::Named(pattern) => matches(pattern, name),
    }
}

/// Whether a name is as the pattern says, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
