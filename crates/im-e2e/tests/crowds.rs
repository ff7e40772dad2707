//! Crowds of clients that take what they can: each costs a bounded amount of memory, is told why it goes,
//! is counted under the limit that it met, and nobody else notices.
//!
//! Small by default. `SIM_CROWD=10000 cargo nextest run -p im-e2e --test crowds --no-capture` is the full
//! size: 10,000 connections that never log in, 2,000 that are slow or silent, 200 that read nothing, 1,000
//! devices. It takes 11,000 files per process.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use im_e2e::bare::{Bare, BareDial, decoded};
use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::person::{Person, mint};
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::{PATIENCE, http};
use im_link::BoxIo;
use im_proto::client::{Command, GetMsg, KickReason, Kickout};
use im_proto::{Position, Refusal, RefusalCode, Target};
use proto_codec::{Frame, Hop, Preamble};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// What a connection may cost the gate beside what waits for its client: its session, TLS, the buffers of
/// a record in and half a one out, and what an allocator keeps.
const CONNECTION_BYTES: u64 = 48 * 1024;

/// What the gate's own traffic may add meanwhile.
const SLACK_BYTES: u64 = 16 << 20;

/// Clients of a crowd.
fn crowd() -> usize {
    std::env::var("SIM_CROWD").map_or(200, |size| size.parse().expect("SIM_CROWD is a number"))
}

/// A gate with two people who talk all the while.
struct Room {
    cluster: Cluster,
    people: Vec<std::sync::Arc<Person>>,
    traffic: Traffic,
    memory: u64,
    gate: SocketAddr,
}

impl Room {
    async fn open(settings: &[(Binary, &str)]) -> anyhow::Result<Self> {
        let settings = settings.iter().map(|(binary, line)| (*binary, (*line).to_owned())).collect();
        let mut cluster = Cluster::start(Plan { known_users_only: false, settings, ..Plan::default() }).await?;
        let people = Person::connect_all(&cluster, &["ann", "ben"], "live").await?;
        let mut traffic = Traffic::start("talk", Voice::round_table(&people));
        traffic.flow(20).await?;
        let memory = cluster.process("gate-1")?.memory()?;
        let gate = cluster.address("gate-1")?;
        Ok(Self { cluster, people, traffic, memory, gate })
    }

    fn dial(&self) -> BareDial {
        BareDial::new(&self.cluster.ca(), self.gate).unwrap()
    }

    /// Logs in a user on so many devices.
    async fn login_all(&self, user: &str, count: usize) -> anyhow::Result<Vec<Bare>> {
        let (dial, token) = (self.dial(), mint(&self.cluster, user)?);
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            clients.push(dial.login(&token, &format!("device-{number}")).await?);
        }
        Ok(clients)
    }

    /// The others go on talking, without a hitch that they would notice.
    async fn nobody_else_notices(&mut self) -> anyhow::Result<()> {
        let (first, all) = self.traffic.flow(10).await?;
        println!("others: first ack after {first:?}, ten of each after {all:?}");
        ensure!(all < Duration::from_secs(10), "the others waited {all:?} for ten acks each");
        Ok(())
    }

    /// The gate has not grown by more than so much for each of so many.
    fn costs_at_most(&mut self, count: usize, bytes: u64) -> anyhow::Result<()> {
        let grown = self.memory_stays_under(count, bytes)?;
        println!("gate: {} KiB for {count} clients, {} bytes each", grown / 1024, grown / count as u64);
        Ok(())
    }

    /// The same without a word. Says by how much it has grown.
    fn memory_stays_under(&mut self, count: usize, bytes: u64) -> anyhow::Result<u64> {
        let grown = self.cluster.process("gate-1")?.memory()?.saturating_sub(self.memory);
        ensure!(grown <= count as u64 * bytes + SLACK_BYTES, "{grown} bytes for {count} clients");
        Ok(grown)
    }

    /// How often the gate let a limit be met.
    async fn limited(&self, limit: &str) -> usize {
        let label = format!("limit=\"{limit}\"");
        http::metric(self.cluster.admin("gate-1").unwrap(), "sim_gate_limited_total", &label).await.unwrap() as usize
    }

    /// How many connections the gate ended for that reason.
    async fn closed(&self, reason: &str) -> usize {
        let label = format!("reason=\"{reason}\"");
        http::metric(self.cluster.admin("gate-1").unwrap(), "sim_gate_closes_total", &label).await.unwrap() as usize
    }

    /// Waits until the two people are the only ones there.
    async fn empties(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let admin = self.cluster.admin("gate-1")?;
            let there = http::metric(admin, "sim_gate_connections", "").await?;
            if there <= 2.0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{there} connections are still there");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn close(self, further_acks: u64) -> anyhow::Result<()> {
        let ledger = self.traffic.stop().await?;
        verify::talk(&self.cluster, self.people, &[], &ledger, &Groups::new()).await?;
        ensure!(self.cluster.finish().await? == ledger.len() as u64 + further_acks, "messages in the store");
        Ok(())
    }
}

