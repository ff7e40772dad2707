//! Clients that come through haproxy, as `deploy/haproxy.cfg` sets it up: gates know who they are, and a gate
//! that dies or drains costs nobody a message.

#![allow(clippy::unwrap_used)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_client::TlsDial;
use im_e2e::binaries::Binary;
use im_e2e::browser;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::haproxy::{self, Haproxy};
use im_e2e::person::{Person, mint};
use im_e2e::ports::Port;
use im_e2e::traffic::{Traffic, Voice};
use im_e2e::verify::{self, Groups};
use im_e2e::{PATIENCE, logs};
use im_link::network::{BoxFuture, BoxIo};
use im_link::{Listener, Network, Tcp};
use im_proto::{Target, UserId};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const USERS: [&str; 6] = ["ann", "ben", "cyd", "dan", "eve", "fay"];

/// Messages of each voice that must get through before the next step.
const FLOW: u64 = 5;

/// From a gate's death to everybody's next acks; clients notice at once, haproxy within two seconds.
const FAILOVER_MAX: Duration = Duration::from_secs(30);

/// Dials from an address of its own: as a client on another machine would be seen.
struct From(Ipv4Addr);

impl Network for From {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((self.0, 0).into())?;
            let address = address.parse().map_err(io::Error::other)?;
            Ok(Box::new(socket.connect(address).await?) as BoxIo)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Tcp.listen(address)
    }
}

/// Each from an address of their own.
fn home(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap())
}

/// Two gates behind a balancer.
struct Site {
    cluster: Cluster,
    haproxy: Haproxy,
    /// Nobody else takes the ports where the gates serve browsers.
    _browsers: [Port; 2],
}

impl Site {
    async fn start() -> Self {
        Self::with_pages_of("https://nowhere.example").await
    }

    async fn with_pages_of(origin: &str) -> Self {
        let plan = Plan {
            gates: 2,
            known_users_only: false,
            settings: vec![(Binary::Gate, haproxy::PROXY_FROM.into())],
            allowed: vec![logs::ROUTE_DOWN],
            ..Plan::default()
        };
        let mut cluster = Cluster::prepare(plan).unwrap();
        let browsers = [Port::lease().unwrap(), Port::lease().unwrap()];
        for (gate, port) in ["gate-1", "gate-2"].into_iter().zip(&browsers) {
            let config = cluster.config(gate).unwrap();
            let mut text = std::fs::read_to_string(config).unwrap();
            text.push_str(&format!("websocket_listen = \"{}\"\n", port.address()));
            text.push_str(&format!("websocket_origins = [{origin:?}]\n"));
            std::fs::write(config, text).unwrap();
        }
        for tier in ["route-1", "im-service-1", "gate-1", "gate-2"] {
            cluster.restart(tier).unwrap();
        }
        cluster.wait_ready().await.unwrap();
        let haproxy = Haproxy::start(&cluster, [browsers[0].address(), browsers[1].address()]).await.unwrap();
        Self { cluster, haproxy, _browsers: browsers }
    }

    async fn connect(&self, number: usize, user: &str) -> Arc<Person> {
        let gates = vec![self.haproxy.clients().to_string()];
        let dial = TlsDial::over(Arc::new(From(home(number))), &self.cluster.ca()).unwrap();
        Arc::new(Person::connect_by(&self.cluster, user, "live", gates, Arc::new(dial)).await.unwrap())
    }

