//! The built-in functions: their table, and the elementwise ones.

mod table;

use rlp_grammar::ast::{Arg, Expr, ExprKind, Ident, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{Binary, Unary};
use crate::ty::{DimId, Elem};
pub use table::BUILTINS;

/// A built-in function. One exists only if it cannot be written in `.rlp`, or is so common that everyone would.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// Its parameters in order; those after `required` may be left out.
    pub params: &'static [&'static str],
    pub required: usize,
    /// Whether further arguments may be given whose names are dimensions, as in `rename(x, action: rival)`.
    pub open: bool,
    pub doc: &'static str,
}

const fn function(
    name: &'static str,
    params: &'static [&'static str],
    required: usize,
    doc: &'static str,
) -> Builtin {
    Builtin {
        name,
        params,
        required,
        open: false,
        doc,
    }
}

const fn open(
    name: &'static str,
    params: &'static [&'static str],
    required: usize,
    doc: &'static str,
) -> Builtin {
    Builtin {
        name,
        params,
        required,
        open: true,
        doc,
    }
}

pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// Arguments of a built-in in the order of its parameters, and those whose names are dimensions.
pub(crate) struct Bound<'a> {
    pub(crate) builtin: &'static Builtin,
    given: Vec<Option<&'a Expr>>,
    pub(crate) dims: Vec<(&'a Ident, &'a Expr)>,
    pub(crate) span: Span,
}

impl<'a> Bound<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a Expr> {
        let index = self
            .builtin
            .params
            .iter()
            .position(|param| *param == name)?;
        self.given[index]
    }

    /// An argument that is always there.
    pub(crate) fn need(&self, name: &str) -> Result<&'a Expr> {
        self.get(name).ok_or(Reported)
    }

    /// The positional ones, for functions of any number of dimensions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Expr> {
        self.given.iter().flatten().copied()
    }
}

