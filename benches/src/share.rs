//! Limits a process to a share of a processor, like a container with a limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Result;

/// The period of a share, in microseconds.
const PERIOD: u32 = 20_000;

/// A control group. Dropping this removes it, after its process.
pub struct Share(PathBuf);

impl Share {
    /// Whether there can be any here.
    pub fn are_there() -> Result<()> {
        let mut nobody = std::process::Command::new("sleep").arg("1").spawn()?;
        let made = Share::of(nobody.id(), 100);
        nobody.kill()?;
        nobody.wait()?;
        made.map(drop)
    }

    /// Limits the process to this many hundredths of a processor. Needs Linux with control groups,
    /// and the right to create one.
    pub fn of(process: u32, hundredths: u32) -> Result<Self> {
        let quota = PERIOD * hundredths / 100;
        let one_hierarchy = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let (root, limits) = match one_hierarchy {
            true => ("/sys/fs/cgroup", vec![("cpu.max", format!("{quota} {PERIOD}"))]),
            false => {
                let period = ("cpu.cfs_period_us", PERIOD.to_string());
                ("/sys/fs/cgroup/cpu", vec![period, ("cpu.cfs_quota_us", quota.to_string())])
            }
        };
        let group = Path::new(root).join(format!("wal2graph-bench-{process}"));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let share = Share(group);
        for (file, limit) in limits {
            share.set(file, &limit)?;
        }
        share.set("cgroup.procs", &process.to_string())?;
        Ok(share)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It may still contain a process that was not waited for.
        let _ = fs::remove_dir(&self.0);
    }
}
