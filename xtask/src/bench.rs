//! `cargo xtask bench`: the same work done by rlpc and by others, in turn, and the table of ratios in `benches/RESULTS.md`.

mod report;
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};

use rows::{OURS, Ours, Work};

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [GROUP]... [--threads N]... [--rounds N] [--no-peers] [--release] [--report]

  GROUP        grpo-a, grpo-b, grpo-c, grpo-v, gen, head, loss, optim, reward, imports; all if absent
  --threads N  of both sides; 1 and then 2 if absent
  --rounds N   how often ours and theirs take turns; the best of each counts (2)
  --no-peers   ours only, beside what was measured of the others before
  --release    with the executables of `cargo build --release`, which must be there
  --report     measure nothing, write the table anew";

/// What was measured of rlpc: the best line of each command, by its name.
type Lines = BTreeMap<String, Json>;

struct Options {
    groups: Vec<String>,
    threads: Vec<usize>,
    rounds: usize,
    peers: bool,
    profile: &'static str,
    measures: bool,
}

pub(crate) fn bench(checkout: &Path, arguments: &[&str]) -> Result<(), String> {
    let options = parse(arguments)?;
    if options.measures {
        for &threads in &options.threads {
            measure(checkout, &options, threads)?;
        }
    }
    report::write(checkout)
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        groups: Vec::new(),
        threads: Vec::new(),
        rounds: 2,
        peers: true,
        profile: "debug",
        measures: true,
    };
    let mut arguments = arguments.iter();
    let number = |text: Option<&&str>| {
        let number = text.and_then(|text| text.parse().ok());
        number
            .filter(|number| (1..=4096).contains(number))
            .ok_or_else(|| USAGE.to_string())
    };
    while let Some(&argument) = arguments.next() {
        match argument {
            "--threads" => options.threads.push(number(arguments.next())?),
            "--rounds" => options.rounds = number(arguments.next())?,
            "--no-peers" => options.peers = false,
            "--release" => options.profile = "release",
            "--report" => options.measures = false,
            group if OURS.iter().any(|ours| ours.group == group) => {
                options.groups.push(group.to_string());
            }
            _ => return Err(USAGE.to_string()),
        }
    }
    if options.threads.is_empty() {
        options.threads = vec![1, 2];
    }
    Ok(options)
}

/// Ours and theirs in turn, group by group.
fn measure(checkout: &Path, options: &Options, threads: usize) -> Result<(), String> {
    let mut groups: Vec<&str> = OURS.iter().map(|ours| ours.group).collect();
    groups.dedup();
    if !options.groups.is_empty() {
        groups.retain(|group| options.groups.iter().any(|chosen| chosen == group));
    }
    let path = file(checkout, threads);
    let (_, mut lines) = read(&path)?;
    for group in groups {
        let mut best = Lines::new();
        for round in 0..options.rounds {
            println!(
                "{group}, {threads} threads, round {} of {}",
                round + 1,
                options.rounds
            );
            for ours in OURS.iter().filter(|ours| ours.group == group) {
                match run(checkout, options.profile, ours, threads) {
                    Ok(line) => {
                        println!("{line}");
                        keep_best(&mut best, ours.name, line);
                    }
                    Err(reason) => println!("  {} cannot be measured: {reason}", ours.name),
                }
            }
            if options.peers {
                peers(checkout, group, threads, round == 0)?;
            }
        }
        lines.extend(best);
        write(&path, threads, options.profile, &lines)?;
    }
    Ok(())
}

/// Of two lines the one with less CPU time, or less time where only that is known.
fn keep_best(best: &mut Lines, name: &str, line: Json) {
    let cost = |line: &Json| {
        let number = |field: &str| line[field].as_f64();
        number("cpu_seconds")
            .or_else(|| number("seconds"))
            .unwrap_or(f64::INFINITY)
    };
    match best.get(name) {
        Some(known) if cost(known) <= cost(&line) => {}
        Some(_) | None => {
            best.insert(name.to_string(), line);
        }
    }
}

