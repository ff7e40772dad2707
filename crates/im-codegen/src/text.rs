//! Lines of text with a width.

/// Columns of a comment at most.
const WIDTH: usize = 100;

/// Breaks words into lines of at most [`WIDTH`] columns, each behind `prefix`.
pub(crate) fn wrap(prefix: &str, words: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in words.split_whitespace() {
        let width = prefix.chars().count() + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && width > WIDTH {
            out.push_str(&format!("{prefix}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("{prefix}{line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_the_edge_and_lose_no_word() {
        let words = "word ".repeat(100);
        let wrapped = wrap("# ", &words);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH && line.starts_with("# ")));
        assert_eq!(wrapped.matches("word").count(), 100);
        assert_eq!(wrap("# ", "  "), "");
    }
}