fn kick_reason(last: Option<Frame>) -> Option<KickReason> {
    let frame = last.filter(|frame| frame.command == Command::Kickout.number())?;
    Some(decoded::<Kickout>(&frame).unwrap().reason)
}

/// Reads what comes until the other side closes; however it closes.
async fn until_closed(stream: &mut BoxIo) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the gate closes it");
}

/// Clients that ask for page after page and read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers() {
    const MESSAGES: u64 = 40;
    let count = crowd().min(2000) / 10;
    let route = (Binary::Route, "logins_per_user_max = 10000");
    let mut room = Room::open(&[
        (Binary::Gate, "logins_per_user = \"off\"\nmessages_per_user = \"off\"\nmessages_per_connection = \"off\"\nkeep_alive = \"20s\"\nheartbeat = \"5s\""),
        route,
    ])
    .await
    .unwrap();
    let deaf = Target::User("deaf".parse().unwrap());
    let writer = Person::connect(&room.cluster, "writer", "live").await.unwrap();
    for number in 0..MESSAGES {
        writer.say(&deaf, &format!("long-{number}"), &"x".repeat(8 * 1024)).await.unwrap();
    }
    writer.close().await.unwrap();
    let mut clients = room.login_all("deaf", count).await.unwrap();
    let get = GetMsg { after: Position::default(), limit: 0 };
    let begun = Instant::now();
    // A page each, again and again, until the gate has let go of all of them: of most because an answer
    // found no room; of a few, which had as many requests under way as they may, because nothing was read
    // from them any more, until they were silent for too long.
    loop {
        let (full, idle) = (room.limited("outbound_bytes").await, room.closed("idle").await);
        if full + idle == count {
            assert!(full > count / 2, "{full} of {count}");
            break;
        }
        assert!(begun.elapsed() < 2 * PATIENCE, "{full} and {idle} of {count} were let go");
        for client in &mut clients {
            // Whom the gate has let go it does not hear.
            let _ = client.ask(Command::GetMsg, &get).await;
        }
        room.memory_stays_under(count, 2 * 256 * 1024 + CONNECTION_BYTES).unwrap();
    }
    println!("let go of after {:?}", begun.elapsed());
    room.nobody_else_notices().await.unwrap();
    room.empties().await.unwrap();
    room.nobody_else_notices().await.unwrap();
    drop(clients);
    room.close(MESSAGES).await.unwrap();
}

/// Clients that send a byte a second, at every step, and such as are not heard of again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_and_half_open_peers() {
    let each = crowd().min(2000) / 4;
    // All of them have to be there before the first one is let go.
    let (login_timeout, keep_alive) = (4 + each / 50, 6 + each / 20);
    let times = format!(
        "login_timeout = \"{login_timeout}s\"\nkeep_alive = \"{keep_alive}s\"\nheartbeat = \"1s\"\nlogins_per_user = \"off\""
    );
    let mut room = Room::open(&[(Binary::Gate, &times), (Binary::Route, "logins_per_user_max = 10000")]).await.unwrap();
    let dial = room.dial();
    let mut gone = room.login_all("gone", each).await.unwrap();
    let mut trickling = room.login_all("trickling", each).await.unwrap();
    let begun = Instant::now();
    let mut hellos: Vec<BoxIo> = Vec::new();
    let mut preambles: Vec<BoxIo> = Vec::new();
    for _ in 0..each {
        hellos.push(Box::new(TcpStream::connect(room.gate).await.unwrap()));
        preambles.push(dial.stream().await.unwrap());
    }
    // A TLS record's header, then its body; a preamble; a frame that never ends.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7];
    let preamble = Preamble::current(Hop::Client).encode();
    let mut endless = vec![0, 0, 0xf0, 0];
    endless.resize(32, 0);
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..8 {
        seconds.tick().await;
        for stream in &mut hellos {
            let _ = stream.write_all(&hello[second..=second]).await;
        }
        for stream in &mut preambles {
            let _ = stream.write_all(&preamble[second..=second]).await;
            let _ = stream.flush().await;
        }
        for client in &mut trickling {
            let _ = client.io.write(&endless[second..=second]).await;
        }
        if second == 2 {
            room.costs_at_most(4 * each, CONNECTION_BYTES).unwrap();
            room.nobody_else_notices().await.unwrap();
        }
    }
    for stream in hellos.iter_mut().chain(&mut preambles) {
        until_closed(stream).await;
    }
    for client in trickling.iter_mut().chain(&mut gone) {
        assert_eq!(kick_reason(client.last_word().await.unwrap()), Some(KickReason::Idle));
    }
    println!("all of them are gone after {:?}", begun.elapsed());
    assert_eq!(room.limited("login_time").await, 2 * each);
    assert_eq!(room.closed("idle").await, 2 * each);
    room.empties().await.unwrap();
    room.nobody_else_notices().await.unwrap();
    room.close(0).await.unwrap();
}

