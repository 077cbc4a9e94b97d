//! The arithmetic reward of `reward.py` as a Rust closure, compiled by rustc: what machine code for it can be.

use std::hint::black_box;
use std::time::Instant;

const NUMBERS: usize = 1 << 20;
const REPEAT: usize = 21;

fn main() {
    let reward = |x: f32| if x > 0.5 && x.tanh() < 0.9 { 1.0 } else { 0.1 * (-x).exp() };
    let xs: Vec<f32> = (0..NUMBERS).map(|index| index as f32 * 2e-6).collect();
    let mut rewards = vec![0.0f32; NUMBERS];
    let mut seconds: Vec<f64> = (0..REPEAT)
        .map(|_| {
            let start = Instant::now();
            for (reward_of, x) in rewards.iter_mut().zip(black_box(&xs)) {
                *reward_of = reward(*x);
            }
            black_box(&mut rewards);
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[REPEAT / 2]);
    println!(
        "{{\"bench\": \"reward\", \"case\": \"arithmetic, rustc\", \"completions\": {NUMBERS}, \"seconds\": {best:.6}, \
         \"median_seconds\": {median:.6}, \"cpu_seconds\": {best:.6}, \"repeat\": {REPEAT}}}"
    );
}
