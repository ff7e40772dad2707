//! Messages and service of `timeline.v1`, from the definition that callers have too.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::prost::Message as _;

const PROTO: &str = "proto/timeline/v1/timeline.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile([PROTO], ["proto"])?;
    // For reflection, which hands the definition to callers at run time.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("timeline.descriptors");
    fs::write(descriptors, files.encode_to_vec())?;
    tonic_prost_build::configure().build_client(true).compile_fds(files)?;
    Ok(())
}
