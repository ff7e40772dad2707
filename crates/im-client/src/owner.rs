//! The task that owns a client: it dials, drives the cores, takes orders and hands out events. No
//! other task touches any of this, so nothing here is locked.

mod connected;
mod saver;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_link::network::BoxIo;
use im_proto::client::{KickReason, Kickout};
use im_proto::{Position, Retry, UserId};
use im_session::Backoff;
use im_session::client::{ClientSync, CloseCause, Login, PullId, SendNumber, SendQueue};
use tokio::sync::{mpsc, oneshot, watch};

use crate::call::{Call, Order, Outcome};
use crate::events::Delivery;
use crate::gates::Gates;
use crate::{CallError, ClientConfig, Dial, EndCause, Event, PositionStore, SendError, State, TokenError, TokenSource};
use saver::Saver;

/// Requests that wait for a connection at most. An application that asks more often is told so.
const CALLS_MAX: usize = 64;
/// Events without a place in the timeline that wait at most: reads and signals are hints, and the
/// oldest goes first when nobody takes them.
const HINTS_MAX: usize = 256;
/// How long a goodbye may take before the connection is simply dropped.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long answers are waited for on a connection that the gate has asked to leave; then it is dropped,
/// and what had no answer is asked again on the next.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// A connection that held this long was a good one: the next loss begins with the shortest wait.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

pub(crate) struct Owner {
    config: ClientConfig,
    dial: Arc<dyn Dial>,
    tokens: Arc<dyn TokenSource>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Delivery>,
    taken: watch::Receiver<Position>,
    state: watch::Sender<State>,
    gates: Gates,
    backoff: Backoff,
    sync: ClientSync,
    queue: SendQueue<Outcome>,
    /// Requests that wait for a connection with room. Bounded by [`CALLS_MAX`] and a window's worth
    /// that came back from a lost connection.
    calls: VecDeque<Call>,
    /// The next event for the application.
    next: Option<Delivery>,
    /// Reads and signals; bounded by [`HINTS_MAX`].
    hints: VecDeque<Event>,
    /// What became of messages that nobody waits for. Bounded together with the send queue.
    outcomes: VecDeque<Event>,
    /// The newest state, if the application has not been told.
    news: Option<State>,
    user: Option<UserId>,
    /// Whether this connection still has to be told to have caught up.
    catching_up: bool,
    /// When this connection is to be left for another, because its gate has asked for it.
    leave_at: Option<Instant>,
    saver: Saver,
    /// Who waits for the end; ending, if anybody does.
    closing: Vec<oneshot::Sender<()>>,
    /// Whether every handle is gone.
    abandoned: bool,
    /// Until then the goodbye may take.
    farewell_until: Option<Instant>,
}

/// What the answer to a request is for.
#[derive(Debug)]
enum Tag {
    Call(Call),
    Send(SendNumber),
    Pull(PullId),
}

/// How a connection came to its end.
enum Ended {
    Closed(CloseCause),
    Redirected,
}

impl Owner {
    #[expect(clippy::too_many_arguments, reason = "called once, by Client::start, with what the two share")]
    pub(crate) fn new(
        config: ClientConfig,
        dial: Arc<dyn Dial>,
        tokens: Arc<dyn TokenSource>,
        positions: Arc<dyn PositionStore>,
        position: Position,
        orders: mpsc::Receiver<Order>,
        events: mpsc::Sender<Delivery>,
        taken: watch::Receiver<Position>,
        state: watch::Sender<State>,
    ) -> Self {
        let backoff = Backoff::new(config.backoff_min, config.backoff_max);
        Self {
            gates: Gates::new(config.gates.clone(), dial.random()),
            sync: ClientSync::new(position, backoff.clone()),
            queue: SendQueue::new(config.send_queue_max, backoff.clone()),
            backoff,
            calls: VecDeque::new(),
            next: None,
            hints: VecDeque::new(),
            outcomes: VecDeque::new(),
            news: None,
            user: None,
            catching_up: false,
            leave_at: None,
            saver: Saver::new(positions),
            closing: Vec::new(),
            abandoned: false,
            farewell_until: None,
            config,
            dial,
            tokens,
            orders,
            events,
            taken,
            state,
        }
    }

    pub(crate) async fn run(mut self) {
        let cause = self.stay_connected().await;
        tracing::debug!(%cause, "client ended");
        self.finish(cause).await;
    }

