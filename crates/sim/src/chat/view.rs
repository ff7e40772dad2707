//! Draws the chat's state. Nothing is decided here.

use im_client::State;
use im_proto::client::Message;
use im_proto::{Seq, UserId};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, List, ListItem, Paragraph, Wrap};

use super::app::{App, Dialog};
use super::conversation::Conversation;
use super::editor::{Editor, width};
use crate::cli::{content, harmless};

/// Below this many columns there is only room for the messages.
const LIST_FROM_COLUMNS: u16 = 60;
const LIST_COLUMNS: u16 = 30;

const KEYS: &str = "F1 help  ^Q quit  Enter send  ↑↓ conversation  Tab unread  ^N new  ^G group  PgUp older";

const HELP: &str = "\
Write and press Enter to send.

↑ ↓          the conversation above or below
Tab          the next conversation with unread messages
PgUp PgDn    older and newer messages; Esc jumps to the newest
Ctrl-N       a new conversation: a user's name, or group:ID
Ctrl-G       a new group: its id, then its members
Ctrl-U       clear the line    Ctrl-W  delete a word
Ctrl-Q       quit

Behind your own messages:
…   on its way         ✓   stored by the server
✓✓  read by the other  ✗   refused";

/// Where the parts are.
struct Parts {
    list: Option<Rect>,
    title: Rect,
    messages: Rect,
    input: Rect,
    status: Rect,
    keys: Rect,
}

fn parts(area: Rect) -> Parts {
    let [main, status, keys] =
        Layout::vertical([Constraint::Min(4), Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let (list, pane) = if area.width >= LIST_FROM_COLUMNS {
        let [list, pane] = Layout::horizontal([Constraint::Length(LIST_COLUMNS), Constraint::Min(20)]).areas(main);
        (Some(list), pane)
    } else {
        (None, main)
    };
    let [title, messages, input] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(2)]).areas(pane);
    Parts { list, title, messages, input, status, keys }
}

/// Columns and rows of the message pane on a terminal of that size.
pub(super) fn pane_size(area: Rect) -> (usize, usize) {
    let messages = parts(area).messages;
    (messages.width.into(), messages.height.into())
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let parts = parts(frame.area());
    if let Some(area) = parts.list {
        draw_list(frame, app, area);
    }
    draw_title(frame, app, parts.title);
    draw_messages(frame, app, parts.messages);
    draw_line(frame, &app.editor, parts.input, app.dialog.is_none());
    frame.render_widget(status(app), parts.status);
    frame.render_widget(Line::from(KEYS).dim(), parts.keys);
    if let Some(dialog) = &app.dialog {
        draw_dialog(frame, dialog);
    }
}

fn draw_list(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let columns = usize::from(area.width.saturating_sub(1));
    let rows = usize::from(area.height.saturating_sub(1)) / 2;
    let listed = app.listed();
    let selected = listed.iter().position(|conversation| Some(&conversation.id) == app.selected.as_ref());
    // The selected one is always in sight.
    let first = selected.map_or(0, |selected| (selected + 1).saturating_sub(rows.max(1)));
    let items = listed.iter().enumerate().skip(first).map(|(index, conversation)| {
        let item = ListItem::new(list_item(conversation, app, columns));
        if Some(index) == selected { item.style(Style::new().add_modifier(Modifier::REVERSED)) } else { item }
    });
    let block = Block::new().borders(Borders::RIGHT).title(Line::from(" Conversations").bold());
    frame.render_widget(List::new(items).block(block), area);
}

fn list_item(conversation: &Conversation, app: &App, columns: usize) -> Vec<Line<'static>> {
    let unread = if conversation.unread > 0 { format!(" ({})", conversation.unread) } else { String::new() };
    let name = fit(&harmless(&conversation.name), columns.saturating_sub(unread.len()));
    let mut first = vec![Span::from(name).bold()];
    if !unread.is_empty() {
        first.push(Span::from(unread).fg(Color::Yellow).bold());
    }
    let last = match (&conversation.typing, &conversation.last) {
        (Some((user, _)), _) => format!("  {user} is writing…"),
        (None, Some(last)) => {
            let who = if last.sender == app.me { "you" } else { last.sender.as_str() };
            format!("  {} · {who}: {}", age(app.now_ms, last.time_ms), content(last))
        }
        (None, None) => String::new(),
    };
    vec![Line::from(first), Line::from(fit(&last, columns)).dim()]
}

