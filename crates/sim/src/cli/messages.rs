//! `send`, `sync`, `tail`, `history`, `conversations`, `read`.

use clap::Args;
use im_client::{Event, State};
use im_proto::client::{ConversationSummary, Direction};
use im_proto::{ConversationId, Seq, Target, UserId};
use serde_json::json;

use super::home::Home;
use super::output::{Output, content, harmless, message_json};
use super::{Connected, Failure, Global, parse_target};

/// Messages asked for at once.
const PAGE: u16 = 100;

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// A user, or `group:ID`.
    #[arg(value_parser = parse_target)]
    to: Target,
    /// The message; several words are joined by blanks.
    #[arg(required = true)]
    text: Vec<String>,
}

pub(super) async fn send(home: &Home, global: &Global, output: &Output, args: SendArgs) -> Result<(), Failure> {
    let connected = Connected::for_a_question(home, global).await?;
    let text = args.text.join(" ");
    connected.online().await?;
    let ack = connected.in_time(async { Ok(connected.client.send_text(args.to, text).await?) }).await?;
    output.line(
        || format!("sent to {}, seq={}", ack.conversation, ack.seq),
        || {
            json!({
                "conversation": ack.conversation.as_str(),
                "conversationSeq": ack.seq.0,
                "seq": ack.position.seq.0,
                "receiverSeq": ack.receiver_seq.0,
                "timeMs": ack.time_ms,
            })
        },
    )?;
    connected.client.close().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Begin at the timeline's beginning, and do not move the position.
    #[arg(long)]
    all: bool,
}

