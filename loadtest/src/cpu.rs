//! CPU time of a process, as the kernel counts it: user and system, all threads.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

/// Linux reports process times in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that process `pid` has used so far.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_stat(&stat).with_context(|| format!("parse {path}"))
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
    fn the_time_of_this_process_grows_with_work() {
        let before = of_process(std::process::id()).unwrap();
        let mut sum = 0u64;
        let mut after = before;
        for round in 0..1_000u64 {
            sum = (0..1_000_000u64).fold(sum, |sum, i| std::hint::black_box(sum ^ i.wrapping_mul(round)));
            after = of_process(std::process::id()).unwrap();
            if after > before {
                break;
            }
        }
        assert!(after > before, "{sum}");
    }
}
