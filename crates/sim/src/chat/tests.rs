//! The chat as its user sees it: keys and server events go in, the drawn screen comes out.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use im_client::{Event, State};
use im_proto::client::{
    ContentType, ConversationPage, ConversationSummary, Entry, HistoryPage, Message, RevReadMsg, RevSignal, SignalKind,
};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, SessionId, Target, UserId};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

use super::app::{App, Effect, Input};
use super::view;

const NOW: u64 = 1_000_000_000_000;
const COLUMNS: u16 = 76;
const ROWS: u16 = 14;

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn pair(a: &str, b: &str) -> ConversationId {
    ConversationId::pair(&user(a), &user(b))
}

fn group(name: &str) -> ConversationId {
    ConversationId::group(&GroupId::new(name).unwrap())
}

fn message(conversation: &ConversationId, seq: u64, sender: &str, text: &str) -> Message {
    Message {
        conversation: conversation.clone(),
        seq: Seq(seq),
        sender: user(sender),
        client_msg_id: ClientMsgId::new(format!("{sender}-{seq}")).unwrap(),
        time_ms: NOW - 60_000 * (100 - seq),
        content_type: ContentType::Text,
        payload: Bytes::from(text.to_owned()),
    }
}

fn summary(conversation: ConversationId, name: &str, unread: u64, last: Message) -> ConversationSummary {
    let head = last.seq;
    ConversationSummary {
        conversation,
        name: name.into(),
        head,
        read_seq: Seq(head.0 - unread),
        unread,
        last: Some(last),
    }
}

struct Screen {
    app: App,
    terminal: Terminal<TestBackend>,
    effects: Vec<Effect>,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        let mut app = App::new(user("alice"), "run".into());
        let (width, height) = view::pane_size(Rect::new(0, 0, columns, rows));
        app.on(NOW, Input::Resize(width, height));
        let terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        Self { app, terminal, effects: vec![] }
    }

    /// Online, with two conversations listed, the first of them selected.
    fn with_two() -> Self {
        let mut screen = Self::new(COLUMNS, ROWS);
        screen.online();
        let (ab, team) = (pair("alice", "bob"), group("team"));
        let rows = vec![
            summary(ab.clone(), "", 0, message(&ab, 9, "bob", "吃了吗？")),
            summary(team.clone(), "The team", 3, message(&team, 5, "carol", "hello everybody")),
        ];
        screen.on(Input::Listed(ConversationPage { conversations: rows, has_more: false }));
        screen
    }

    fn on(&mut self, input: Input) -> &mut Self {
        self.effects.extend(self.app.on(NOW, input));
        self
    }

    fn online(&mut self) -> &mut Self {
        let state = State::Online { user: user("alice"), session: SessionId(1) };
        self.on(Input::Client(Event::State(state)))
    }

    fn live(&mut self, message: Message) -> &mut Self {
        self.on(Input::Client(Event::Message(Entry { seq: Seq(1), message })))
    }

    fn key(&mut self, code: KeyCode) -> &mut Self {
        self.on(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn control(&mut self, c: char) -> &mut Self {
        self.on(Input::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)))
    }

    fn write(&mut self, text: &str) -> &mut Self {
        text.chars().for_each(|c| {
            self.key(KeyCode::Char(c));
        });
        self
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn draw(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| view::draw(frame, &self.app)).unwrap();
        let buffer = self.terminal.backend().buffer();
        let columns = usize::from(buffer.area.width);
        buffer
            .content
            .chunks(columns)
            .map(|row| {
                let mut line = String::new();
                let mut skip = 0;
                for cell in row {
                    if skip > 0 {
                        skip -= 1;
                        continue;
                    }
                    skip = cell.symbol().chars().map(super::editor::width).sum::<usize>().saturating_sub(1);
                    line.push_str(cell.symbol());
                }
                line.trim_end().to_owned()
            })
            .collect()
    }

    fn sees(&mut self, text: &str) -> bool {
        self.draw().iter().any(|line| line.contains(text))
    }
}

