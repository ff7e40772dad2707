//! One line of text that is being written: a cursor between characters, shown by their width.

use unicode_width::UnicodeWidthChar;

/// The line. The cursor is an index into the characters, at most their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Editor {
    chars: Vec<char>,
    cursor: usize,
}

/// Characters of a line at most: a message of 16 KiB, were they all four bytes long.
const CHARS_MAX: usize = 4096;

impl Editor {
    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// Gives the text and begins a new line.
    pub(super) fn take(&mut self) -> String {
        let text = self.text();
        *self = Self::default();
        text
    }

    pub(super) fn insert(&mut self, c: char) {
        // What has no width to show would move the cursor to where nobody sees it.
        if !c.is_control() && self.chars.len() < CHARS_MAX {
            self.chars.insert(self.cursor, c);
            self.cursor += 1;
        }
    }

    /// Inserts pasted text; its line ends become blanks.
    pub(super) fn paste(&mut self, text: &str) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).for_each(|c| self.insert(c));
    }

    pub(super) fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.chars.remove(self.cursor);
        }
    }

    pub(super) fn delete(&mut self) {
        if self.cursor < self.chars.len() {
            self.chars.remove(self.cursor);
        }
    }

    /// Removes the word in front of the cursor.
    pub(super) fn delete_word(&mut self) {
        while self.cursor > 0 && self.chars[self.cursor - 1].is_whitespace() {
            self.backspace();
        }
        while self.cursor > 0 && !self.chars[self.cursor - 1].is_whitespace() {
            self.backspace();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    pub(super) fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.chars.len());
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.chars.len();
    }

    /// The part to show in `columns`, with the cursor in it, and the cursor's column there.
    pub(super) fn window(&self, columns: usize) -> (String, usize) {
        let mut start = self.cursor;
        let mut before = 0;
        // The cursor itself takes a column.
        while start > 0 && before + width(self.chars[start - 1]) < columns {
            start -= 1;
            before += width(self.chars[start]);
        }
        let mut shown = String::new();
        let mut used = 0;
        for &c in &self.chars[start..] {
            used += width(c);
            if used > columns {
                break;
            }
            shown.push(c);
        }
        (shown, before)
    }
}

/// Columns of a character: two for most of Chinese, Japanese and Korean, none for an accent.
pub(super) fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        text.chars().for_each(|c| editor.insert(c));
        editor
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut editor = typed("吃了吗");
        assert_eq!(editor.window(10), ("吃了吗".into(), 6));
        editor.left();
        assert_eq!(editor.window(10), ("吃了吗".into(), 4));
        assert_eq!(editor.window(5), ("吃了".into(), 4), "the third does not fit beside the cursor's place");
    }

    #[test]
    fn the_window_follows_the_cursor() {
        let mut editor = typed("abcdefgh");
        assert_eq!(editor.window(4), ("fgh".into(), 3));
        editor.home();
        assert_eq!(editor.window(4), ("abcd".into(), 0));
    }

    #[test]
    fn editing_in_the_middle() {
        let mut editor = typed("one two");
        editor.delete_word();
        assert_eq!(editor.text(), "one ");
        editor.left();
        editor.backspace();
        editor.insert('吃');
        assert_eq!(editor.text(), "on吃 ");
        editor.home();
        editor.delete();
        editor.paste("a\nb");
        assert_eq!(editor.take(), "a bn吃 ");
        assert!(editor.is_empty());
    }
}
