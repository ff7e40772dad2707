//! "Did you mean …": the known name closest to a mistyped one.

/// The candidate with the smallest edit distance, when that distance is small enough that the two
/// plausibly mean the same: at most a third of the longer name's characters, and at least one.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(typed, candidate), candidate))
        .filter(|(distance, candidate)| {
            let longer = typed.chars().count().max(candidate.chars().count());
            *distance <= (longer / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance with two rows. `-` and `_` count as the same, since a key typed the
/// flag's way is the commonest slip.
fn distance(left: &str, right: &str) -> usize {
    let plain = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let right: Vec<char> = right.chars().map(plain).collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.chars().map(plain).enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let substituted = above[column] + usize::from(l != *r);
            let inserted = current[column] + 1;
            let deleted = above[column + 1] + 1;
            current.push(substituted.min(inserted).min(deleted));
        }
        above = current;
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KEYS: [&str; 3] = ["client_listen", "keep_alive", "admin_listen"];

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("keepalive", KEYS), Some("keep_alive"));
        assert_eq!(nearest("client-listen", KEYS), Some("client_listen"));
        assert_eq!(nearest("Admin_Listen", KEYS), Some("admin_listen"));
        assert_eq!(nearest("client_listn", KEYS), Some("client_listen"));
    }

    #[test]
    fn stays_silent_when_nothing_is_near() {
        assert_eq!(nearest("password", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }
}