fn draw_title(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let title = match app.current() {
        Some(conversation) => {
            let typing = match &conversation.typing {
                Some((user, _)) => format!("   {user} is writing…"),
                None => String::new(),
            };
            Line::from(vec![Span::from(format!(" {}", harmless(&conversation.name))).bold(), Span::from(typing).dim()])
        }
        None => Line::from(" No conversation yet. Ctrl-N begins one: write to somebody by name.").dim(),
    };
    frame.render_widget(title, area);
}

fn draw_messages(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let lines = message_lines(app, area.width.into());
    let rows = usize::from(area.height);
    let bottom = lines.len() - app.scroll.min(lines.len().saturating_sub(rows));
    let top = bottom.saturating_sub(rows);
    // A short conversation stands at the bottom, where its next message will be.
    let blank = rows.saturating_sub(bottom - top) as u16;
    let area = Rect { y: area.y + blank, height: area.height - blank, ..area };
    frame.render_widget(Paragraph::new(lines[top..bottom].to_vec()), area);
}

/// Every line of the selected conversation, wrapped to `columns`.
pub(super) fn message_lines(app: &App, columns: usize) -> Vec<Line<'static>> {
    let Some(conversation) = app.current() else { return vec![] };
    let mut lines = Vec::new();
    if conversation.loading {
        lines.push(Line::from(" loading older messages…").dim());
    } else if !conversation.has_older && !conversation.messages.is_empty() {
        lines.push(Line::from(" this is where it began").dim());
    }
    let mut before: Option<&Message> = None;
    for message in conversation.messages.values() {
        if before.is_some_and(|before| before.seq.next() != message.seq) {
            lines.push(Line::from(" ⋮").dim());
        }
        if before.is_none_or(|before| begins_anew(before, message)) {
            lines.push(header(&message.sender, &app.me, &age(app.now_ms, message.time_ms)));
        }
        let mark = if message.sender == app.me { mark(conversation, message.seq) } else { "" };
        body(&mut lines, &text(message), mark, columns);
        before = Some(message);
    }
    if !conversation.unsent.is_empty() && before.is_none_or(|before| before.sender != app.me) {
        lines.push(header(&app.me, &app.me, "now"));
    }
    for unsent in &conversation.unsent {
        let written = String::from_utf8_lossy(&unsent.message.payload).into_owned();
        match &unsent.refused {
            None => body(&mut lines, &written, "…", columns),
            Some(why) => {
                body(&mut lines, &written, "✗", columns);
                lines.push(Line::from(format!("     {}", harmless(why))).fg(Color::Red));
            }
        }
    }
    lines
}

/// Whether a message wants its sender's name above it: another sender, or a long pause.
fn begins_anew(before: &Message, message: &Message) -> bool {
    const PAUSE_MS: u64 = 5 * 60 * 1000;
    before.sender != message.sender || message.time_ms > before.time_ms + PAUSE_MS
}

fn header(sender: &UserId, me: &UserId, when: &str) -> Line<'static> {
    let (name, color) = if sender == me { ("you".into(), Color::Green) } else { (sender.to_string(), Color::Cyan) };
    Line::from(vec![Span::from(format!(" {name}")).fg(color).bold(), Span::from(format!(" · {when}")).dim()])
}

fn mark(conversation: &Conversation, seq: Seq) -> &'static str {
    if seq <= conversation.peer_read { "✓✓" } else { "✓" }
}

/// A message keeps its own line ends here, unlike on one line.
fn text(message: &Message) -> String {
    match std::str::from_utf8(&message.payload) {
        Ok(text) if message.content_type == im_proto::client::ContentType::Text => text.to_owned(),
        _ => content(message),
    }
}

fn body(lines: &mut Vec<Line<'static>>, text: &str, mark: &'static str, columns: usize) {
    const INDENT: &str = "   ";
    // Room for the indent and for a mark of two columns with a blank before it.
    let room = columns.saturating_sub(INDENT.len() + 3).max(2);
    let mut wrapped: Vec<String> = text.split('\n').flat_map(|line| wrap(&harmless(line.trim_end()), room)).collect();
    let last = wrapped.pop().unwrap_or_default();
    lines.extend(wrapped.into_iter().map(|line| Line::from(format!("{INDENT}{line}"))));
    lines.push(Line::from(vec![Span::from(format!("{INDENT}{last}")), Span::from(format!(" {mark}")).dim()]));
}

