//! The chat in the terminal.
//!
//! * [`app`]: the state; inputs in, effects out, no terminal, no network, no clock.
//! * [`view`]: draws the state.
//! * this file: the loop between terminal, client and state.

mod app;
mod conversation;
mod editor;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use im_client::{CallError, Client, EndCause, SendError, State};
use im_proto::client::{Direction, SignalKind};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::layout::Rect;
use tokio::sync::mpsc;

use crate::cli::home::Home;
use crate::cli::{Connected, Failure, Global, Kind};
use app::{App, Effect, Input};

/// Inputs that wait at most; keys and answers wait for the screen, never the other way round.
const INPUTS_MAX: usize = 64;
/// Rows of a page of history or conversations.
const PAGE: u16 = 50;
/// How often the screen is drawn when nothing happens: ages and typing marks go on.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the user quits or the login ends.
pub(crate) async fn run(home: &Home, global: &Global) -> Result<(), Failure> {
    let connected = Connected::for_the_timeline(home, global, "chat").await?;
    let mut terminal = ratatui::try_init().map_err(|error| {
        Failure::new(Kind::Usage, format!("this is no terminal to chat in: {error}"))
            .with_hint("for scripts: sim send, sim tail --json")
    })?;
    let pasting = execute!(io::stdout(), EnableBracketedPaste);
    let ended = chat(&mut terminal, connected).await;
    if pasting.is_ok() {
        // The terminal may be gone by now; nothing is left to be put right then.
        let _ = execute!(io::stdout(), DisableBracketedPaste);
    }
    ratatui::restore();
    ended
}

async fn chat(terminal: &mut DefaultTerminal, mut connected: Connected) -> Result<(), Failure> {
    let mut app = App::new(connected.user.clone(), uuid::Uuid::new_v4().to_string());
    let (inputs, mut next_input) = mpsc::channel(INPUTS_MAX);
    read_terminal(inputs.clone());
    let mut tick = tokio::time::interval(TICK);
    let mut pane = None;
    loop {
        let size = terminal.size()?;
        let area = Rect::new(0, 0, size.width, size.height);
        if pane.replace(view::pane_size(area)) != Some(view::pane_size(area)) {
            let (columns, rows) = view::pane_size(area);
            perform(&connected.client, &inputs, app.on(now_ms(), Input::Resize(columns, rows)));
        }
        terminal.draw(|frame| view::draw(frame, &app))?;
        let input = tokio::select! {
            event = connected.events.next() => match event {
                Some(event) => Input::Client(event),
                None => return end(&app),
            },
            input = next_input.recv() => match input {
                Some(input) => input,
                None => return end(&app),
            },
            _ = tick.tick() => Input::Tick,
        };
        let effects = app.on(now_ms(), input);
        if effects.contains(&Effect::Quit) {
            connected.events.confirm();
            connected.client.close().await;
            return Ok(());
        }
        perform(&connected.client, &inputs, effects);
    }
}

fn end(app: &App) -> Result<(), Failure> {
    match &app.state {
        State::Ended(EndCause::Closed) => Ok(()),
        State::Ended(cause) => Err(cause.clone().into()),
        _ => Err(Failure::new(Kind::Failed, "the terminal is gone")),
    }
}

/// Reads the terminal on a thread of its own, because that blocks. It ends with the process.
fn read_terminal(inputs: mpsc::Sender<Input>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let input = match event {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
                event::Event::Paste(text) => Input::Paste(text),
                // Drawn anew; the loop looks at the size each time.
                event::Event::Resize(..) => Input::Tick,
                _ => continue,
            };
            if inputs.blocking_send(input).is_err() {
                break;
            }
        }
    });
}

/// Starts what the state wants done. Each effect is a task of its own whose result comes back as an
/// input; how many there are is bounded by what a person types and scrolls.
fn perform(client: &Client, inputs: &mpsc::Sender<Input>, effects: Vec<Effect>) {
    for effect in effects {
        let (client, inputs) = (client.clone(), inputs.clone());
        tokio::spawn(async move {
            if let Some(input) = done(&client, effect).await {
                // A chat that has ended wants no more inputs.
                let _ = inputs.send(input).await;
            }
        });
    }
}

async fn done(client: &Client, effect: Effect) -> Option<Input> {
    match effect {
        Effect::Quit => None,
        Effect::List(after) => Some(client.conversations(after, PAGE).await.map_or_else(failed, Input::Listed)),
        Effect::History(conversation, from) => {
            match client.history(conversation.clone(), from, Direction::Backward, PAGE).await {
                Ok(page) => Some(Input::History(conversation, page)),
                // A conversation that begins with its first message is not there yet.
                Err(_) => Some(Input::NoHistory(conversation)),
            }
        }
        Effect::Send(conversation, message) => {
            let name = message.client_msg_id.clone();
            match client.send_as(message).await {
                // The message shows up at its place in the timeline.
                Ok(_) | Err(SendError::Ended(_)) => None,
                Err(SendError::Refused(refusal)) => Some(Input::Refused(conversation, name, refusal.detail)),
                Err(error) => Some(Input::Refused(conversation, name, error.to_string())),
            }
        }
        // A hint; the next one tells the same.
        Effect::Read(conversation, seq) => client.read(conversation, seq).await.err().map(failed),
        Effect::Typing(target) => {
            let _ = client.signal(target, SignalKind::Typing, Bytes::new()).await;
            None
        }
        Effect::CreateGroup(group, members) => {
            let made = client.create_group(group.clone(), group.to_string(), members).await;
            Some(made.map_or_else(failed, |_| Input::GroupMade(group)))
        }
    }
}

fn failed(error: CallError) -> Input {
    Input::Failed(match error {
        CallError::Refused(refusal) => refusal.detail,
        other => other.to_string(),
    })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
