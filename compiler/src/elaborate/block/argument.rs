//! Arguments as given, in the order of the parameters.

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::block::call::one_line;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::Definition;
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Reported, Result};
use rlp_grammar::ast::{Arg, Param, Span};

/// An argument as given: its value in the caller's scope and its place.
pub(crate) type Given = Option<(Value, Span)>;

impl Elaborator<'_> {
    /// Arguments in the order of the parameters.
    pub(crate) fn arguments(
        &mut self,
        definition: &Definition,
        args: &[Arg],
        span: Span,
    ) -> Result<Vec<Given>> {
        let params = &definition.block.params;
        let mut given: Vec<Given> = vec![None; params.len()];
        let mut sound = true;
        let mut position = 0;
        // A misspelt argument is reported as that, and not as missing too.
        let mut meant: Vec<String> = Vec::new();
        for arg in args {
            let index = match &arg.name {
                Some(name) => params.iter().position(|param| param.name.name == name.name),
                None => {
                    position += 1;
                    (position <= params.len()).then_some(position - 1)
                }
            };
            let place = arg.name.as_ref().map_or(arg.value.span, |name| name.span);
            let Some(index) = index else {
                meant.extend(self.unknown_argument(definition, arg));
                sound = false;
                continue;
            };
            if given[index].is_some() {
                let message = format!("`{}` is given twice", params[index].name.name);
                let _ = self.error::<()>("repeated-argument", place, message);
                sound = false;
                continue;
            }
            match self.expr(&arg.value) {
                Ok(value) => given[index] = Some((value, arg.value.span)),
                Err(Reported) => {
                    given[index] = Some((Value::Poison, arg.value.span));
                    sound = false;
                }
            }
        }
        for (param, value) in params.iter().zip(&given) {
            let is_meant = meant.contains(&param.name.name);
            if value.is_none() && param.default.is_none() && !param.trainable && !is_meant {
                let message = format!(
                    "`{}` needs the argument `{}`",
                    definition.name, param.name.name
                );
                let text = self.library.map.text(param.span).to_string();
                let diagnostic = Diagnostic::error("missing-argument", span, message)
                    .here(format!("`{}` is missing", param.name.name))
                    .label(param.span, format!("declared here: `{}`", one_line(&text)));
                self.report(diagnostic);
                sound = false;
            }
        }
        if sound { Ok(given) } else { Err(Reported) }
    }

    /// Reports an argument that the block does not have; the parameters that may be meant.
    pub(crate) fn unknown_argument(&mut self, definition: &Definition, arg: &Arg) -> Vec<String> {
        let names: Vec<String> = definition
            .block
            .params
            .iter()
            .map(|param| param.name.name.clone())
            .collect();
        let mut near: Vec<String> = Vec::new();
        let diagnostic = match &arg.name {
            Some(name) => {
                near = nearest(&name.name, names.iter().map(String::as_str))
                    .into_iter()
                    .map(str::to_string)
                    .collect();
                let message = format!("`{}` has no argument `{}`", definition.name, name.name);
                let diagnostic = Diagnostic::error("unknown-argument", name.span, message)
                    .here("not an argument");
                match near.first() {
                    Some(best) => diagnostic
                        .help(format!("did you mean {}?", quoted(&near)))
                        .fix(name.span, best.clone()),
                    None => diagnostic.help(format!("it has {}", names.join(", "))),
                }
            }
            None => {
                let message = format!("`{}` takes {} arguments", definition.name, names.len());
                Diagnostic::error("unknown-argument", arg.value.span, message)
                    .here("one too many")
                    .label(
                        definition.block.head,
                        format!("it has {}", names.join(", ")),
                    )
            }
        };
        self.report(diagnostic);
        near
    }

    pub(crate) fn expected<T>(
        &mut self,
        definition: &Definition,
        param: &Param,
        wanted: &str,
        found: &Value,
        place: Span,
    ) -> Result<T> {
        if matches!(found, Value::Poison) {
            return Err(Reported);
        }
        let message = format!(
            "`{}` of `{}` is {wanted}, and this is {}",
            param.name.name,
            definition.name,
            found.describe()
        );
        let mut diagnostic = Diagnostic::error("type-mismatch", place, message)
            .here(found.describe())
            .label(param.span, "declared here");
        if let (Value::Record(record), "a tensor") = (found, wanted) {
            let names: Vec<&str> = record
                .fields
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            let like = names
                .iter()
                .find(|name| **name == param.name.name)
                .or(names.first());
            if let Some(like) = like {
                diagnostic = diagnostic.help(format!("{}.{like}", self.library.map.text(place)));
            }
        }
        Err(self.report(diagnostic))
    }
}
