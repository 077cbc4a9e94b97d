//! From what files hold to the values of a block's inputs: axes from the signature's order to the graph's, and masks.

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::plan::{BlockPlan, InputPlan, ResultPlan};
use rlp_compiler::ty::{DimId, Dims, Elem};

use super::inputs::{Content, Inputs};
use super::nested::{Nested, nested};
use crate::error::{Fault, Result};
use crate::executor::Executor;
use crate::tensor::{Device, Kind, Tensor, Value, elem};
use crate::text::Codes;
use crate::torch::axis;

/// What was given for a block's inputs.
pub(super) struct Bound {
    /// For each input of the plan, its value over ascending dimensions: from a file, or its default.
    pub(super) values: Vec<Option<Value>>,
    /// Over ascending dimensions, with the name of the argument that tells it.
    masks: Vec<(DimId, Tensor, String)>,
    rest: Option<Rest>,
}

/// The dimension that stands for any number of axes outside: `..` of a signature, or the last one of an optimizer's
/// `param`, which may have any shape.
struct Rest {
    dim: DimId,
    /// The sizes of those axes, and the argument that told them first.
    told: Option<(Vec<i64>, String)>,
}

/// What an argument should look like.
struct Form<'a> {
    name: &'a str,
    elem: Elem,
    /// In the order of the signature.
    axes: &'a [DimId],
}

/// The precision of a block's inputs: `Double` if one is, or if no tensor tells.
pub(super) fn precision(plan: &BlockPlan, inputs: &Inputs) -> Result<Kind, Fault> {
    let mut is_single = false;
    for input in plan.inputs.iter().filter(|input| input.elem == Elem::Real) {
        if let Some(Content::Tensor(tensor)) = inputs.get(&input.name) {
            match tensor.f_kind()? {
                Kind::Double => return Ok(Kind::Double),
                kind => is_single |= kind == Kind::Float,
            }
        }
    }
    Ok(if is_single { Kind::Float } else { Kind::Double })
}

pub(super) fn bind(plan: &BlockPlan, inputs: &Inputs, kind: Kind, device: Device) -> Result<Bound> {
    let dims = &plan.graph.dims;
    let mut binder = Binder {
        dims,
        rest: rest_of(plan).map(|dim| Rest { dim, told: None }),
        codes: Codes::new(device),
    };
    let mut bound = Bound {
        values: Vec::new(),
        masks: Vec::new(),
        rest: None,
    };
    for input in &plan.inputs {
        let Some(content) = inputs.get(&input.name) else {
            let default = input.default.as_ref();
            bound.values.push(
                default
                    .map(|default| Value::from_array(default, kind, device))
                    .transpose()?,
            );
            continue;
        };
        let form = Form {
            name: &input.name,
            elem: input.elem,
            axes: &input.axes,
        };
        let found = binder.argument(&form, content)?;
        for (axis, mask) in &found.masks {
            bound.masks.push(binder.mask(&form, *axis, mask, device)?);
        }
        let tensor = axis::arrange(&found.tensor, &input.axes, &plan.graph.ty(input.node).dims)?;
        bound.values.push(Some(match input.elem {
            Elem::Text => binder.codes.decode(&tensor)?.into(),
            Elem::Real => tensor.f_to_kind(kind)?.f_to_device(device)?.into(),
            Elem::Int | Elem::Bool => tensor.f_to_device(device)?.into(),
        }));
    }
    // Given by themselves; they come first, so that an argument at odds with them is named.
    for (dim, upto) in ragged(plan) {
        let name = if dims.name(dim) == ".." {
            "#token".to_string()
        } else {
            format!("#{}", dims.name(dim))
        };
        if let Some(content) = inputs.get(&name) {
            let form = Form {
                name: &name,
                elem: Elem::Bool,
                axes: &upto,
            };
            let found = binder.argument(&form, content)?;
            bound.masks.insert(
                0,
                binder.mask(&form, upto.len() - 1, &found.tensor, device)?,
            );
        }
    }
    bound.rest = binder.rest;
    Ok(bound)
}