    async fn stay_connected(&mut self) -> EndCause {
        let mut rejected: Option<String> = None;
        // Whether the last connection was left at once because of a redirect: two gates that send a client
        // to and fro wait longer and longer for it.
        let mut sent_on = false;
        loop {
            let gate = self.gates.next();
            self.set_state(State::Connecting { gate: gate.clone() });
            let why = match self.connect(&gate, rejected.take()).await {
                Err(ConnectError::Ended(cause)) => return cause,
                Err(ConnectError::Failed(why)) => why,
                Ok((stream, token)) => {
                    let began = now();
                    let ended = match self.serve(stream, self.login(&token)).await {
                        Ok(ended) => ended,
                        Err(cause) => return cause,
                    };
                    self.sync.on_disconnected();
                    self.queue.on_disconnected();
                    if now() >= began + GOOD_CONNECTION {
                        self.backoff.reset();
                        sent_on = false;
                    }
                    match ended {
                        Ended::Redirected if !std::mem::replace(&mut sent_on, true) => continue,
                        Ended::Redirected => "sent on to another gate, again".into(),
                        Ended::Closed(cause) => match verdict(cause) {
                            Verdict::End(cause) => return cause,
                            Verdict::Retry(why) => why,
                            Verdict::NewToken(why) => {
                                rejected = Some(token);
                                why
                            }
                        },
                    }
                }
            };
            let retry_in = self.backoff.next(self.dial.random());
            tracing::debug!(gate, why, ?retry_in, "not connected");
            self.set_state(State::Offline { why: format!("{gate}: {why}"), retry_in });
            if let Err(cause) = self.meanwhile(tokio::time::sleep(retry_in)).await {
                return cause;
            }
        }
    }

    async fn connect(&mut self, gate: &str, rejected: Option<String>) -> Result<(BoxIo, String), ConnectError> {
        let (tokens, dial) = (Arc::clone(&self.tokens), Arc::clone(&self.dial));
        let token = match self.meanwhile(tokens.token(rejected.as_deref())).await? {
            Ok(token) => token,
            Err(TokenError::LoginNeeded(why)) => return Err(EndCause::LoginNeeded(why).into()),
            Err(TokenError::Unavailable(why)) => return Err(ConnectError::Failed(why)),
        };
        let timeout = self.config.connect_timeout;
        match self.meanwhile(tokio::time::timeout(timeout, dial.dial(gate))).await? {
            Ok(Ok(stream)) => Ok((stream, token)),
            Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
            Err(_) => Err(ConnectError::Failed("no connection in time".into())),
        }
    }

    fn login(&self, token: &str) -> Login {
        Login {
            app_id: self.config.app_id.clone(),
            sdk: concat!("im-client ", env!("CARGO_PKG_VERSION")).into(),
            token: token.into(),
            device: self.config.device.clone(),
            platform: self.config.platform,
            codec: self.config.codec,
        }
    }

