//! What this process has used so far: time, time of all its threads, memory.

#![expect(
    unsafe_code,
    reason = "the CPU time of the process is a call of the C library"
)]

use std::fs;
use std::ops::{AddAssign, Sub};
use std::time::{Duration, Instant};

use crate::tensor::Device;

/// A moment, by the clock on the wall and by the processors' time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall: Instant,
    cpu: Duration,
}

/// What passed since a moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Elapsed {
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds of all threads together: what other processes do adds little to it.
    pub(crate) cpu: f64,
}

impl AddAssign for Elapsed {
    fn add_assign(&mut self, other: Elapsed) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

impl Sub for Elapsed {
    type Output = Elapsed;

    fn sub(self, other: Elapsed) -> Elapsed {
        Elapsed {
            wall: self.wall - other.wall,
            cpu: self.cpu - other.cpu,
        }
    }
}

impl Moment {
    /// Now, once the device has done all that it was given.
    pub(crate) fn on(device: Device) -> Moment {
        wait_for(device);
        Moment::now()
    }

    pub(crate) fn now() -> Moment {
        Moment {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// What passed until the device has done all that it was given.
    pub(crate) fn elapsed_on(self, device: Device) -> Elapsed {
        wait_for(device);
        self.elapsed()
    }

    pub(crate) fn elapsed(self) -> Elapsed {
        Elapsed {
            wall: self.wall.elapsed().as_secs_f64(),
            cpu: cpu_time().saturating_sub(self.cpu).as_secs_f64(),
        }
    }
}

/// A GPU works on after the call that gave it work; this comes back when it is done.
pub(crate) fn wait_for(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// The time of all threads of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to the structure it is given and to nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The most memory that the process ever held, MiB; `None` where the system does not tell.
pub(crate) fn peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}
