//! `random.normal()` and `random.uniform()`: numbers that differ at every position, call and step.

use rlp_grammar::ast::{Arg, Expr, ExprKind, Ident, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::value::{Noise, Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{Op, RandomKind};
use crate::ty::{DimId, Elem, Ty};

impl Elaborator<'_> {
    /// The function of `random.NAME`, if that is what is called.
    pub(crate) fn random_name<'e>(&self, base: &Expr, name: &'e Ident) -> Option<&'e Ident> {
        let is_random = matches!(&base.kind, ExprKind::Name(module) if module == "random"
            && self.scope.get(module).is_none()
            && self.library.module(self.file(), module).is_none());
        is_random.then_some(name)
    }

    /// `random.normal(prompt, sample)`, or `random.normal()`, which takes its dimensions from where it is used.
    pub(crate) fn random(&mut self, name: &Ident, args: &[Arg], span: Span) -> Result<Value> {
        let kind = match name.name.as_str() {
            "normal" => RandomKind::Normal,
            "uniform" => RandomKind::Uniform,
            other => {
                let message = format!("there is no function `random.{other}`");
                let diagnostic = Diagnostic::error("unknown-name", name.span, message);
                let diagnostic = match nearest(other, ["normal", "uniform"]).first() {
                    Some(best) => diagnostic
                        .help(format!("did you mean `random.{best}`?"))
                        .fix(name.span, best.to_string()),
                    None => diagnostic.help("it has `random.normal` and `random.uniform`"),
                };
                return Err(self.report(diagnostic));
            }
        };
        if args.is_empty() {
            return Ok(Value::Noise(Noise { kind, span }));
        }
        let mut dims = Vec::new();
        for arg in args {
            if let Some(name) = &arg.name {
                let message =
                    "a random number has no named arguments, only the dimensions it is over";
                return self.error("unknown-argument", name.span, message);
            }
            let dim = self.named_dim(&arg.value)?;
            if dims.contains(&dim) {
                let name = self.dim_name(dim).to_string();
                let message = format!("`{name}` stands twice in one type");
                return self.error("duplicate-dimension", arg.value.span, message);
            }
            dims.push(dim);
        }
        self.noise(Noise { kind, span }, dims).map(Value::Tensor)
    }

    /// Random numbers over some dimensions.
    pub(crate) fn noise(&mut self, noise: Noise, dims: Vec<DimId>) -> Result<Tensor> {
        let Noise { kind, span } = noise;
        if self.level > 0 {
            let message =
                "a random number in the step of a scan would be the same at each position";
            let diagnostic = Diagnostic::error("misplaced-statement", span, message)
                .help("draw it before, over the scanned dimension, and scan it too: `scan([x, noise], …)`");
            return Err(self.report(diagnostic));
        }
        let level = &mut self.levels[0];
        let key = level.n_random;
        level.n_random += 1;
        let drawn = |dim: &DimId| {
            let origin = level.origins.get(dim).copied()?;
            matches!(level.graph.op(origin.node), Op::Draw(_)).then_some(origin)
        };
        let origin: Option<Tensor> = dims.iter().find_map(drawn);
        let operands: Vec<Tensor> = origin.into_iter().collect();
        let ty = Ty::new(Elem::Real, dims);
        self.push(Op::Random { kind, key }, &operands, ty, span)
    }

    /// Random numbers like a tensor that they stand beside. One number for a whole tensor is seldom meant, so beside a
    /// scalar they need dimensions of their own.
    pub(crate) fn noise_like(&mut self, noise: Noise, other: Tensor) -> Result<Tensor> {
        let dims = self.ty(other).dims.clone();
        if dims.is_empty() {
            return Err(self.noise_without_dims(noise));
        }
        self.noise(noise, dims)
    }

    pub(crate) fn noise_without_dims(&mut self, noise: Noise) -> Reported {
        let name = match noise.kind {
            RandomKind::Normal => "random.normal",
            RandomKind::Uniform => "random.uniform",
        };
        let message = format!(
            "`{name}()` takes its dimensions from where it is used, and nothing gives them here"
        );
        let diagnostic = Diagnostic::error("list-without-dimension", noise.span, message)
            .help(format!("{name}(prompt, sample)"));
        self.report(diagnostic)
    }
}
