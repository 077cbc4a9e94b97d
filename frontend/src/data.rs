//! Data sources that read files: what their arguments ask for, and what can be seen of it before a run.

use std::path::Path;

use rlp_compiler::array::Elements;
use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::plan::{Plan, Resource, ResourceArg};
use rlp_data::{Columns, DataError, Field, Format, Part, Prompt, Request, Template, found, glance};

/// What a data source reads.
#[derive(Clone, Debug, PartialEq)]
pub enum FileData {
    Rows {
        request: Request,
        /// Tokens that a prompt may have; as many as the model reads if absent.
        max_prompt: Option<u64>,
    },
    Text {
        files: Vec<std::path::PathBuf>,
        part: Part,
        fraction: f64,
        /// Pieces that are read; all if absent.
        limit: Option<u64>,
        /// Tokens of a piece.
        tokens: u64,
    },
}

/// The share that is trained on where some is held out and nothing says how much.
const MOST_OF_IT: f64 = 0.9;

/// What a data source reads, if it reads files. `holds_out` is whether the pipeline asks for what is held out.
///
/// # Errors
/// A path that leads to nothing, a template or a field that is none.
pub fn file_data(resource: &Resource, holds_out: bool) -> Result<Option<FileData>, DataError> {
    let format = match resource.block.as_str() {
        "data.jsonl" | "data.comparisons" | "data.responses" => Format::Jsonl,
        "data.parquet" => Format::Parquet,
        "data.text" => Format::Text,
        _ => return Ok(None),
    };
    let arguments = Arguments(resource);
    let folder = Path::new(&resource.file).parent().unwrap_or(Path::new(""));
    let field = |name: &str| Field::new(name).map_err(DataError::from);
    let whole = |files, columns| Request {
        files,
        format,
        columns,
        part: Part::Train,
        fraction: 1.0,
        limit: 0,
        skip: 0,
    };
    let prompt_and = |answer: &str, response: &str| {
        Ok::<_, DataError>(Columns {
            prompt: Prompt::Field(field("prompt")?),
            answer: Some(field(answer)?),
            is_answer_optional: answer == "answer",
            response: Some(field(response)?),
            needs_response: false,
            system: String::new(),
        })
    };
    let own = |columns| {
        let files = found(&arguments.texts("file"), folder, format)?;
        Ok(Some(FileData::Rows {
            request: whole(files, columns),
            max_prompt: None,
        }))
    };
    match resource.block.as_str() {
        "data.comparisons" => return own(prompt_and("rejected", "chosen")?),
        "data.responses" => return own(prompt_and("answer", "response")?),
        _ => {}
    }
    let files = found(&arguments.texts("path"), folder, format)?;
    let split = arguments.text("split");
    let fraction = match arguments.real("fraction") {
        given if given > 0.0 => given,
        _ if holds_out || !split.is_empty() => MOST_OF_IT,
        _ => 1.0,
    };
    let part = match split.as_str() {
        "held_out" => Part::HeldOut,
        _ => Part::Train,
    };
    let limit = arguments.count("limit");
    if format == Format::Text {
        return Ok(Some(FileData::Text {
            files,
            part,
            fraction,
            limit: Some(limit).filter(|limit| *limit > 0),
            tokens: arguments.count("tokens"),
        }));
    }
    let given = |name: &str| Some(arguments.text(name)).filter(|text| !text.is_empty());
    let prompt = match (given("template"), given("messages"), given("prompt")) {
        (Some(template), ..) => Prompt::Template(Template::new(&template)?),
        (_, Some(messages), _) => Prompt::Conversation(field(&messages)?),
        (.., prompt) => Prompt::Field(field(prompt.as_deref().unwrap_or("prompt"))?),
    };
    let answer = given("answer");
    let usual = match prompt {
        Prompt::Conversation(_) => None,
        Prompt::Field(_) | Prompt::Template(_) => Some("answer"),
    };
    let columns = Columns {
        prompt,
        is_answer_optional: answer.is_none(),
        answer: answer.as_deref().or(usual).map(field).transpose()?,
        response: given("response").as_deref().map(field).transpose()?,
        needs_response: false,
        system: arguments.text("system"),
    };
    Ok(Some(FileData::Rows {
        request: Request {
            part,
            fraction,
            limit,
            skip: arguments.count("skip"),
            ..whole(files, columns)
        },
        max_prompt: Some(arguments.count("max_prompt")).filter(|most| *most > 0),
    }))
}

/// What is wrong with the files of some plans, as far as their first rows show it.
pub fn faults(plans: &[Plan]) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for resource in plans.iter().flat_map(|plan| &plan.data) {
        let looked = file_data(resource, false).and_then(|data| match data {
            Some(FileData::Rows { request, .. }) => glance(&request),
            Some(FileData::Text { .. }) | None => Ok(()),
        });
        if let Err(error) = looked {
            let mut fault = Diagnostic::error(error.code, resource.span, error.message);
            fault.help = error.help;
            faults.push(fault);
        }
    }
    faults
}

/// The arguments of a resource, whose types its signature has seen to.
struct Arguments<'r>(&'r Resource);

impl Arguments<'_> {
    fn elements(&self, name: &str) -> Option<&Elements> {
        let mut args = self.0.args.iter();
        match args.find(|(own, _)| own == name) {
            Some((_, ResourceArg::Value(array))) => Some(&array.elements),
            Some((_, ResourceArg::Data(_) | ResourceArg::Model(_))) | None => None,
        }
    }

    fn texts(&self, name: &str) -> Vec<String> {
        match self.elements(name) {
            Some(Elements::Text(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn text(&self, name: &str) -> String {
        self.texts(name).into_iter().next().unwrap_or_default()
    }

    fn real(&self, name: &str) -> f64 {
        match self.elements(name) {
            Some(Elements::Real(values)) => values.first().copied().unwrap_or_default(),
            _ => 0.0,
        }
    }

    fn count(&self, name: &str) -> u64 {
        match self.elements(name) {
            Some(Elements::Int(values)) => values.first().map_or(0, |&value| value.max(0) as u64),
            _ => 0,
        }
    }
}
