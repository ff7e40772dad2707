//! Prints a user's timeline from its beginning, and then what comes.
//!
//! ```text
//! cargo run -p im-client --example tail -- 127.0.0.1:8910 dev-ca.pem ACCESS_TOKEN
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use im_client::{Client, ClientConfig, Event, MemoryPosition, StaticToken, TlsDial};
use im_proto::DeviceId;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [gate, ca, token] = <[String; 3]>::try_from(arguments).map_err(|_| "usage: tail GATE CA_FILE ACCESS_TOKEN")?;
    // The handle keeps the client alive; when the last one is dropped, it logs out and ends.
    let (_client, mut events) = Client::start(
        ClientConfig::new(vec![gate], DeviceId::new("tail")?),
        Arc::new(TlsDial::new(Path::new(&ca))?),
        Arc::new(StaticToken::new(token)),
        Arc::new(MemoryPosition::default()),
    )
    .await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Message(entry) => {
                let message = entry.message;
                let text = String::from_utf8_lossy(&message.payload);
                println!("[seq={}] {} in {}: {text}", entry.seq, message.sender, message.conversation);
            }
            Event::State(state) => eprintln!("{state:?}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