impl Bound {
    /// Gives an executor the masks and the values; `leaves` replace values of inputs, by number.
    pub(super) fn give(
        &self,
        plan: &BlockPlan,
        executor: &mut Executor,
        leaves: &[(usize, Tensor)],
    ) -> Result<()> {
        for (dim, mask, by) in &self.masks {
            executor.give_mask(*dim, mask, format_args!("`{by}`"))?;
        }
        for (number, (input, value)) in plan.inputs.iter().zip(&self.values).enumerate() {
            let leaf = leaves
                .iter()
                .find(|(own, _)| *own == number)
                .map(|(_, leaf)| leaf.shallow_clone().into());
            if let Some(value) = leaf.or_else(|| value.clone()) {
                executor.give(input.node, value, format_args!("`{}`", input.name))?;
            }
        }
        Ok(())
    }

    /// Puts the `param` and the states that an evaluation left in the place of those it had.
    pub(super) fn carry(&mut self, plan: &BlockPlan, results: &[Value]) {
        for (ResultPlan { name, .. }, result) in plan.results.iter().zip(results) {
            if let Some(number) = plan.inputs.iter().position(|input| input.name == *name) {
                self.values[number] = Some(result.clone());
            }
        }
    }

    /// A value over `dims` with the axes that its `..` stands for.
    pub(super) fn unfold(&self, value: &Tensor, dims: &[DimId]) -> Result<Tensor, Fault> {
        let Some(Rest {
            dim,
            told: Some((shape, _)),
        }) = &self.rest
        else {
            return Ok(value.shallow_clone());
        };
        let Some(position) = dims.iter().position(|own| own == dim) else {
            return Ok(value.shallow_clone());
        };
        let mut sizes = value.size();
        sizes.splice(position..=position, shape.iter().copied());
        Ok(value.f_reshape(&sizes)?)
    }
}

/// The error for an input that has no value.
pub(super) fn missing(input: &InputPlan, inputs: &Inputs) -> Fault {
    let message = format!("no value is given for `{}`", input.name);
    match nearest(&input.name, inputs.names()).first() {
        Some(near) => Fault::input_help(message, format!("a file has `{near}`")),
        None if input.axes.is_empty() => {
            Fault::input_help(message, format!("--set {}=…", input.name))
        }
        None => Fault::input_help(
            message,
            format!("put `{}` into a file, and name it with --in", input.name),
        ),
    }
}

/// The dimension that stands for any number of axes, if there is one.
fn rest_of(plan: &BlockPlan) -> Option<DimId> {
    let mut axes = plan.inputs.iter().flat_map(|input| &input.axes).copied();
    let is_optimizer = plan.results.iter().any(|result| result.name == "param");
    let param = plan
        .inputs
        .iter()
        .find(|input| is_optimizer && input.name == "param");
    axes.find(|&dim| plan.graph.dims.name(dim) == "..")
        .or_else(|| param?.axes.last().copied())
}

/// The ragged dimensions of the inputs, each with the dimensions up to it where it first stands in the signature.
fn ragged(plan: &BlockPlan) -> Vec<(DimId, Vec<DimId>)> {
    let mut found: Vec<(DimId, Vec<DimId>)> = Vec::new();
    for input in &plan.inputs {
        for (position, &dim) in input.axes.iter().enumerate() {
            if plan.graph.dims.is_ragged(dim) && found.iter().all(|(known, _)| *known != dim) {
                found.push((dim, input.axes[..=position].to_vec()));
            }
        }
    }
    found
}

struct Binder<'p> {
    dims: &'p Dims,
    rest: Option<Rest>,
    codes: Codes,
}