/// The line of JSON that one command of ours tells.
fn run(checkout: &Path, profile: &str, ours: &Ours, threads: usize) -> Result<Json, String> {
    let rlpc = checkout.join("target").join(profile).join("rlpc");
    let mut command = Command::new(&rlpc);
    command
        .current_dir(checkout)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    match ours.work {
        Work::Bench(arguments) => {
            command
                .arg("bench")
                .args(arguments)
                .args(["--json", "--threads"])
                .arg(threads.to_string());
            let output = command
                .output()
                .map_err(|error| format!("{}: {error}", rlpc.display()))?;
            let said = String::from_utf8_lossy(&output.stdout);
            let told: Option<Json> = said
                .lines()
                .next()
                .and_then(|line| serde_json::from_str(line).ok());
            told.ok_or_else(|| {
                let complaint = String::from_utf8_lossy(&output.stderr);
                complaint
                    .lines()
                    .next()
                    .unwrap_or("it says nothing")
                    .to_string()
            })
        }
        Work::FirstStep(pipeline) => first_step(command, pipeline, threads),
    }
}

/// Seconds from the start of the process to the end of the first step of a pipeline, which is in them.
fn first_step(mut command: Command, pipeline: &str, threads: usize) -> Result<Json, String> {
    let folder = std::env::temp_dir().join(format!("rlpc-bench-{}", std::process::id()));
    command
        .args(["run", pipeline, "--json", "--steps", "1", "--threads"])
        .arg(threads.to_string());
    command.arg("--run-dir").arg(&folder);
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut found = None;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let told: Json = serde_json::from_str(&line).unwrap_or_default();
            if found.is_none() && told["event"] == "step" {
                let step = told["seconds"].as_f64().unwrap_or(0.0);
                let seconds = start.elapsed().as_secs_f64();
                found = Some(json!({ "seconds": seconds - step, "first_step_seconds": step }));
            }
        }
    }
    // What counts was said already, and the folder is in nobody's way.
    let _ = child.wait();
    let _ = fs::remove_dir_all(&folder);
    found.ok_or_else(|| "there was no step".to_string())
}

/// One round of the others, whose script keeps the results of its own.
fn peers(checkout: &Path, group: &str, threads: usize, is_first: bool) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.arg(checkout.join("benches/peers/run.py"));
    match group.strip_prefix("grpo-") {
        Some(setting) => command.args(["grpo", "--setting", &setting.to_uppercase()]),
        None => command.arg(group),
    };
    command.args(["--threads", &threads.to_string(), "--save"]);
    if !is_first {
        command.arg("--best");
    } else if group == "loss" {
        // The first time to a result is one without anything compiled before.
        command.arg("--cold");
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("the others cannot be measured; `--no-peers` leaves them out".to_string()),
        Err(error) => Err(format!("python3 cannot be started: {error}")),
    }
}

fn file(checkout: &Path, threads: usize) -> PathBuf {
    checkout.join(format!("benches/results/threads-{threads}.json"))
}

/// The machine and the lines that are kept in a file; nothing if there is none.
fn read(path: &Path) -> Result<(Json, Lines), String> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok((Json::Null, Lines::new()));
    };
    let kept: Json =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = kept["results"].as_object().cloned().unwrap_or_default();
    Ok((kept["machine"].clone(), lines.into_iter().collect()))
}

fn write(path: &Path, threads: usize, profile: &str, lines: &Lines) -> Result<(), String> {
    let lines: Map<String, Json> = lines.clone().into_iter().collect();
    let kept = json!({ "machine": machine(threads, profile), "results": lines });
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, format!("{kept:#}\n")));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn machine(threads: usize, profile: &str) -> Json {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([':', ' ', '\t']));
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    });
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "date": date,
        "cpu": cpu,
        "cores": available_parallelism().map_or(1, usize::from),
        "avx512": info.contains("avx512f"),
        "threads": threads,
        "profile": profile,
        "load": load.split(' ').next().and_then(|load| load.parse::<f64>().ok()),
    })
}
