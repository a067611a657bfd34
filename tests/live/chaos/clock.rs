//! A machine whose clock is set while the program runs.
//!
//! The program has no seam for it, so a library of ten lines stands before the C library's function: the time of day
//! goes back and forth, and what counts on without it does not.

use std::{
    fs,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// `CHAOS_CLOCK` names a file that says how many seconds the clock is off.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *off;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CHAOS_CLOCK"), O_RDONLY);
    void *it = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    off = it == MAP_FAILED ? 0 : it;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, which, now);
    if (done == 0 && which == CLOCK_REALTIME && off) now->tv_sec += *off;
    return done;
}
"#;

/// The clock of a program.
pub struct Clock(TempDir);

impl Clock {
    /// A clock that is right.
    pub fn new() -> Self {
        let clock = Clock(tempfile::tempdir().unwrap());
        let source = clock.path("clock.c");
        fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-o", &clock.path("clock.so"), &source]);
        assert!(compiler.status().expect("there is a C compiler").success());
        clock.is_off_by(0);
        clock
    }

    /// The program has this clock.
    pub fn is_of(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.path("clock.so")).env("CHAOS_CLOCK", self.path("off"));
    }

    /// From now on it is off by so many seconds.
    pub fn is_off_by(&self, seconds: i64) {
        // In one write: whoever reads sees the one or the other.
        let file =
            fs::File::options().create(true).truncate(false).write(true).open(self.path("off"));
        std::os::unix::fs::FileExt::write_at(&file.unwrap(), &seconds.to_ne_bytes(), 0).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A program shows the time of the clock that it has.
#[test]
fn a_clock_can_be_set_for_one_program() {
    let clock = Clock::new();
    let year = |seconds| {
        clock.is_off_by(seconds);
        let mut date = Command::new("date");
        clock.is_of(&mut date);
        let output = date.args(["-u", "+%Y"]).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<i64>().unwrap()
    };
    let now = year(0);
    const YEARS: i64 = 10 * 366 * 86_400;
    assert!((now + 9..=now + 11).contains(&year(YEARS)));
    assert!((now - 11..=now - 9).contains(&year(-YEARS)));
}
