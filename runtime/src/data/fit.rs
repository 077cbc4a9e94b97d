//! Whether rows fit the models that are to read them, found before the run.

use rlp_compiler::graph::{DrawArg, Op};
use rlp_compiler::plan::Plan;
use rlp_data::{Misfit, Row, role};

use crate::error::Fault;
use crate::resource::Model;
use crate::stage::args::Args;
use crate::tokenizer::Tokenizer;

/// How long the sequences of a data source may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens of a prompt that is answered by a model, and why: "`policy` has 256 positions, and the response up to 12".
    prompt: Option<(u64, String)>,
    /// Tokens of a prompt and a written response with its end.
    whole: Option<(u64, String)>,
    /// Whether answers are read as responses.
    reads_answers: bool,
    /// Whether responses are read at all.
    pub(crate) reads_responses: bool,
    /// Whether the pipeline asks for what is held out.
    pub(crate) holds_out: bool,
}

impl Limits {
    /// What the draws of a plan ask of a data source, by its index.
    pub(crate) fn of(plan: &Plan, index: usize, models: &[Model]) -> Limits {
        let mut limits = Limits::default();
        for stage in &plan.stages {
            let mut readers: Vec<usize> = Vec::new();
            for id in stage.graph.ids() {
                if let Op::Model { model, .. } | Op::Backward { model, .. } = stage.graph.op(id) {
                    readers.push(model.model);
                }
            }
            for draw in &stage.graph.draws {
                let data = draw.args.iter().find_map(|(_, arg)| match arg {
                    DrawArg::Data(data) if data.data == index => Some(data),
                    DrawArg::Data(_)
                    | DrawArg::Static(_)
                    | DrawArg::Model(_)
                    | DrawArg::Operand(_)
                    | DrawArg::Record(_) => None,
                });
                let Some(data) = data else { continue };
                limits.holds_out |= data.held_out;
                limits.reads_answers |= draw.block == "sampler.comparisons";
                let args = Args {
                    draw,
                    operands: &[],
                };
                match (args.model("policy"), args.whole("max_tokens")) {
                    (Ok(policy), Ok(max_tokens)) => {
                        limits.answered(models.get(policy.model), max_tokens);
                    }
                    _ => {
                        limits.reads_responses = true;
                        readers
                            .iter()
                            .for_each(|&reader| limits.read(models.get(reader)));
                    }
                }
            }
        }
        limits
    }

    fn answered(&mut self, policy: Option<&Model>, max_tokens: i64) {
        let Some(policy) = policy else { return };
        let positions = policy.network.config().positions;
        let room = (positions - max_tokens).max(0) as u64;
        let why = format!(
            "`{}` has {positions} positions, and a response up to {max_tokens}",
            policy.name
        );
        if self.prompt.as_ref().is_none_or(|(least, _)| room < *least) {
            self.prompt = Some((room, why));
        }
    }

    fn read(&mut self, model: Option<&Model>) {
        let Some(model) = model else { return };
        let positions = model.network.config().positions.max(0) as u64;
        if self
            .whole
            .as_ref()
            .is_none_or(|(least, _)| positions < *least)
        {
            let why = format!("`{}` has {positions} positions", model.name);
            self.whole = Some((positions, why));
        }
    }

    /// Whether pieces of text fit, with a first word of a few tokens.
    pub(crate) fn of_piece(&self, tokens: u64) -> Result<(), Fault> {
        match &self.whole {
            Some((most, why)) if tokens >= *most => {
                let message = format!("a piece of {tokens} tokens is too long: {why}");
                let help = format!("tokens: {}", most * 3 / 4);
                Err(Fault::input_help(message, help))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What rows are held against.
pub(crate) struct Fit<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) limits: &'a Limits,
    pub(crate) max_prompt: Option<u64>,
}

/// More tokens than any chat template puts around a text; a token has a byte at least.
const AROUND: u64 = 1024;

impl Fit<'_> {
    /// Why the row does not fit.
    pub(crate) fn check(&self, row: &Row) -> Result<(), Misfit> {
        let is_said = row.context.iter().any(|said| said.role != role::SYSTEM);
        if is_said && !self.tokenizer.is_chat() {
            let message = "is a conversation, and the model has no chat template";
            return Err(Misfit::new(message)
                .help("`chat: true` puts conversations through the template of a model's folder"));
        }
        let said: usize = row.context.iter().map(|said| said.content.len()).sum();
        let bytes = (said + row.prompt.len()) as u64;
        let own = self
            .max_prompt
            .map(|most| (most, "`max_prompt`".to_string()));
        let limits = own.iter().chain(&self.limits.prompt);
        let least = limits.min_by_key(|(most, _)| *most);
        let responses = match self.limits.reads_answers {
            true => vec![&row.response, &row.answer],
            false => vec![&row.response],
        };
        let written = responses.iter().map(|own| own.len()).max().unwrap_or(0) as u64;
        let whole = self.limits.whole.as_ref();
        let is_short = |limit: Option<&(u64, String)>, bytes: u64| {
            limit.is_none_or(|(most, _)| bytes + AROUND <= *most)
        };
        // A conversation is rendered in any case: its template may refuse it.
        if !is_said && is_short(least, bytes) && is_short(whole, bytes + written) {
            return Ok(());
        }
        let refused = |fault: Fault| Misfit {
            message: fault.to_string(),
            help: fault.help(),
        };
        let prompt = self.tokenizer.prompt_after(&row.context, &row.prompt);
        let prompt = prompt.map_err(refused)?.len() as u64;
        if prompt == 0 {
            return Err(Misfit::new("has a prompt without tokens"));
        }
        if let Some((most, why)) = least
            && prompt > *most
        {
            let message = format!("the prompt has {prompt} tokens, where {most} fit: {why}");
            return Err(Misfit::new(message).help(SKIP));
        }
        let Some((most, why)) = whole else {
            return Ok(());
        };
        for response in responses {
            // A token is at least a byte, and one more ends the response.
            if prompt + (response.len() as u64) < *most {
                continue;
            }
            let own = self
                .tokenizer
                .response_after(&row.context, &row.prompt, response);
            let all = prompt + own.map_err(refused)?.len() as u64 + 1;
            if all > *most {
                let message =
                    format!("prompt and response have {all} tokens, where {most} fit: {why}");
                return Err(Misfit::new(message).help(SKIP));
            }
        }
        Ok(())
    }
}

const SKIP: &str = "`skip: 100` leaves out up to 100 rows that do not fit";
