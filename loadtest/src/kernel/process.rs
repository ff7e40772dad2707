//! One process as the kernel counts it: CPU time of all threads, memory of its own, open files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

/// Linux reports process times in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that process `pid` has used so far.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_stat(&stat).with_context(|| format!("parse {path}"))
}

/// Bytes of memory that process `pid` has for itself: heap and stacks, without what it maps from files.
pub(crate) fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_anonymous(&status).with_context(|| format!("parse {path}"))
}

/// How many files, sockets among them, process `pid` has open.
pub(crate) fn open_files(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/fd");
    // Linux 6.2 and later tell the number as the folder's size; listing 15,000 entries every second
    // would be work that the measured machine pays for.
    let size = fs::metadata(&path).with_context(|| format!("look at {path}"))?.len();
    if size > 0 {
        return Ok(size);
    }
    Ok(fs::read_dir(&path).with_context(|| format!("list {path}"))?.count() as u64)
}

fn parse_anonymous(status: &str) -> anyhow::Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kibibytes: u64 = value.trim().trim_end_matches("kB").trim().parse().context("RssAnon")?;
    Ok(kibibytes * 1024)
}

/// Fields 14 and 15 of `/proc/<pid>/stat`. Field 2 is the program's name in parentheses and may
/// itself hold blanks and parentheses, so counting starts behind the last one.
fn parse_stat(stat: &str) -> anyhow::Result<Duration> {
    let (_, fields) = stat.rsplit_once(')').context("no program name")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (Some(user), Some(system)) = (fields.next(), fields.next()) else { bail!("too few fields") };
    let ticks = user.parse::<u64>().context("user time")? + system.parse::<u64>().context("system time")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const FIELDS: &str = "S 1 4242 4242 0 -1 4194560 1 2 3 4 157 43 11 12 20 0 3 0 100 200 300";

    #[test]
    fn user_and_system_time_are_added() {
        assert_eq!(parse_stat(&format!("4242 (sim) {FIELDS}")).unwrap(), Duration::from_secs(2));
    }

    #[test]
    fn a_name_with_blanks_and_parentheses_shifts_nothing() {
        assert_eq!(parse_stat(&format!("4242 (a b) 9 (c) {FIELDS}")).unwrap(), Duration::from_secs(2));
    }

    #[test]
    fn a_cut_line_is_an_error() {
        assert!(parse_stat("4242 (sim) S 1 4242 4242 0 -1 4194560 1 2 3 4 157").is_err());
        assert!(parse_stat("4242").is_err());
    }

    #[test]
    fn memory_of_its_own_is_read_in_bytes() {
        let status = "Name:\tsim\nVmRSS:\t   9000 kB\nRssAnon:\t    1240 kB\nRssFile:\t 7760 kB\n";
        assert_eq!(parse_anonymous(status).unwrap(), 1240 * 1024);
        assert!(parse_anonymous("Name:\tkthreadd\n").is_err(), "a kernel thread has none");
    }

    #[test]
    fn memory_and_files_of_this_process_grow_with_what_it_holds() {
        let pid = std::process::id();
        let (memory, files) = (anonymous_bytes(pid).unwrap(), open_files(pid).unwrap());
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let opened: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(anonymous_bytes(pid).unwrap() >= memory + (32 << 20));
        assert!(open_files(pid).unwrap() >= files + 50);
        drop((held, opened));
    }

    #[test]
    fn the_time_of_this_process_grows_with_work() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0u64;
        let mut after = before;
        for round in 0..1_000u64 {
            sum = (0..1_000_000u64).fold(sum, |sum, i| std::hint::black_box(sum ^ i.wrapping_mul(round)));
            after = cpu_time(std::process::id()).unwrap();
            if after > before {
                break;
            }
        }
        assert!(after > before, "{sum}");
    }
}
