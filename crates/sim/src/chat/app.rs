//! The chat without terminal and network: inputs in, effects out, a state to be drawn.

use std::cmp::Reverse;
use std::collections::HashMap;

use bytes::Bytes;
use im_client::{Event, State};
use im_proto::client::{
    ContentType, ConversationPage, HistoryPage, Message, RevReadMsg, RevSignal, SendMsg, SignalKind,
};
use im_proto::{ClientMsgId, ConversationId, GroupId, Seq, Target, UserId};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::conversation::{Conversation, Unsent};
use super::editor::Editor;
use super::view;
use crate::cli::parse_target;

/// How long a typing signal is believed, and how often one is sent while writing.
const TYPING_SHOWN_MS: u64 = 6000;
const TYPING_EVERY_MS: u64 = 3000;

/// What happens to the chat.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Paste(String),
    /// The message pane's columns and rows.
    Resize(usize, usize),
    Client(Event),
    Listed(ConversationPage),
    History(ConversationId, HistoryPage),
    /// A history did not come.
    NoHistory(ConversationId),
    /// A message was finally refused.
    Refused(ConversationId, ClientMsgId, String),
    GroupMade(GroupId),
    /// Something else went wrong; shown until the next key.
    Failed(String),
    /// Time has passed.
    Tick,
}

/// What the chat wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    List(Option<ConversationId>),
    History(ConversationId, Seq),
    Send(ConversationId, SendMsg),
    Read(ConversationId, Seq),
    Typing(Target),
    CreateGroup(GroupId, Vec<UserId>),
}

/// What is asked of the user in a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dialog {
    NewConversation(Editor),
    NewGroup(Editor),
    Help,
}

pub(super) struct App {
    pub(super) me: UserId,
    pub(super) state: State,
    pub(super) conversations: HashMap<ConversationId, Conversation>,
    pub(super) selected: Option<ConversationId>,
    pub(super) editor: Editor,
    /// Half-written messages of conversations that are not shown.
    drafts: HashMap<ConversationId, Editor>,
    pub(super) dialog: Option<Dialog>,
    pub(super) notice: Option<String>,
    /// Lines between the pane's bottom and the newest line.
    pub(super) scroll: usize,
    pane: (usize, usize),
    pub(super) now_ms: u64,
    typing_sent_ms: u64,
    /// Makes message names that are unique among all runs.
    run: String,
    sent: u64,
}

impl App {
    /// `run` is unlike that of any other run.
    pub(super) fn new(me: UserId, run: String) -> Self {
        Self {
            me,
            state: State::Connecting { gate: String::new() },
            conversations: HashMap::new(),
            selected: None,
            editor: Editor::default(),
            drafts: HashMap::new(),
            dialog: None,
            notice: None,
            scroll: 0,
            pane: (80, 20),
            now_ms: 0,
            typing_sent_ms: 0,
            run,
            sent: 0,
        }
    }

    /// The conversations in the order of the list: the liveliest first.
    pub(super) fn listed(&self) -> Vec<&Conversation> {
        let mut listed: Vec<_> = self.conversations.values().collect();
        listed.sort_by_cached_key(|conversation| {
            let newest = conversation.last.as_ref().map_or(0, |last| last.time_ms);
            (Reverse(newest), conversation.id.clone())
        });
        listed
    }

    pub(super) fn current(&self) -> Option<&Conversation> {
        self.conversations.get(self.selected.as_ref()?)
    }