#[test]
fn the_screen_of_a_short_chat() {
    let mut screen = Screen::with_two();
    let ab = pair("alice", "bob");
    assert_eq!(screen.effects(), [Effect::List(None), Effect::History(ab.clone(), Seq::ZERO)]);
    let mut messages = vec![message(&ab, 9, "bob", "吃了吗？"), message(&ab, 8, "alice", "hi")];
    messages.push(message(&ab, 7, "alice", "are you there"));
    screen.on(Input::History(ab.clone(), HistoryPage { head: Seq(9), messages, has_more: false }));
    screen.on(Input::Client(Event::Read(RevReadMsg { conversation: ab, reader: user("bob"), seq: Seq(7) })));
    screen.write("吃了").key(KeyCode::Enter).write("and 你");
    assert_eq!(
        screen.draw(),
        [
            " Conversations               │ bob",
            "bob                          │",
            "  1 h · bob: 吃了吗？        │ this is where it began",
            "The team (3)                 │ you · 1 h",
            "  1 h · carol: hello everybo…│   are you there ✓✓",
            "                             │   hi ✓",
            "                             │ bob · 1 h",
            "                             │   吃了吗？",
            "                             │ you · now",
            "                             │   吃了 …",
            "                             │──────────────────────────────────────────────",
            "                             │> and 你",
            " ● online as alice",
            "F1 help  ^Q quit  Enter send  ↑↓ conversation  Tab unread  ^N new  ^G group",
        ]
    );
}

