//! Two regions as processes, with proxies on the links between them that cut: the im-service and its
//! store are in one, the other one's clients reach everybody all the same.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_client::TlsDial;
use im_e2e::binaries::Binary;
use im_e2e::cluster::{Cluster, Plan};
use im_e2e::logs::{self, Allowed, ROUTE_DOWN};
use im_e2e::person::Person;
use im_e2e::ports::Port;
use im_e2e::process::Process;
use im_e2e::{PATIENCE, http};
use im_link::certs::ClusterCerts;
use im_proto::Target;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Well under a heartbeat, which comes every 30 seconds: what is there by then was told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What the cut brings into the logs.
const CUT: Allowed =
    Allowed { text: "the link to the im-service broke", because: "the regions are cut from each other" };

/// A proxy that can be cut: then nothing passes and nobody is told, as when a cable is drawn.
struct Proxy {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::carry(near, to, cut.clone()));
            }
        });
        Self { address, is_cut, task }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }

    async fn carry(mut near: TcpStream, to: SocketAddr, mut cut: watch::Receiver<bool>) {
        let mut fresh = cut.clone();
        if fresh.wait_for(|is_cut| !is_cut).await.is_err() {
            return;
        }
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        let carried = tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => return,
            cut = cut.wait_for(|is_cut| *is_cut) => cut.is_ok(),
        };
        // Both ends stay open and hear nothing more, until the way is open again or they have given up.
        if carried {
            let _ = cut.wait_for(|is_cut| !is_cut).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The tiers of the region without an im-service.
struct Far {
    gate: Port,
    gate_admin: Port,
    route_admin: Port,
    processes: Vec<Process>,
    logs: Vec<PathBuf>,
}

impl Far {
    async fn start(near: &Cluster, peers: &[SocketAddr]) -> Self {
        let dir = near.folder();
        let keys = dir.join("keys");
        let certs = ClusterCerts::at(&keys);
        let lease = || Port::lease().unwrap();
        let (gate, gate_admin, route, route_admin) = (lease(), lease(), lease(), lease());
        let peers: Vec<_> = peers.iter().map(|address| format!("near={address}")).collect();
        let common = |section: &str, files: im_link::tls::CertFiles| {
            format!(
                "[{section}]\nname = \"far-{section}\"\nregion = \"far\"\nlink_ca = {:?}\nlink_cert = {:?}\nlink_key = {:?}\n",
                certs.ca(),
                files.cert,
                files.key
            )
        };
        let route_settings = format!(
            "{}listen = \"{}\"\nhttp_listen = \"{}\"\npeers = {peers:?}\n",
            common("route", certs.route()),
            route.address(),
            route_admin.address()
        );
        let server = certs.gate_server();
        let gate_settings = format!(
            "{}client_listen = \"{}\"\nhttp_listen = \"{}\"\nroutes = [\"{}\"]\nclient_cert = {:?}\nclient_key = {:?}\ntoken_keys = [{:?}]\n",
            common("gate", certs.gate_link()),
            gate.address(),
            gate_admin.address(),
            route.address(),
            server.cert,
            server.key,
            im_auth::keys::public_file(&keys)
        );
        let (mut processes, mut logs) = (Vec::new(), Vec::new());
        for (binary, settings) in [(Binary::Route, route_settings), (Binary::Gate, gate_settings)] {
            let file = |kind: &str| dir.join(format!("far-{}.{kind}", binary.section()));
            std::fs::write(file("toml"), settings).unwrap();
            processes.push(Process::start(binary, &file("toml"), &file("log")).unwrap());
            logs.push(file("log"));
        }
        let far = Self { gate, gate_admin, route_admin, processes, logs };
        far.wait_ready(true).await;
        far
    }

    /// Waits until gate and route are ready, or the route is not.
    async fn wait_ready(&self, ready: bool) {
        let admins = if ready { vec![&self.route_admin, &self.gate_admin] } else { vec![&self.route_admin] };
        let wanted = if ready { 200 } else { 503 };
        for admin in admins {
            let deadline = Instant::now() + PATIENCE;
            while !http::get(admin.address(), "/readyz").await.is_ok_and(|answer| answer.status == wanted) {
                assert!(Instant::now() < deadline, "the far region does not get {wanted} as readiness");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn person(&self, near: &Cluster, user: &str) -> Person {
        let dial = Arc::new(TlsDial::new(&near.ca()).unwrap());
        Person::connect_by(near, user, "phone", vec![self.gate.address().to_string()], dial).await.unwrap()
    }

    async fn stop(mut self) {
        // The gate first, as its clients are gone.
        for process in self.processes.iter_mut().rev() {
            process.signal("TERM").await.unwrap();
            assert_eq!(process.ended().await.unwrap().code(), Some(0));
        }
        for log in &self.logs {
            assert_eq!(logs::unexpected(log, &[ROUTE_DOWN, CUT]).unwrap(), Vec::<String>::new());
        }
    }
}

fn to(person: &Person) -> Target {
    Target::User(person.user().clone())
}

async fn sees(person: &Person, count: usize) {
    timeout(TOLD_WITHIN, person.wait_entries(count)).await.expect("it is told at once").unwrap();
}

/// How many frames have crossed from a route to another region.
async fn crossed(route: SocketAddr) -> u64 {
    let metrics = http::get(route, "/metrics").await.unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("sim_route_crossed_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Waits until a route knows of so many users of the other region.
async fn knows(route: SocketAddr, users: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status: serde_json::Value = serde_json::from_str(&http::get(route, "/status").await.unwrap().body).unwrap();
        let peers = status["peers"].as_array().unwrap();
        if peers.len() == 1 && peers[0]["users"] == users && peers[0]["region"] == "far" {
            return;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn people_of_two_regions_talk_and_a_cut_between_them_heals() {
    let region = |binary| (binary, "region = \"near\"".to_owned());
    let plan = Plan {
        routes: 2,
        known_users_only: false,
        settings: [Binary::Gate, Binary::Route, Binary::ImService].map(region).into(),
        allowed: vec![ROUTE_DOWN, CUT],
        ..Plan::default()
    };
    let near = Cluster::start(plan).await.unwrap();
    let proxies =
        [Proxy::start(near.address("route-1").unwrap()).await, Proxy::start(near.address("route-2").unwrap()).await];
    let far = Far::start(&near, &proxies.each_ref().map(|proxy| proxy.address)).await;
    let (ann, cyd) =
        (Person::connect(&near, "ann", "phone").await.unwrap(), Person::connect(&near, "cyd", "phone").await.unwrap());
    let ben = far.person(&near, "ben").await;
    knows(near.admin("route-1").unwrap(), 1).await;
    // Ben's own requests cross, and so do notifies, both ways.
    ann.say(&to(&ben), "1", "from near to far").await.unwrap();
    sees(&ben, 1).await;
    ben.say(&to(&ann), "2", "and back").await.unwrap();
    sees(&ann, 2).await;
    // What nobody over there is to get does not cross.
    let master = near.admin("route-1").unwrap();
    let before = crossed(master).await;
    assert!(before > 0);
    cyd.say(&to(&ann), "3", "near only").await.unwrap();
    sees(&ann, 3).await;
    assert_eq!(crossed(master).await, before);

    proxies.iter().for_each(|proxy| proxy.cut(true));
    far.wait_ready(false).await;
    ann.say(&to(&cyd), "4", "the near region does not care").await.unwrap();
    ann.say(&to(&ben), "5", "for later").await.unwrap();
    let (ben, saying) = {
        let (ben, target) = (Arc::new(ben), to(&ann));
        let speaker = Arc::clone(&ben);
        (ben, tokio::spawn(async move { speaker.say(&target, "6", "said into the cut").await }))
    };
    sees(&cyd, 2).await;
    assert!(!saying.is_finished(), "nobody can have acked it");

    proxies.iter().for_each(|proxy| proxy.cut(false));
    let healed = Instant::now();
    far.wait_ready(true).await;
    saying.await.unwrap().unwrap();
    println!("acked {:.2?} after the heal", healed.elapsed());
    for route in ["route-1", "route-2"] {
        knows(near.admin(route).unwrap(), 1).await;
    }
    // Told of one, ben also gets what was said while nobody could tell.
    ann.say(&to(&ben), "7", "again").await.unwrap();
    sees(&ben, 5).await;

    drop((ann, cyd, ben));
    far.stop().await;
    assert_eq!(near.finish().await.unwrap(), 7);
}