    /// Works off one input; `now_ms` is the time, milliseconds since 1970.
    pub(super) fn on(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        self.now_ms = now_ms;
        let lines_before = self.pane_lines();
        let mut effects = match input {
            Input::Key(key) => self.on_key(key),
            Input::Paste(text) => {
                self.line().paste(&text);
                vec![]
            }
            Input::Resize(columns, rows) => {
                self.pane = (columns, rows);
                vec![]
            }
            Input::Client(event) => self.on_event(event),
            Input::Listed(page) => self.on_listed(page),
            Input::History(id, page) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.on_history(page.messages, page.has_more);
                }
                // What is read backward comes in above the pane and moves nothing in it.
                return self.ask_older();
            }
            Input::NoHistory(id) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.loading = false;
                    conversation.has_older = false;
                }
                vec![]
            }
            Input::Refused(id, name, why) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.on_refused(&name, &why);
                }
                vec![]
            }
            Input::GroupMade(group) => self.select_target(Target::Group(group)),
            Input::Failed(why) => {
                self.notice = Some(why);
                vec![]
            }
            Input::Tick => self.forget_typing(),
        };
        if self.scroll > 0 {
            // A reader of old messages stays where it is when new ones come.
            self.scroll += self.pane_lines().saturating_sub(lines_before);
        }
        effects.extend(self.mark_read());
        effects
    }

    fn pane_lines(&self) -> usize {
        // Only a reader who has scrolled needs to know.
        if self.scroll == 0 { 0 } else { view::message_lines(self, self.pane.0).len() }
    }

    fn on_event(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Message(entry) => self.on_message(entry.message),
            Event::Restored { .. } => {
                self.notice = Some("the server's store was restored from an older state".into());
                self.conversations.clear();
                vec![Effect::List(None)]
            }
            Event::Trimmed { .. } => vec![Effect::List(None)],
            Event::Read(RevReadMsg { conversation, reader, seq }) => {
                let Some(known) = self.conversations.get_mut(&conversation) else { return vec![] };
                if reader != self.me {
                    known.peer_read = known.peer_read.max(seq);
                } else if seq > known.read {
                    known.read = seq;
                    let me = &self.me;
                    let unread =
                        known.messages.range(seq.next()..).filter(|(_, message)| message.sender != *me).count();
                    known.unread = known.unread.min(unread as u64);
                }
                vec![]
            }
            Event::Signal(RevSignal { conversation, sender, kind: SignalKind::Typing, .. }) => {
                if let Some(known) = self.conversations.get_mut(&conversation) {
                    known.typing = Some((sender, self.now_ms + TYPING_SHOWN_MS));
                }
                vec![]
            }
            Event::State(state) => {
                self.state = state;
                if matches!(self.state, State::Online { .. }) { vec![Effect::List(None)] } else { vec![] }
            }
            Event::Signal(_) | Event::Sent { .. } | Event::CaughtUp(_) => vec![],
        }
    }

    fn on_message(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mine = message.sender == self.me;
        let Some(conversation) = self.know(&message.conversation, &mut effects) else { return effects };
        if conversation.on_message(message) && !mine {
            conversation.unread += 1;
        }
        effects
    }

    /// The conversation; a new one is asked about, because only the server knows a group's name.
    fn know(&mut self, id: &ConversationId, effects: &mut Vec<Effect>) -> Option<&mut Conversation> {
        if !self.conversations.contains_key(id) {
            let conversation = Conversation::of(id, &self.me)?;
            self.conversations.insert(id.clone(), conversation);
            effects.push(Effect::List(None));
            if self.selected.is_none() {
                effects.extend(self.select(id.clone()));
            }
        }
        self.conversations.get_mut(id)
    }

    fn on_listed(&mut self, page: ConversationPage) -> Vec<Effect> {
        let next = page.conversations.last().filter(|_| page.has_more).map(|last| last.conversation.clone());
        for summary in page.conversations {
            let id = summary.conversation.clone();
            let Some(fresh) = Conversation::of(&id, &self.me) else { continue };
            self.conversations.entry(id).or_insert(fresh).on_summary(summary);
        }
        if next.is_some() {
            return vec![Effect::List(next)];
        }
        let first = self.listed().first().map(|conversation| conversation.id.clone());
        match first {
            Some(first) if self.selected.is_none() => self.select(first),
            _ => vec![],
        }
    }

    fn on_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        self.notice = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, control) {
            (KeyCode::Char('c' | 'q'), true) => return vec![Effect::Quit],
            (KeyCode::Char('n'), true) => self.dialog = Some(Dialog::NewConversation(Editor::default())),
            (KeyCode::Char('g'), true) => self.dialog = Some(Dialog::NewGroup(Editor::default())),
            (KeyCode::F(1), _) => self.dialog = Some(Dialog::Help),
            (KeyCode::Esc, _) => {
                self.dialog = None;
                self.scroll = 0;
            }
            (KeyCode::Enter, _) => return self.on_enter(),
            (KeyCode::Up, _) => return self.step(-1),
            (KeyCode::Down, _) => return self.step(1),
            (KeyCode::Tab, _) => return self.next_unread(),
            (KeyCode::PageUp, _) => return self.scroll_up(),
            (KeyCode::PageDown, _) => self.scroll = self.scroll.saturating_sub(self.pane.1.max(2) - 1),
            _ => return self.on_edit(key, control),
        }
        vec![]
    }

    fn on_edit(&mut self, key: KeyEvent, control: bool) -> Vec<Effect> {
        let line = self.line();
        match (key.code, control) {
            (KeyCode::Char('u'), true) => line.clear(),
            (KeyCode::Char('w'), true) => line.delete_word(),
            (KeyCode::Char('a'), true) | (KeyCode::Home, _) => line.home(),
            (KeyCode::Char('e'), true) | (KeyCode::End, _) => line.end(),
            (KeyCode::Left, _) => line.left(),
            (KeyCode::Right, _) => line.right(),
            (KeyCode::Backspace, _) => line.backspace(),
            (KeyCode::Delete, _) => line.delete(),
            (KeyCode::Char(c), false) => {
                line.insert(c);
                return self.tell_typing();
            }
            _ => {}
        }
        vec![]
    }

    /// The line that keys go into.
    fn line(&mut self) -> &mut Editor {
        match &mut self.dialog {
            Some(Dialog::NewConversation(editor) | Dialog::NewGroup(editor)) => editor,
            Some(Dialog::Help) | None => &mut self.editor,
        }
    }

    fn on_enter(&mut self) -> Vec<Effect> {
        match self.dialog.take() {
            None => self.send(),
            Some(Dialog::Help) => vec![],
            Some(Dialog::NewConversation(mut editor)) => match parse_target(editor.text().trim()) {
                Ok(target) => self.select_target(target),
                Err(why) => {
                    self.notice = Some(why);
                    editor.end();
                    self.dialog = Some(Dialog::NewConversation(editor));
                    vec![]
                }
            },
            Some(Dialog::NewGroup(editor)) => match parse_group(&editor.text()) {
                Ok((group, members)) => vec![Effect::CreateGroup(group, members)],
                Err(why) => {
                    self.notice = Some(why);
                    self.dialog = Some(Dialog::NewGroup(editor));
                    vec![]
                }
            },
        }
    }

    fn send(&mut self) -> Vec<Effect> {
        let Some(id) = self.selected.clone() else {
            self.notice = Some("no conversation yet: Ctrl-N begins one".into());
            return vec![];
        };
        if self.editor.text().trim().is_empty() {
            return vec![];
        }
        let text = self.editor.take();
        self.sent += 1;
        let name = format!("{}-{}", self.run, self.sent);
        let client_msg_id = ClientMsgId::new(name).expect("a run's name is short and plain, and so is a number");
        let Some(conversation) = self.conversations.get_mut(&id) else { return vec![] };
        let message = SendMsg {
            to: conversation.target.clone(),
            client_msg_id,
            content_type: ContentType::Text,
            payload: Bytes::from(text),
        };
        conversation.unsent.push(Unsent { message: message.clone(), refused: None });
        self.scroll = 0;
        self.typing_sent_ms = 0;
        vec![Effect::Send(id, message)]
    }

    fn select_target(&mut self, target: Target) -> Vec<Effect> {
        let conversation = Conversation::new(target, &self.me);
        let id = conversation.id.clone();
        self.conversations.entry(id.clone()).or_insert(conversation);
        self.select(id)
    }

    fn select(&mut self, id: ConversationId) -> Vec<Effect> {
        if self.selected.as_ref() == Some(&id) {
            return vec![];
        }
        let draft = std::mem::replace(&mut self.editor, self.drafts.remove(&id).unwrap_or_default());
        if let Some(left) = self.selected.replace(id)
            && !draft.is_empty()
        {
            self.drafts.insert(left, draft);
        }
        self.scroll = 0;
        self.ask_older()
    }

    fn step(&mut self, by: isize) -> Vec<Effect> {
        let listed = self.listed();
        let Some(last) = listed.len().checked_sub(1) else { return vec![] };
        let here = listed.iter().position(|conversation| Some(&conversation.id) == self.selected.as_ref());
        let there = here.map_or(0, |here| here.saturating_add_signed(by).min(last));
        let id = listed[there].id.clone();
        self.select(id)
    }

    fn next_unread(&mut self) -> Vec<Effect> {
        let unread = self.listed().into_iter().find(|conversation| conversation.unread > 0);
        match unread.map(|conversation| conversation.id.clone()) {
            Some(id) => self.select(id),
            None => vec![],
        }
    }

    fn scroll_up(&mut self) -> Vec<Effect> {
        let (columns, rows) = self.pane;
        let most = view::message_lines(self, columns).len().saturating_sub(rows);
        self.scroll = (self.scroll + rows.max(2) - 1).min(most);
        self.ask_older()
    }

    /// Asks for older messages when the pane shows the oldest that there are.
    fn ask_older(&mut self) -> Vec<Effect> {
        let (columns, rows) = self.pane;
        let above = view::message_lines(self, columns).len().saturating_sub(rows + self.scroll);
        let Some(id) = self.selected.clone() else { return vec![] };
        let Some(conversation) = self.conversations.get_mut(&id) else { return vec![] };
        if above > 0 {
            return vec![];
        }
        conversation.wants_older().map(|from| Effect::History(id, from)).into_iter().collect()
    }

    /// What is on the screen has been read.
    fn mark_read(&mut self) -> Option<Effect> {
        if self.scroll > 0 || !matches!(self.state, State::Online { .. }) {
            return None;
        }
        let conversation = self.conversations.get_mut(self.selected.as_ref()?)?;
        if conversation.unread == 0 || conversation.head <= conversation.read {
            return None;
        }
        conversation.unread = 0;
        conversation.read = conversation.head;
        Some(Effect::Read(conversation.id.clone(), conversation.head))
    }

    fn tell_typing(&mut self) -> Vec<Effect> {
        let due = self.now_ms >= self.typing_sent_ms + TYPING_EVERY_MS;
        let online = matches!(self.state, State::Online { .. });
        match self.current() {
            Some(conversation) if due && online && self.dialog.is_none() => {
                let effect = Effect::Typing(conversation.target.clone());
                self.typing_sent_ms = self.now_ms;
                vec![effect]
            }
            _ => vec![],
        }
    }

    fn forget_typing(&mut self) -> Vec<Effect> {
        for conversation in self.conversations.values_mut() {
            conversation.typing.take_if(|(_, until)| *until <= self.now_ms);
        }
        vec![]
    }
}

/// `ID MEMBER MEMBER …`
fn parse_group(text: &str) -> Result<(GroupId, Vec<UserId>), String> {
    let mut words = text.split_whitespace();
    let group = GroupId::new(words.next().unwrap_or_default()).map_err(|error| error.to_string())?;
    let members = words.map(UserId::new).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Ok((group, members))
}