pub(super) async fn sync(home: &Home, global: &Global, output: &Output, args: SyncArgs) -> Result<(), Failure> {
    let mut connected = timeline(home, global, args.all).await?;
    connected.online().await?;
    loop {
        // Counts silence, not the length of the timeline.
        let patience = std::time::Duration::from_secs(global.timeout);
        let Ok(event) = tokio::time::timeout(patience, connected.events.next()).await else {
            return Err(connected.unreachable());
        };
        match event {
            Some(Event::CaughtUp(_)) | None => break,
            Some(event) => show(output, event)?,
        }
    }
    connected.client.close().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Begin at the timeline's beginning, and do not move the position.
    #[arg(long)]
    all: bool,
    /// End after so many messages.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

pub(super) async fn tail(home: &Home, global: &Global, output: &Output, args: TailArgs) -> Result<(), Failure> {
    let mut connected = timeline(home, global, args.all).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            event = connected.events.next() => {
                let Some(event) = event else { break };
                left -= u64::from(matches!(event, Event::Message(_)));
                show(output, event)?;
            }
            // What was printed is taken; the position is saved by the goodbye below.
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    connected.events.confirm();
    connected.client.close().await;
    Ok(())
}

async fn timeline(home: &Home, global: &Global, all: bool) -> Result<Connected, Failure> {
    if all {
        Connected::from_the_beginning(home, global, "position").await
    } else {
        Connected::for_the_timeline(home, global, "position").await
    }
}

fn show(output: &Output, event: Event) -> Result<(), Failure> {
    match event {
        Event::Message(entry) => output.message(entry.seq, &entry.message)?,
        Event::Restored { epoch } => output.line(
            || "[the server's store was restored; the timeline begins again]".into(),
            || json!({ "restored": epoch.0 }),
        )?,
        Event::Trimmed { from, to } => output.line(
            || format!("[seq={from}..{to} are no longer in the timeline; see: sim history]"),
            || json!({ "trimmed": { "from": from.0, "to": to.0 } }),
        )?,
        Event::State(State::Offline { why, .. }) => output.note(|| format!("offline: {why}")),
        Event::State(State::Ended(cause)) => return Err(cause.into()),
        Event::State(State::Connecting { .. } | State::Online { .. })
        | Event::CaughtUp(_)
        | Event::Sent { .. }
        | Event::Read(_)
        | Event::Signal(_) => {}
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// A user, or `group:ID`.
    #[arg(value_parser = parse_target)]
    with: Target,
    /// The newest so many messages; all of them when left out.
    #[arg(long, value_name = "COUNT")]
    last: Option<u16>,
}

pub(super) async fn history(home: &Home, global: &Global, output: &Output, args: HistoryArgs) -> Result<(), Failure> {
    let connected = Connected::for_a_question(home, global).await?;
    let conversation = args.with.conversation(&connected.user);
    if let Some(last) = args.last {
        let mut newest = Vec::new();
        let mut from = Seq::ZERO;
        while newest.len() < usize::from(last) {
            let limit = (last - newest.len() as u16).min(PAGE);
            let page =
                connected.ask(connected.client.history(conversation.clone(), from, Direction::Backward, limit)).await?;
            let Some(oldest) = page.messages.last() else { break };
            from = oldest.seq;
            newest.extend(page.messages);
            if !page.has_more {
                break;
            }
        }
        newest.iter().rev().try_for_each(|message| output.message(message.seq, message))?;
    } else {
        let mut from = Seq::ZERO;
        loop {
            let page =
                connected.ask(connected.client.history(conversation.clone(), from, Direction::Forward, PAGE)).await?;
            page.messages.iter().try_for_each(|message| output.message(message.seq, message))?;
            match page.messages.last() {
                Some(newest) if page.has_more => from = newest.seq,
                _ => break,
            }
        }
    }
    connected.client.close().await;
    Ok(())
}

pub(super) async fn conversations(home: &Home, global: &Global, output: &Output) -> Result<(), Failure> {
    let connected = Connected::for_a_question(home, global).await?;
    let mut after: Option<ConversationId> = None;
    loop {
        let page = connected.ask(connected.client.conversations(after.clone(), PAGE)).await?;
        page.conversations
            .iter()
            .try_for_each(|summary| output.line(|| summary_line(summary, &connected.user), || summary_json(summary)))?;
        match page.conversations.last() {
            Some(last) if page.has_more => after = Some(last.conversation.clone()),
            _ => break,
        }
    }
    connected.client.close().await;
    Ok(())
}

fn summary_line(summary: &ConversationSummary, user: &UserId) -> String {
    let name = match summary.conversation.peer_of(user) {
        Some(peer) => peer.to_string(),
        None if summary.name.is_empty() || summary.name == summary.conversation.as_str() => {
            format!("group:{}", summary.conversation)
        }
        None => format!("group:{} ({})", summary.conversation, harmless(&summary.name)),
    };
    let unread = if summary.unread > 0 { format!("  {} unread", summary.unread) } else { String::new() };
    let last = match &summary.last {
        Some(last) => format!("  {}: {}", last.sender, content(last)),
        None => String::new(),
    };
    format!("{name}{unread}{last}")
}

fn summary_json(summary: &ConversationSummary) -> serde_json::Value {
    json!({
        "conversation": summary.conversation.as_str(),
        "name": summary.name,
        "head": summary.head.0,
        "read": summary.read_seq.0,
        "unread": summary.unread,
        "last": summary.last.as_ref().map(|last| message_json(last.seq, last)),
    })
}

#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// A user, or `group:ID`.
    #[arg(value_parser = parse_target)]
    with: Target,
    /// Up to which place; the newest when left out.
    #[arg(long, value_name = "SEQ")]
    seq: Option<u64>,
}

pub(super) async fn read(home: &Home, global: &Global, output: &Output, args: ReadArgs) -> Result<(), Failure> {
    let connected = Connected::for_a_question(home, global).await?;
    let conversation = args.with.conversation(&connected.user);
    let seq = match args.seq {
        Some(seq) => Seq(seq),
        None => {
            connected.ask(connected.client.history(conversation.clone(), Seq::ZERO, Direction::Backward, 1)).await?.head
        }
    };
    connected.ask(connected.client.read(conversation.clone(), seq)).await?;
    output.line(
        || format!("read {conversation} up to seq={seq}"),
        || json!({ "conversation": conversation.as_str(), "read": seq.0 }),
    )?;
    connected.client.close().await;
    Ok(())
}
