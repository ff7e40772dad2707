//! `deploy/compose.yml` and `deploy/compose.cluster.yml`, held against the programs that they run: without a
//! container engine, but with the real binaries, which read the settings, and the real haproxy, which reads
//! its configuration.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use im_e2e::binaries::{self, Binary};
use im_e2e::process::run_program;
use im_e2e::process::run_with;
use serde::Deserialize;
use toml::Table;

/// Where the image's programs start: deploy/Dockerfile says so.
const WORKDIR: &str = "/var/lib/sim/";

/// One file. Other top-level keys are extensions (`x-…`), which only fragments refer to.
#[derive(Debug, Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    volumes: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    networks: BTreeMap<String, serde_json::Value>,
}

/// What these files use of a service; anything else would be a slip of the pen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    build: Option<Build>,
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    networks: BTreeSet<String>,
    network_mode: Option<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Health>,
    restart: String,
    stop_grace_period: Option<String>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    security_opt: Vec<String>,
    user: Option<String>,
    #[serde(default)]
    ulimits: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    context: PathBuf,
    dockerfile: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "that they are there is what is looked at")]
struct Health {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
    start_period: String,
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").canonicalize().unwrap()
}

fn read(name: &str) -> Compose {
    let text = fs::read_to_string(deploy().join(name)).unwrap();
    let whole: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&text).unwrap();
    for key in whole.keys() {
        let known = ["name", "services", "volumes", "networks"].contains(&key.as_str());
        assert!(known || key.starts_with("x-"), "{name} has {key:?}, which compose does not know");
    }
    serde_saphyr::from_str(&text.replace("${SIM_HOST:-localhost}", "localhost")).unwrap()
}

impl Service {
    fn command(&self) -> (&str, &[String]) {
        let (program, arguments) = self.command.as_deref().unwrap().split_first().unwrap();
        (program, arguments)
    }

    fn tier(&self) -> Option<Binary> {
        let program = self.command.as_ref()?.first()?;
        Binary::ALL.into_iter().find(|tier| tier.name() == program)
    }

    /// The tier's settings as it understands what stands here; an error of it is this test's.
    async fn settings(&self, name: &str) -> Table {
        let tier = self.tier().unwrap();
        let (_, arguments) = self.command();
        let variables: Vec<_> = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let arguments = arguments.iter().map(String::as_str).chain(["--print-config"]);
        let ran = run_with(tier, arguments, &variables).await.unwrap();
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        let printed: Table = ran.stdout.parse().unwrap();
        printed[tier.section()].as_table().unwrap().clone()
    }

    /// Who is restarted for ever; the others do one thing and end.
    fn stays(&self) -> bool {
        match self.restart.as_str() {
            "unless-stopped" => true,
            "no" => false,
            other => panic!("restart: {other}"),
        }
    }

    /// The port that its health check asks.
    fn checked_port(&self) -> u16 {
        let test = &self.healthcheck.as_ref().unwrap().test;
        assert_eq!(test[..2], ["CMD", "sim-ready"]);
        test[2].parse().unwrap()
    }
}

fn text<'a>(settings: &'a Table, key: &str) -> &'a str {
    settings[key].as_str().unwrap_or_else(|| panic!("{key} is {}", settings[key]))
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Who is meant, and which port of it.
fn host(address: &str) -> (&str, u16) {
    (address.rsplit_once(':').unwrap().0, port(address))
}