impl Elaborator<'_> {
    pub(crate) fn call_builtin(
        &mut self,
        name: &str,
        args: &[Arg],
        name_span: Span,
        span: Span,
    ) -> Result<Value> {
        let Some(builtin) = find(name) else {
            return Err(Reported);
        };
        let bound = self.bind_builtin(builtin, args, name_span, span)?;
        match name {
            "abs" => self.elementwise_unary(Unary::Abs, &bound),
            "sign" => self.elementwise_unary(Unary::Sign, &bound),
            "exp" => self.elementwise_unary(Unary::Exp, &bound),
            "expm1" => self.elementwise_unary(Unary::Expm1, &bound),
            "log" => self.elementwise_unary(Unary::Log, &bound),
            "log1p" => self.elementwise_unary(Unary::Log1p, &bound),
            "sqrt" => self.elementwise_unary(Unary::Sqrt, &bound),
            "sin" => self.elementwise_unary(Unary::Sin, &bound),
            "cos" => self.elementwise_unary(Unary::Cos, &bound),
            "tan" => self.elementwise_unary(Unary::Tan, &bound),
            "atan" => self.elementwise_unary(Unary::Atan, &bound),
            "tanh" => self.elementwise_unary(Unary::Tanh, &bound),
            "sigmoid" => self.elementwise_unary(Unary::Sigmoid, &bound),
            "log_sigmoid" => self.elementwise_unary(Unary::LogSigmoid, &bound),
            "floor" => self.elementwise_unary(Unary::Floor, &bound),
            "ceil" => self.elementwise_unary(Unary::Ceil, &bound),
            "round" => self.elementwise_unary(Unary::Round, &bound),
            "is_finite" => self.elementwise_unary(Unary::IsFinite, &bound),
            "clamp" => self.clamp(&bound),
            "mod" => self.elementwise_binary(Binary::Mod, &bound, ["a", "b"]),
            "max" | "min" if bound.get("y").is_some() => self.elementwise_binary(
                if name == "max" {
                    Binary::Max
                } else {
                    Binary::Min
                },
                &bound,
                ["x", "y"],
            ),
            "real" => self.convert(&bound, Elem::Real),
            "int" => self.convert(&bound, Elem::Int),
            "stop_grad" => {
                let x = self.expr_tensor(bound.need("x")?)?;
                let ty = self.ty(x).clone();
                self.push(crate::graph::Op::StopGrad, &[x], ty, span)
                    .map(Value::Tensor)
            }
            "grad" => self.gradient(&bound),
            "sum" | "mean" | "max" | "min" | "product" | "any" | "all" | "count" | "std"
            | "var" | "logsumexp" | "norm" | "argmax" | "argmin" | "quantile" | "softmax"
            | "log_softmax" | "dot" => self.aggregate(name, &bound),
            "scan" => self.scan(&bound, false),
            "scan_back" => self.scan(&bound, true),
            "cumsum" | "shift" | "sort" | "rank" | "top_k" | "gather" | "one_hot" | "at"
            | "last" | "position" => self.indexing(name, &bound),
            "split" => self.split(&bound),
            "merge" => self.merge(&bound),
            "matrix_power" => self.matrix_power(&bound),
            "rename" | "repeat" | "outer" | "stack" | "zeros_like" | "ones_like" | "zeros"
            | "ones" => self.reshaping(name, &bound),
            "inverse" | "cholesky" | "solve" | "svd" | "qr" | "eigh" => self.matrix(name, &bound),
            "contains" | "starts_with" | "ends_with" | "after_last" | "after_first" | "before"
            | "between" | "trim" | "lower" | "upper" | "words" | "length" | "number"
            | "matches" | "captures" | "replace" | "occurrences" | "edit_distance"
            | "repetition" => self.text_function(name, &bound),
            "logp" | "entropy" | "value" | "logits" | "hidden" => self.model_call(name, &bound),
            "apply" => self.apply_transform(&bound),
            "frozen" => self.frozen(&bound),
            "held_out" => self.held_out(&bound),
            "memory" => self.error(
                "misplaced-statement",
                span,
                "a memory is a state: `state previous = memory(example, initial: 0.0)`",
            ),
            "update" => self.test_update(&bound),
            _ => Err(self.report(Diagnostic::error(
                "unknown-name",
                name_span,
                format!("there is no function `{name}`"),
            ))),
        }
    }

    pub(crate) fn bind_builtin<'a>(
        &mut self,
        builtin: &'static Builtin,
        args: &'a [Arg],
        name_span: Span,
        span: Span,
    ) -> Result<Bound<'a>> {
        let mut bound = Bound {
            builtin,
            given: vec![None; builtin.params.len()],
            dims: Vec::new(),
            span,
        };
        let mut sound = true;
        let mut position = 0;
        for arg in args {
            // `scan(x, over: d, init: 0, |x, c| …)`: a function given last without a name is the step.
            let is_step = arg.name.is_none() && matches!(arg.value.kind, ExprKind::Lambda { .. });
            let index = match &arg.name {
                Some(name) => builtin.params.iter().position(|param| *param == name.name),
                None if is_step => builtin.params.iter().position(|param| *param == "step"),
                None => {
                    position += 1;
                    (position <= builtin.params.len()).then_some(position - 1)
                }
            };
            match (index, &arg.name) {
                (Some(index), _) if bound.given[index].is_none() => {
                    bound.given[index] = Some(&arg.value)
                }
                (Some(index), _) => {
                    let _ = self.error::<()>(
                        "repeated-argument",
                        arg.value.span,
                        format!("`{}` is given twice", builtin.params[index]),
                    );
                    sound = false;
                }
                (None, Some(name)) if builtin.open => bound.dims.push((name, &arg.value)),
                (None, Some(name)) => {
                    let near: Vec<String> = nearest(&name.name, builtin.params.iter().copied())
                        .into_iter()
                        .map(str::to_string)
                        .collect();
                    let message = format!("`{}` has no argument `{}`", builtin.name, name.name);
                    let diagnostic = Diagnostic::error("unknown-argument", name.span, message)
                        .here("not an argument");
                    let diagnostic = match near.first() {
                        Some(best) => diagnostic
                            .help(format!("did you mean `{best}`?"))
                            .fix(name.span, best.clone()),
                        None => diagnostic.help(format!("it has {}", builtin.params.join(", "))),
                    };
                    self.report(diagnostic);
                    sound = false;
                }
                (None, None) => {
                    let message = format!(
                        "`{}` takes {} arguments",
                        builtin.name,
                        builtin.params.len()
                    );
                    let _ = self.error::<()>("unknown-argument", arg.value.span, message);
                    sound = false;
                }
            }
        }
        if let Some(missing) = (0..builtin.required).find(|&index| bound.given[index].is_none()) {
            let message = format!(
                "`{}` needs the argument `{}`",
                builtin.name, builtin.params[missing]
            );
            self.report(
                Diagnostic::error("missing-argument", name_span, message)
                    .help(format!("`{}`: {}", builtin.name, builtin.doc)),
            );
            sound = false;
        }
        if sound { Ok(bound) } else { Err(Reported) }
    }

    /// The dimensions that `over` names, of those that x has.
    pub(crate) fn dims_over(&mut self, over: &Expr, x: Tensor, what: &str) -> Result<Vec<DimId>> {
        let names: Vec<(&str, Span)> = match &over.kind {
            ExprKind::Name(name) => vec![(name.as_str(), over.span)],
            ExprKind::List(items) => {
                let mut names = Vec::new();
                for item in items {
                    match &item.kind {
                        ExprKind::Name(name) => names.push((name.as_str(), item.span)),
                        _ => {
                            return self.error(
                                "unknown-dimension",
                                item.span,
                                "the name of a dimension is expected here",
                            );
                        }
                    }
                }
                names
            }
            _ => {
                return self.error(
                    "unknown-dimension",
                    over.span,
                    "the name of a dimension is expected here, or a list of them",
                );
            }
        };
        let mut dims: Vec<DimId> = Vec::new();
        for (name, span) in names {
            let dim = self.dim_of(x, name, span, what)?;
            if dims.contains(&dim) {
                return self.error(
                    "duplicate-dimension",
                    span,
                    format!("`{name}` stands twice"),
                );
            }
            dims.push(dim);
        }
        Ok(dims)
    }

    /// The one dimension of x with this name.
    pub(crate) fn dim_of(
        &mut self,
        x: Tensor,
        name: &str,
        span: Span,
        what: &str,
    ) -> Result<DimId> {
        let dims = self.ty(x).dims.clone();
        if let Some(&dim) = dims.iter().find(|&&dim| self.dim_name(dim) == name) {
            return Ok(dim);
        }
        let shown = self.show_type(x);
        let names: Vec<String> = dims
            .iter()
            .map(|&dim| self.dim_name(dim).to_string())
            .collect();
        let near = nearest(name, names.iter().map(String::as_str));
        let mut diagnostic = Diagnostic::error(
            "missing-dimension",
            span,
            format!("`{what}` is over `{name}`, which `{shown}` does not have"),
        )
        .here(format!("not a dimension of `{shown}`"));
        if let Some(best) = near.first() {
            diagnostic = diagnostic
                .help(format!("did you mean `{best}`?"))
                .fix(span, best.to_string());
        }
        Err(self.report(diagnostic))
    }
}
