//! Which parameters a rule is for.

use rlp_compiler::plan::ParameterGroup;
use rlp_compiler::plan::matches_name;

use crate::resource::Model;
use crate::trainable::Trainable;

/// Whether a group names a parameter of a model, by its place.
pub(super) fn belongs(group: &ParameterGroup, model: &Model, parameter: usize) -> bool {
    match group {
        ParameterGroup::All => true,
        ParameterGroup::Matrices => model.is_matrix(parameter),
        ParameterGroup::Others => !model.is_matrix(parameter),
        ParameterGroup::Named(pattern) => {
            matches_name(pattern, &model.parameters()[parameter].name)
        }
    }
}

/// Whether a group names a tensor of the plan; one by itself is none of a model's matrices.
pub(super) fn names_tensor(group: &ParameterGroup, tensor: &Trainable) -> bool {
    let is_matrix = tensor.owner.is_some() && tensor.value.dim() == 2;
    match group {
        ParameterGroup::All => true,
        ParameterGroup::Others => !is_matrix,
        ParameterGroup::Matrices => is_matrix,
        ParameterGroup::Named(pattern) => matches_name(pattern, &tensor.name),
    }
}