/// What holds for any of these files.
fn check_rules(name: &str, compose: &Compose) {
    let root = deploy().join("..");
    for (who, service) in &compose.services {
        let who = format!("{name}, {who}");
        for (other, Dependency { condition }) in &service.depends_on {
            let other = &compose.services[other];
            match condition.as_str() {
                "service_healthy" => assert!(other.healthcheck.is_some(), "{who} waits for health without a check"),
                "service_completed_successfully" => assert!(!other.stays(), "{who} waits for an end that never comes"),
                other => panic!("{who}: {other}"),
            }
        }
        for network in &service.networks {
            assert!(compose.networks.contains_key(network), "{who}: no network {network}");
        }
        for mounted in &service.volumes {
            let (from, to) = mounted.split_once(':').unwrap();
            assert!(to.starts_with('/'), "{who}: {mounted}");
            match from.strip_prefix("./") {
                Some(file) => {
                    assert!(deploy().join(file).is_file(), "{who}: no file {file}");
                    assert!(to.ends_with(":ro"), "{who} may write {file}");
                }
                None => assert!(compose.volumes.contains_key(from), "{who}: no volume {from}"),
            }
        }
        assert_eq!(service.stays(), service.healthcheck.is_some(), "{who}: who stays is watched");
        let secret = |name: &str| ["PASSWORD", "SECRET", "OPERATOR_TOKEN"].iter().any(|word| name.contains(word));
        assert!(!service.environment.keys().any(|name| secret(name)), "{who} has a secret that everybody knows");
        if service.image == "sim" {
            let build = service.build.as_ref().unwrap();
            assert!(deploy().join(&build.context).join(&build.dockerfile).is_file(), "{who}: {build:?}");
            assert!(service.read_only && service.cap_drop == ["ALL"], "{who} may do more than it needs");
            assert_eq!(service.security_opt, ["no-new-privileges:true"], "{who}");
            assert!(service.stop_grace_period.is_some(), "{who} has no time to drain");
        } else {
            assert!(service.image.contains(':'), "{who}: {} in whatever version", service.image);
        }
    }
    // What the image is made of.
    let dockerfile = fs::read_to_string(deploy().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("WORKDIR {}\n", WORKDIR.trim_end_matches('/'))));
    assert!(dockerfile.contains("\nUSER sim\n"), "the image runs as root");
    for copied in dockerfile.lines().filter(|line| line.starts_with("COPY") && !line.contains("--from")) {
        let source = copied.split_whitespace().filter(|word| !word.starts_with("--")).nth(1).unwrap();
        assert!(root.join(source).exists(), "{copied}");
    }
    for tier in Binary::ALL {
        assert!(dockerfile.contains(&format!("target/release/{}", tier.name())), "{tier:?} is not in the image");
    }
}

#[tokio::test]
async fn one_container_serves_everybody_and_its_health_check_sees_it() {
    let compose = read("compose.yml");
    check_rules("compose.yml", &compose);
    let service = &compose.services["sim"];
    let (program, arguments) = service.command();
    assert_eq!(program, "sim");

    // As it stands there, but for the folder and the ports.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let in_container = format!("{WORKDIR}data");
    assert!(service.volumes.contains(&format!("data:{in_container}")));
    let home = service.environment["SIM_HOME"].replace(&in_container, &data.display().to_string());
    let here: Vec<_> = arguments.iter().map(|word| word.replace(&in_container, &data.display().to_string())).collect();
    assert_ne!(here, arguments, "the store is in the volume");
    let mut command = Command::new(binaries::program("sim"));
    command.args(here).args(["--free-ports", "--json"]).env("SIM_HOME", &home).stdout(Stdio::piped());
    let log = folder.path().join("log");
    let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("{error}: {line:?}: {}", fs::read_to_string(&log).unwrap()));
    for key in ["clients", "accounts", "grpc"] {
        assert!(said[key].as_str().unwrap().contains("0.0.0.0:"), "{key} in {said}");
    }
    // The token that others have to show is theirs alone.
    assert!(fs::read_to_string(data.join("keys/service-tokens")).unwrap().trim().len() >= 32);
    let admin = port(said["gate_admin"].as_str().unwrap()).to_string();
    let asked = Command::new(deploy().join("sim-ready")).arg(admin).status().unwrap();
    assert!(asked.success(), "the health check does not see that it is well");
    let stopped = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
    assert!(stopped.success());
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());

    // Without --free-ports it listens on these.
    assert_eq!(service.checked_port(), 8911);
    let inside: Vec<_> = service.ports.iter().map(|published| port(published)).collect();
    assert_eq!(inside, [8910, 8000, 9000]);
}