/// Cuts a line into pieces of at most `room` columns, at blanks where there are any.
pub(super) fn wrap(line: &str, room: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut piece, mut used) = (String::new(), 0);
    for c in line.chars() {
        if used + width(c) > room {
            // Goes back to the last blank, unless that would leave an empty piece: Chinese has none.
            let rest = match piece.rfind(' ') {
                Some(blank) if blank > 0 && c != ' ' => piece.split_off(blank + 1),
                _ => String::new(),
            };
            used = rest.chars().map(width).sum();
            pieces.push(std::mem::replace(&mut piece, rest).trim_end().to_owned());
            if c == ' ' && piece.is_empty() {
                continue;
            }
        }
        piece.push(c);
        used += width(c);
    }
    pieces.push(piece);
    pieces
}

/// Cuts text to a number of columns.
fn fit(text: &str, columns: usize) -> String {
    let mut used = 0;
    let whole = text.chars().map(width).sum::<usize>() <= columns;
    let room = if whole { columns } else { columns.saturating_sub(1) };
    let mut out: String = text
        .chars()
        .take_while(|&c| {
            used += width(c);
            used <= room
        })
        .collect();
    if !whole {
        out.push('…');
    }
    out
}

/// How long ago, in one unit. A clock that is behind the server's makes it "now".
fn age(now_ms: u64, time_ms: u64) -> String {
    match now_ms.saturating_sub(time_ms) / 60_000 {
        0 => "now".into(),
        minutes @ 1..60 => format!("{minutes} min"),
        minutes @ 60..1440 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / 1440),
    }
}

fn draw_line(frame: &mut Frame<'_>, editor: &Editor, area: Rect, focused: bool) {
    let block = Block::new().borders(Borders::TOP);
    let inner = block.inner(area);
    let columns = usize::from(inner.width.saturating_sub(2));
    let (shown, cursor) = editor.window(columns);
    frame.render_widget(block, area);
    frame.render_widget(Line::from(vec![Span::from("> ").bold(), Span::from(shown)]), inner);
    if focused {
        frame.set_cursor_position(Position { x: inner.x + 2 + cursor as u16, y: inner.y });
    }
}

fn status(app: &App) -> Line<'static> {
    let (text, color) = match &app.state {
        State::Online { user, .. } => (format!(" ● online as {user}"), Color::Green),
        State::Connecting { gate } => (format!(" ◌ connecting to {gate}"), Color::Yellow),
        State::Offline { why, retry_in } => {
            (format!(" ○ offline, next try in {:.0} s: {why}", retry_in.as_secs_f32().ceil()), Color::Red)
        }
        State::Ended(cause) => (format!(" ✗ {cause}"), Color::Red),
    };
    let notice = app.notice.as_ref().map_or_else(String::new, |notice| format!("   {}", harmless(notice)));
    Line::from(vec![Span::from(text).fg(color), Span::from(notice).fg(Color::Yellow)])
}

fn draw_dialog(frame: &mut Frame<'_>, dialog: &Dialog) {
    let (title, rows) = match dialog {
        Dialog::NewConversation(_) => (" New conversation: a user's name, or group:ID ", 4),
        Dialog::NewGroup(_) => (" New group: its id, then its members ", 4),
        Dialog::Help => (" Help ", HELP.lines().count() as u16 + 2),
    };
    let area = frame.area();
    let size = Rect { width: area.width.min(64), height: area.height.min(rows), ..area };
    let area = Rect { x: area.x + (area.width - size.width) / 2, y: area.y + (area.height - size.height) / 2, ..size };
    let block = Block::bordered().title(Line::from(title).bold()).title_bottom(Line::from(" Esc closes ").dim());
    let inner = block.inner(area);
    // A wide character that begins left of the box would reach into its border.
    let left = Rect { x: area.x.saturating_sub(1), width: area.width + area.x.min(1), ..area };
    frame.render_widget(Clear, left);
    frame.render_widget(block, area);
    match dialog {
        Dialog::NewConversation(editor) | Dialog::NewGroup(editor) => draw_line(frame, editor, inner, true),
        Dialog::Help => frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), inner),
    }
}
