//! Event files, as TensorBoard reads them: records of protocol buffers, each with its length and the checksums of both.
//!
//! Format: `tensorflow/core/lib/io/record_writer.h`; messages: `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rlp_frontend::files::reason;

use crate::error::Fault;
use crate::report::Event;

/// The events of one process of a run.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// Steps of all stages so far.
    done: u64,
}

impl EventFile {
    /// A new file in the folder of a run. What another process told of steps after `done` is void.
    pub(crate) fn create(folder: &Path, done: u64) -> Result<EventFile, Fault> {
        let now = now();
        for attempt in 1..1000 {
            // The program looks for this word, and orders files by their names.
            let path = folder.join(format!("events.out.tfevents.{now:.0}.rlpc.{attempt}"));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = EventFile { path, file, done };
                    events.write(&[text(3, "brain.Event:2")])?;
                    // SessionLog.START: steps from here on replace those of earlier files.
                    events.write(&[whole(2, done + 1), message(7, &whole(1, 1))])?;
                    return Ok(events);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Fault::file(&path, reason(&error))),
            }
        }
        Err(Fault::broken("some number is free"))
    }

    /// Adds the numbers of a step or an evaluation, each under its stage.
    pub(crate) fn hear(&mut self, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Step(step) => {
                self.done += 1;
                let speed = step.tokens as f64 / step.seconds.max(1e-9);
                let vitals = &step.vitals;
                let some = [
                    ("entropy", vitals.entropy),
                    ("cut", vitals.cut),
                    ("outside", vitals.outside),
                    ("logp_gap", step.logp_gap),
                    ("tokens_per_second", (step.tokens > 0).then_some(speed)),
                ];
                let some = some
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_string(), value?)));
                let numbers: Vec<(String, f64)> = step
                    .losses()
                    .into_iter()
                    .chain(step.grad_norms())
                    .chain(step.metrics.iter().cloned())
                    .chain(some)
                    .collect();
                self.add(&step.stage, &numbers)
            }
            Event::Evaluation(evaluation) => {
                let stage = format!("{}/evaluated", evaluation.stage);
                self.add(&stage, &evaluation.metrics)
            }
            Event::NotFinite(_) | Event::Warning(_) => Ok(()),
        }
    }

    fn add(&mut self, stage: &str, numbers: &[(String, f64)]) -> Result<(), Fault> {
        if numbers.is_empty() {
            return Ok(());
        }
        let values = numbers.iter().map(|(name, value)| {
            let name = format!("{stage}/{name}");
            let value = (*value as f32).to_le_bytes();
            let value = [text(1, &name), vec![key(2, 5)], value.to_vec()].concat();
            message(1, &value)
        });
        let summary: Vec<u8> = values.flatten().collect();
        self.write(&[whole(2, self.done), message(5, &summary)])
    }

    /// An event with the time of now.
    fn write(&mut self, fields: &[Vec<u8>]) -> Result<(), Fault> {
        let time = [vec![key(1, 1)], now().to_le_bytes().to_vec()].concat();
        let event = [time, fields.concat()].concat();
        let length = (event.len() as u64).to_le_bytes();
        let record = [
            length.to_vec(),
            masked(crc32c(&length)).to_le_bytes().to_vec(),
            event.clone(),
            masked(crc32c(&event)).to_le_bytes().to_vec(),
        ];
        // In one piece, so that a reader who looks meanwhile finds whole records.
        self.file
            .write_all(&record.concat())
            .map_err(|error| Fault::file(&self.path, reason(&error)))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs_f64()
}

/// What stands before a field: its number and the form of its value.
fn key(field: u8, form: u8) -> u8 {
    field << 3 | form
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn whole(field: u8, value: u64) -> Vec<u8> {
    [vec![key(field, 0)], varint(value)].concat()
}

fn message(field: u8, content: &[u8]) -> Vec<u8> {
    let length = varint(content.len() as u64);
    [vec![key(field, 2)], length, content.to_vec()].concat()
}

fn text(field: u8, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}

/// Castagnoli's polynomial (RFC 3720, appendix B.4), bit by bit from the lowest: a record is a few hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let rest = bytes.iter().fold(!0u32, |rest, &byte| {
        (0..8).fold(rest ^ u32::from(byte), |rest, _| {
            (rest >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(rest & 1))
        })
    });
    !rest
}

/// As checksums stand in a file, so that the sum of what holds sums is none of it.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::{crc32c, masked};

    /// RFC 3720, appendix B.4; and `crc32c_test.cc` of LevelDB for the mask's inverse.
    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let unmasked = masked(0xe306_9283)
            .wrapping_sub(0xa282_ead8)
            .rotate_left(15);
        assert_eq!(unmasked, 0xe306_9283);
    }
}