#[test]
fn the_health_check_tells_ready_from_not_ready() {
    let check = |answer: &'static str| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of the request: what is left unread would make the end a reset, and the answer be lost.
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            request[0].clone()
        });
        let ended = Command::new(deploy().join("sim-ready")).args([port.as_str(), "/somewhere"]).status().unwrap();
        assert_eq!(serving.join().unwrap(), "GET /somewhere HTTP/1.0");
        ended.success()
    };
    assert!(check("HTTP/1.0 200 OK\r\n\r\n"));
    assert!(!check("HTTP/1.0 503 Service Unavailable\r\n\r\n"));
    assert!(!check(""));
    let nobody = Command::new(deploy().join("sim-ready")).arg("1").stderr(Stdio::null()).status().unwrap();
    assert!(!nobody.success());
}

#[tokio::test]
async fn the_tiers_of_the_cluster_understand_their_settings_and_find_each_other() {
    let compose = read("compose.cluster.yml");
    check_rules("compose.cluster.yml", &compose);
    let mut settings = BTreeMap::new();
    for (name, service) in compose.services.iter().filter(|(_, service)| service.tier().is_some()) {
        settings.insert(name.as_str(), service.settings(name).await);
    }
    let count = |tier: Binary| compose.services.values().filter(|service| service.tier() == Some(tier)).count();
    assert_eq!(Binary::ALL.map(count), [2, 2, 2]);

    // The keys that the one-shot container makes are those that everybody looks for.
    let keys = &compose.services["keys"];
    let (program, arguments) = keys.command();
    assert_eq!((program, arguments[0].as_str(), arguments[1].as_str()), ("sim", "keys", "keys"));
    assert_eq!(keys.network_mode.as_deref(), Some("none"));
    let made = tempfile::tempdir().unwrap();
    let dir = made.path().join("keys").display().to_string();
    let arguments = ["keys", &dir].into_iter().map(str::to_owned).chain(arguments[2..].iter().cloned());
    let ran = run_program(&binaries::program("sim"), arguments).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for (name, settings) in &settings {
        let service = &compose.services[*name];
        assert_eq!(text(settings, "name"), *name);
        assert!(service.volumes.contains(&format!("keys:{WORKDIR}keys:ro")), "{name} does not see the keys");
        let named = settings.values().flat_map(|value| match value {
            toml::Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        });
        let named: Vec<_> = named.filter_map(|value| Some(value.as_str()?.to_owned())).collect();
        let files: Vec<_> = named.iter().filter(|value| value.starts_with("keys/")).collect();
        assert!(files.len() >= 3, "{name} has {files:?}");
        for file in files {
            assert!(made.path().join(file).is_file(), "{name} looks for {file}, which nobody makes");
        }
    }

    // Whoever is named is there, listens there, and can be reached.
    let reaches = |from: &str, to: &str| {
        let [from, to] =
            [from, to].map(|name| &compose.services.get(name).unwrap_or_else(|| panic!("no {name}")).networks);
        !from.is_disjoint(to)
    };
    for (name, of) in &settings {
        let service = &compose.services[*name];
        if let Some(connections) = of.get("connections_max") {
            // A gate without files left accepts nobody.
            assert!(service.ulimits["nofile"] > connections.as_integer().unwrap().unsigned_abs() + 1000, "{name}");
        }
        let admin = text(of, service.tier().unwrap().admin_key());
        assert_eq!(service.checked_port(), port(admin), "{name}");
        if service.tier() == Some(Binary::Route) {
            continue;
        }
        let routes: Vec<_> = of["routes"].as_array().unwrap().iter().map(|route| route.as_str().unwrap()).collect();
        assert_eq!(routes.len(), 2, "{name}");
        for route in routes {
            let (to, at) = host(route);
            assert!(reaches(name, to), "{name} cannot reach {to}");
            assert_eq!(at, port(text(&settings[to], "listen")), "{name} dials {route}");
        }
    }
    for name in ["im-service-1", "im-service-2"] {
        // Printed settings hide what may have a password in it.
        let environment = &compose.services[name].environment;
        let mongo = environment["SIM_IM_SERVICE_MONGO_URI"].strip_prefix("mongodb://").unwrap();
        let (members, set) = mongo.split_once("/?replicaSet=").unwrap();
        let redis = environment["SIM_IM_SERVICE_REDIS_URL"].strip_prefix("redis+sentinel://").unwrap();
        let (sentinels, master) = redis.split_once('/').unwrap();
        let init = fs::read_to_string(deploy().join("mongo-init.js")).unwrap();
        let watch = fs::read_to_string(deploy().join("sentinel.conf")).unwrap();
        assert!(
            init.contains(&format!("_id: {set:?}"))
                && watch.contains(&format!("sentinel monitor {master} redis-1 6379"))
        );
        for member in members.split(',') {
            let (to, at) = host(member);
            assert!(reaches(name, to) && at == 27017 && init.contains(&format!("host: {member:?}")), "{member}");
            assert!(compose.services[to].command().1.contains(&set.to_owned()), "{to} is in another set");
        }
        for sentinel in sentinels.split(',') {
            let (to, at) = host(sentinel);
            assert!(reaches(name, to) && at == 26379 && watch.contains(&format!("\nport {at}\n")), "{sentinel}");
            assert!(compose.services[to].user.is_some(), "{to} runs as root");
        }
        assert!(
            !reaches("haproxy", "mongo-1") && !reaches("gate-1", "redis-1"),
            "the stores are for im-services alone"
        );
    }
}

