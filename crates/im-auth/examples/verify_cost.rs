//! What a token costs: `cargo run --release -p im-auth --example verify_cost`. Best of several
//! rounds, because whatever else runs on the machine only ever adds.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use im_auth::{KeyError, Verifier, keys};
use im_proto::UserId;

const ROUNDS: u32 = 20;
const PER_ROUND: u32 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("token-cost-{}", std::process::id()));
    let result = measure(&dir);
    std::fs::remove_dir_all(&dir)?;
    Ok(result?)
}

fn measure(dir: &std::path::Path) -> Result<(), KeyError> {
    let signer = keys::load_or_create(dir)?;
    let verifier = Verifier::from_files([keys::public_file(dir)])?;
    let user = UserId::new("anna").expect("a valid id");
    let now = SystemTime::now();
    let lifetime = Duration::from_secs(600);
    let token = signer.issue(user.clone(), "anna", 0, now, lifetime).token;

    report("verify", || drop(black_box(verifier.verify(black_box(&token), now))));
    report("issue", || drop(black_box(signer.issue(user.clone(), "anna", 0, now, lifetime))));
    Ok(())
}

fn report(what: &str, mut step: impl FnMut()) {
    let round = |step: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..PER_ROUND).for_each(|_| step());
        start.elapsed() / PER_ROUND
    };
    let best = (0..ROUNDS).map(|_| round(&mut step)).min().unwrap_or_default();
    println!("{what}: {} ns", best.as_nanos());
}