/// Connections that never log in: some behind TLS, some before it, more than may stand in the door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_log_in() {
    let door = crowd();
    let count = door + door / 10;
    let settings = format!("login_timeout = \"{}s\"\nunauthenticated_max = {door}", 5 + door / 250);
    let mut room = Room::open(&[(Binary::Gate, &settings)]).await.unwrap();
    let dial = room.dial();
    let mut inside: Vec<BoxIo> = Vec::new();
    for number in 0..door {
        if number % 2 == 0 {
            inside.push(Box::new(TcpStream::connect(room.gate).await.unwrap()));
        } else {
            inside.push(dial.stream().await.unwrap());
        }
    }
    let begun = Instant::now();
    while http::metric(room.cluster.admin("gate-1").unwrap(), "sim_gate_unauthenticated", "").await.unwrap()
        < door as f64
    {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    for _ in door..count {
        let mut outside: BoxIo = Box::new(TcpStream::connect(room.gate).await.unwrap());
        let begun = Instant::now();
        until_closed(&mut outside).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "the door is shut at once");
    }
    room.costs_at_most(door, CONNECTION_BYTES).unwrap();
    room.nobody_else_notices().await.unwrap();
    assert_eq!(room.limited("unauthenticated").await, count - door);
    for stream in &mut inside {
        until_closed(stream).await;
    }
    assert_eq!(room.limited("login_time").await, door);
    room.empties().await.unwrap();
    // There is room for newcomers again.
    Person::connect(&room.cluster, "carol", "live").await.unwrap().close().await.unwrap();
    room.nobody_else_notices().await.unwrap();
    room.close(0).await.unwrap();
}

/// A user with more devices than anybody has: so many logins at once, and so many side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_thousand_devices() {
    let devices = crowd().min(1000);
    let mut room = Room::open(&[(Binary::Route, "logins_per_user_max = 50")]).await.unwrap();
    let (dial, token) = (room.dial(), mint(&room.cluster, "many").unwrap());
    // At once: a burst of 100, then five a second.
    let (mut inside, mut told) = (Vec::new(), 0);
    for number in 0..devices {
        match dial.login(&token, &format!("device-{number}")).await {
            Ok(client) => inside.push(client),
            Err(error) => {
                let refusal = error.downcast_ref::<Refusal>().context("it is told").unwrap();
                assert_eq!(refusal.code, RefusalCode::RateLimited);
                assert!(refusal.retry_after_ms > 0);
                told += 1;
            }
        }
    }
    println!("{} logged in, {told} were told to wait", inside.len());
    assert!(inside.len() >= 100, "the burst is let in");
    assert_eq!(room.limited("logins_per_user").await, told);
    // Side by side: the eldest go, each told why.
    let eldest = inside.len() - 50;
    let mut words = JoinSet::new();
    let staying = inside.split_off(eldest);
    for mut client in inside {
        words.spawn(async move { kick_reason(client.last_word().await.unwrap()) });
    }
    while let Some(reason) = words.join_next().await {
        assert_eq!(reason.unwrap(), Some(KickReason::LoggedInElsewhere));
    }
    let route = room.cluster.admin("route-1").unwrap();
    let gone = http::metric(route, "sim_route_logins_superseded_total", "logins_per_user").await.unwrap();
    assert_eq!(gone as usize, eldest);
    assert_eq!(http::metric(route, "sim_route_logins", "").await.unwrap(), 52.0);
    room.costs_at_most(100, CONNECTION_BYTES).unwrap();
    room.nobody_else_notices().await.unwrap();
    drop(staying);
    room.empties().await.unwrap();
    room.close(0).await.unwrap();
}