#[tokio::test]
async fn the_balancer_of_the_cluster_has_everything_that_it_asks_for() {
    let compose = read("compose.cluster.yml");
    let haproxy = &compose.services["haproxy"];
    let config = deploy().join("haproxy.cluster.cfg");
    assert!(haproxy.volumes.contains(&"./haproxy.cluster.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro".to_owned()));

    // No variable is missing, none is left over.
    let asked: BTreeSet<_> = fs::read_to_string(&config)
        .unwrap()
        .split("${")
        .skip(1)
        .map(|rest| rest.split_once('}').unwrap().0.to_owned())
        .collect();
    assert_eq!(asked, haproxy.environment.keys().cloned().collect());

    // Whom it passes on to listens there, and answers its question from outside its own container.
    for (name, tier) in [
        ("gate-1", Binary::Gate),
        ("gate-2", Binary::Gate),
        ("im-service-1", Binary::ImService),
        ("im-service-2", Binary::ImService),
    ] {
        let settings = compose.services[name].settings(name).await;
        let variable = name.to_uppercase().replace('-', "_");
        let checked = text(&settings, tier.admin_key());
        assert_eq!(checked, format!("0.0.0.0:{}", haproxy.environment[&format!("{variable}_CHECK")]));
        let targets: &[(&str, &str)] = match tier {
            Binary::Gate => &[("", "client_listen")],
            _ => &[("_HTTP", "http_listen"), ("_GRPC", "grpc_listen")],
        };
        for (suffix, key) in targets {
            let (to, at) = host(&haproxy.environment[&format!("{variable}{suffix}")]);
            assert_eq!((to, format!("0.0.0.0:{at}").as_str()), (name, text(&settings, key)));
        }
        assert!(!haproxy.networks.is_disjoint(&compose.services[name].networks));
        if tier == Binary::Gate {
            let subnet = &compose.networks["front"]["ipam"]["config"][0]["subnet"];
            assert_eq!(settings["proxy_from"].as_array().unwrap()[0].as_str(), subnet.as_str(), "who haproxy is");
        }
    }

    // What is published is listened to.
    let listened: BTreeSet<_> =
        haproxy.environment.iter().filter(|(name, _)| name.starts_with("LISTEN")).map(|(_, at)| port(at)).collect();
    let published: BTreeSet<_> = haproxy.ports.iter().map(|published| port(published)).collect();
    assert_eq!(listened, published);
    assert!(listened.contains(&haproxy.checked_port()));

    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut check = Command::new("haproxy");
    // Debian puts it where only root's PATH looks.
    check.env("PATH", path).arg("-c").arg("-f").arg(&config).envs(&haproxy.environment);
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
