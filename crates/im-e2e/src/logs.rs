//! What a log may say. INFO and below say what they like; a WARN or an ERROR is for a person to look
//! at, so a test announces those that its faults bring, each with the reason why it is right there.

use std::path::Path;

use anyhow::Context as _;

/// A line that may stand in a log although it is a WARN or an ERROR.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Part of the line.
    pub text: &'static str,
    /// Why it is right that the line is there.
    pub because: &'static str,
}

/// What tiers say when a route that they dial is down.
pub const ROUTE_DOWN: Allowed =
    Allowed { text: "link did not come up; trying again", because: "a route is down or not up yet" };

/// What tiers say when the machine had no time for one of them. No test is about how fast it is, so this is
/// announced for all.
const CROWDED: [Allowed; 2] = [
    Allowed { text: "hello: no answer in time", because: "the peer was dialled and did not run" },
    Allowed { text: "hello: not in time", because: "the dialling peer did not run" },
];

/// What an im-service says that ends what a killed one has left.
pub const ABANDONED: Allowed =
    Allowed { text: "transactions of a process that died are ended", because: "an im-service was killed in one" };

/// What im-services say while MongoDB is away, elects a primary, or has too much to do, as on a crowded machine:
/// senders are told to come again, and nothing is half-done.
pub const MONGO_LATE: [Allowed; 9] = [
    Allowed { text: "MongoDB does not do what is asked of it", because: "MongoDB is away or late" },
    Allowed { text: "a batch was not written", because: "MongoDB is away or late" },
    Allowed { text: "another transaction was first", because: "it was so until the senders' time was over" },
    Allowed { text: "a read failed", because: "MongoDB is away or late" },
    Allowed { text: "the store failed", because: "MongoDB is away or late" },
    Allowed { text: "fetched positions were not written", because: "MongoDB is away or late" },
    Allowed { text: "the sweep stopped", because: "MongoDB is away or late" },
    Allowed { text: "abandoned transactions cannot be looked for", because: "MongoDB is away or late" },
    Allowed { text: "MongoDB cannot be reached yet", because: "MongoDB is away" },
];

/// The lines of a log that a person would look at and nobody announced.
pub fn unexpected(log: &Path, allowed: &[Allowed]) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let is_allowed = |line: &str| allowed.iter().chain(&CROWDED).any(|allowed| line.contains(allowed.text));
    Ok(text.lines().filter(|line| is_alarming(line) && !is_allowed(line)).map(str::to_owned).collect())
}

/// Everything but `TIME INFO …` and what is below INFO: panics are no log lines at all.
pub fn is_alarming(line: &str) -> bool {
    !matches!(line.split_whitespace().nth(1), Some("INFO" | "DEBUG" | "TRACE"))
}

#[cfg(test)]
mod tests {
    use super::is_alarming;

    #[test]
    fn what_a_person_should_look_at() {
        assert!(!is_alarming("2026-01-01T00:00:00.000000Z  INFO gate::server: the gate listens WARN=1"));
        assert!(is_alarming("2026-01-01T00:00:00.000000Z  WARN im_link::dial: link did not come up"));
        assert!(is_alarming("2026-01-01T00:00:00.000000Z ERROR im_runtime::tier: the tier failed"));
        assert!(is_alarming("thread 'sim-gate' panicked at src/main.rs:1:1:"));
        assert!(is_alarming("sim-gate: cannot start logging"));
    }
}