    /// Which users each gate has ever let in, with the address that it knew them by.
    fn logins(&self, gate: &str) -> Vec<(String, SocketAddr)> {
        let log = self.cluster.log(gate).unwrap();
        let field = |line: &str, name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            value.unwrap_or_else(|| panic!("{name} in {line}")).to_owned()
        };
        let lines = log.lines().filter(|line| line.contains(": logged in "));
        lines.map(|line| (field(line, "user="), field(line, "address=").parse().unwrap())).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_behind_haproxy_dies_or_drains_and_nobody_loses_a_message() {
    let mut site = Site::start().await;
    let mut people = Vec::new();
    for (number, user) in USERS.into_iter().enumerate() {
        people.push(site.connect(number, user).await);
    }
    let mut traffic = Traffic::start("talk", Voice::round_table(&people));
    traffic.flow(FLOW).await.unwrap();

    // The fewest connections come first, so half of them are on each gate, known by their own address.
    for gate in ["gate-1", "gate-2"] {
        assert_eq!(site.logins(gate).len(), USERS.len() / 2, "{gate}");
    }

    site.cluster.kill("gate-1").await.unwrap();
    let killed = Instant::now();
    let (first, all) = traffic.flow(FLOW).await.unwrap();
    println!("gate-1 is dead; acks flow after {first:.2?}, everybody's after {all:.2?}");
    assert!(killed.elapsed() < FAILOVER_MAX, "the other gate took over after {:?}", killed.elapsed());
    site.haproxy.wait("gate-1", "DOWN").await.unwrap();
    assert!(site.logins("gate-2").len() >= USERS.len(), "all are on gate-2 now");
    site.cluster.restart("gate-1").unwrap();
    site.haproxy.wait("gate-1", "UP").await.unwrap();

    // An orderly end: who is on gate-2 comes back through gate-1, with the answers that were due.
    let came_before = site.logins("gate-1").len();
    site.cluster.terminate("gate-2").await.unwrap();
    let (first, all) = traffic.flow(FLOW).await.unwrap();
    println!("gate-2 has ended; acks flow after {first:.2?}, everybody's after {all:.2?}");
    assert!(site.logins("gate-1").len() >= came_before + USERS.len(), "all are on gate-1 now");
    site.haproxy.wait("gate-2", "DOWN").await.unwrap();
    site.cluster.restart("gate-2").unwrap();
    site.haproxy.wait("gate-2", "UP").await.unwrap();

    for gate in ["gate-1", "gate-2"] {
        for (user, address) in site.logins(gate) {
            let number = USERS.iter().position(|name| *name == user).unwrap();
            assert_eq!(address.ip(), home(number), "{gate} knows {user} by another address");
        }
    }
    let ledger = traffic.stop().await.unwrap();
    println!("{} messages were acked", ledger.len());
    verify::talk(&site.cluster, people, &[], &ledger, &Groups::new()).await.unwrap();
    assert_eq!(site.cluster.finish().await.unwrap(), ledger.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_balancer_speaks_for_others() {
    let site = Site::start().await;
    let gate = site.cluster.address("gate-1").unwrap();
    let claim = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 8910\r\n";

    // Somebody else who pretends to be a balancer: to the gate these bytes are a broken TLS handshake.
    let mut liar = TcpStream::connect(gate).await.unwrap();
    liar.write_all(claim).await.unwrap();
    assert!(is_hung_up(&mut liar).await);
    site.cluster.wait_log("gate-1", "TLS handshake failed").await.unwrap();

    // From the balancer's address without a header: also through haproxy nobody gets in without one.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((haproxy::FROM, 0).into()).unwrap();
    let mut silent = socket.connect(gate).await.unwrap();
    silent.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x00]).await.unwrap();
    assert!(is_hung_up(&mut silent).await);
    site.cluster.wait_log("gate-1", "a balancer did not say for whom it dials").await.unwrap();

    // A client that says it through haproxy says it behind haproxy's own header, where TLS is due.
    let mut through = TcpStream::connect(site.haproxy.clients()).await.unwrap();
    through.write_all(claim).await.unwrap();
    assert!(is_hung_up(&mut through).await);

    for tier in ["gate-1", "gate-2"] {
        assert!(!site.cluster.log(tier).unwrap().contains("203.0.113.7"), "{tier} believed it");
    }
    // Who comes directly, and says nothing of the kind, is served as always.
    let direct = Person::connect(&site.cluster, "ann", "direct").await.unwrap();
    direct.close().await.unwrap();
    site.cluster.finish().await.unwrap();
}

/// The page, and the codec that is generated for it.
const PAGES: &[browser::File] = &[
    ("/", "text/html", include_str!("browser/page.html")),
    ("/page.js", "text/javascript", include_str!("browser/page.js")),
    ("/protocol.js", "text/javascript", include_str!("../../../clients/typescript/dist/protocol.js")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_a_browser_talks_through_haproxy() {
    if std::env::var_os("SIM_SKIP_CLIENTS").is_some() {
        return;
    }
    let pages = browser::Site::serve(PAGES).await.unwrap();
    let port = pages.address().unwrap().port();
    let site = Site::with_pages_of(&format!("http://127.0.0.1:{port}")).await;
    let ben = site.connect(0, "ben").await;
    let url = |host: &str| {
        let (gate, token) = (site.haproxy.browsers(), mint(&site.cluster, "ann").unwrap());
        format!("http://{host}:{port}/?gate=wss://{gate}/&peer=ben&token={token}")
    };

    let answering = async {
        let entries = ben.wait_entries(1).await.unwrap();
        assert_eq!(&entries[0].message.payload[..], b"a page says hello");
        ben.say(&Target::User(UserId::new("ann").unwrap()), "back", "hello, page").await.unwrap();
    };
    let listed = url("127.0.0.1");
    let (outcome, ()) = tokio::join!(pages.visit(&listed), answering);
    assert_eq!(
        outcome.unwrap(),
        json!({
            "user": "ann", "seq": "1", "heard": "hello, page",
            // Closed in order and without a reason; text; too long.
            "goodbye": 1005, "wasClean": true, "text": 1003, "long": 1009,
        })
    );
    // The same page from a site that the gates do not list.
    let outcome = pages.visit(&url("localhost")).await.unwrap();
    assert_eq!(outcome, json!({"failed": "Error: closed with 1006 before it was open"}));

    let gates = [site.cluster.log("gate-1").unwrap(), site.cluster.log("gate-2").unwrap()].concat();
    assert!(gates.contains("WebSocket handshake failed"), "{gates}");
    Arc::into_inner(ben).unwrap().close().await.unwrap();
    assert_eq!(site.cluster.finish().await.unwrap(), 2);
}

async fn is_hung_up(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    // A hang-up may come as an end or as a reset, behind a TLS alert or not.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the gate hangs up").ok();
    answer.len() < 64
}
