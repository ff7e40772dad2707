//! Settings with a unit: durations and byte sizes. A bare number is refused where a unit could be
//! mistaken; nobody should have to look up whether `180` means seconds.

use std::{fmt, time::Duration};

use super::value::{Invalid, SettingValue, quoted};

/// Milliseconds per unit, largest first: the first that divides a value writes it.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes per unit, largest first.
const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl SettingValue for Duration {
    const KIND: &'static str = "a duration such as 500ms, 30s, 5m, 12h or 7d";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        counted(text, &TIME_UNITS).map(Self::from_millis).ok_or_else(|| Invalid::text(text, Self::KIND))
    }

    fn to_toml(&self) -> String {
        // Read from text a duration is whole milliseconds, so nothing is cut off.
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 { quoted("0s") } else { quoted(&written(millis, &TIME_UNITS)) }
    }
}

/// A number of bytes, written with a binary unit: `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// As a length in memory; what does not fit an address space means "no limit".
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0, &SIZE_UNITS))
    }
}

impl SettingValue for ByteSize {
    const KIND: &'static str = "a size such as 512B, 64KiB, 16MiB or 1GiB";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        counted(text, &SIZE_UNITS).map(Self).ok_or_else(|| Invalid::text(text, Self::KIND))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// "12 units" as a count of the smallest unit; `None` when malformed or too large.
fn counted(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*factor)
}

fn written(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .or_else(|| units.last())
        .map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}
