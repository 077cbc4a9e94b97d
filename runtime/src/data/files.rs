//! The data sources that read files, opened.

use std::rc::Rc;

use rlp_compiler::plan::Resource;
use rlp_frontend::data::{FileData, file_data};

use super::{Fit, Limits, Rows, Task, Text};
use crate::error::Fault;
use crate::tokenizer::Tokenizer;

/// A data source that reads files; `None` if it is another.
///
/// # Errors
/// Files that cannot be read, and the first row that does not fit.
pub(crate) fn open(
    resource: &Resource,
    limits: &Limits,
    tokenizer: &Rc<Tokenizer>,
) -> Result<Option<Box<dyn Task>>, Fault> {
    Ok(match file_data(resource, limits.holds_out)? {
        None => None,
        Some(FileData::Rows {
            mut request,
            max_prompt,
        }) => {
            request.columns.needs_response = limits.reads_responses;
            let fit = Fit {
                tokenizer,
                limits,
                max_prompt,
            };
            Some(Box::new(Rows::open(&request, &fit, &resource.block)?))
        }
        Some(FileData::Text {
            files,
            part,
            fraction,
            limit,
            tokens,
        }) => {
            limits.of_piece(tokens)?;
            let text = Text::open(&files, tokenizer, tokens)?;
            Some(Box::new(text.divided(part, fraction, limit)?))
        }
    })
}