    /// Waits for something while there is no connection, and lets nothing else wait meanwhile.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, EndCause> {
        let mut future = pin!(future);
        loop {
            if self.is_closing() {
                return Err(EndCause::Closed);
            }
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = self.step() => {}
            }
        }
    }

    /// Works off one order, hands out one event, or notes what the application has taken.
    /// Cancellation-safe: each branch waits first and changes something after.
    async fn step(&mut self) {
        self.choose_next();
        // Always in this order, so that a simulation repeats. Orders last: an application that gives
        // them without a pause must not keep itself from being told what became of them.
        let order = tokio::select! {
            biased;
            permit = self.events.reserve(), if self.next.is_some() => {
                if let (Ok(permit), Some(delivery)) = (permit, self.next.take()) {
                    permit.send(delivery);
                }
                None
            }
            Ok(()) = self.taken.changed() => {
                let position = *self.taken.borrow_and_update();
                self.sync.on_taken(position);
                self.saver.save(position);
                None
            }
            () = self.saver.run(), if self.saver.is_busy() => None,
            order = self.orders.recv(), if !self.abandoned => Some(order),
            // Nobody is left who could give it anything to do.
            else => std::future::pending().await,
        };
        if let Some(order) = order {
            self.on_order(order);
        }
    }

    /// Chooses what the application gets next: its connection's state, what became of its messages,
    /// hints, then the timeline.
    fn choose_next(&mut self) {
        if self.events.is_closed() {
            // Nobody listens: nothing is taken, and so nothing more is pulled.
            self.next = None;
            self.news = None;
            self.hints.clear();
            self.outcomes.clear();
            return;
        }
        if self.next.is_some() {
            return;
        }
        let told =
            self.news.take().map(Event::State).or_else(|| self.outcomes.pop_front()).or_else(|| self.hints.pop_front());
        self.next = told.map(Delivery::from).or_else(|| self.sync.poll_hand_out().map(Delivery::from));
        if self.next.is_none() && self.catching_up && self.sync.is_caught_up() {
            self.catching_up = false;
            self.next = Some(Event::CaughtUp(self.sync.taken()).into());
        }
    }

    fn on_order(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Call(call)) if self.calls.len() < CALLS_MAX => self.calls.push_back(call),
            Some(Order::Call(call)) => reply(call, Err(CallError::Busy)),
            Some(Order::Send(message, outcome)) => {
                // What became of earlier messages takes up the same room, so an application that
                // never listens cannot pile it up.
                let full = self.queue.len() + self.outcomes.len() >= self.config.send_queue_max;
                if full {
                    self.tell(outcome, Err(SendError::QueueFull));
                } else if let Err(full) = self.queue.push(message, outcome) {
                    self.tell(full.0, Err(SendError::QueueFull));
                }
            }
            Some(Order::Close(done)) => self.closing.push(done),
            None => self.abandoned = true,
        }
    }

    fn tell(&mut self, outcome: Outcome, result: Result<im_proto::client::SendAck, SendError>) {
        match outcome {
            // A handle that no longer waits does not mind.
            Outcome::Reply(reply) => drop(reply.send(result)),
            Outcome::Event(client_msg_id) => self.outcomes.push_back(Event::Sent { client_msg_id, outcome: result }),
        }
    }

    fn hint(&mut self, event: Event) {
        if self.hints.len() == HINTS_MAX {
            self.hints.pop_front();
        }
        self.hints.push_back(event);
    }

    fn set_state(&mut self, state: State) {
        self.state.send_replace(state.clone());
        self.news = Some(state);
    }

    fn is_closing(&self) -> bool {
        self.abandoned || !self.closing.is_empty()
    }

    async fn finish(mut self, cause: EndCause) {
        self.set_state(State::Ended(cause.clone()));
        self.orders.close();
        while let Some(order) = self.orders.recv().await {
            self.on_order(Some(order));
        }
        for queued in self.queue.drain() {
            self.tell(queued.tag, Err(cause.clone().into()));
        }
        for call in self.calls.drain(..) {
            reply(call, Err(cause.clone().into()));
        }
        let position = *self.taken.borrow_and_update();
        self.saver.save(position);
        while self.saver.is_busy() {
            self.saver.run().await;
        }
        self.closing.clear();
        // What is left of the queue of events stays readable. An application that does not read them
        // must not keep this task alive, so the last word waits only as long as somebody listens.
        let last_words = self.next.take().filter(|next| next.position.is_none()).into_iter();
        let rest = self.outcomes.drain(..).chain(self.news.take().map(Event::State)).map(Delivery::from);
        for delivery in last_words.chain(rest) {
            if self.events.send(delivery).await.is_err() {
                break;
            }
        }
    }
}

/// Why there is no connection.
enum ConnectError {
    Ended(EndCause),
    Failed(String),
}

impl From<EndCause> for ConnectError {
    fn from(cause: EndCause) -> Self {
        Self::Ended(cause)
    }
}

/// What follows from the end of a connection.
enum Verdict {
    End(EndCause),
    Retry(String),
    NewToken(String),
}

fn verdict(cause: CloseCause) -> Verdict {
    match cause {
        CloseCause::LoggedOut => Verdict::End(EndCause::Closed),
        CloseCause::Kicked(kick) if is_final(&kick) => Verdict::End(EndCause::Kicked(kick)),
        CloseCause::Refused(refusal) => match refusal.code.retry() {
            Retry::Never => Verdict::End(EndCause::Refused(refusal)),
            Retry::AfterLogin => Verdict::NewToken(refusal.to_string()),
            Retry::Later | Retry::Reconnect => Verdict::Retry(refusal.to_string()),
        },
        _ => Verdict::Retry(cause.to_string()),
    }
}

/// Whether coming back would only be kicked again.
fn is_final(kick: &Kickout) -> bool {
    matches!(kick.reason, KickReason::LoggedInElsewhere | KickReason::Forbidden | KickReason::Revoked)
}

fn reply(call: Call, result: Result<bytes::Bytes, CallError>) {
    // A caller that gave up waiting does not mind.
    drop(call.reply.send(result));
}

/// The runtime's clock, which a test or simulation may own.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