#[test]
fn a_sent_message_is_pending_until_it_has_its_place() {
    let mut screen = Screen::with_two();
    screen.write("hello");
    screen.effects();
    screen.key(KeyCode::Enter);
    let effects = screen.effects();
    let [Effect::Send(conversation, sent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((conversation, &sent.to), (&pair("alice", "bob"), &Target::User(user("bob"))));
    assert!(screen.sees("hello …"));
    let placed =
        Message { client_msg_id: sent.client_msg_id.clone(), ..message(&pair("alice", "bob"), 10, "alice", "hello") };
    screen.live(placed);
    assert!(screen.sees("hello ✓") && !screen.sees("hello …"));
}

#[test]
fn a_refused_message_says_why() {
    let mut screen = Screen::with_two();
    screen.effects();
    screen.write("hello").key(KeyCode::Enter);
    let effects = screen.effects();
    let Some(Effect::Send(id, sent)) = effects.last() else { panic!("{effects:?}") };
    screen.on(Input::Refused(id.clone(), sent.client_msg_id.clone(), "only members may do this".into()));
    assert!(screen.sees("hello ✗") && screen.sees("only members may do this"));
}

#[test]
fn unread_counts_what_others_write_where_nobody_looks() {
    let mut screen = Screen::with_two();
    screen.effects();
    let team = group("team");
    screen.live(message(&team, 6, "carol", "one more"));
    assert!(screen.sees("The team (4)"));
    // The same again, as history would bring it, and an old one: not news.
    screen.live(message(&team, 6, "carol", "one more")).live(message(&team, 4, "carol", "older"));
    screen.live(message(&team, 7, "alice", "mine, from another device"));
    assert!(screen.sees("The team (4)"));
    assert_eq!(screen.effects(), []);
    screen.key(KeyCode::Tab);
    assert!(screen.effects().contains(&Effect::Read(team.clone(), Seq(7))));
    assert!(screen.sees("The team") && !screen.sees("The team ("));
    screen.live(message(&team, 8, "carol", "seen at once"));
    assert_eq!(screen.effects(), [Effect::Read(team, Seq(8))]);
}

#[test]
fn reading_on_another_device_clears_the_count_here() {
    let mut screen = Screen::with_two();
    let team = group("team");
    screen.on(Input::Client(Event::Read(RevReadMsg { conversation: team, reader: user("alice"), seq: Seq(5) })));
    assert!(!screen.sees("The team ("));
}

#[test]
fn paging_up_loads_older_messages_and_stays_where_it_is() {
    let mut screen = Screen::with_two();
    let ab = pair("alice", "bob");
    let page = |range: std::ops::RangeInclusive<u64>, has_more| {
        let messages = range.rev().map(|seq| message(&ab, seq, "bob", &format!("m{seq}"))).collect();
        Input::History(ab.clone(), HistoryPage { head: Seq(60), messages, has_more })
    };
    screen.on(page(40..=60, true));
    screen.effects();
    while !screen.app.current().unwrap().loading {
        screen.key(KeyCode::PageUp);
    }
    assert_eq!(screen.effects(), [Effect::History(ab.clone(), Seq(40))]);
    assert!(screen.sees("m41") && !screen.sees("│   m60"), "{:#?}", screen.draw());
    screen.on(page(20..=39, true));
    assert!(screen.sees("m41"), "{:#?}", screen.draw());
    let before = screen.draw();
    screen.live(message(&ab, 61, "bob", "new"));
    let after = screen.draw();
    assert_eq!(
        before[4..9].iter().map(|row| &row[row.find('│').unwrap()..]).collect::<Vec<_>>(),
        after[4..9].iter().map(|row| &row[row.find('│').unwrap()..]).collect::<Vec<_>>()
    );
    assert_eq!(screen.effects(), [], "what was not seen is not read");
    screen.key(KeyCode::Esc);
    assert!(screen.sees("new"));
    assert_eq!(screen.effects(), [Effect::Read(ab, Seq(61))]);
}

#[test]
fn a_new_conversation_begins_with_a_name() {
    let mut screen = Screen::new(COLUMNS, ROWS);
    assert!(screen.sees("No conversation yet. Ctrl-N begins one"));
    screen.online().control('n').write("dave");
    assert!(screen.sees("New conversation") && screen.sees("> dave"));
    screen.effects();
    screen.key(KeyCode::Enter).write("hi").key(KeyCode::Enter);
    assert!(
        screen
            .effects()
            .iter()
            .any(|effect| matches!(effect, Effect::Send(_, sent) if sent.to == Target::User(user("dave"))))
    );
    screen.control('n').write("a:b").key(KeyCode::Enter);
    assert!(screen.sees("an id has no ':'") && screen.sees("> a:b"), "a slip can be put right");
}

#[test]
fn a_new_group_is_made_and_opened() {
    let mut screen = Screen::with_two();
    screen.effects();
    screen.control('g').write("g1 bob carol").key(KeyCode::Enter);
    let g1 = GroupId::new("g1").unwrap();
    assert_eq!(screen.effects(), [Effect::CreateGroup(g1.clone(), vec![user("bob"), user("carol")])]);
    screen.on(Input::GroupMade(g1.clone()));
    assert_eq!(screen.app.current().unwrap().target, Target::Group(g1));
}

#[test]
fn typing_is_told_now_and_then_and_shown_for_a_while() {
    let mut screen = Screen::with_two();
    screen.effects();
    screen.write("hel");
    assert_eq!(screen.effects(), [Effect::Typing(Target::User(user("bob")))], "once, not per key");
    let signal = RevSignal {
        conversation: pair("alice", "bob"),
        sender: user("bob"),
        kind: SignalKind::Typing,
        payload: Bytes::new(),
    };
    screen.on(Input::Client(Event::Signal(signal)));
    assert!(screen.sees("bob is writing…"));
    screen.app.on(NOW + 7000, Input::Tick);
    assert!(!screen.sees("bob is writing…"));
}

#[test]
fn drafts_stay_with_their_conversation() {
    let mut screen = Screen::with_two();
    screen.write("for bob").key(KeyCode::Down);
    assert!(!screen.sees("> for bob"));
    screen.key(KeyCode::Up);
    assert!(screen.sees("> for bob"));
}

#[test]
fn the_state_of_the_connection_is_always_in_sight() {
    let mut screen = Screen::with_two();
    let offline = State::Offline { why: "gate: connection refused".into(), retry_in: Duration::from_millis(2500) };
    screen.on(Input::Client(Event::State(offline)));
    assert!(screen.sees("offline, next try in 3 s: gate: connection refused"));
    screen.write("x").key(KeyCode::Enter);
    assert!(screen.sees("x …"), "messages can be written while offline");
}

#[test]
fn small_terminals_and_hostile_text_do_no_harm() {
    for (columns, rows) in [(1, 1), (10, 3), (40, 8), (200, 60)] {
        let mut screen = Screen::new(columns, rows);
        let ab = pair("alice", "bob");
        screen.online().live(message(
            &ab,
            1,
            "bob",
            "\u{1b}[31m吃\u{202e}x\nsecond line 吃了吗吃了吗吃了吗吃了吗吃了吗吃了吗",
        ));
        screen.write("吃了吗吃了吗").key(KeyCode::F(1));
        assert!(!screen.sees("\u{1b}"));
        screen.key(KeyCode::Esc).draw();
    }
}

#[test]
fn a_box_over_wide_characters_keeps_its_border() {
    for name in ["吃了吗吃了吗吃了吗吃了吗吃了", "x吃了吗吃了吗吃了吗吃了吗吃了"] {
        let mut screen = Screen::new(COLUMNS, ROWS);
        let named = pair("alice", name);
        screen.online().live(message(&named, 1, "alice", "吃了吗吃了吗吃了吗吃了吗吃了"));
        screen.key(KeyCode::F(1)).draw();
        let buffer = screen.terminal.backend().buffer();
        let left = (COLUMNS - 64) / 2;
        for row in 1..ROWS - 1 {
            assert_eq!(buffer[(left, row)].symbol(), "│");
            assert_eq!(buffer[(left - 1, row)].symbol(), " ", "nothing reaches over the border");
        }
    }
}

#[test]
fn long_lines_are_wrapped_by_width() {
    assert_eq!(view::wrap("one two three", 8), ["one two", "three"]);
    assert_eq!(view::wrap("吃了吗吃了吗", 5), ["吃了", "吗吃", "了吗"]);
    assert_eq!(view::wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    assert_eq!(view::wrap("", 3), [""]);
}
