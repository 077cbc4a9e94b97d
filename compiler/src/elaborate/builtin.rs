//! The built-in functions: their table, and the elementwise ones.

use rlp_grammar::ast::{Arg, Expr, ExprKind, Ident, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{Binary, Unary};
use crate::ty::{DimId, Elem};

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

/// All of them, by topic.
pub const BUILTINS: &[Builtin] = &[
    // Elementwise.
    function("abs", &["x"], 1, "|x|; its derivative at 0 is 0"),
    function("sign", &["x"], 1, "−1, 0 or 1"),
    function("exp", &["x"], 1, "eˣ"),
    function("expm1", &["x"], 1, "eˣ − 1, exact near 0"),
    function("log", &["x"], 1, "natural logarithm"),
    function("log1p", &["x"], 1, "log(1 + x), exact near 0"),
    function("sqrt", &["x"], 1, "√x"),
    function("sin", &["x"], 1, "sine of radians"),
    function("cos", &["x"], 1, "cosine of radians"),
    function("tan", &["x"], 1, "tangent of radians"),
    function("atan", &["x"], 1, "inverse tangent, radians"),
    function("tanh", &["x"], 1, "hyperbolic tangent"),
    function("sigmoid", &["x"], 1, "1/(1 + e⁻ˣ), stable"),
    function(
        "log_sigmoid",
        &["x"],
        1,
        "log of the sigmoid, finite for any x",
    ),
    function(
        "floor",
        &["x"],
        1,
        "largest whole number that is not larger",
    ),
    function(
        "ceil",
        &["x"],
        1,
        "smallest whole number that is not smaller",
    ),
    function("round", &["x"], 1, "nearest whole number, half to even"),
    function("is_finite", &["x"], 1, "neither infinite nor NaN"),
    function(
        "clamp",
        &["x", "low", "high"],
        3,
        "min(max(x, low), high); the gradient passes where nothing is cut",
    ),
    function("mod", &["a", "b"], 2, "a − b·floor(a/b)"),
    function(
        "real",
        &["x"],
        1,
        "an int or a bool (1 where it holds, else 0) as real",
    ),
    function("int", &["x"], 1, "a real rounded down to a whole number"),
    function("stop_grad", &["x"], 1, "x, from which no gradient flows"),
    function(
        "grad",
        &["y", "wrt"],
        2,
        "gradient of Σ y with respect to a tensor",
    ),
    // Reductions.
    function(
        "sum",
        &["x", "over", "where"],
        1,
        "Σ over dimensions, or over all of them",
    ),
    function(
        "mean",
        &["x", "over", "where"],
        1,
        "mean; of nothing it is 0",
    ),
    function(
        "max",
        &["x", "y", "over", "where"],
        1,
        "`max(x, over: d)` reduces, `max(a, b)` is elementwise; of nothing it is 0",
    ),
    function(
        "min",
        &["x", "y", "over", "where"],
        1,
        "`min(x, over: d)` reduces, `min(a, b)` is elementwise; of nothing it is 0",
    ),
    function(
        "product",
        &["x", "over", "where"],
        1,
        "Π; of nothing it is 1",
    ),
    function("any", &["x", "over", "where"], 1, "whether some hold"),
    function("all", &["x", "over", "where"], 1, "whether all hold"),
    function(
        "count",
        &["x", "over", "where"],
        1,
        "how many elements are real, as an int",
    ),
    function(
        "std",
        &["x", "over", "where", "unbiased"],
        1,
        "standard deviation, divided by n, or by n − 1 if unbiased; of one element it is 0",
    ),
    function(
        "var",
        &["x", "over", "where", "unbiased"],
        1,
        "variance, divided by n, or by n − 1 if unbiased; of one element it is 0",
    ),
    function(
        "logsumexp",
        &["x", "over", "where"],
        1,
        "log Σ eˣ, the maximum subtracted first",
    ),
    function(
        "norm",
        &["x", "over", "where"],
        1,
        "√Σ x²; its gradient at 0 is 0",
    ),
    function(
        "argmax",
        &["x", "over", "where"],
        2,
        "position of the largest, the lowest of equals",
    ),
    function(
        "argmin",
        &["x", "over", "where"],
        2,
        "position of the smallest, the lowest of equals",
    ),
    function(
        "quantile",
        &["x", "q", "over"],
        3,
        "the q-quantile (0 to 1), linear between neighbours",
    ),
    function("softmax", &["x", "over"], 2, "eˣ / Σ eˣ"),
    function("log_softmax", &["x", "over"], 2, "x − logsumexp(x)"),
    function(
        "dot",
        &["a", "b", "over"],
        3,
        "Σ a·b over dimensions that both have",
    ),
    // Along a dimension.
    function(
        "scan",
        &["x", "over", "init", "step"],
        4,
        "`scan(x, over: token, init: 0, |x, carry| …)`: the carries at each position; `scan([a, b], …, |a, b, carry| …)` along several",
    ),
    function(
        "scan_back",
        &["x", "over", "init", "step"],
        4,
        "the same from the end to the start",
    ),
    function(
        "cumsum",
        &["x", "over"],
        2,
        "running sum, the element included",
    ),
    function(
        "shift",
        &["x", "over", "by", "fill"],
        2,
        "the element `by` positions earlier (1 unless said), `fill` beyond the ends",
    ),
    function("sort", &["x", "over", "descending"], 2, "in order, stable"),
    function(
        "rank",
        &["x", "over", "descending"],
        2,
        "place in the stable order, from 0",
    ),
    function(
        "top_k",
        &["x", "k", "over"],
        3,
        "whether it is among the k largest; of equals the lower index",
    ),
    function(
        "gather",
        &["x", "index", "over"],
        3,
        "the elements that an int tensor names",
    ),
    function(
        "one_hot",
        &["index", "like"],
        2,
        "1 where the position along the dimension that `like` has beyond those of `index` is the index, else 0",
    ),
    open(
        "at",
        &["x"],
        1,
        "`at(x, objective: k)`: one index of a dimension",
    ),
    function(
        "last",
        &["x", "over"],
        2,
        "the last real element along a dimension; 0 if there is none",
    ),
    function(
        "position",
        &["dim"],
        1,
        "0, 1, … along a dimension; for a ragged one within each sequence",
    ),
    // Dimensions.
    open(
        "rename",
        &["x"],
        1,
        "`rename(x, action: rival)`: another name for a dimension",
    ),
    function(
        "repeat",
        &["x", "like"],
        2,
        "x repeated over the dimensions of another tensor",
    ),
    function("outer", &["a", "b"], 2, "the product of all pairs"),
    function(
        "stack",
        &["a", "b", "c", "d", "e", "f", "g", "h", "as"],
        2,
        "two tensors or more along a new dimension",
    ),
    open(
        "split",
        &["x", "dim", "into"],
        3,
        "`split(x, row, into: [block, inner], inner: 4)`: one dimension as several, the last varying fastest",
    ),
    function(
        "merge",
        &["x", "dims", "into"],
        3,
        "`merge(x, [block, inner], into: row)`: several dimensions as one, the last varying fastest",
    ),
    function("zeros_like", &["x"], 1, "0 over the dimensions of x"),
    function("ones_like", &["x"], 1, "1 over the dimensions of x"),
    open(
        "zeros",
        &["a", "b", "c", "d"],
        0,
        "`zeros(row, col)`: 0 over dimensions, new ones with their size: `zeros(row, active: 4)`",
    ),
    open("ones", &["a", "b", "c", "d"], 0, "1 over dimensions"),
    // Matrices.
    function("inverse", &["x", "row", "col"], 3, "inverse of matrices"),
    function(
        "cholesky",
        &["x", "row", "col"],
        3,
        "lower factor of symmetric positive matrices",
    ),
    function(
        "solve",
        &["a", "b", "row", "col"],
        4,
        "x with Σ_col a·x = b",
    ),
    function(
        "svd",
        &["x", "row", "col"],
        3,
        "record `left`, `values`, `right` over a new dimension `rank`",
    ),
    function(
        "qr",
        &["x", "row", "col"],
        3,
        "record `q`, `r` over a new dimension `rank`",
    ),
    function(
        "eigh",
        &["x", "row", "col"],
        3,
        "record `values`, `vectors` over a new dimension `rank`",
    ),
    function(
        "matrix_power",
        &["x", "n", "row", "col"],
        4,
        "the n-th power of square matrices, n known before the run; of 0 the identity, below 0 of the inverse",
    ),
    // Text.
    function(
        "contains",
        &["text", "part"],
        2,
        "whether the text contains a part",
    ),
    function(
        "starts_with",
        &["text", "part"],
        2,
        "whether the text starts so",
    ),
    function(
        "ends_with",
        &["text", "part"],
        2,
        "whether the text ends so",
    ),
    function(
        "after_last",
        &["text", "marker"],
        2,
        "what follows the last marker; \"\" without one",
    ),
    function(
        "after_first",
        &["text", "marker"],
        2,
        "what follows the first marker; \"\" without one",
    ),
    function(
        "before",
        &["text", "marker"],
        2,
        "what precedes the first marker; the whole text without one",
    ),
    function(
        "between",
        &["text", "open", "close"],
        3,
        "what stands between; \"\" unless both are there",
    ),
    function("trim", &["text"], 1, "without white space at the ends"),
    function("lower", &["text"], 1, "in lower case"),
    function("upper", &["text"], 1, "in upper case"),
    function(
        "words",
        &["text"],
        1,
        "how many words, separated by white space",
    ),
    function("length", &["text"], 1, "how many characters"),
    function(
        "number",
        &["text", "otherwise"],
        1,
        "the decimal number the text is; NaN, or `otherwise`, if it is none",
    ),
    function(
        "matches",
        &["text", "pattern"],
        2,
        "whether a regular expression matches somewhere, in linear time",
    ),
    function(
        "captures",
        &["text", "pattern", "group"],
        2,
        "a group (1 unless said) of the first match; \"\" without one",
    ),
    function(
        "replace",
        &["text", "old", "new"],
        3,
        "every occurrence replaced",
    ),
    function(
        "occurrences",
        &["text", "part"],
        2,
        "how often a part occurs, without overlap",
    ),
    function(
        "edit_distance",
        &["text", "other"],
        2,
        "how many characters to insert, delete or replace to make one text the other",
    ),
    function(
        "repetition",
        &["text", "n"],
        2,
        "the share of the n-grams of words that stand earlier in the text already",
    ),
    // Models and data.
    function(
        "logp",
        &["model", "batch"],
        2,
        "log π of each token of a batch, nats, at the temperature it was sampled at",
    ),
    function(
        "entropy",
        &["model", "batch"],
        2,
        "entropy of the distribution each token was drawn from, nats",
    ),
    function(
        "value",
        &["model", "batch"],
        2,
        "the model's value head where each token is about to be generated",
    ),
    function(
        "logits",
        &["model", "batch"],
        2,
        "logits each token was drawn from, over the new dimension `vocab`",
    ),
    function(
        "frozen",
        &["model", "every"],
        1,
        "a copy taken when the stage starts, or every so many steps",
    ),
    function(
        "held_out",
        &["data"],
        1,
        "the items of a data source that are never trained on",
    ),
    // Tests.
    function(
        "update",
        &["rule", "param", "grads"],
        3,
        "in tests: `param` after updates with each gradient in turn",
    ),
];

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
            "logp" | "entropy" | "value" | "logits" => self.model_call(name, &bound),
            "frozen" => self.frozen(&bound),
            "held_out" => self.held_out(&bound),
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
