//! `environment.json`: on what a run was begun, with which versions.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use crate::folder::moment;
use crate::tensor::Device;

pub(crate) fn environment(device: Device) -> Json {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let started = moment(since.as_secs());
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let kib = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    let gpu = match device {
        Device::Cuda(_) => field("/proc/driver/nvidia/version", "NVRM version"),
        Device::Cpu | Device::Mps | Device::Vulkan => None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "started": started, "rlpc": env!("CARGO_PKG_VERSION"), "libtorch": rlp_locate::VERSION,
        "system": format!("{OS} {ARCH}"), "processor": field("/proc/cpuinfo", "model name"), "cores": cores,
        "memory_gib": kib.map(|kib| (kib as f64 / 104_857.6).round() / 10.0), "nvidia_driver": gpu,
    })
}
