//! A block that is asked for by its name, as `rlpc eval` does.

use std::rc::Rc;

use rlp_grammar::ast::{SourceId, Span, TypeKind};

use crate::array::Array;
use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::{Definition, Found, KINDS};
use crate::elaborate::pipeline::parse_setting;
use crate::elaborate::{Elaborator, Result};
use crate::plan::BlockPlan;
use crate::program::Settings;

impl Elaborator<'_> {
    /// `loss.ppo_clip`, or `FILE.rlp:loss.mine` of a user's file; its arguments in `settings` are constants.
    pub(crate) fn block_by_name(&mut self, name: &str, settings: &Settings) -> Result<BlockPlan> {
        // The name itself stands in for a text, so that messages about it have a place.
        let asked = self.library.map.add("(the command line)", name.into());
        let span = Span {
            source: asked,
            start: 0,
            end: name.len() as u32,
        };
        let definition = self.find_block(name, asked, span)?;
        if !self.is_sound(&definition) {
            return Err(crate::elaborate::Reported);
        }
        if definition.block.native {
            let message = format!(
                "`{}` is native: it can only be used in a pipeline",
                definition.name
            );
            return self.error("not-evaluable", span, message);
        }
        let mut fixed = Vec::new();
        for (given, text) in &settings.0 {
            // `step` and `steps` are no parameters, but may be set where they are counted.
            if matches!(given.as_str(), "step" | "steps")
                && !definition
                    .block
                    .params
                    .iter()
                    .any(|param| param.name.name == *given)
            {
                continue;
            }
            fixed.push((
                given.clone(),
                self.fixed_argument(&definition, given, text, span)?,
            ));
        }
        self.alone(&definition, &fixed)
    }

    fn find_block(&mut self, name: &str, asked: SourceId, span: Span) -> Result<Rc<Definition>> {
        if let Some((path, block)) = name.rsplit_once(':') {
            let Some(file) = self.library.load(path, Some(span)) else {
                return Err(crate::elaborate::Reported);
            };
            let blocks = self.library.blocks(file);
            let found = blocks
                .iter()
                .find(|definition| definition.name == block || definition.block.name.name == block);
            return match found {
                Some(definition) => Ok(definition.clone()),
                None => {
                    let names: Vec<&str> = blocks
                        .iter()
                        .map(|definition| definition.name.as_str())
                        .collect();
                    let near: Vec<String> = nearest(block, names.iter().copied())
                        .into_iter()
                        .map(str::to_string)
                        .collect();
                    let diagnostic = Diagnostic::error(
                        "unknown-block",
                        span,
                        format!("`{path}` defines no block `{block}`"),
                    );
                    let help = if near.is_empty() {
                        format!("it defines {}", names.join(", "))
                    } else {
                        format!("did you mean {}?", quoted(&near))
                    };
                    Err(self.report(diagnostic.help(help)))
                }
            };
        }
        let near = match name.split_once('.') {
            Some((kind, block)) if KINDS.contains(&kind) => {
                match self.library.standard(asked, kind, block) {
                    Found::Block(definition) => return Ok(definition),
                    Found::Broken => return Err(crate::elaborate::Reported),
                    Found::Nothing(near) => near,
                }
            }
            Some((kind, block)) => nearest(kind, KINDS)
                .into_iter()
                .map(|kind| format!("{kind}.{block}"))
                .collect(),
            None => self.library.modules_with(name),
        };
        let diagnostic =
            Diagnostic::error("unknown-block", span, format!("there is no block `{name}`"));
        let help = match near.is_empty() {
            true => {
                "`rlpc doc` lists all blocks; one of a file is `FILE.rlp:loss.NAME`".to_string()
            }
            false => format!("did you mean {}?", quoted(&near)),
        };
        Err(self.report(diagnostic.help(help)))
    }

    fn fixed_argument(
        &mut self,
        definition: &Definition,
        given: &str,
        text: &str,
        span: Span,
    ) -> Result<Array> {
        let params = &definition.block.params;
        let Some(param) = params.iter().find(|param| param.name.name == given) else {
            let near: Vec<String> =
                nearest(given, params.iter().map(|param| param.name.name.as_str()))
                    .into_iter()
                    .map(str::to_string)
                    .collect();
            let diagnostic = Diagnostic::error(
                "unknown-argument",
                span,
                format!("`{}` has no argument `{given}`", definition.name),
            );
            let names: Vec<&str> = params
                .iter()
                .map(|param| param.name.name.as_str())
                .collect();
            let help = if near.is_empty() {
                format!("it has {}", names.join(", "))
            } else {
                format!("did you mean {}?", quoted(&near))
            };
            return Err(self.report(diagnostic.help(help)));
        };
        let elem = match param.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Named { name, .. }) => elem_named(&name.name),
            Some(TypeKind::Record(_) | TypeKind::Like { .. }) | None => None,
        };
        match elem.and_then(|elem| parse_setting(elem, text)) {
            Some(array) => Ok(array),
            None => {
                let message = format!(
                    "`--set {given}={text}`: `{text}` is no value for `{given}` of `{}`",
                    definition.name
                );
                Err(self.report(
                    Diagnostic::error("bad-setting", span, message)
                        .label(param.span, "declared here"),
                ))
            }
        }
    }
}
