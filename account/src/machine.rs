//! What this machine has: memory, threads, and how fast it multiplies, measured once and kept.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use rlp_frontend::files::write_file;
use rlp_transformer::{Kernels, Packed};
use serde_json::{Value as Json, json};

/// Memory of a machine, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// All that a process may have.
    pub total: u64,
    /// What nobody uses now.
    pub free: u64,
}

impl Memory {
    /// That of this machine, or of the group of processes that this one is in, if that may have less.
    pub fn of_this_machine() -> Option<Memory> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
            Some(kib << 10)
        };
        let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        let total = field("MemTotal:")?;
        Some(Memory {
            total: limit.map_or(total, |limit| limit.min(total)),
            free: field("MemAvailable:")?.min(limit.unwrap_or(u64::MAX)),
        })
    }
}

/// How fast one thread is.
#[derive(Clone, PartialEq, Debug)]
pub struct Speed {
    /// Operations a second of products in f32 with so many rows, ascending.
    pub products: Vec<(u64, f64)>,
    /// Bytes a second that are read and written.
    pub bytes: f64,
    /// Logits a second that a token is drawn from.
    pub draws: f64,
}

/// Rows of the products that are measured.
const ROWS: [usize; 4] = [1, 16, 128, 512];
/// Rows and columns of their weights.
const WIDTH: usize = 512;
/// Each measurement goes on for so long and so many rounds at least, and counts its best.
const SECONDS: f64 = 0.02;
const ROUNDS: u32 = 5;
/// What changes whenever something else is measured.
const FORMAT: u64 = 1;

impl Speed {
    /// That of this machine: what `folder` keeps of an earlier measurement on the same processor, or a new one, which
    /// takes a fifth of a second.
    pub fn of_this_machine(folder: Option<&Path>) -> Speed {
        let path = folder.map(|folder| folder.join("speed.json"));
        let kept = path
            .as_ref()
            .and_then(|path| fs::read_to_string(path).ok())
            .and_then(|text| Speed::read(&serde_json::from_str(&text).ok()?));
        kept.unwrap_or_else(|| {
            let speed = Speed::measured();
            if let Some(path) = &path {
                // Without it the next plan measures once more.
                let _ = path.parent().map(fs::create_dir_all);
                let _ = write_file(path, &format!("{:#}\n", speed.to_json()));
            }
            speed
        })
    }

    fn measured() -> Speed {
        let weight = vec![0.5_f32; WIDTH * WIDTH];
        let packed = Packed::transposed(&weight, WIDTH, WIDTH);
        let input = vec![0.5_f32; WIDTH * WIDTH];
        let mut output = vec![0.0_f32; WIDTH * WIDTH];
        let products = ROWS.map(|rows| {
            let part = ..rows * WIDTH;
            let seconds = best(|| f32::set_product(&input[part], &packed, &mut output[part]));
            (rows as u64, 2.0 * (rows * WIDTH * WIDTH) as f64 / seconds)
        });
        let from = vec![1_u8; 16 << 20];
        let mut to = vec![1_u8; 16 << 20];
        let copied = best(|| to.copy_from_slice(black_box(&from)));
        let logits: Vec<f32> = (0..4096).map(|token| (token % 7) as f32).collect();
        let mut weights = Vec::new();
        let drawn = best(|| {
            black_box(f32::draw(&logits, 1.0, 0.5, &mut weights));
        });
        Speed {
            products: products.to_vec(),
            bytes: 2.0 * from.len() as f64 / copied,
            draws: logits.len() as f64 / drawn,
        }
    }

    /// Operations a second of products with so many rows.
    pub(crate) fn of_rows(&self, rows: u64) -> f64 {
        let mut before: Option<(u64, f64)> = None;
        for &(own, speed) in &self.products {
            if rows <= own {
                return match before {
                    None => speed,
                    // In between, in proportion to the logarithm.
                    Some((less, slower)) => {
                        let log = |rows: u64| (rows.max(1) as f64).ln();
                        let share = (log(rows) - log(less)) / (log(own) - log(less));
                        slower + share * (speed - slower)
                    }
                };
            }
            before = Some((own, speed));
        }
        before.map_or(1e9, |(_, speed)| speed)
    }

    fn to_json(&self) -> Json {
        json!({
            "format": FORMAT, "processor": processor(), "products": self.products, "bytes": self.bytes, "draws": self.draws,
        })
    }

    /// `None` if it is of another processor, or no measurement.
    fn read(json: &Json) -> Option<Speed> {
        if json["format"] != FORMAT || json["processor"].as_str() != processor().as_deref() {
            return None;
        }
        let speed = |json: &Json| {
            let number = json.as_f64()?;
            (number.is_finite() && number > 0.0).then_some(number)
        };
        let product = |pair: &Json| Some((pair[0].as_u64()?, speed(&pair[1])?));
        let products: Option<Vec<(u64, f64)>> =
            json["products"].as_array()?.iter().map(product).collect();
        Some(Speed {
            products: products.filter(|products| {
                !products.is_empty() && products.is_sorted_by(|one, next| one.0 < next.0)
            })?,
            bytes: speed(&json["bytes"])?,
            draws: speed(&json["draws"])?,
        })
    }
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The seconds of the shortest of some rounds.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best, mut rounds) = (Instant::now(), f64::INFINITY, 0);
    while start.elapsed().as_secs_f64() < SECONDS || rounds < ROUNDS {
        rounds += 1;
        let round = Instant::now();
        run();
        best = best.min(round.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_kept_and_read_again_and_nothing_else_is() {
        let speed = Speed {
            products: vec![(1, 1e9), (512, 1e11)],
            bytes: 1e10,
            draws: 1e9,
        };
        assert_eq!(Speed::read(&speed.to_json()), Some(speed.clone()));
        for wrong in ["{}", "[]", "{\"format\":1}", "3"] {
            assert_eq!(Speed::read(&serde_json::from_str(wrong).unwrap()), None);
        }
        let mut other = speed.to_json();
        other["products"] = json!([[512, 1e11], [1, 1e9]]);
        assert_eq!(Speed::read(&other), None);
        other["products"] = json!([[1, -1.0]]);
        assert_eq!(Speed::read(&other), None);
    }

    #[test]
    fn few_rows_are_slower_than_many() {
        let speed = Speed {
            products: vec![(1, 1e9), (100, 3e9)],
            bytes: 1e10,
            draws: 1e9,
        };
        assert_eq!(speed.of_rows(1), 1e9);
        assert!((speed.of_rows(10) - 2e9).abs() < 1.0);
        assert_eq!(speed.of_rows(1000), 3e9);
    }
}