impl Binder<'_> {
    /// The content of a file as an array over `form.axes`; texts are numbers of `codes`.
    fn argument(&mut self, form: &Form, content: &Content) -> Result<Nested, Fault> {
        let found = match content {
            Content::Nested(value) => nested(form.name, value, form.elem, &mut self.codes)?,
            Content::Tensor(tensor) => Nested {
                tensor: of_elem(form, tensor)?,
                masks: Vec::new(),
            },
        };
        let shape = found.tensor.size();
        let rest = self
            .rest
            .as_mut()
            .filter(|rest| form.axes.contains(&rest.dim));
        let fixed = form.axes.len() - usize::from(rest.is_some());
        if shape.len() < fixed || (rest.is_none() && shape.len() > fixed) {
            let names: Vec<&str> = form.axes.iter().map(|&dim| self.dims.name(dim)).collect();
            let written = format!("{}[{}]", form.elem.name(), names.join(", "));
            let written = written.trim_end_matches("[]");
            return Err(Fault::input(format!(
                "`{}` is `{written}`, and a file has it with {} axes",
                form.name,
                shape.len()
            )));
        }
        let Some(rest) = rest else { return Ok(found) };
        let start = axis::axis(form.axes, rest.dim)?;
        let joined = start..start + shape.len() - fixed;
        let sizes = &shape[joined.clone()];
        let (known, by) = rest
            .told
            .get_or_insert_with(|| (sizes.to_vec(), form.name.to_string()));
        if known != sizes {
            return Err(Fault::input(format!(
                "`{}` has the shape {sizes:?}, and `{by}` {known:?}",
                form.name
            )));
        }
        found.join(joined)
    }

    /// A mask over the axes of `form` up to `axis`, for the ragged dimension that this axis is.
    fn mask(
        &self,
        form: &Form,
        axis: usize,
        mask: &Tensor,
        device: Device,
    ) -> Result<(DimId, Tensor, String), Fault> {
        let (dim, name) = (form.axes[axis], self.dims.name(form.axes[axis]));
        let Some(parents) = &self.dims.get(dim).ragged else {
            let message = format!(
                "the lists of `{}` differ in length along `{name}`, which is not ragged",
                form.name
            );
            return Err(Fault::input(message));
        };
        let upto = &form.axes[..=axis];
        let mut over = parents.clone();
        over.push(dim);
        over.sort_unstable();
        if upto.len() != over.len() || !over.iter().all(|dim| upto.contains(dim)) {
            let parents: Vec<&str> = parents.iter().map(|&dim| self.dims.name(dim)).collect();
            let message = format!(
                "the lengths of `{name}` vary over `{}`, and those of `{}` over other axes",
                parents.join(", "),
                form.name
            );
            return Err(Fault::input(message));
        }
        Ok((
            dim,
            axis::arrange(mask, upto, &over)?.f_to_device(device)?,
            form.name.to_string(),
        ))
    }
}

/// A tensor of the elements that an argument asks for.
fn of_elem(form: &Form, tensor: &Tensor) -> Result<Tensor, Fault> {
    match (form.elem, elem(tensor)?) {
        (Elem::Real, Elem::Real | Elem::Int) | (Elem::Bool, Elem::Bool) => {
            Ok(tensor.shallow_clone())
        }
        (Elem::Int, Elem::Int) => Ok(tensor.f_to_kind(Kind::Int64)?),
        (Elem::Bool, Elem::Int) if tensor.f_kind()? == Kind::Uint8 => Ok(tensor.f_ne(0)?),
        (Elem::Text, _) => {
            let message = format!("`{}` is of text, which a tensor cannot hold", form.name);
            Err(Fault::input_help(message, "give it in a `.json` file"))
        }
        (wanted @ (Elem::Real | Elem::Int | Elem::Bool), found) => {
            let message = format!(
                "`{}` is of {}, and a file has it of {}",
                form.name,
                wanted.name(),
                found.name()
            );
            Err(Fault::input(message))
        }
    }
}
